//! `ringkeeper snapshot summary`: nodes and bytes in all, by depth, and below each node that has
//! children.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::fmt::{self, Display};

use ringkeeper_engine::tree::node::NodeKind;
use serde::Serialize;

use super::{Head, Item, Node, depth, length, newest, parent, read};
use crate::tools::args::SnapshotSummaryArgs;
use crate::tools::out::{Findings, Out, Progress, Trouble};
use crate::tools::show::{self, AclEntry, Plain};
use crate::tools::transaction::is_below;

/// Runs the command.
pub(super) fn run(args: &SnapshotSummaryArgs) -> Result<Findings, Trouble> {
    let found = newest(&args.file)?;
    let file = show::name(&found.path);
    let mut progress = Progress::new(length(&found), false);
    let mut sums = Sums::new(args);
    let faults = read(&found, &mut progress, &mut |item| {
        match item {
            Item::Head(head) => sums.head = Some(head),
            Item::Node(node) if !node.suspect => sums.node(&node),
            Item::Session(session) if !session.suspect => sums.sessions += 1,
            Item::Damage(damage) => eprintln!("error: {file}: {damage}"),
            Item::Node(_) | Item::Session(_) | Item::End(_) => {}
        }
        Ok(())
    })?;
    drop(progress);
    let mut out = Out::new(args.json);
    if sums.nodes == 0 && faults == 0 {
        return Err(Trouble::Unusable(found.path, format!("there is no node {}", args.path)));
    }
    out.either(&sums.report(file, faults))?;
    out.flush()?;
    Ok(Findings { faults, unread: 0 })
}

/// So many nodes, and the bytes of their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    nodes: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.nodes += 1;
        self.bytes += bytes;
    }
}

/// The largest of what came by, at most so many.
struct Top {
    max: usize,
    heap: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Top {
    fn add(&mut self, value: u64, path: &str) {
        if value == 0 || self.max == 0 {
            return;
        }
        let full = self.heap.len() == self.max;
        if full && self.heap.peek().is_some_and(|Reverse((least, _))| value < *least) {
            return;
        }
        self.heap.push(Reverse((value, Reverse(path.to_owned()))));
        if full {
            self.heap.pop();
        }
    }

    /// The largest first, those of the same size by path.
    fn list(self) -> Vec<(u64, String)> {
        let mut all: Vec<_> =
            self.heap.into_iter().map(|Reverse((value, Reverse(path)))| (value, path)).collect();
        all.sort_by(|(a, a_path), (b, b_path)| b.cmp(a).then_with(|| a_path.cmp(b_path)));
        all
    }
}

struct Sums<'a> {
    args: &'a SnapshotSummaryArgs,
    head: Option<Head>,
    nodes: u64,
    bytes: u64,
    kinds: [u64; 4],
    sessions: u64,
    acls: HashSet<Vec<AclEntry>>,
    /// By depth; the root of the tree is at 0.
    depths: Vec<Sum>,
    /// Each with what is below it.
    prefixes: BTreeMap<String, Sum>,
    children: BTreeMap<String, u64>,
    largest: Top,
}

