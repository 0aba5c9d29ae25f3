//! `ringkeeper snapshot dump`: every node with its Stat and ACL, then every session.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::io;

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::tree::node::NodeKind;
use serde::Serialize;

use super::{Damage, Digest, Head, Item, Node, Session, Tail, length, newest, read};
use crate::tools::args::{DataAs, SnapshotDumpArgs};
use crate::tools::out::{Findings, Out, Progress, Trouble};
use crate::tools::show::{self, AclEntry, DataFields, Hex, Plain, count};
use crate::tools::transaction::is_below;

/// Runs the command.
pub(super) fn run(args: &SnapshotDumpArgs) -> Result<Findings, Trouble> {
    let found = newest(&args.file)?;
    let mut progress = Progress::new(length(&found), true);
    let mut dump = Dump {
        out: Out::new(args.json),
        args,
        file: show::name(&found.path),
        sessions: Vec::new(),
        ephemerals: HashMap::new(),
        nodes: 0,
    };
    let faults = read(&found, &mut progress, &mut |item| dump.visit(item))?;
    drop(progress);
    dump.out.flush()?;
    if faults > 0 {
        eprintln!("error: {}: {} damaged", dump.file, count(faults, "place is", "places are"));
    }
    Ok(Findings { faults, unread: 0 })
}

struct Dump<'a> {
    out: Out,
    args: &'a SnapshotDumpArgs,
    file: String,
    /// They come last, with the number of their ephemeral nodes.
    sessions: Vec<Session>,
    ephemerals: HashMap<SessionId, u64>,
    nodes: u64,
}

impl Dump<'_> {
    fn visit(&mut self, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Head(head) => self.head(&head),
            Item::Node(node) => self.node(&node),
            Item::Session(session) => {
                self.sessions.push(session);
                Ok(())
            }
            Item::Damage(damage) => self.damage(&damage),
            Item::End(tail) => self.end(&tail),
        }
    }

    fn head(&mut self, head: &Head) -> io::Result<()> {
        if self.out.json() {
            return self.out.value(&HeadJson { r#type: "file", file: &self.file, head });
        }
        self.out.line(format_args!("# {}: {head}", self.file))
    }

    fn takes(&self, node: &Node<'_>) -> bool {
        let SnapshotDumpArgs { from, to, session, path, .. } = self.args;
        let owner = match node.kind() {
            NodeKind::Ephemeral(session) => Some(session),
            NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl { .. } => None,
        };
        from.is_none_or(|from| from <= node.changed())
            && to.is_none_or(|to| node.changed() <= to)
            && session.is_none_or(|session| owner == Some(session))
            && path.as_ref().is_none_or(|path| is_below(node.path, path))
    }

    fn node(&mut self, node: &Node<'_>) -> io::Result<()> {
        if let NodeKind::Ephemeral(session) = node.kind() {
            *self.ephemerals.entry(session).or_default() += 1;
        }
        if !self.takes(node) {
            return Ok(());
        }
        self.nodes += 1;
        match self.out.json() {
            true => self.out.value(&NodeJson::new(node, self.args.data)),
            false => self.out.line(NodeText { node, data: self.args.data }),
        }
    }

    fn damage(&mut self, damage: &Damage) -> io::Result<()> {
        if self.out.json() {
            return self.out.value(&DamageJson { r#type: "damage", file: &self.file, damage });
        }
        self.out.line(format_args!("# {damage}"))
    }

    fn end(&mut self, tail: &Tail) -> io::Result<()> {
        let mut sessions = 0;
        for session in std::mem::take(&mut self.sessions) {
            if self.args.session.is_some_and(|wanted| wanted != session.id) {
                continue;
            }
            sessions += 1;
            let ephemerals = self.ephemerals.get(&session.id).copied().unwrap_or(0);
            self.out.either(&SessionJson {
                r#type: "session",
                session: Hex(session.id.0 as u64),
                timeout_ms: session.timeout_ms,
                ephemerals,
                suspect: session.suspect,
            })?;
        }
        let nodes = self.nodes;
        let (last_zxid, digest) = (tail.last_zxid.map(|zxid| Hex(zxid.0)), tail.digest);
        self.out.either(&EndJson { r#type: "end", file: &self.file, nodes, sessions, last_zxid, digest })
    }
}

#[derive(Serialize)]
struct HeadJson<'a> {
    r#type: &'static str,
    file: &'a str,
    #[serde(flatten)]
    head: &'a Head,
}

/// A damaged place as JSON.
#[derive(Serialize)]
pub(super) struct DamageJson<'a> {
    pub r#type: &'static str,
    pub file: &'a str,
    #[serde(flatten)]
    pub damage: &'a Damage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionJson {
    r#type: &'static str,
    session: Hex,
    timeout_ms: i64,
    ephemerals: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suspect: bool,
}

impl Display for SessionJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ephemerals = count(self.ephemerals, "ephemeral node", "ephemeral nodes");
        write!(f, "session {} timeout {} ms, {ephemerals}", self.session, self.timeout_ms)?;
        f.write_str(if self.suspect { " (suspect: its checksum is wrong)" } else { "" })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndJson<'a> {
    r#type: &'static str,
    file: &'a str,
    nodes: u64,
    sessions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl Display for EndJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, sessions) =
            (count(self.nodes, "node", "nodes"), count(self.sessions, "session", "sessions"));
        write!(f, "# {nodes}, {sessions}")?;
        if let Some(last) = self.last_zxid {
            write!(f, ", last zxid {last}")?;
        }
        match self.digest {
            Some(Digest { zxid, version, tree }) => {
                write!(f, ", digest of version {version} at {zxid}: {tree}")
            }
            None => Ok(()),
        }
    }
}

