//! What must hold after a load, whatever happened to the servers meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::{Load, Seen, Write, longest_gap};
use super::tree::{self, Tree};
use super::{Ensemble, node::Node};
use crate::body;
use crate::server::Kind;
use crate::wire::{Session, op};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::log::LogFile;

/// How long a follower may take to have what the leader has, and a session's end to be seen everywhere.
const AGREE_MAX: Duration = Duration::from_secs(30);

/// Faults of one kind that a failure shows.
const SHOWN_MAX: usize = 10;

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Acknowledged writes.
    pub acked: usize,
    /// Connections that were given up for another.
    pub reconnects: u32,
    /// The longest time without an acknowledged write since `from`.
    pub longest_gap: Duration,
}

/// Brings the load to its end and checks, at every server that is awake: no session was lost, every
/// acknowledged write is there, each session's writes are in order, ephemeral nodes stand as long as their
/// sessions and no longer, all trees are equal, and no Java server met a digest that it would not have made.
/// The gap is measured from `from` on.
///
/// # Panics
/// One of these does not hold.
pub fn check(ensemble: &mut Ensemble, load: Load, from: Instant) -> Summary {
    let to = Instant::now();
    load.rest();
    let seen = load.seen();
    let faults: Vec<&String> = seen.iter().flat_map(|s| &s.faults).collect();
    none(ensemble, "a session failed", &faults);
    let trees = trees(ensemble);
    equal(ensemble, &trees);
    for (id, tree) in &trees {
        let faults: Vec<String> =
            (0..).zip(&seen).flat_map(|(n, seen)| of_session(&load.root, n, seen, tree)).collect();
        none(ensemble, &format!("server {id} lacks what was acknowledged"), &faults);
    }
    load.close();
    await_no_ephemerals(ensemble);
    digests(ensemble);
    Summary {
        acked: seen.iter().map(|s| s.acked.len()).sum(),
        reconnects: seen.iter().map(|s| s.reconnects).sum(),
        longest_gap: longest_gap(&seen, from, to),
    }
}

/// The trees of all servers that are awake.
///
/// # Panics
/// One cannot be read.
pub fn trees(ensemble: &Ensemble) -> BTreeMap<u8, Tree> {
    let read = |id: u8| {
        let tree = tree::read(ensemble.node(id).address());
        (id, tree.unwrap_or_else(|e| panic!("server {id}: {e}\n{}", ensemble.tails())))
    };
    ensemble.awake().into_iter().map(read).collect()
}

/// All trees are equal.
///
/// # Panics
/// Two differ.
pub fn equal(ensemble: &Ensemble, trees: &BTreeMap<u8, Tree>) {
    let Some((first_id, first)) = trees.first_key_value() else { return };
    for (id, tree) in trees {
        let what = format!("the trees of servers {first_id} and {id} differ");
        none(ensemble, &what, &tree::differences(first, tree));
    }
}

