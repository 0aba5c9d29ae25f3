//! The server's answers against those of Debian's ZooKeeper 3.8.0: scripts and random sequences.
//!
//! Environment:
//! - `RINGKEEPER_BIN`: our binary; without it cargo builds it.
//! - `REFERENCE_CLASS_PATH`: another Java ZooKeeper as the reference. One of 3.9 shows that what is
//!   listed as a known difference is 3.9's behaviour: nothing at all may differ from it.
//! - `SUBJECT_CLASS_PATH`: a Java ZooKeeper in place of our server.
//! - `DIFFERENTIAL_SEED`, `DIFFERENTIAL_OPERATIONS`, `DIFFERENTIAL_RUNS`: replays or lengthens the
//!   random run.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ringkeeper_tests::differences::{Known, Policy, differences, unexpected};
use ringkeeper_tests::generate;
use ringkeeper_tests::script::{Run, Script};
use ringkeeper_tests::server::{Kind, Server};
use ringkeeper_tests::transcript::{Line, transcript};

fn testdata() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/differential"))
}

fn read(name: &str) -> String {
    fs::read_to_string(testdata().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn parse(name: &str) -> Script {
    Script::parse(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn known() -> Known {
    Known::parse(&read("known-differences.txt")).unwrap_or_else(|e| panic!("{e}"))
}

fn reference() -> Kind {
    std::env::var("REFERENCE_CLASS_PATH")
        .map_or_else(|_| Kind::debian(), |class_path| Kind::ZooKeeper { class_path })
}

fn subject() -> Kind {
    std::env::var("SUBJECT_CLASS_PATH").map_or(Kind::Ringkeeper, |class_path| Kind::ZooKeeper { class_path })
}

fn policy(reference: &Kind, subject: &Kind) -> Policy {
    if *reference == Kind::debian() && reference != subject { Policy::AsListed } else { Policy::None }
}

fn play(script: &Script, kind: Kind) -> Vec<Line> {
    let mut server = Server::start(kind, script.options.clone()).unwrap_or_else(|e| panic!("{e}"));
    let run = Run::play(script, &mut server).unwrap_or_else(|e| panic!("{e}\n{}", server.output_tail()));
    transcript(script, &run)
}

/// Plays one script against both servers and panics with every difference.
fn compare(name: &str, script: &Script) {
    let (reference, subject) = (reference(), subject());
    let policy = policy(&reference, &subject);
    let left = play(script, reference);
    if std::env::var_os("DIFFERENTIAL_PRINT").is_some() {
        for line in &left {
            let step = &script.steps[line.step];
            println!(
                "{:4} {}\n       {} {}",
                step.line,
                step.text,
                line.text,
                line.event_zxid.as_deref().unwrap_or_default()
            );
        }
    }
    let wrong = unexpected(script, &left);
    assert!(
        wrong.is_empty(),
        "{name}: the reference does not answer as the script says:\n{}",
        wrong.join("\n")
    );
    let right = play(script, subject);
    let found = differences(script, &known(), policy, &left, &right);
    let shown: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{name}: {} steps differ\n{}", found.len(), shown.join("\n"));
}

macro_rules! scripts {
    ($($test:ident => $file:literal,)*) => {
        /// Every script that has a test.
        const SCRIPTS: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                compare($file, &parse($file));
            }
        )*
    };
}

scripts! {
    nodes_answer_as_zookeeper_does => "nodes.zkt",
    multis_are_all_or_nothing => "multi.zkt",
    watches_fire_as_zookeepers_do => "watches.zkt",
    persistent_watches_fire_as_zookeepers_do => "persistent_watches.zkt",
    watch_types_are_kept_apart_as_in_3_9 => "watch_types.zkt",
    access_is_checked_where_zookeeper_checks_it => "access.zkt",
    sessions_live_and_die_as_zookeepers_do => "sessions.zkt",
    the_protocols_edges_are_zookeepers => "protocol.zkt",
    reconfig_alone_is_answered_as_zookeeper_does => "reconfig.zkt",
    quotas_hold_as_zookeepers_do => "quotas.zkt",
    a_lone_check_is_refused => "check.zkt",
    limits_hold => "limits.zkt",
    ipv6_addresses_are_known => "ipv6.zkt",
    timed_nodes_go_as_zookeepers_do => "timed.zkt",
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Plays random sequences; a failing one is left as a script of its own.
fn compare_random(seed: u64) {
    let operations = usize::try_from(number("DIFFERENTIAL_OPERATIONS", 3000)).unwrap_or(usize::MAX);
    let text = generate::script(seed, operations);
    let script = Script::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("differential-{seed}.zkt"));
    fs::write(&path, text).unwrap_or_else(|e| panic!("{e}"));
    println!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_OPERATIONS={operations}, script {}", path.display());
    compare("random sequence", &script);
    // A run without a difference leaves nothing to look at.
    let _ = fs::remove_file(path);
}

#[test]
fn random_sequences_leave_equal_trees() {
    compare_random(number("DIFFERENTIAL_SEED", 1));
}

#[test]
fn fresh_random_sequences_leave_equal_trees() {
    if std::env::var_os("DIFFERENTIAL_SEED").is_some() {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for run in 0..number("DIFFERENTIAL_RUNS", 1) {
        compare_random(u64::from(now.subsec_nanos()) + run);
    }
}

/// Plays the script that `DIFFERENTIAL_SCRIPT` names, to cut a failing sequence down.
#[test]
fn a_script_of_ones_own_does_not_differ() {
    if let Some(path) = std::env::var_os("DIFFERENTIAL_SCRIPT") {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        compare("own script", &Script::parse(&text).unwrap_or_else(|e| panic!("{e}")));
    }
}

#[test]
fn every_script_is_played_and_there_are_enough_steps() {
    let mut files: Vec<String> = fs::read_dir(testdata())
        .unwrap_or_else(|e| panic!("{e}"))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".zkt"))
        .collect();
    files.sort();
    let mut played = SCRIPTS.to_vec();
    played.sort_unstable();
    assert_eq!(files, played);
    let steps: usize = SCRIPTS.iter().map(|name| parse(name).steps.len()).sum();
    assert!(steps >= 300, "{steps} scripted steps, 300 are due");
}