/// What a node is, by its owner.
fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Persistent => "persistent",
        NodeKind::Ephemeral(_) => "ephemeral",
        NodeKind::Container => "container",
        NodeKind::Ttl { .. } => "ttl",
    }
}

/// A node as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson<'a> {
    r#type: &'static str,
    path: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
    #[serde(flatten)]
    data: DataFields<'a>,
    #[serde(flatten)]
    stat: StatJson,
    acl: Option<&'a [AclEntry]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suspect: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatJson {
    czxid: Hex,
    mzxid: Hex,
    pzxid: Hex,
    ctime: String,
    mtime: String,
    version: i32,
    cversion: i32,
    aversion: i32,
    ephemeral_owner: Hex,
}

impl StatJson {
    fn new(stat: &StatPersisted) -> StatJson {
        StatJson {
            czxid: Hex(stat.czxid as u64),
            mzxid: Hex(stat.mzxid as u64),
            pzxid: Hex(stat.pzxid as u64),
            ctime: show::time(stat.ctime),
            mtime: show::time(stat.mtime),
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            ephemeral_owner: Hex(stat.ephemeral_owner as u64),
        }
    }
}

impl<'a> NodeJson<'a> {
    fn new(node: &'a Node<'_>, data: Option<DataAs>) -> NodeJson<'a> {
        let ttl_ms = match node.kind() {
            NodeKind::Ttl { ttl_ms } => Some(ttl_ms),
            NodeKind::Persistent | NodeKind::Ephemeral(_) | NodeKind::Container => None,
        };
        NodeJson {
            r#type: "node",
            path: node.path,
            kind: kind_name(node.kind()),
            ttl_ms,
            data: DataFields::new(node.data, data),
            stat: StatJson::new(&node.stat),
            acl: node.acl.as_deref(),
            suspect: node.suspect,
        }
    }
}

/// A node as the lines that zkCli's `stat` has.
struct NodeText<'a> {
    node: &'a Node<'a>,
    data: Option<DataAs>,
}

impl Display for NodeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        let stat = StatJson::new(&node.stat);
        let suspect = if node.suspect { " (suspect: its checksum is wrong)" } else { "" };
        writeln!(f, "{}{suspect}", Plain(node.path))?;
        writeln!(f, "  cZxid = {}", stat.czxid)?;
        writeln!(f, "  ctime = {}", stat.ctime)?;
        writeln!(f, "  mZxid = {}", stat.mzxid)?;
        writeln!(f, "  mtime = {}", stat.mtime)?;
        writeln!(f, "  pZxid = {}", stat.pzxid)?;
        writeln!(f, "  cversion = {}", stat.cversion)?;
        writeln!(f, "  dataVersion = {}", stat.version)?;
        writeln!(f, "  aclVersion = {}", stat.aversion)?;
        match node.kind() {
            NodeKind::Ttl { ttl_ms } => {
                writeln!(f, "  ephemeralOwner = {} (ttl {ttl_ms} ms)", stat.ephemeral_owner)?;
            }
            NodeKind::Container => writeln!(f, "  ephemeralOwner = {} (container)", stat.ephemeral_owner)?,
            NodeKind::Persistent | NodeKind::Ephemeral(_) => {
                writeln!(f, "  ephemeralOwner = {}", stat.ephemeral_owner)?;
            }
        }
        match &node.acl {
            Some(acl) => writeln!(f, "  acl = {}", show::acl_text(acl))?,
            None => writeln!(f, "  acl is lost")?,
        }
        match (node.data, self.data) {
            (data, Some(shown)) => write!(f, "  data = {}", show::data_text(data, shown)),
            (Some(data), None) => write!(f, "  dataLength = {}", data.len()),
            (None, None) => write!(f, "  data = null"),
        }
    }
}
