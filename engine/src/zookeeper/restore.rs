//! What a ZooKeeper server knows, from its files: the newest snapshot that is whole, then the logs
//! behind it, as the server itself would restore it; but where that would lose or invent a transaction,
//! it is refused.
//!
//! | found | what happens |
//! |---|---|
//! | a damaged snapshot | the one before serves, and this is said |
//! | no whole snapshot, logs from the first transaction on | the logs alone are replayed |
//! | no whole snapshot, logs that begin later, or none | refused: never an empty tree |
//! | a torn end of a log, and its last transaction goes on in the next log, or nowhere | cut, and said |
//! | any other damage of a log | refused |
//! | transactions that do not follow each other | refused |
//! | a snapshot that has seen more than the logs hold | refused |
//! | an ephemeral node without a session | removed, as ZooKeeper removes it |
//! | a tree whose digest is not as ZooKeeper wrote it | said, as ZooKeeper says it |
//!
//! A snapshot is fuzzy: it was written while transactions were applied. The replay over it is ours, see
//! `tree`. A list that the snapshot does not have was made meanwhile, with what is replayed.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use super::format::{Fault, FileName};
use super::log::{End, Entry, LogPieces};
use super::replay::Replay;
use super::snapshot::{Item, OPEN_ACL, Snapshot, SnapshotNode, TreeDigestAt};
use super::stream::Input;
use super::transaction::Transaction;
use crate::database::Database;
use crate::id::Zxid;
use crate::jute::records::TxnDigest;
use crate::tree::acl::{AclEntry, AclId, AclList};
use crate::tree::digest::{self, TreeDigest};
use crate::tree::index::pin;
use crate::tree::{Changes, path};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// The number of a file in what was given to [`restore`].
pub type FileNumber = usize;

/// A restored server.
pub struct Restored {
    /// Its tree and sessions.
    pub database: Database,
    /// The snapshot that served; `None` if the logs alone did.
    pub snapshot: Option<FileNumber>,
    /// Newer snapshots that are damaged, and how.
    pub damaged: Vec<(FileNumber, Fault)>,
    /// Logs that were read.
    pub logs: usize,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Logs with a torn end: the offset, and how many bytes of a transaction were there.
    pub torn: Vec<(FileNumber, u64, u64)>,
    /// What the digests say.
    pub digests: Digests,
    /// Ephemeral nodes whose sessions are gone.
    pub orphans: u64,
    /// The last transactions as this server applies them, as far as was asked for, each behind the one before.
    pub tail: Vec<(Zxid, Vec<u8>)>,
}

/// How far a server is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Nothing behind this transaction; `None` for all.
    pub upto: Option<Zxid>,
    /// Bytes of the last transactions that are also given one by one. None is before the tree is one of one
    /// moment.
    pub tail_bytes_max: usize,
}

/// The digests that ZooKeeper wrote, compared with the tree's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// How many could be compared.
    pub compared: u64,
    /// How many differ.
    pub different: u64,
    /// The first transaction whose digest differs.
    pub first_different: Option<Zxid>,
}

/// Why nothing was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is neither a snapshot nor a log.
    Nothing,
    /// No snapshot is whole, and the logs do not begin with the first transaction.
    NoSnapshot {
        /// The snapshots there are, and how they are damaged.
        damaged: Vec<(FileNumber, Fault)>,
        /// The first log.
        first_log: Option<FileNumber>,
    },
    /// A log is damaged.
    Log {
        /// Which one.
        file: FileNumber,
        /// Where and how.
        fault: Fault,
    },
    /// Transactions are missing, or come twice.
    Order {
        /// In which log.
        file: FileNumber,
        /// Where, in bytes.
        offset: u64,
        /// The one that comes.
        found: Zxid,
        /// The one before it.
        after: Zxid,
    },
    /// A snapshot has seen transactions that no log has.
    EndsEarly {
        /// The snapshot.
        file: FileNumber,
        /// What it has seen.
        known: Zxid,
        /// The last transaction there is.
        last: Zxid,
    },
    /// A node of the snapshot has a list that is nowhere.
    NoList {
        /// The node.
        path: String,
    },
}

