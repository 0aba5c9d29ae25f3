//! `ringkeeper snapshot verify`: one line a file, one a damaged place, and what it all comes to.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::hash::{BuildHasher, RandomState};
use std::io;

use serde::Serialize;

use super::dump::DamageJson;
use super::{Damage, Item, length, parent, read};
use crate::tools::args::SnapshotFiles;
use crate::tools::find::{self, Found, Sort};
use crate::tools::out::{Findings, Out, Progress, Trouble};
use crate::tools::show::{self, Hex, count};

/// Runs the command.
pub(super) fn run(args: &SnapshotFiles) -> Result<Findings, Trouble> {
    let mut findings = Findings::default();
    let mut found = Vec::new();
    for path in &args.files {
        match find::files(path, Sort::Snapshots) {
            Ok(files) => found.extend(files),
            Err(trouble) => passed_over(&trouble, &mut findings),
        }
    }
    let mut progress = Progress::new(found.iter().map(length).sum(), true);
    let mut out = Out::new(args.json);
    for found in &found {
        match verify(found, &mut progress, &mut out) {
            Ok(damaged) => findings.faults += damaged,
            Err(trouble @ Trouble::Output(_)) => return Err(trouble),
            // Retention may remove what a directory had when it was listed.
            Err(Trouble::Input(path, error))
                if error.kind() == io::ErrorKind::NotFound && !args.files.contains(&path) => {}
            Err(Trouble::Retired(path)) if !args.files.contains(&path) => {}
            Err(trouble) => passed_over(&trouble, &mut findings),
        }
    }
    drop(progress);
    let Findings { faults: damaged, unread } = findings;
    out.either(&Total { r#type: "total", files: found.len() as u64, damaged, unread })?;
    out.flush()?;
    Ok(findings)
}

fn passed_over(trouble: &Trouble, findings: &mut Findings) {
    eprintln!("error: {trouble}");
    findings.unread += 1;
}

/// What is known of a file.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileLine {
    r#type: &'static str,
    file: String,
    format: &'static str,
    nodes: u64,
    sessions: u64,
    data_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<Hex>,
    damaged: u64,
}

impl Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileLine { file, nodes, sessions, data_bytes, .. } = self;
        let (nodes, sessions) = (count(*nodes, "node", "nodes"), count(*sessions, "session", "sessions"));
        write!(f, "{file}: {nodes}, {sessions}, {data_bytes} bytes of data")?;
        match (self.first_zxid, self.last_zxid) {
            (Some(first), Some(last)) => write!(f, ", zxid {first} to {last}")?,
            (Some(first), None) => write!(f, ", zxid {first}")?,
            (None, _) => {}
        }
        match self.damaged {
            0 => f.write_str(": whole"),
            damaged => write!(f, ": {} damaged", count(damaged, "place is", "places are")),
        }
    }
}

#[derive(Serialize)]
struct Total {
    r#type: &'static str,
    files: u64,
    damaged: u64,
    unread: u64,
}

impl Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = count(self.files, "file", "files");
        match (self.damaged, self.unread) {
            (0, 0) => write!(f, "{files}: all is whole"),
            (0, unread) => write!(f, "{files}: {} not be read", count(unread, "file could", "files could")),
            (damaged, _) => write!(f, "{files}: {} damaged", count(damaged, "place is", "places are")),
        }
    }
}

/// Verifies a file, and returns how many places are damaged.
fn verify(found: &Found, progress: &mut Progress, out: &mut Out) -> Result<u64, Trouble> {
    let file = show::name(&found.path);
    let mut line = FileLine { r#type: "file", file, ..FileLine::default() };
    let mut parents = Parents::default();
    let mut misplaced = 0;
    let damaged = read(found, progress, &mut |item| {
        match item {
            Item::Head(head) => {
                (line.format, line.first_zxid, line.last_zxid) =
                    (head.format, head.first_zxid, head.last_zxid);
            }
            Item::Node(node) => {
                // What a damaged block still says is not what the file holds.
                if !node.suspect {
                    line.nodes += 1;
                    line.data_bytes += node.data_bytes();
                }
                if let Some(what) = parents.check(node.path, node.suspect) {
                    misplaced += 1;
                    let what = format!("{} {what}", node.path);
                    say(&Damage { offset: node.offset, bytes: None, what }, &line.file, out)?;
                }
            }
            Item::Session(session) => line.sessions += u64::from(!session.suspect),
            Item::Damage(damage) => {
                parents.damaged = true;
                say(&damage, &line.file, out)?;
            }
            Item::End(tail) => line.last_zxid = tail.last_zxid.map(|zxid| Hex(zxid.0)).or(line.last_zxid),
        }
        Ok(())
    })?;
    line.damaged = damaged + misplaced;
    out.either(&line)?;
    Ok(line.damaged)
}

fn say(damage: &Damage, file: &str, out: &mut Out) -> io::Result<()> {
    match out.json() {
        true => out.value(&DamageJson { r#type: "damage", file, damage }),
        false => out.line(format_args!("{file}: {damage}")),
    }
}

/// Knows which nodes were there: every node needs its parent before it, and comes once. Hashes of 64
/// bits stand for the paths, so that a large tree's fit into memory.
#[derive(Default)]
struct Parents {
    hasher: RandomState,
    seen: HashSet<u64>,
    /// Behind damage, a missing parent is no news.
    damaged: bool,
}

impl Parents {
    fn check(&mut self, path: &str, suspect: bool) -> Option<&'static str> {
        let new = self.seen.insert(self.hasher.hash_one(path));
        let orphan = parent(path).is_some_and(|parent| !self.seen.contains(&self.hasher.hash_one(parent)));
        match (new, orphan) {
            _ if suspect => None,
            (false, _) => Some("comes twice"),
            (true, true) if !self.damaged => Some("comes before its parent"),
            (true, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_comes_once_and_behind_its_parent() {
        let mut parents = Parents::default();
        let mut check = |path: &str| parents.check(path, false);
        assert_eq!(check("/"), None);
        assert_eq!(check("/a"), None);
        assert_eq!(check("/a/b"), None);
        assert_eq!(check("/a"), Some("comes twice"));
        assert_eq!(check("/c/d"), Some("comes before its parent"));
        parents.damaged = true;
        assert_eq!(parents.check("/e/f", false), None);
    }
}
