//! Plays a script against the reference and against the server under test, and fails on any
//! difference that is not a known one.
//!
//! Environment:
//! - `RINGKEEPER_BIN`: our binary; without it cargo builds it.
//! - `REFERENCE_CLASS_PATH`: another Java ZooKeeper as the reference. One of 3.9 shows that what is
//!   listed as a known difference is 3.9's behaviour: nothing at all may differ from it.
//! - `SUBJECT_CLASS_PATH`: a Java ZooKeeper in place of our server. Debian's own shows that the
//!   comparison finds nothing where nothing is.
//! - `DIFFERENTIAL_PRINT`: prints the reference's transcript.
//! - `DIFFERENTIAL_SHOW`: how many differing steps a failure shows, 20 without it.

use std::fs;
use std::path::PathBuf;

use crate::differences::{Known, Policy, differences, unexpected};
use crate::script::{Run, Script};
use crate::server::{Kind, Server};
use crate::transcript::{Line, transcript};

/// How many differing steps a failure shows, unless `DIFFERENTIAL_SHOW` says.
const SHOWN_MAX: usize = 20;

/// Where scripts and the list of known differences lie.
pub fn testdata() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/differential"))
}

/// A file of the test data.
///
/// # Panics
/// It cannot be read.
pub fn read(name: &str) -> String {
    fs::read_to_string(testdata().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A script of the test data.
///
/// # Panics
/// It is none.
pub fn parse(name: &str) -> Script {
    Script::parse(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The server whose answers are right.
pub fn reference() -> Kind {
    std::env::var("REFERENCE_CLASS_PATH")
        .map_or_else(|_| Kind::debian(), |class_path| Kind::ZooKeeper { class_path })
}

/// The server under test.
pub fn subject() -> Kind {
    std::env::var("SUBJECT_CLASS_PATH").map_or(Kind::Ringkeeper, |class_path| Kind::ZooKeeper { class_path })
}

fn policy(reference: &Kind, subject: &Kind) -> Policy {
    if reference == subject {
        Policy::Same
    } else if *reference == Kind::debian() {
        Policy::Older
    } else {
        Policy::Current
    }
}

/// Starts a server, plays a script and ends the server.
///
/// # Panics
/// The server does not start.
pub fn play(script: &Script, kind: Kind) -> Run {
    let mut server = Server::start(kind, script.options.clone()).unwrap_or_else(|e| panic!("{e}"));
    let mut run = Run::play(script, &mut server);
    if let Some(why) = run.broken_off.as_mut().filter(|_| server.exited().is_none()) {
        // A server that has ended is in the message with its output already.
        why.push('\n');
        why.push_str(&server.output_tail());
    }
    run
}

/// Plays one script against both servers.
///
/// # Panics
/// The reference does not answer as the script expects, or the servers differ.
pub fn compare(name: &str, script: &Script) {
    let known = Known::parse(&read("known-differences.txt")).unwrap_or_else(|e| panic!("{e}"));
    let (reference, subject) = (reference(), subject());
    let policy = policy(&reference, &subject);
    let left = play(script, reference);
    let left_broken = left.broken_off.clone();
    let left = transcript(script, &left);
    if std::env::var_os("DIFFERENTIAL_PRINT").is_some() {
        print(script, &left);
    }
    if let Some(why) = left_broken {
        panic!("{name}: the reference cannot play on: {why}");
    }
    let wrong = unexpected(script, &left);
    assert!(
        wrong.is_empty(),
        "{name}: the reference does not answer as the script says:\n{}",
        wrong.join("\n")
    );
    let right = play(script, subject);
    let broken =
        right.broken_off.as_ref().map_or_else(String::new, |why| format!("the subject ends at {why}\n"));
    let found = differences(script, &known, policy, &left, &transcript(script, &right));
    let show_max = std::env::var("DIFFERENTIAL_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(SHOWN_MAX);
    let shown: Vec<String> = found.iter().take(show_max).map(ToString::to_string).collect();
    assert!(
        found.is_empty() && broken.is_empty(),
        "{name}: {} steps differ\n{}{broken}",
        found.len(),
        shown.join("\n")
    );
}

fn print(script: &Script, lines: &[Line]) {
    for line in lines {
        let step = &script.steps[line.step];
        let zxid = line.event_zxid.as_deref().unwrap_or_default();
        println!("{:5} {}\n      {} {zxid}", step.line, step.text, line.text);
    }
}
