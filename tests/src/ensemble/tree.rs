//! All that a server shows of its tree.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::body;
use crate::wire::{ConnectRequest, DecodeError, Decoder, Reply, Session, error_name, op};

/// Requests under way while a tree is read.
const DEPTH: usize = 256;

/// Each server keeps this node by itself, at a time of its own; its data is the ensemble's.
const CONFIG: &str = "/zookeeper/config";

const NO_NODE: i32 = -101;

/// Patience with a silent server before it is asked once more, and then.
const PATIENCE: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(30)];

/// A node's Stat.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Stat {
    /// Reads a Stat record.
    ///
    /// # Errors
    /// The frame ends before.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Stat {
            czxid: decoder.long("czxid")?,
            mzxid: decoder.long("mzxid")?,
            ctime: decoder.long("ctime")?,
            mtime: decoder.long("mtime")?,
            version: decoder.int("version")?,
            cversion: decoder.int("cversion")?,
            aversion: decoder.int("aversion")?,
            ephemeral_owner: decoder.long("ephemeralOwner")?,
            data_length: decoder.int("dataLength")?,
            num_children: decoder.int("numChildren")?,
            pzxid: decoder.long("pzxid")?,
        })
    }
}

/// A node as a client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its data.
    pub data: Vec<u8>,
    /// Its Stat.
    pub stat: Stat,
}

/// All nodes by their paths.
pub type Tree = BTreeMap<String, Shown>;

/// Asks a server that has nothing else to do, and once more if it is silent: ZooKeeper 3.8 may sleep over what it
/// could answer until somebody else asks for something (ZOOKEEPER-4537).
fn twice<T>(ask: impl Fn(Duration) -> io::Result<T>) -> io::Result<T> {
    match ask(PATIENCE[0]) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => ask(PATIENCE[1]),
        answer => answer,
    }
}

fn synced_within(server: SocketAddr, patience: Duration) -> io::Result<Session> {
    let mut session = Session::connect_within(server, &ConnectRequest::new_session(30_000), patience)?;
    expect(session.request(op::SYNC, &body::path("/"))?, "/")?;
    Ok(session)
}

/// Waits until a server has what was acknowledged before.
///
/// # Errors
/// The server cannot be reached or breaks off.
pub fn await_sync(server: SocketAddr) -> io::Result<()> {
    twice(|patience| synced_within(server, patience).map(drop))
}

/// Reads the tree of a server over a session of its own, after a sync. Nobody may write meanwhile.
///
/// # Errors
/// The server cannot be reached or breaks off, or a node vanished.
pub fn read(server: SocketAddr) -> io::Result<Tree> {
    twice(|patience| read_within(server, patience))
}

fn read_within(server: SocketAddr, patience: Duration) -> io::Result<Tree> {
    let mut session = synced_within(server, patience)?;
    let mut tree = Tree::new();
    let mut level = vec!["/".to_owned()];
    while !level.is_empty() {
        let mut next = Vec::new();
        for paths in level.chunks(DEPTH) {
            for path in paths {
                session.post(op::GET_DATA, &body::read(path, false))?;
            }
            let mut parents = Vec::new();
            for path in paths {
                let shown = node(&expect(session.reply()?, path)?).map_err(|e| malformed(path, &e))?;
                parents.extend((shown.stat.num_children > 0).then_some(path));
                tree.insert(path.clone(), shown);
            }
            for parent in &parents {
                session.post(op::GET_CHILDREN, &body::read(parent, false))?;
            }
            for parent in parents {
                let names =
                    children(&expect(session.reply()?, parent)?).map_err(|e| malformed(parent, &e))?;
                let base = parent.trim_end_matches('/');
                next.extend(names.into_iter().map(|name| format!("{base}/{name}")));
            }
        }
        level = next;
    }
    if let Some(config) = tree.get_mut(CONFIG) {
        config.stat = Stat::default();
    }
    // The session's end is no part of the tree.
    let _ = session.request(op::CLOSE_SESSION, &[]);
    Ok(tree)
}

/// Reads one node; `None` if there is none.
///
/// # Errors
/// The server breaks off, or gives another error.
pub fn look(session: &mut Session, path: &str) -> io::Result<Option<Shown>> {
    let reply = session.request(op::GET_DATA, &body::read(path, false))?;
    if reply.error == NO_NODE {
        return Ok(None);
    }
    node(&expect(reply, path)?).map(Some).map_err(|e| malformed(path, &e))
}

/// What two trees do not have in common, a line each.
pub fn differences(left: &Tree, right: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, shown) in left {
        match right.get(path) {
            None => lines.push(format!("{path}: only in the first, {:?}", shown.stat)),
            Some(other) if other == shown => {}
            Some(other) if other.data != shown.data => {
                let (first, second) = (show(&shown.data), show(&other.data));
                lines.push(format!("{path}: data `{first}` and `{second}`"));
            }
            Some(other) => lines.push(format!("{path}: {:?}\n  and {:?}", shown.stat, other.stat)),
        }
    }
    let only = right.iter().filter(|(path, _)| !left.contains_key(*path));
    lines.extend(only.map(|(path, shown)| format!("{path}: only in the second, {:?}", shown.stat)));
    lines
}

fn show(data: &[u8]) -> String {
    String::from_utf8_lossy(&data[..data.len().min(300)]).into_owned()
}

fn expect(reply: Reply, path: &str) -> io::Result<Reply> {
    if reply.error == 0 {
        Ok(reply)
    } else {
        Err(io::Error::other(format!("{path}: {}", error_name(reply.error))))
    }
}

fn malformed(path: &str, error: &DecodeError) -> io::Error {
    io::Error::other(format!("{path}: no {} at {}", error.what, error.at))
}

fn node(reply: &Reply) -> Result<Shown, DecodeError> {
    let mut decoder = Decoder::new(&reply.body);
    let data = decoder.buffer("data")?.unwrap_or_default().to_vec();
    Ok(Shown { data, stat: Stat::decode(&mut decoder)? })
}

fn children(reply: &Reply) -> Result<Vec<String>, DecodeError> {
    let mut decoder = Decoder::new(&reply.body);
    let count = decoder.int("count")?;
    let name = |decoder: &mut Decoder<'_>| {
        decoder.buffer("name").map(|name| String::from_utf8_lossy(name.unwrap_or_default()).into_owned())
    };
    (0..count).map(|_| name(&mut decoder)).collect()
}
