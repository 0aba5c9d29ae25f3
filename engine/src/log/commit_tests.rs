//! What the log says of commits, and logs that begin anew behind a tree that came from a leader.

use super::crash_tests::{DATABASE, Session, transaction};
use super::recovery::{Cut, Replay, Tail, Verdict, recover, replay};
use super::simulated_disk::{Fate, SimulatedDisk};
use crate::id::Zxid;
use crate::log::Sequence;

/// What came, in order: transactions, and what was said to be committed as negative numbers.
#[derive(Default)]
struct Told(Vec<i64>);

impl Replay for Told {
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        assert_eq!(bytes, transaction(zxid.0));
        self.0.push(zxid.to_jute());
        Ok(())
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.0.push(-upto.to_jute());
        Ok(())
    }
}

fn told(session: &Session, after: u64) -> Vec<i64> {
    let mut told = Told::default();
    let mut image = session.disk.crash(|| Fate::New);
    assert_eq!(replay(&mut image, DATABASE, Zxid(after), &mut told).unwrap().verdict, Verdict::Clean);
    told.0
}

#[test]
fn what_was_known_to_be_committed_is_said_before_what_was_written_with_it() {
    let mut session = Session::new(SimulatedDisk::default(), Tail::origin(Zxid::ZERO, Sequence::FIRST));
    session.append(1);
    session.append(2);
    session.settle();
    session.writer.set_committed(Zxid(1));
    session.append(3);
    session.settle();
    session.append(4);
    session.settle();
    // More than the log has, as after a tree that came from a leader.
    session.writer.set_committed(Zxid(9));
    session.append(5);
    session.settle();
    assert_eq!(told(&session, 0), [1, 2, -1, 3, 4, -5, 5]);
    assert_eq!(told(&session, 3), [4, -5, 5]);
    session.writer.mark(0).unwrap();
    session.settle();
    assert_eq!(told(&session, 0), [1, 2, -1, 3, 4, -5, 5]);
}

#[test]
fn a_log_that_begins_anew_has_nothing_from_before_and_a_crash_leaves_the_old_or_the_new() {
    for (last, anew) in [(10, 50), (10, 4)] {
        let mut session = Session::new(SimulatedDisk::default(), Tail::origin(Zxid::ZERO, Sequence::FIRST));
        (1..=last).for_each(|zxid| session.append(zxid));
        session.settle();
        session.append(last + 1);
        session.writer.truncate(Cut::anew(Zxid(anew)), 0).unwrap();
        session.append(anew + 1);
        let mut found = Vec::new();
        while session.step(|_| {}) {
            let mut entries = Vec::new();
            let mut image = session.disk.crash(|| Fate::New);
            let recovery = recover(&mut image, DATABASE, Zxid(anew), |zxid, _| {
                entries.push(zxid.0);
                Ok(())
            });
            assert_eq!(recovery.unwrap().verdict, Verdict::Clean);
            found.push(entries);
        }
        found.dedup();
        let old: Vec<u64> = (anew + 1..=last).collect();
        let mut expected = vec![old, vec![], vec![anew + 1]];
        expected.dedup();
        assert_eq!(found, expected);
        assert_eq!(session.acknowledged, Zxid(anew + 1));
        let mut image = session.disk.crash(|| Fate::New);
        let late = recover(&mut image, DATABASE, Zxid(anew - 1), |_, _| Ok(())).unwrap().verdict;
        let (needed_after, begins_after) = (Zxid(anew - 1), Zxid(anew));
        assert_eq!(late, Verdict::BeginsLate { needed_after, begins_after });
    }
}