impl<'a> Sums<'a> {
    fn new(args: &'a SnapshotSummaryArgs) -> Sums<'a> {
        Sums {
            args,
            head: None,
            nodes: 0,
            bytes: 0,
            kinds: [0; 4],
            sessions: 0,
            acls: HashSet::new(),
            depths: Vec::new(),
            prefixes: BTreeMap::new(),
            children: BTreeMap::new(),
            largest: Top { max: args.top, heap: BinaryHeap::new() },
        }
    }

    fn node(&mut self, node: &Node<'_>) {
        if !is_below(node.path, &self.args.path) {
            return;
        }
        let bytes = node.data_bytes();
        self.nodes += 1;
        self.bytes += bytes;
        let kind = match node.kind() {
            NodeKind::Persistent => 0,
            NodeKind::Ephemeral(_) => 1,
            NodeKind::Container => 2,
            NodeKind::Ttl { .. } => 3,
        };
        self.kinds[kind] += 1;
        if let Some(acl) = node.acl.as_deref().filter(|acl| !self.acls.contains(*acl)) {
            self.acls.insert(acl.to_vec());
        }
        let deep = depth(node.path);
        if self.depths.len() <= deep {
            self.depths.resize(deep + 1, Sum::default());
        }
        self.depths[deep].add(bytes);
        self.largest.add(bytes, node.path);
        self.below(node.path, deep, bytes);
    }

    /// Adds a node to those above it that are listed. A name is kept only of what has children, or
    /// may yet.
    fn below(&mut self, path: &str, deep: usize, bytes: u64) {
        let top = depth(&self.args.path);
        let mut above = Some(path);
        let mut level = deep;
        while let Some(prefix) = above.filter(|_| level >= top) {
            if self.args.depth == 0 || level - top <= self.args.depth {
                match self.prefixes.get_mut(prefix) {
                    Some(sum) => sum.add(bytes),
                    None => {
                        self.prefixes.insert(prefix.to_owned(), Sum { nodes: 1, bytes });
                    }
                }
            }
            above = parent(prefix);
            level = level.saturating_sub(1);
            if prefix == "/" {
                break;
            }
        }
        if let Some(parent) = parent(path).filter(|_| deep > top) {
            match self.children.get_mut(parent) {
                Some(children) => *children += 1,
                None => {
                    self.children.insert(parent.to_owned(), 1);
                }
            }
        }
    }

    fn report(self, file: String, damaged: u64) -> Report {
        let mut widest = Top { max: self.args.top, heap: BinaryHeap::new() };
        for (path, children) in &self.children {
            widest.add(*children, path);
        }
        let top = depth(&self.args.path);
        let depths = self.depths.iter().enumerate().skip(top);
        let prefixes = self.prefixes.into_iter().filter(|(_, sum)| sum.nodes > 1);
        let mut prefixes: Vec<Prefix> = prefixes
            .map(|(path, sum)| Prefix {
                depth: depth(&path) - top,
                children: self.children.get(&path).copied().unwrap_or(0),
                descendants: sum.nodes - 1,
                bytes: sum.bytes,
                path,
            })
            .collect();
        // A node stands before what is below it, as in a walk.
        prefixes.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        let [persistent, ephemeral, container, ttl] = self.kinds;
        Report {
            r#type: "summary",
            file,
            head: self.head,
            path: self.args.path.clone(),
            nodes: self.nodes,
            data_bytes: self.bytes,
            persistent,
            ephemeral,
            container,
            ttl,
            sessions: self.sessions,
            acls: self.acls.len() as u64,
            depths: depths.map(|(depth, sum)| Depth { depth, nodes: sum.nodes, bytes: sum.bytes }).collect(),
            prefixes,
            largest: self.largest.list().into_iter().map(|(bytes, path)| Large { path, bytes }).collect(),
            widest: widest.list().into_iter().map(|(children, path)| Wide { path, children }).collect(),
            damaged,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    r#type: &'static str,
    file: String,
    #[serde(flatten)]
    head: Option<Head>,
    path: String,
    nodes: u64,
    data_bytes: u64,
    persistent: u64,
    ephemeral: u64,
    container: u64,
    ttl: u64,
    sessions: u64,
    acls: u64,
    depths: Vec<Depth>,
    prefixes: Vec<Prefix>,
    largest: Vec<Large>,
    widest: Vec<Wide>,
    damaged: u64,
}

#[derive(Serialize)]
struct Depth {
    depth: usize,
    nodes: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Prefix {
    path: String,
    #[serde(skip)]
    depth: usize,
    children: u64,
    descendants: u64,
    /// Its own data included.
    bytes: u64,
}

#[derive(Serialize)]
struct Large {
    path: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Wide {
    path: String,
    children: u64,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { persistent, ephemeral, container, ttl, .. } = self;
        match &self.head {
            Some(head) => writeln!(f, "# {}: {head}", self.file)?,
            None => writeln!(f, "# {}", self.file)?,
        }
        writeln!(f, "nodes       {} below and at {}", self.nodes, Plain(&self.path))?;
        writeln!(
            f,
            "            {persistent} persistent, {ephemeral} ephemeral, {container} container, {ttl} ttl"
        )?;
        writeln!(f, "data        {} bytes", self.data_bytes)?;
        writeln!(f, "acls        {} different", self.acls)?;
        writeln!(f, "sessions    {}", self.sessions)?;
        writeln!(f, "\n{:>5} {:>12} {:>15}", "depth", "nodes", "bytes")?;
        for Depth { depth, nodes, bytes } in &self.depths {
            writeln!(f, "{depth:>5} {nodes:>12} {bytes:>15}")?;
        }
        writeln!(f, "\n{:>12} {:>12} {:>15}  path", "children", "descendants", "bytes")?;
        for Prefix { path, depth, children, descendants, bytes } in &self.prefixes {
            let indent = "  ".repeat(*depth);
            writeln!(f, "{children:>12} {descendants:>12} {bytes:>15}  {indent}{}", Plain(path))?;
        }
        if !self.largest.is_empty() {
            writeln!(f, "\n{:>15}  largest data", "bytes")?;
        }
        for Large { path, bytes } in &self.largest {
            writeln!(f, "{bytes:>15}  {}", Plain(path))?;
        }
        if !self.widest.is_empty() {
            writeln!(f, "\n{:>15}  most children", "children")?;
        }
        for Wide { path, children } in &self.widest {
            writeln!(f, "{children:>15}  {}", Plain(path))?;
        }
        write!(f, "\ndamaged places {}", self.damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_the_first_by_path_of_those_that_are_alike() {
        let mut top = Top { max: 3, heap: BinaryHeap::new() };
        for (value, path) in [(5, "/e"), (1, "/a"), (9, "/z"), (5, "/b"), (5, "/c"), (0, "/0")] {
            top.add(value, path);
        }
        let expected = [(9, "/z"), (5, "/b"), (5, "/c")].map(|(value, path)| (value, path.to_owned()));
        assert_eq!(top.list(), expected);
    }
}
