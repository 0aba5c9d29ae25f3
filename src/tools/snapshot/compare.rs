//! `ringkeeper snapshot compare`: what two snapshots differ in, node by node or subtree by subtree.
//!
//! The first is held in memory, the second passes by. Data is compared byte by byte: a hash that two
//! different values share would be an answer that is wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::io;

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::tree::node::NodeKind;
use serde::Serialize;

use super::{AclList, Item, Node, length, newest, parent, read};
use crate::tools::args::{DataAs, Ignore, SnapshotCompareArgs};
use crate::tools::out::{Out, Progress, Trouble};
use crate::tools::show::{self, DataFields, Hex, Plain};
use crate::tools::transaction::is_below;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub differences: u64,
    pub damaged: u64,
}

/// Runs the command.
pub(super) fn run(args: &SnapshotCompareArgs) -> Result<Compared, Trouble> {
    let files = [newest(&args.a)?, newest(&args.b)?];
    let names = [show::name(&files[0].path), show::name(&files[1].path)];
    let subtrees = args.bytes.is_some() || args.nodes.is_some();
    let mut progress = Progress::new(files.iter().map(length).sum(), false);
    let mut damaged = 0;
    let mut report =
        Report { args, a: Tree::default(), differences: BTreeMap::new(), same: 0, counts: [0; 3] };
    let mut sums = Sums::default();
    for (side, found) in files.iter().enumerate() {
        damaged += read(found, &mut progress, &mut |item| {
            match item {
                Item::Node(node) if report.takes(&node) => match (subtrees, side) {
                    (true, side) => sums.add(&node, side),
                    (false, 0) => report.a.insert(&node),
                    (false, _) => report.node(&node),
                },
                Item::Session(session) if !subtrees && !args.ignore.contains(&Ignore::Sessions) => {
                    report.a.session(side, session.id, session.timeout_ms);
                }
                Item::Damage(damage) => eprintln!("error: {}: {damage}", names[side]),
                Item::Head(_) | Item::Node(_) | Item::Session(_) | Item::End(_) => {}
            }
            Ok(())
        })?;
    }
    drop(progress);
    let mut out = Out::new(args.json);
    if !args.json {
        out.line(format_args!("--- {}\n+++ {}", names[0], names[1]))?;
    }
    let differences = if subtrees { sums.print(args, &mut out)? } else { report.print(&mut out)? };
    out.flush()?;
    Ok(Compared { differences, damaged })
}

/// A node that is kept.
struct Kept {
    data: Data,
    acl: AclList,
    stat: StatPersisted,
}

#[derive(Default)]
struct Tree {
    nodes: HashMap<Box<str>, Kept>,
    /// Timeouts in A and in B.
    sessions: BTreeMap<SessionId, [Option<i64>; 2]>,
}

impl Tree {
    fn insert(&mut self, node: &Node<'_>) {
        let kept = Kept { data: node.data.map(Into::into), acl: node.acl.clone(), stat: node.stat };
        self.nodes.insert(node.path.into(), kept);
    }

    fn session(&mut self, side: usize, id: SessionId, timeout_ms: i64) {
        self.sessions.entry(id).or_default()[side] = Some(timeout_ms);
    }
}

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum In {
    A,
    B,
    Both,
}

impl In {
    fn mark(self) -> char {
        match self {
            In::A => '-',
            In::B => '+',
            In::Both => '~',
        }
    }
}

/// A field that differs, as text.
#[derive(Debug, Serialize)]
struct Field {
    field: &'static str,
    a: String,
    b: String,
}

/// A node that is not the same in both.
struct Difference {
    place: In,
    fields: Vec<Field>,
    /// In A and in B, where it is to be seen.
    data: [Option<Data>; 2],
}

type Data = Option<Box<[u8]>>;

#[derive(Serialize)]
struct NodeJson<'a> {
    r#type: &'static str,
    r#in: In,
    path: &'a str,
    #[serde(skip_serializing_if = "<[Field]>::is_empty")]
    differs: &'a [Field],
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<DataFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<DataFields<'a>>,
}

struct Report<'a> {
    args: &'a SnapshotCompareArgs,
    a: Tree,
    differences: BTreeMap<Box<str>, Difference>,
    same: u64,
    /// In A alone, in B alone, different.
    counts: [u64; 3],
}

