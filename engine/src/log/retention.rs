//! What of a log and of its checkpoints may be removed: a decision over facts, so that every case can be
//! tested.

use super::format::{Link, Sequence};
use crate::id::Zxid;

/// Fewer checkpoints than this are never kept: the newest, and the one before should that be damaged.
pub const CHECKPOINTS_MIN: usize = 2;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// The segment.
    pub sequence: Sequence,
    /// The last zxid before it, and where the log before it ends; `None` if it was not written to or
    /// its header is damaged.
    pub header: Option<(Zxid, Option<Link>)>,
}

/// What a checkpoint's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Replay begins behind it.
    pub first_zxid: Zxid,
    /// Every block of it was verified.
    pub valid: bool,
}

/// What may be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obsolete {
    /// Checkpoints, oldest first, by their first zxid.
    pub checkpoints: Vec<Zxid>,
    /// Segments, oldest first, which is the order to remove them in: what a crash leaves is then one
    /// piece.
    pub segments: Vec<Sequence>,
}

/// Decides. Keeps the newest `keep` valid checkpoints (two at least), whatever is newer than the oldest
/// of them, and every segment that holds something behind its first zxid. Both lists are in ascending
/// order.
pub fn obsolete(checkpoints: &[CheckpointFacts], segments: &[SegmentFacts], keep: usize) -> Obsolete {
    assert!(checkpoints.is_sorted_by_key(|checkpoint| checkpoint.first_zxid));
    assert!(segments.is_sorted_by_key(|segment| segment.sequence));
    let keep = keep.max(CHECKPOINTS_MIN);
    let mut valid = checkpoints.iter().rev().filter(|checkpoint| checkpoint.valid);
    // With fewer, the log from its beginning on is what stands in for a damaged checkpoint.
    let Some(oldest_kept) = valid.nth(keep - 1).map(|checkpoint| checkpoint.first_zxid) else {
        return Obsolete::default();
    };
    let old = checkpoints.iter().map(|checkpoint| checkpoint.first_zxid).filter(|zxid| *zxid < oldest_kept);
    let first_needed = first_needed(segments, oldest_kept);
    let unneeded = segments.iter().map(|segment| segment.sequence);
    Obsolete {
        checkpoints: old.collect(),
        segments: unneeded.filter(|sequence| first_needed.is_some_and(|first| *sequence < first)).collect(),
    }
}

/// The segment that holds the transaction behind `after`, by the chain of links from the newest one
/// back. `None` if the chain does not lead there: then nothing is known to be unneeded.
fn first_needed(segments: &[SegmentFacts], after: Zxid) -> Option<Sequence> {
    let mut at = segments.iter().rposition(|segment| segment.header.is_some())?;
    loop {
        let (previous_zxid, previous) = segments[at].header?;
        if previous_zxid <= after {
            return Some(segments[at].sequence);
        }
        let link = previous?;
        at = segments.binary_search_by_key(&link.sequence, |segment| segment.sequence).ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::format::Checksum;

    fn segment(sequence: u64, previous_zxid: u64, previous: u64) -> SegmentFacts {
        let link = Link { sequence: Sequence(previous), end: 8192, checksum: Checksum(0) };
        let header = Some((Zxid(previous_zxid), (previous > 0).then_some(link)));
        SegmentFacts { sequence: Sequence(sequence), header }
    }

    fn spare(sequence: u64) -> SegmentFacts {
        SegmentFacts { sequence: Sequence(sequence), header: None }
    }

    fn checkpoints(all: &[(u64, bool)]) -> Vec<CheckpointFacts> {
        all.iter().map(|&(zxid, valid)| CheckpointFacts { first_zxid: Zxid(zxid), valid }).collect()
    }

    /// Five segments of ten transactions each, and the prepared one.
    fn log() -> Vec<SegmentFacts> {
        let mut log: Vec<_> = (1..=5).map(|n| segment(n, 10 * (n - 1), n - 1)).collect();
        log.push(spare(6));
        log
    }

    fn decide(all: &[(u64, bool)], log: &[SegmentFacts], keep: usize) -> (Vec<u64>, Vec<u64>) {
        let found = obsolete(&checkpoints(all), log, keep);
        (
            found.checkpoints.iter().map(|zxid| zxid.0).collect(),
            found.segments.iter().map(|sequence| sequence.0).collect(),
        )
    }

    #[test]
    fn retention_never_removes_what_recovery_needs() {
        let valid = |zxids: &[u64]| zxids.iter().map(|&zxid| (zxid, true)).collect::<Vec<_>>();
        let nothing = (vec![], vec![]);
        assert_eq!(decide(&[], &log(), 3), nothing);
        assert_eq!(decide(&valid(&[35]), &log(), 0), nothing, "one checkpoint is not two");
        assert_eq!(decide(&valid(&[25, 35]), &log(), 0), (vec![], vec![1, 2]));
        assert_eq!(decide(&valid(&[5, 25, 35]), &log(), 2), (vec![5], vec![1, 2]));
        assert_eq!(decide(&valid(&[5, 25, 35]), &log(), 3), (vec![], vec![]), "the log behind 5");
        assert_eq!(decide(&valid(&[20, 35]), &log(), 2), (vec![], vec![1, 2]), "behind, not at, 20");
        assert_eq!(decide(&valid(&[19, 35]), &log(), 2), (vec![], vec![1]));
        assert_eq!(decide(&valid(&[90, 91]), &log(), 2), (vec![], vec![1, 2, 3, 4]), "the newest stays");
    }

    #[test]
    fn retention_does_not_count_a_damaged_checkpoint() {
        assert_eq!(decide(&[(15, true), (25, true), (35, false)], &log(), 2), (vec![], vec![1]));
        assert_eq!(decide(&[(5, false), (25, true), (35, true)], &log(), 2), (vec![5], vec![1, 2]));
        assert_eq!(decide(&[(25, false), (35, true)], &log(), 2), (vec![], vec![]));
    }

    #[test]
    fn retention_removes_no_segment_that_it_does_not_understand() {
        let good = [(25, true), (35, true)];
        let mut damaged = log();
        damaged[3].header = None;
        assert_eq!(decide(&good, &damaged, 2), (vec![], vec![]), "a damaged header on the way");
        let mut missing = log();
        missing.remove(3);
        assert_eq!(decide(&good, &missing, 2), (vec![], vec![]), "a missing segment on the way");
        // Segment 5 supersedes 3 and 4: the log went back to the end of 2.
        let mut cut = log();
        cut[4] = segment(5, 20, 2);
        assert_eq!(decide(&[(15, true), (19, true)], &cut, 2), (vec![], vec![1]));
        assert_eq!(decide(&[(21, true), (22, true)], &cut, 2), (vec![], vec![1, 2, 3, 4]));
    }
}