/// No Java server that is awake met a transaction or snapshot whose digest is not its tree's.
///
/// One that took a whole tree while others wrote may have: Java compares too early there, among its own. A tree
/// that differs would be met again with each transaction, so that its count must not rise any more.
///
/// # Panics
/// One did.
pub fn digests(ensemble: &Ensemble) {
    let is_java = |id: &u8| matches!(ensemble.node(*id).kind, Kind::ZooKeeper { .. });
    let java: Vec<u8> = ensemble.awake().into_iter().filter(is_java).collect();
    let count = |id: u8| {
        let count = ensemble.node(id).measure("zk_digest_mismatches_count");
        count.unwrap_or_else(|| panic!("server {id} does not count mismatches\n{}", ensemble.tails()))
    };
    let before: Vec<String> = java.iter().map(|id| count(*id)).collect();
    for (id, count) in java.iter().zip(&before) {
        let node = ensemble.node(*id);
        assert!(
            node.began_empty() || *count == compared_late(&node.output()).to_string(),
            "server {id}: {count} mismatches\n{}",
            node.output_tail()
        );
    }
    for address in ensemble.awake().iter().map(|id| ensemble.node(*id).address()) {
        let mut session = Session::begin(address, 30_000);
        session.ask(op::CREATE, &body::create("/digest-", b"1", 2));
        session.ask(op::CLOSE_SESSION, &[]);
    }
    for id in &java {
        tree::await_sync(ensemble.node(*id).address()).unwrap_or_else(|e| panic!("server {id}: {e}"));
    }
    let after: Vec<String> = java.iter().map(|id| count(*id)).collect();
    assert_eq!(before, after, "servers {java:?} go on to find mismatches");
    for id in &java {
        let (node, begun) = (ensemble.node(*id), Instant::now());
        // A server may hear that others have it before its own disk does.
        while !newest_create_has_a_digest(node) {
            assert!(
                begun.elapsed() < AGREE_MAX,
                "server {id} has nothing to compare\n{}",
                node.output_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How often a Java server's last life compared a transaction that its tree had already. When a role ends, 3.8
/// reads its log to the end while its CommitProcessor may have a transaction in hand, for which nobody waits: it
/// is held against a later tree.
fn compared_late(output: &str) -> usize {
    let life = output.rsplit("Starting quorum peer").next().unwrap_or(output);
    let (mut late, mut read_upto) = (0, 0);
    for line in life.lines() {
        if let Some((_, zxid)) =
            line.split_once("New election. My id = ").and_then(|(_, l)| l.split_once("zxid=0x"))
        {
            read_upto = u64::from_str_radix(zxid.trim(), 16).unwrap_or(0);
        }
        let compared = line.split_once("Message:Digests are not matching. Value is Zxid. Value:");
        let zxid = compared.and_then(|(_, zxid)| zxid.trim().parse::<u64>().ok());
        late += usize::from(zxid.is_some_and(|zxid| zxid <= read_upto));
    }
    late
}

#[test]
fn only_what_the_log_had_is_late() {
    let life = "Starting quorum peer, myid=2\nNew election. My id = 2, proposed zxid=0x100000d62\n";
    let of = |zxid: u64| format!("Message:Digests are not matching. Value is Zxid. Value:{zxid}\n");
    assert_eq!(compared_late(&format!("{life}{}{}", of(0x1_0000_0d34), of(0x1_0000_0d63))), 1);
    assert_eq!(compared_late(&format!("{}{life}", of(1))), 0, "of an earlier life");
}

/// Whether what a Java server's leader proposed says what the tree is behind it: else nothing was compared.
fn newest_create_has_a_digest(node: &Node) -> bool {
    let logs = std::fs::read_dir(node.data_dir().join("version-2")).expect("a data directory");
    let logs = logs.filter_map(|entry| {
        let path = entry.expect("an entry").path();
        match FileName::parse(path.file_name()?.to_str()?)? {
            FileName::Log(first) => Some((first, path)),
            FileName::Snapshot(..) => None,
        }
    });
    let Some((_, newest)) = logs.max() else { return false };
    let bytes = std::fs::read(newest).expect("a log");
    let Ok(log) = LogFile::open(&bytes) else { return false };
    let creates = log.entries().filter_map(|entry| {
        let transaction = entry.ok()?.transaction;
        (transaction.op == OpCode::Create).then_some(transaction.digest)
    });
    creates.last().flatten().is_some()
}

/// No ephemeral node is left, at any server.
fn await_no_ephemerals(ensemble: &mut Ensemble) {
    let clean = |node: &Node| {
        let tree = tree::read(node.address());
        tree.is_ok_and(|tree| tree.values().all(|shown| shown.stat.ephemeral_owner == 0))
    };
    let all_clean = |ensemble: &Ensemble| ensemble.awake().iter().all(|id| clean(ensemble.node(*id)));
    ensemble.await_that("ephemeral nodes go with their sessions", AGREE_MAX, all_clean);
}

/// What a session's record and a tree disagree about.
fn of_session(root: &str, number: u32, seen: &Seen, tree: &Tree) -> Vec<String> {
    let (home, alive) = (format!("{root}/{number}"), format!("{root}/alive-{number}"));
    let mut faults = Vec::new();
    let owner = tree.get(&alive).map(|shown| shown.stat.ephemeral_owner);
    if owner != Some(seen.session) {
        faults.push(format!("{alive}: owner {owner:x?}, its session is {:x}", seen.session));
    }
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let (mut last_set, mut before) = (None, 0);
    for acked in &seen.acked {
        if acked.zxid < before || (acked.once && acked.zxid == before) {
            faults.push(format!("{home}: write {} at {:#x}, after {before:#x}", acked.number, acked.zxid));
        }
        // Where its transaction lies; of one that was sent twice, somewhere behind the write before.
        let place = (before, acked.zxid);
        match Write::of(acked.number) {
            Write::Create => drop(expected.insert(format!("{home}/{}", acked.number), place)),
            Write::Set => last_set = Some(acked.number),
            Write::Both => {
                expected.insert(format!("{home}/{}", acked.number), place);
                last_set = Some(acked.number);
            }
            Write::Delete(other) => drop(expected.remove(&format!("{home}/{other}"))),
        }
        before = acked.zxid;
    }
    let below = format!("{home}/");
    let found = tree.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
    for (path, shown) in found {
        match expected.remove(path) {
            None => faults.push(format!("{path}: should not be there")),
            Some((after, upto)) if shown.stat.czxid <= after || shown.stat.czxid > upto => {
                let czxid = shown.stat.czxid;
                faults.push(format!("{path}: created at {czxid:#x}, not within {after:#x} to {upto:#x}"));
            }
            Some(_) => {}
        }
    }
    faults.extend(expected.keys().map(|path| format!("{path}: was acknowledged and is gone")));
    let data = tree.get(&home).map(|shown| String::from_utf8_lossy(&shown.data).into_owned());
    if data != last_set.map(|number| number.to_string()) && last_set.is_some() {
        faults.push(format!("{home}: has {data:?} where {last_set:?} was set last"));
    }
    faults
}

fn none<T: AsRef<str>>(ensemble: &Ensemble, what: &str, faults: &[T]) {
    let shown: Vec<&str> = faults.iter().take(SHOWN_MAX).map(AsRef::as_ref).collect();
    let count = faults.len();
    assert!(faults.is_empty(), "{what}, {count} faults:\n{}\n{}", shown.join("\n"), ensemble.tails());
}

#[cfg(test)]
mod tests {
    use super::super::load::Acked;
    use super::super::tree::{Shown, Stat};
    use super::*;

    /// A session that has written four times, and the tree that it must leave.
    fn written() -> (Seen, Tree) {
        let acked = |number, zxid| Acked { at: Instant::now(), number, zxid, once: true };
        let acked = vec![acked(0, 10), acked(1, 11), acked(2, 14), acked(3, 15)];
        let seen = Seen { session: 7, acked, ..Seen::default() };
        let node = |data: &str, czxid, ephemeral_owner| Shown {
            data: data.as_bytes().to_vec(),
            stat: Stat { czxid, ephemeral_owner, ..Stat::default() },
        };
        let tree = [
            ("/load/alive-0", node("", 2, 7)),
            ("/load/0", node("3", 1, 0)),
            ("/load/0/0", node("0", 10, 0)),
            ("/load/0/2", node("2", 13, 0)),
            ("/load/0/3", node("3", 15, 0)),
        ];
        (seen, tree.map(|(path, shown)| (path.to_owned(), shown)).into())
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_no_fault() {
        let (seen, tree) = written();
        assert_eq!(of_session("/load", 0, &seen, &tree), [""; 0]);
    }

    #[test]
    fn each_law_that_a_tree_breaks_is_named() {
        type Spoil = fn(&mut Tree);
        let spoil: [(&str, Spoil); 6] = [
            ("is gone", |tree| drop(tree.remove("/load/0/2"))),
            ("should not be there", |tree| drop(tree.insert("/load/0/9".to_owned(), Shown::default()))),
            ("not within", |tree| tree.get_mut("/load/0/2").expect("it is there").stat.czxid = 16),
            ("not within", |tree| tree.get_mut("/load/0/2").expect("it is there").stat.czxid = 11),
            ("was set last", |tree| tree.get_mut("/load/0").expect("it is there").data = b"1".to_vec()),
            ("its session is", |tree| drop(tree.remove("/load/alive-0"))),
        ];
        for (name, spoil) in spoil {
            let (seen, mut tree) = written();
            spoil(&mut tree);
            let faults = of_session("/load", 0, &seen, &tree);
            assert!(faults.len() == 1 && faults[0].contains(name), "{name}: {faults:?}");
        }
        let (mut seen, tree) = written();
        seen.acked[2].zxid = 10;
        assert!(of_session("/load", 0, &seen, &tree).iter().any(|fault| fault.contains("after 0xb")));
    }
}
