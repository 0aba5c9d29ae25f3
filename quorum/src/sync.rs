//! How a learner's log is made a prefix of its leader's: DIFF, TRUNC or SNAP, as a decision table
//! (`LearnerHandler.syncFollower`, `SyncFollower` in the system specification).
//!
//! Why TRUNC may cross an epoch, though Java's learners are spared it: a transaction of epoch *e* is
//! proposed only when a quorum has everything that *e* began with. So if a learner's log ends in *e*,
//! it has all that *e* began with, and any leader's log has the same before its first transaction of
//! *e*. Therefore the newest of the leader's transactions that is not newer than the learner's last
//! is in the learner's log, and what the learner has after it is in no leader's.

use ringkeeper_engine::id::Zxid;

/// What a learner says that needs a whole tree. No leader's log has a place for it: Java's sends a tree, too,
/// unless all that it has is of the epoch before the first election.
pub const NOTHING_IN_COMMON: Zxid = Zxid(u32::MAX as u64);

/// What a leader tells a learner to do with its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Keep it. The leader sends what comes after this transaction.
    Diff {
        /// The newest transaction that both have.
        after: Zxid,
    },
    /// Cut it after this transaction. The leader sends what comes after it.
    Trunc {
        /// The newest transaction that is kept.
        to: Zxid,
    },
    /// Replace it by a whole tree.
    Snap,
}

/// The plan for a learner whose log ends at `last`, by a leader of whose log all up to `committed` is
/// committed, or will be with the epoch that begins. `common` is the newest of the leader's
/// transactions that is not newer than `last`, if the leader still has what follows it and that is not much
/// more than a whole tree.
///
/// A learner that is no Ringkeeper gets what a Java leader would send: it is never left with a
/// transaction that is not committed yet, and is not made to cut its log in an earlier epoch than
/// where it ends, unless all of its epoch goes.
pub fn plan(common: Option<Zxid>, committed: Zxid, last: Zxid, extended: bool) -> Plan {
    let Some(common) = common else { return Plan::Snap };
    // A Java server names an epoch's beginning where it has everything before it, and nothing in it.
    let has_common = common == last || last.counter() == 0;
    match (extended, has_common) {
        (true, true) => Plan::Diff { after: common },
        (true, false) => Plan::Trunc { to: common },
        (false, true) if common <= committed => Plan::Diff { after: common },
        (false, _) if last > committed => Plan::Trunc { to: committed },
        (false, _) if common.epoch() == last.epoch() => Plan::Trunc { to: common },
        (false, _) => Plan::Snap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::message::Transaction;
    use bytes::Bytes;

    const fn z(epoch: u64, counter: u64) -> Zxid {
        Zxid(epoch << 32 | counter)
    }

    fn plan(history: &History, committed: Zxid, last: Zxid, extended: bool) -> Plan {
        super::plan(history.newest_upto(last), committed, last, extended)
    }

    fn history(floor: Zxid, zxids: &[Zxid]) -> History {
        History::new(floor, zxids.iter().map(|zxid| Transaction { zxid: *zxid, bytes: Bytes::new() }))
    }

    /// Rows: where the learner's log ends; the plan for a Ringkeeper; the plan for a Java server.
    #[test]
    fn the_table() {
        let leader = history(z(1, 7), &[z(1, 8), z(1, 9), z(3, 1), z(3, 2), z(3, 3)]);
        let (diff, trunc) = (|after| Plan::Diff { after }, |to| Plan::Trunc { to });
        for (last, ours, javas) in [
            // Before what the leader has in memory.
            (z(0, 0), Plan::Snap, Plan::Snap),
            (z(1, 6), Plan::Snap, Plan::Snap),
            // In the leader's log.
            (z(1, 7), diff(z(1, 7)), diff(z(1, 7))),
            (z(1, 9), diff(z(1, 9)), diff(z(1, 9))),
            (z(3, 2), diff(z(3, 2)), diff(z(3, 2))),
            // Proposed, not committed.
            (z(3, 3), diff(z(3, 3)), trunc(z(3, 2))),
            // Not in it: proposed by a leader that no quorum heard.
            (z(1, 10), trunc(z(1, 9)), trunc(z(1, 9))),
            (z(2, 1), trunc(z(1, 9)), Plan::Snap),
            (z(3, 4), trunc(z(3, 3)), trunc(z(3, 2))),
            (z(4, 1), trunc(z(3, 3)), trunc(z(3, 2))),
            // The beginning of an epoch, which a Java server names.
            (z(1, 0), Plan::Snap, Plan::Snap),
            (z(2, 0), diff(z(1, 9)), diff(z(1, 9))),
            (z(3, 0), diff(z(1, 9)), diff(z(1, 9))),
        ] {
            assert_eq!(plan(&leader, z(3, 2), last, true), ours, "{last}");
            assert_eq!(plan(&leader, z(3, 2), last, false), javas, "{last} of Java");
        }
        let idle = history(z(2, 5), &[]);
        assert_eq!(plan(&idle, z(2, 5), z(3, 0), false), diff(z(2, 5)), "an epoch without a transaction");
        let new = history(Zxid::ZERO, &[z(1, 1)]);
        assert_eq!(plan(&new, z(1, 1), Zxid::ZERO, false), diff(Zxid::ZERO), "an empty server");
    }
}