impl Refusal {
    /// Says it, with `name` for the files.
    pub fn display(&self, name: impl Fn(FileNumber) -> String) -> impl fmt::Display {
        match self {
            Refusal::Nothing => "there is neither a snapshot nor a log of ZooKeeper".to_owned(),
            Refusal::NoSnapshot { damaged, first_log } => {
                let mut text = "no snapshot is whole".to_owned();
                for (file, fault) in damaged {
                    text.push_str(&format!("; {} is {fault}", name(*file)));
                }
                match first_log {
                    Some(file) => text.push_str(&format!(
                        "; the logs begin with {}, which is not the first transaction",
                        name(*file)
                    )),
                    None => text.push_str("; and there is no log"),
                }
                text
            }
            Refusal::Log { file, fault } => format!("{} is {fault}", name(*file)),
            Refusal::Order { file, offset, found, after } => format!(
                "{}: transaction {found} at offset {offset} does not follow {after}: {}",
                name(*file),
                if found > after { "transactions are missing" } else { "the logs contradict each other" }
            ),
            Refusal::EndsEarly { file, known, last } => format!(
                "the logs end at {last}, but {} knows of {known}: transactions are missing",
                name(*file)
            ),
            Refusal::NoList { path } => format!("the access control list of {path} is nowhere"),
        }
    }
}

/// Restores a server from its files. `read` is asked for one after the other, as bytes or piece by piece;
/// `seed` keys the tree's hashes.
///
/// # Errors
/// The outer one is the first of `read`; the inner one says why there is no restored server. A piece that
/// cannot be read counts as damage.
pub fn restore<E, F: Into<Box<dyn Input>>>(
    files: &[FileName],
    seed: u64,
    read: impl FnMut(FileNumber) -> Result<F, E>,
) -> Result<Result<Restored, Refusal>, E> {
    restore_part(files, seed, Extent::default(), read)
}

/// The same, of a part of what the files say. What is behind that part is not looked at.
///
/// # Errors
/// As [`restore`].
pub fn restore_part<E, F: Into<Box<dyn Input>>>(
    files: &[FileName],
    seed: u64,
    extent: Extent,
    mut read: impl FnMut(FileNumber) -> Result<F, E>,
) -> Result<Result<Restored, Refusal>, E> {
    let mut numbers: Vec<FileNumber> = (0..files.len()).collect();
    numbers.sort_by_key(|number| files[*number].zxid());
    let (snapshots, logs): (Vec<_>, Vec<_>) =
        numbers.into_iter().partition(|number| matches!(files[*number], FileName::Snapshot(_)));
    if files.is_empty() {
        return Ok(Err(Refusal::Nothing));
    }
    let (mut found, mut damaged) = (None, Vec::new());
    for number in snapshots.iter().rev() {
        match load(&mut *read(*number)?.into(), files[*number].zxid(), seed) {
            Ok(loaded) => {
                found = Some((*number, loaded));
                break;
            }
            Err(fault) => damaged.push((*number, fault)),
        }
    }
    let snapshot = found.as_ref().map(|(number, _)| *number);
    // The name of a damaged snapshot alone says that there were transactions up to there.
    let mut known = damaged.iter().map(|(number, _)| (files[*number].zxid(), *number)).max();
    if let Some((number, loaded)) = &found {
        known = known.max(Some((loaded.fuzzy_until, *number)));
    }
    let loaded = found.map_or_else(|| Loaded::empty(seed), |(_, loaded)| loaded);
    let begin = loaded.database.last;
    // The last log that begins at or before the snapshot may go on behind it.
    let first = logs.partition_point(|number| files[*number].zxid() <= begin).saturating_sub(1);
    let logs = &logs[first..];
    if snapshot.is_none() && logs.first().is_none_or(|number| files[*number].zxid() != FIRST_TRANSACTION) {
        return Ok(Err(Refusal::NoSnapshot { damaged, first_log: logs.first().copied() }));
    }
    let mut read_logs = Logs::new(loaded, extent);
    for number in logs {
        if let Err(refusal) = read_logs.read(*number, &mut *read(*number)?.into()) {
            return Ok(Err(refusal));
        }
    }
    let last = read_logs.last();
    if let Some((known, file)) = known.filter(|(known, _)| *known > last && extent.upto.is_none()) {
        return Ok(Err(Refusal::EndsEarly { file, known, last }));
    }
    Ok(read_logs.finish().map(|read| Restored {
        snapshot,
        damaged,
        logs: logs.len(),
        transactions: read.transactions,
        torn: read.torn,
        digests: read.digests,
        orphans: read.orphans,
        tail: read.tail.into(),
        database: read.replay.database,
    }))
}