impl Report<'_> {
    fn ignores(&self, what: Ignore) -> bool {
        self.args.ignore.contains(&what)
    }

    fn takes(&self, node: &Node<'_>) -> bool {
        let ephemeral = matches!(node.kind(), NodeKind::Ephemeral(_));
        !(ephemeral && self.ignores(Ignore::Ephemerals))
            && self.args.path.as_ref().is_none_or(|path| is_below(node.path, path))
    }

    /// Compares a node of B with that of A.
    fn node(&mut self, b: &Node<'_>) {
        let Some(a) = self.a.nodes.remove(b.path) else {
            let data = [None, Some(b.data.map(Into::into))];
            self.add(b.path.into(), Difference { place: In::B, fields: Vec::new(), data });
            return;
        };
        let mut fields = Vec::new();
        if !self.ignores(Ignore::Data) && a.data.as_deref() != b.data {
            let shown =
                |data: Option<&[u8]>| data.map_or("null".to_owned(), |data| format!("{} bytes", data.len()));
            fields.push(Field { field: "data", a: shown(a.data.as_deref()), b: shown(b.data) });
        }
        if !self.ignores(Ignore::Stat) {
            stat_fields(&a.stat, &b.stat, &mut fields);
        }
        if !self.ignores(Ignore::Acl) && a.acl != b.acl {
            let shown = |acl: &AclList| acl.as_deref().map_or("lost".to_owned(), show::acl_text);
            fields.push(Field { field: "acl", a: shown(&a.acl), b: shown(&b.acl) });
        }
        if fields.is_empty() {
            self.same += 1;
            return;
        }
        let differs = fields.iter().any(|field| field.field == "data");
        let data = if differs { [Some(a.data), Some(b.data.map(Into::into))] } else { [None, None] };
        self.add(b.path.into(), Difference { place: In::Both, fields, data });
    }

    fn add(&mut self, path: Box<str>, difference: Difference) {
        self.counts[difference.place as usize] += 1;
        self.differences.insert(path, difference);
    }

    fn print(mut self, out: &mut Out) -> io::Result<u64> {
        for (path, a) in std::mem::take(&mut self.a.nodes) {
            self.add(path, Difference { place: In::A, fields: Vec::new(), data: [Some(a.data), None] });
        }
        for (path, difference) in &self.differences {
            difference.print(path, self.args.data, out)?;
        }
        let mut sessions = 0;
        for (id, timeouts) in &self.a.sessions {
            if let Some(line) = SessionLine::new(*id, *timeouts) {
                sessions += 1;
                out.either(&line)?;
            }
        }
        let [only_in_a, only_in_b, differ] = self.counts;
        out.either(&Total { r#type: "total", only_in_a, only_in_b, differ, same: self.same, sessions })?;
        Ok(only_in_a + only_in_b + differ + sessions)
    }
}

fn stat_fields(a: &StatPersisted, b: &StatPersisted, fields: &mut Vec<Field>) {
    let hex = |value: i64| Hex(value as u64).to_string();
    let number = |value: i32| value.to_string();
    let all = [
        ("czxid", hex(a.czxid), hex(b.czxid)),
        ("mzxid", hex(a.mzxid), hex(b.mzxid)),
        ("pzxid", hex(a.pzxid), hex(b.pzxid)),
        ("ctime", show::time(a.ctime), show::time(b.ctime)),
        ("mtime", show::time(a.mtime), show::time(b.mtime)),
        ("version", number(a.version), number(b.version)),
        ("cversion", number(a.cversion), number(b.cversion)),
        ("aversion", number(a.aversion), number(b.aversion)),
        ("ephemeralOwner", hex(a.ephemeral_owner), hex(b.ephemeral_owner)),
    ];
    fields.extend(all.into_iter().filter(|(_, a, b)| a != b).map(|(field, a, b)| Field { field, a, b }));
}

impl Difference {
    fn print<'d>(&'d self, path: &str, shown: Option<DataAs>, out: &mut Out) -> io::Result<()> {
        let Difference { place, fields, data: [a, b] } = self;
        if out.json() {
            let fields_of =
                |data: &'d Option<Data>| data.as_ref().map(|data| DataFields::new(data.as_deref(), shown));
            return out.value(&NodeJson {
                r#type: "node",
                r#in: *place,
                path,
                differs: fields,
                a: fields_of(a),
                b: fields_of(b),
            });
        }
        let mark = place.mark();
        let fields: Vec<String> = fields
            .iter()
            .map(|Field { field, a, b }| format!("{field} {} -> {}", Plain(a), Plain(b)))
            .collect();
        let colon = if fields.is_empty() { "" } else { ": " };
        out.line(format_args!("{mark} {}{colon}{}", Plain(path), fields.join(", ")))?;
        let Some(shown) = shown else { return Ok(()) };
        for (mark, data) in [('-', a), ('+', b)] {
            if let Some(data) = data {
                out.line(format_args!("    {mark} {}", show::data_text(data.as_deref(), shown)))?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionLine {
    r#type: &'static str,
    r#in: In,
    session: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    a_timeout_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b_timeout_ms: Option<i64>,
}

impl SessionLine {
    fn new(id: SessionId, timeouts: [Option<i64>; 2]) -> Option<SessionLine> {
        let place = match timeouts {
            [Some(a), Some(b)] if a == b => return None,
            [Some(_), Some(_)] => In::Both,
            [Some(_), None] => In::A,
            [None, _] => In::B,
        };
        let [a_timeout_ms, b_timeout_ms] = timeouts;
        Some(SessionLine {
            r#type: "session",
            r#in: place,
            session: Hex(id.0 as u64),
            a_timeout_ms,
            b_timeout_ms,
        })
    }
}

impl Display for SessionLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} session {}: timeout ", self.r#in.mark(), self.session)?;
        match (self.a_timeout_ms, self.b_timeout_ms) {
            (Some(a), Some(b)) => write!(f, "{a} -> {b} ms"),
            (Some(timeout), None) | (None, Some(timeout)) => write!(f, "{timeout} ms"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    r#type: &'static str,
    only_in_a: u64,
    only_in_b: u64,
    differ: u64,
    same: u64,
    sessions: u64,
}

impl Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total { only_in_a, only_in_b, differ, same, sessions, .. } = self;
        write!(
            f,
            "# nodes: {only_in_a} only in A, {only_in_b} only in B, {differ} differ, {same} are the same; \
             sessions: {sessions} differ"
        )
    }
}

/// A subtree in one snapshot: its nodes, itself included, and the bytes of their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Subtree {
    nodes: u64,
    bytes: u64,
}

/// Every subtree, in A and in B.
#[derive(Default)]
struct Sums(BTreeMap<Box<str>, [Subtree; 2]>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubtreeLine<'a> {
    r#type: &'static str,
    r#in: In,
    path: &'a str,
    a_nodes: u64,
    b_nodes: u64,
    a_bytes: u64,
    b_bytes: u64,
}

impl Display for SubtreeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delta = |a: u64, b: u64| i128::from(b) - i128::from(a);
        let (nodes, bytes) = (delta(self.a_nodes, self.b_nodes), delta(self.a_bytes, self.b_bytes));
        write!(f, "{} {}: {nodes:+} nodes, {bytes:+} bytes", self.r#in.mark(), Plain(self.path))
    }
}

