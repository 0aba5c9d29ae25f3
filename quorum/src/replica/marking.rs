//! When the log's mark is written: the note beside the log of how far it is durable. The end of a burst
//! has nothing behind it in the log, so without the mark recovery cannot tell damage to it from a write
//! that a crash tore.

use ringkeeper_engine::id::{Tick, Zxid};
use ringkeeper_engine::log::IoFailure;

/// How long the log is idle before it is marked. Under load there is no mark, and no need of one: the
/// next write proves the last one durable.
const IDLE_MS: u64 = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct Marking {
    /// What the last mark says.
    marked: Zxid,
    under_way: Option<Zxid>,
    idle_since: Tick,
}

impl Marking {
    pub fn new(now: Tick) -> Marking {
        Marking { marked: Zxid::ZERO, under_way: None, idle_since: now }
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub fn on_written(&mut self, now: Tick) {
        self.idle_since = now;
    }

    /// The mark to write now, with no write in flight.
    pub fn when_idle(&mut self, now: Tick, durable: Zxid) -> Option<Zxid> {
        if now.since(self.idle_since) < IDLE_MS {
            return None;
        }
        self.at_end(durable)
    }

    /// The mark to write before an orderly end.
    pub fn at_end(&mut self, durable: Zxid) -> Option<Zxid> {
        if self.is_under_way() || durable == self.marked {
            return None;
        }
        self.under_way = Some(durable);
        self.under_way
    }

    /// What failed for a shortage is tried again when the log was idle for so long again; any other failure
    /// is fatal, as one of the log.
    pub fn on_marked(&mut self, now: Tick, result: Result<(), IoFailure>) -> Result<(), IoFailure> {
        let marked = self.under_way.take();
        self.idle_since = now;
        match result {
            Ok(()) => self.marked = marked.unwrap_or(self.marked),
            Err(failure) if failure.shortage().is_some() => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_log_is_marked_once_and_a_busy_one_never() {
        let mut marking = Marking::new(Tick(0));
        assert_eq!(marking.when_idle(Tick(IDLE_MS), Zxid::ZERO), None, "nothing to say");
        marking.on_written(Tick(5000));
        assert_eq!(marking.when_idle(Tick(4999 + IDLE_MS), Zxid(7)), None);
        assert_eq!(marking.when_idle(Tick(5000 + IDLE_MS), Zxid(7)), Some(Zxid(7)));
        assert!(marking.is_under_way());
        assert_eq!(marking.at_end(Zxid(8)), None, "one at a time");
        marking.on_marked(Tick(6100), Ok(())).unwrap();
        assert!(!marking.is_under_way());
        assert_eq!(marking.when_idle(Tick(90_000), Zxid(7)), None, "said already");
        assert_eq!(marking.at_end(Zxid(8)), Some(Zxid(8)));
    }

    #[test]
    fn a_shortage_is_tried_again_and_another_failure_is_fatal() {
        let failure = |errno| IoFailure { errno: Some(errno), message: "why".into() };
        for full_disk_or_no_more_files in [28, 24] {
            let mut marking = Marking::new(Tick(0));
            assert!(marking.when_idle(Tick(1000), Zxid(7)).is_some());
            marking.on_marked(Tick(1010), Err(failure(full_disk_or_no_more_files))).unwrap();
            assert_eq!(marking.when_idle(Tick(2009), Zxid(7)), None);
            assert_eq!(marking.when_idle(Tick(2010), Zxid(7)), Some(Zxid(7)));
            assert_eq!(marking.on_marked(Tick(2020), Err(failure(5))), Err(failure(5)));
        }
    }
}