/// What a standalone server numbers first. (An ensemble's is of epoch 1: that none was before it is not
/// known from it.)
const FIRST_TRANSACTION: Zxid = Zxid(1);

/// A snapshot as a tree.
struct Loaded {
    database: Database,
    /// From this transaction on, the tree is as it was at one moment.
    fuzzy_until: Zxid,
    digest: Option<TreeDigestAt>,
    /// Nodes whose list the snapshot does not have. They have `nobody`'s until it is replayed.
    listless: Vec<Box<str>>,
    nobody: AclId,
}

impl Loaded {
    fn empty(seed: u64) -> Loaded {
        let mut database = Database::new(seed);
        // No transaction can give a node this list.
        let nobody = AclEntry { perms: 0, scheme: "".into(), id: "".into() };
        let nobody = database.tree.acls.intern_list(&AclList::new(vec![nobody]));
        database.tree.acls.hold(nobody, 1);
        Loaded { database, fuzzy_until: Zxid::ZERO, digest: None, listless: Vec::new(), nobody }
    }

    fn node(&mut self, node: &SnapshotNode<'_>, places: &mut Places) -> Result<(), String> {
        let path = path::normal(&node.path);
        let tree = &mut self.database.tree;
        if !path::is_valid(path) || (path == "/") != node.path.is_empty() {
            return Err(format!("{:?} is no path", node.path));
        }
        if path::is_special(path) {
            if !places.special.insert(path.to_owned()) {
                return Err(format!("{path} comes twice"));
            }
        } else if tree.get(path, &pin()).is_some() {
            return Err(format!("{path} comes twice"));
        }
        let stat = &node.stat;
        for zxid in [stat.czxid, stat.mzxid, stat.pzxid] {
            self.fuzzy_until = self.fuzzy_until.max(Zxid::from_jute(zxid));
        }
        let acl = match places.lists.get(&node.acl) {
            Some(list) => *list,
            // It is younger than the snapshot: the replay makes it, and all below it.
            None if Zxid::from_jute(stat.czxid) > places.zxid => {
                places.dropped.insert(path.to_owned());
                return Ok(());
            }
            None => {
                self.listless.push(path.into());
                self.nobody
            }
        };
        // A server of 255 is none where TTL nodes can be, and theirs are where one can be.
        if tree.restore(path, node.data, acl, stat, true).is_err() {
            let above = path::self_and_ancestors(path);
            if above.into_iter().any(|ancestor| places.dropped.contains(ancestor)) {
                return Ok(());
            }
            return Err(format!("{path} comes before its parent"));
        }
        Ok(())
    }
}

/// What the nodes of a snapshot refer to.
struct Places {
    zxid: Zxid,
    lists: HashMap<i64, AclId, FixedState>,
    special: BTreeSet<String>,
    dropped: BTreeSet<String>,
}

/// A tree that a leader sent, as it came.
pub struct Staged {
    /// Tree and sessions. [`Database::last`] is what the leader said that it ends with; what it has beyond
    /// that comes again as transactions.
    pub database: Database,
    /// The newest transaction that shows in it.
    pub newest: Zxid,
    /// What was read behind its end.
    pub rest: Vec<u8>,
}