impl Sums {
    fn add(&mut self, node: &Node<'_>, side: usize) {
        let bytes = node.data_bytes();
        let mut above = Some(node.path);
        while let Some(path) = above {
            let both = match self.0.get_mut(path) {
                Some(both) => both,
                None => self.0.entry(path.into()).or_default(),
            };
            both[side].nodes += 1;
            both[side].bytes += bytes;
            above = parent(path);
        }
    }

    fn print(self, args: &SnapshotCompareArgs, out: &mut Out) -> io::Result<u64> {
        let exceeds = |max: Option<u64>, a: u64, b: u64| max.is_some_and(|max| a.abs_diff(b) > max);
        let mut printed = 0;
        for (path, [a, b]) in &self.0 {
            if !exceeds(args.bytes, a.bytes, b.bytes) && !exceeds(args.nodes, a.nodes, b.nodes) {
                continue;
            }
            printed += 1;
            let place = match (a.nodes, b.nodes) {
                (_, 0) => In::A,
                (0, _) => In::B,
                _ => In::Both,
            };
            out.either(&SubtreeLine {
                r#type: "subtree",
                r#in: place,
                path,
                a_nodes: a.nodes,
                b_nodes: b.nodes,
                a_bytes: a.bytes,
                b_bytes: b.bytes,
            })?;
        }
        if !out.json() {
            out.line(format_args!("# {}", show::count(printed, "subtree differs", "subtrees differ")))?;
        }
        Ok(printed)
    }
}
