//! When the log's mark is written: the note beside the log of how far it is durable. The end of the log has
//! nothing behind it, and a whole log leaves nothing behind at all. So without the mark recovery can tell
//! neither damage to that end from a write that a crash tore, nor a lost log from one that was never begun.
//!
//! It is written when a segment was begun, when a checkpoint was completed, when the log is idle, and at an
//! orderly end; beside the log's writes, which do not wait for it, one at a time. It says only what the
//! log's own files hold, never what a checkpoint alone does: a log that does not reach it has lost something.

use super::Replica;
use crate::step::Effect;
use ringkeeper_engine::id::{Tick, Zxid};
use ringkeeper_engine::log::IoFailure;

/// How long the log is idle before it is marked. Under load the next write proves the last one durable.
const IDLE_MS: u64 = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct Marking {
    /// What the last mark says.
    marked: Zxid,
    under_way: Option<Zxid>,
    idle_since: Tick,
    /// The log's files reach what is durable. Else that is in a checkpoint alone, which came from elsewhere.
    in_log: bool,
    /// A mark is due that does not wait for an idle log.
    asked: bool,
}

impl Marking {
    pub fn new(now: Tick) -> Marking {
        Marking { marked: Zxid::ZERO, under_way: None, idle_since: now, in_log: false, asked: false }
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A write of the log came back; `durable` if it is one of the log as it is now.
    pub fn on_written(&mut self, now: Tick, begins_segment: bool, durable: bool) {
        self.idle_since = now;
        self.in_log |= durable;
        self.asked |= durable && begins_segment;
    }

    /// The log was cut or began anew: what the last mark says may have been taken back.
    pub fn on_changed(&mut self) {
        self.marked = Zxid::ZERO;
    }

    /// A mark is to be written as soon as it can be.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// The mark that was asked for.
    pub fn when_asked(&mut self, durable: Zxid) -> Option<Zxid> {
        if self.asked { self.take(durable) } else { None }
    }

    /// The mark to write now, with no write in flight.
    pub fn when_idle(&mut self, now: Tick, durable: Zxid) -> Option<Zxid> {
        if now.since(self.idle_since) < IDLE_MS {
            return None;
        }
        self.take(durable)
    }

    /// The mark to write before an orderly end: when the one under way is written, if there is one.
    pub fn at_end(&mut self, durable: Zxid) -> Option<Zxid> {
        self.asked = true;
        self.take(durable)
    }

    fn take(&mut self, durable: Zxid) -> Option<Zxid> {
        if self.is_under_way() || !self.in_log {
            return None;
        }
        self.asked = false;
        self.under_way = (durable != self.marked).then_some(durable);
        self.under_way
    }

    /// What failed for a shortage is tried again when the next is due; any other failure
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

impl Replica {
    /// After a restart: what is durable was found in the log's own files.
    pub fn log_found(&mut self) {
        self.marking.in_log = true;
    }

    /// Writes the mark that was asked for; not while the log is cut or begins anew, which takes marks back.
    pub(super) fn mark_when_asked(&mut self, out: &mut Vec<Effect>) {
        if !self.log_queue.is_changing() {
            out.extend(self.marking.when_asked(self.log.durable()).map(Effect::Mark));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One whose log was begun.
    fn marking() -> Marking {
        let mut marking = Marking::new(Tick(0));
        marking.on_written(Tick(0), false, true);
        marking
    }

    #[test]
    fn an_idle_log_is_marked_once_and_a_busy_one_never() {
        let mut marking = marking();
        assert_eq!(marking.when_idle(Tick(IDLE_MS), Zxid::ZERO), None, "nothing to say");
        marking.on_written(Tick(5000), false, true);
        assert_eq!(marking.when_idle(Tick(4999 + IDLE_MS), Zxid(7)), None);
        assert_eq!(marking.when_asked(Zxid(7)), None);
        assert_eq!(marking.when_idle(Tick(5000 + IDLE_MS), Zxid(7)), Some(Zxid(7)));
        assert!(marking.is_under_way());
        assert_eq!(marking.at_end(Zxid(8)), None, "one at a time");
        marking.on_marked(Tick(6100), Ok(())).unwrap();
        assert!(!marking.is_under_way());
        assert_eq!(marking.when_asked(Zxid(8)), Some(Zxid(8)), "the end waited for the mark before");
        marking.on_marked(Tick(6200), Ok(())).unwrap();
        assert_eq!(marking.when_idle(Tick(90_000), Zxid(8)), None, "said already");
        assert_eq!(marking.at_end(Zxid(9)), Some(Zxid(9)));
        marking.on_marked(Tick(90_000), Ok(())).unwrap();
        marking.on_changed();
        assert_eq!(marking.at_end(Zxid(9)), Some(Zxid(9)), "the log was cut and has come as far again");
    }

    #[test]
    fn a_busy_log_is_marked_when_a_segment_was_begun() {
        let mut marking = Marking::new(Tick(0));
        marking.on_written(Tick(1), true, false);
        assert_eq!(marking.when_asked(Zxid(7)), None, "of a log since truncated");
        marking.on_written(Tick(2), true, true);
        assert_eq!(marking.when_asked(Zxid(7)), Some(Zxid(7)));
        marking.on_written(Tick(3), true, true);
        assert_eq!(marking.when_asked(Zxid(8)), None, "one at a time");
        marking.on_marked(Tick(4), Ok(())).unwrap();
        assert_eq!(marking.when_asked(Zxid(9)), Some(Zxid(9)));
        marking.on_marked(Tick(5), Ok(())).unwrap();
        marking.on_written(Tick(6), false, true);
        assert_eq!(marking.when_asked(Zxid(10)), None);
    }

    #[test]
    fn nothing_is_marked_that_a_checkpoint_alone_holds() {
        let mut marking = Marking::new(Tick(0));
        marking.ask();
        assert_eq!(marking.when_asked(Zxid(7)), None);
        assert_eq!(marking.when_idle(Tick(9000), Zxid(7)), None);
        assert_eq!(marking.at_end(Zxid(7)), None);
        marking.on_written(Tick(9001), true, true);
        assert_eq!(marking.when_asked(Zxid(8)), Some(Zxid(8)));
    }

    #[test]
    fn a_shortage_is_tried_again_and_another_failure_is_fatal() {
        let failure = |errno| IoFailure { errno: Some(errno), message: "why".into() };
        for full_disk_or_no_more_files in [28, 24] {
            let mut marking = marking();
            assert!(marking.when_idle(Tick(1000), Zxid(7)).is_some());
            marking.on_marked(Tick(1010), Err(failure(full_disk_or_no_more_files))).unwrap();
            assert_eq!(marking.when_idle(Tick(2009), Zxid(7)), None);
            assert_eq!(marking.when_idle(Tick(2010), Zxid(7)), Some(Zxid(7)));
            assert_eq!(marking.on_marked(Tick(2020), Err(failure(5))), Err(failure(5)));
        }
    }
}