/// Reads the tree that a leader sends behind SNAP, which said `zxid`. A node whose list has changed
/// meanwhile has one that allows nobody anything, until the change comes as a transaction.
///
/// # Errors
/// What is damaged, and where.
pub fn stage(stream: &mut dyn Input, zxid: Zxid, seed: u64) -> Result<Staged, Fault> {
    let mut snapshot = Snapshot::open_stream(stream)?;
    let mut loaded = load_items(&mut snapshot, zxid, seed)?;
    let rest = snapshot.into_rest();
    loaded.database.replayed();
    Ok(Staged { database: loaded.database, newest: loaded.fuzzy_until, rest })
}

/// Reads a snapshot whose name says `zxid`.
fn load(file: &mut dyn Input, zxid: Zxid, seed: u64) -> Result<Loaded, Fault> {
    load_items(&mut Snapshot::open_pieces(file)?, zxid, seed)
}

fn load_items(snapshot: &mut Snapshot<'_>, zxid: Zxid, seed: u64) -> Result<Loaded, Fault> {
    let mut loaded = Loaded::empty(seed);
    let mut places = Places {
        zxid,
        lists: HashMap::with_hasher(FixedState::with_seed(seed)),
        special: BTreeSet::new(),
        dropped: BTreeSet::new(),
    };
    let open = loaded.database.tree.acls.intern_list(&AclList::open());
    loaded.database.tree.acls.hold(open, 1);
    places.lists.insert(OPEN_ACL, open);
    loop {
        let offset = snapshot.offset();
        let fault = |what: String| Fault { offset, what };
        match snapshot.next()? {
            Some(Item::Session { id, timeout_ms }) => {
                let timeout_ms = u32::try_from(timeout_ms);
                let timeout_ms = timeout_ms.map_err(|_| fault(format!("session {id} has no timeout")))?;
                loaded.database.sessions.insert(id, timeout_ms);
            }
            Some(Item::Acl { number, list }) => {
                let acls = &mut loaded.database.tree.acls;
                let list = acls.intern(list).map_err(|error| fault(error.to_string()))?;
                // No node has it yet.
                acls.hold(list, 1);
                if let Some(before) = places.lists.insert(number, list) {
                    acls.release(before);
                }
            }
            Some(Item::Node(node)) => loaded.node(&node, &mut places).map_err(fault)?,
            None => break,
        }
    }
    loaded.database.tree.begin().publish();
    places.lists.values().for_each(|list| loaded.database.tree.acls.release(*list));
    let trailer = snapshot.trailer();
    // A leader that begins an epoch has a digest from before it, a new server one of nothing.
    let usable = |digest: &TreeDigestAt| {
        digest.version == digest::VERSION && digest.zxid >= zxid && digest.zxid != Zxid::ZERO
    };
    loaded.digest = trailer.digest.filter(usable);
    let seen = [trailer.last_zxid, trailer.digest.map(|digest| digest.zxid), Some(zxid)];
    loaded.fuzzy_until = seen.into_iter().flatten().fold(loaded.fuzzy_until, Zxid::max);
    loaded.database.last = zxid;
    Ok(loaded)
}

/// What the logs add to a snapshot.
struct Logs {
    replay: Replay,
    /// What the snapshot says of a moment that the replay passes.
    expected: Option<TreeDigestAt>,
    listless: Vec<Box<str>>,
    nobody: AclId,
    digests: Digests,
    transactions: u64,
    torn: Vec<(FileNumber, u64, u64)>,
    orphans: u64,
    extent: Extent,
    fuzzy_until: Zxid,
    tail: VecDeque<(Zxid, Vec<u8>)>,
    tail_bytes: usize,
}

impl Logs {
    fn new(loaded: Loaded, extent: Extent) -> Logs {
        let mut logs = Logs {
            extent,
            fuzzy_until: loaded.fuzzy_until,
            tail: VecDeque::new(),
            tail_bytes: 0,
            replay: Replay::new(loaded.database, loaded.fuzzy_until),
            expected: loaded.digest,
            listless: loaded.listless,
            nobody: loaded.nobody,
            digests: Digests::default(),
            transactions: 0,
            torn: Vec::new(),
            orphans: 0,
        };
        logs.compare(None);
        logs
    }

    fn last(&self) -> Zxid {
        self.replay.database.last
    }

