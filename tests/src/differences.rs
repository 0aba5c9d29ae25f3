//! Compares the transcripts of a reference server and of the server under test.
//!
//! A difference is an error unless the step carries the name of a known one, and both sides read
//! exactly as the list of known differences says. The list gives a reason for each.

use std::fmt;

use crate::script::{Difference as Allowed, Script};
use crate::transcript::Line;

/// Known differences by name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    name: String,
    reason: String,
    /// Whether it is our own choice, and not that of the releases after 3.8.0.
    ours: bool,
    reference: Vec<String>,
    subject: Vec<String>,
}

/// The name of the difference that every watch event may show.
pub const EVENT_ZXID: &str = "event-zxid";

/// What is to be made of the known differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The reference is 3.8.0: each marked step must differ, and exactly as listed.
    Older,
    /// The reference is of the release that we follow: only what we do otherwise on purpose differs.
    Current,
    /// Both servers are of one kind: nothing may differ.
    Same,
}

/// A step in which the servers differ and should not, or should and do not.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The script's line.
    pub line: usize,
    /// The step as written.
    pub step: String,
    /// What is wrong.
    pub what: String,
    /// The reference's transcript of the step.
    pub reference: Vec<String>,
    /// The other's.
    pub subject: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}\n  {}", self.line, self.step, self.what)?;
        for line in &self.reference {
            writeln!(f, "  reference: {line}")?;
        }
        for line in &self.subject {
            writeln!(f, "  subject:   {line}")?;
        }
        Ok(())
    }
}

impl Known {
    /// Reads the list: `[name]`, then `reason:`, `reference:` and `subject:` lines; in the last
    /// two `*` stands for anything. `ours:` says that no release of ZooKeeper does so.
    ///
    /// # Errors
    /// A line that is none of these, or an entry without a reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                entries.push(Entry { name: name.to_owned(), ..Entry::default() });
                continue;
            }
            let entry = entries.last_mut().ok_or_else(|| format!("line {}: before any [name]", index + 1))?;
            match line.split_once(':') {
                Some(("reason", rest)) => entry.reason.push_str(rest.trim()),
                Some(("ours", _)) => entry.ours = true,
                Some(("reference", rest)) => entry.reference.push(rest.trim().to_owned()),
                Some(("subject", rest)) => entry.subject.push(rest.trim().to_owned()),
                _ => return Err(format!("line {}: `{line}`", index + 1)),
            }
        }
        match entries.iter().find(|entry| entry.reason.is_empty()) {
            Some(entry) => Err(format!("{} has no reason", entry.name)),
            None => Ok(Known { entries }),
        }
    }

    /// The names, in the list's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The entry of this name, if it counts under this policy.
    fn find(&self, name: &str, policy: Policy) -> Option<&Entry> {
        self.entries.iter().filter(|entry| entry.name == name).find(|entry| match policy {
            Policy::Older => true,
            Policy::Current => entry.ours,
            Policy::Same => false,
        })
    }
}

/// Every difference that is not as it should be.
pub fn differences(
    script: &Script,
    known: &Known,
    policy: Policy,
    reference: &[Line],
    subject: &[Line],
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (index, step) in script.steps.iter().enumerate() {
        let (left, right) = (of_step(reference, index), of_step(subject, index));
        let same = left.len() == right.len()
            && left.iter().zip(right).all(|(left, right)| equal(left, right, known, policy));
        let names = step.known.as_ref().map_or(&[][..], Allowed::names);
        let listed: Vec<&Entry> = names.iter().filter_map(|name| known.find(name, policy)).collect();
        let must = matches!(step.known, Some(Allowed::Must(_)));
        let as_listed =
            listed.iter().any(|entry| matches(&entry.reference, left) && matches(&entry.subject, right));
        let complaint = match (same, listed.is_empty()) {
            (true, false) if must => format!("{} is listed, but the servers do not differ", names.join(", ")),
            (true, _) => continue,
            (false, true) => "the servers differ".to_owned(),
            (false, false) if as_listed => continue,
            (false, false) => format!("the servers differ, and not as {} says", names.join(" or ")),
        };
        found.push(Difference {
            line: step.line,
            step: step.text.clone(),
            what: complaint,
            reference: left.iter().map(shown).collect(),
            subject: right.iter().map(shown).collect(),
        });
    }
    found
}

/// Steps whose answer from the reference is not what the script expects: errors of the script.
pub fn unexpected(script: &Script, reference: &[Line]) -> Vec<String> {
    let mut all = Vec::new();
    for (index, step) in script.steps.iter().enumerate() {
        let Some(expected) = step.expected.as_ref().filter(|_| !matches!(step.known, Some(Allowed::Must(_))))
        else {
            continue;
        };
        let lines = of_step(reference, index);
        if !lines.iter().any(|line| line.text.contains(expected.as_str())) {
            let got: Vec<_> = lines.iter().map(shown).collect();
            all.push(format!("line {}: {}\n  wants `{expected}`, got {got:#?}", step.line, step.text));
        }
    }
    all
}

/// The lines of one step; a transcript is in the order of its steps.
fn of_step(lines: &[Line], step: usize) -> &[Line] {
    let start = lines.partition_point(|line| line.step < step);
    let end = lines.partition_point(|line| line.step <= step);
    &lines[start..end]
}

fn equal(reference: &Line, subject: &Line, known: &Known, policy: Policy) -> bool {
    let older = reference.event_zxid.as_deref() == Some("-1") && known.find(EVENT_ZXID, policy).is_some();
    reference.text == subject.text
        && (reference.event_zxid == subject.event_zxid || older && subject.event_zxid.is_some())
}

fn shown(line: &Line) -> String {
    match &line.event_zxid {
        Some(zxid) => format!("{} zxid={zxid}", line.text),
        None => line.text.clone(),
    }
}

fn matches(patterns: &[String], lines: &[Line]) -> bool {
    patterns.len() == lines.len()
        && patterns.iter().zip(lines).all(|(pattern, line)| glob(pattern, &line.text))
}

/// Whether `text` reads as `pattern`, where `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        last = Some(part);
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    match last {
        None => rest.is_empty(),
        Some(part) => text.ends_with(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_does() {
        for (pattern, text, want) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("", "a", false),
            ("*", "", true),
            ("A ok zxid=* n=1", "A ok zxid=#4 n=1", true),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} against {text}");
        }
    }
}