    fn read(&mut self, number: FileNumber, file: &mut dyn Input) -> Result<(), Refusal> {
        let refused = |fault| Refusal::Log { file: number, fault };
        let mut log = LogPieces::new(file);
        if log.header().map_err(refused)?.is_none() {
            self.torn.push((number, 0, 0));
            return Ok(());
        }
        while let Some(entry) = log.next_entry() {
            let Entry { offset, transaction, .. } = entry.map_err(refused)?;
            let (found, after) = (Zxid::from_jute(transaction.header.zxid), self.last());
            if found <= after && self.transactions == 0 {
                continue;
            }
            if self.extent.upto.is_some_and(|upto| found > upto) {
                return Ok(());
            }
            if !follows(after, found) {
                return Err(Refusal::Order { file: number, offset, found, after });
            }
            let applied = self.replay.apply(&transaction);
            applied.map_err(|error| refused(Fault { offset, what: error.to_string() }))?;
            self.transactions += 1;
            self.compare(transaction.digest);
            self.keep(found, &transaction);
        }
        if let Some(End::Torn { offset, bytes, .. }) = log.end() {
            self.torn.push((number, offset, bytes));
        }
        Ok(())
    }

    /// Keeps the transaction as one of the last.
    fn keep(&mut self, zxid: Zxid, transaction: &Transaction<'_>) {
        if self.extent.tail_bytes_max == 0 || zxid <= self.fuzzy_until {
            return;
        }
        let bytes = transaction.to_apply().into_owned();
        self.tail_bytes += bytes.len();
        self.tail.push_back((zxid, bytes));
        while self.tail_bytes > self.extent.tail_bytes_max
            && let Some((_, oldest)) = self.tail.pop_front()
        {
            self.tail_bytes -= oldest.len();
        }
    }

    /// Compares the tree with what the snapshot and the last transaction say of it.
    fn compare(&mut self, digest: Option<TxnDigest>) {
        let (Some(found), last) = (self.replay.digest(), self.last()) else { return };
        let of_snapshot = self.expected.take_if(|expected| expected.zxid <= last);
        let of_snapshot = of_snapshot.filter(|expected| expected.zxid == last).map(|at| at.digest);
        let of_log =
            digest.filter(|digest| digest.version == digest::VERSION).map(|digest| digest.tree_digest);
        for expected in of_snapshot.into_iter().chain(of_log) {
            self.digests.compared += 1;
            if found != TreeDigest(expected) {
                self.digests.different += 1;
                self.digests.first_different.get_or_insert(last);
            }
        }
    }

    fn finish(mut self) -> Result<Logs, Refusal> {
        let guard = pin();
        let tree = &self.replay.database.tree;
        let without = |path: &str| tree.get(path, &guard).is_some_and(|node| node.data().acl == self.nobody);
        if let Some(path) = self.listless.iter().find(|path| without(path)) {
            return Err(Refusal::NoList { path: path.to_string() });
        }
        drop(guard);
        self.remove_orphans();
        self.replay.database.replayed();
        Ok(self)
    }

    /// Removes what belongs to sessions that are gone (`ZooKeeperServer.loadData`).
    fn remove_orphans(&mut self) {
        let Database { tree, sessions, last, .. } = &mut self.replay.database;
        let orphans: Vec<String> = tree
            .ephemerals()
            .iter()
            .filter(|(session, _)| !sessions.contains_key(session))
            .flat_map(|(_, paths)| paths.iter().map(|path| path.to_string()))
            .collect();
        let mut batch = tree.begin();
        for path in &orphans {
            // It is there: the list of ephemeral nodes says so.
            let _ = batch.delete(path, *last, &mut Changes::default());
            self.orphans += 1;
        }
        batch.publish();
    }
}

/// Whether a transaction can come behind another: the next of its epoch, or the first of a later one.
fn follows(after: Zxid, found: Zxid) -> bool {
    let next = after.counter().checked_add(1);
    (found.epoch() == after.epoch() && next == Some(found.counter()))
        || (found.epoch() > after.epoch() && found.counter() == 1)
}
