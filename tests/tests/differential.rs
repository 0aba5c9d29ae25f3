//! The server's answers against those of Debian's ZooKeeper 3.8.0: scripts and random sequences.
//!
//! `DIFFERENTIAL_SEED`, `DIFFERENTIAL_OPERATIONS` and `DIFFERENTIAL_RUNS` replay or lengthen the
//! random run; `ringkeeper_tests::differential` names the other variables.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ringkeeper_tests::differences::{EVENT_ZXID, Known};
use ringkeeper_tests::differential::{compare, parse, play, read, reference, testdata};
use ringkeeper_tests::script::{Action, Item, Script};
use ringkeeper_tests::transcript::{relative_bytes, transcript};
use ringkeeper_tests::{generate, mangle};

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

/// Errors that a client of a standalone server can cause. An expired session shows in the handshake
/// alone: its connection is closed, so that no request can be answered SessionExpired for certain.
const ERRORS_TO_REACH: [&str; 16] = [
    "MarshallingError",
    "Unimplemented",
    "BadArguments",
    "RuntimeInconsistency",
    "NoNode",
    "NoAuth",
    "BadVersion",
    "NoChildrenForEphemerals",
    "NodeExists",
    "NotEmpty",
    "InvalidACL",
    "AuthFailed",
    "NoWatcher",
    "ReconfigDisabled",
    "QuotaExceeded",
    "closed",
];

#[test]
fn the_scripts_reach_every_operation_and_every_error() {
    let scripts: Vec<Script> = SCRIPTS.iter().map(|name| parse(name)).collect();
    let steps = || scripts.iter().flat_map(|script| &script.steps);
    let expected: Vec<&str> = steps().filter_map(|step| step.expected.as_deref()).collect();
    for error in ERRORS_TO_REACH {
        assert!(expected.iter().any(|text| text.contains(error)), "no step expects {error}");
    }
    let operations: BTreeSet<i32> = steps()
        .filter_map(|step| match &step.action {
            Action::Requests(requests) => Some(requests.iter().map(|request| request.op)),
            _ => None,
        })
        .flatten()
        .collect();
    for operation in (1..=9).chain(11..=22).chain(100..=107) {
        assert!(operations.contains(&operation), "no step has operation {operation}");
    }
}

/// A name that is in one place only is a mistake in writing, or a difference that is gone.
#[test]
fn every_known_difference_is_listed_and_shown_by_a_step() {
    let known = Known::parse(&read("known-differences.txt")).unwrap_or_else(|e| panic!("{e}"));
    let listed: BTreeSet<String> = known.names().map(str::to_owned).collect();
    let spoilt = mangle::script().unwrap_or_else(|e| panic!("{e}"));
    let spoilt = Script::parse(&spoilt).unwrap_or_else(|e| panic!("{e}"));
    let mut shown: BTreeSet<String> = BTreeSet::from([EVENT_ZXID.to_owned()]);
    for script in SCRIPTS.iter().map(|name| parse(name)).chain([spoilt]) {
        shown.extend(script.steps.iter().filter_map(|s| s.known.as_ref()).flat_map(|k| k.names().to_vec()));
    }
    assert_eq!(listed, shown);
}

/// Every kind of reply, for the proof that the comparison sees.
const EVERY_KIND: &str = r#"
A connect timeout=10000
A auth digest "bob:secret"
A create2 /a "data" acl=creator
A create2 /a/e "" flags=ephemeral
A getData /a watch
A setData /a "more" 0
A getACL /a
A getChildren2 /a
A getEphemerals /
A whoAmI
A multi { create /a/b ""; setData /a/b "x" -1; check /a/b 1; delete /a/b -1 }
A multi { check /a -1; delete /none -1 } ! NoNode
A multiRead { getData /a; getChildren /a; getData /none } ! NoNode
A delete /none -1 ! NoNode
A getAllChildrenNumber /
A addWatch /a persistent
A sync /a
A close
"#;

/// Without this, an empty comparison would pass every other test here.
#[test]
fn every_changed_byte_of_a_reply_is_seen() {
    let script = Script::parse(EVERY_KIND).unwrap_or_else(|e| panic!("{e}"));
    let run = play(&script, reference());
    let right = transcript(&script, &run);
    let mut changed = 0;
    for index in 0..run.records.len() {
        let relative = relative_bytes(&run.records[index].item);
        let length = frame(&mut run.records[index].item.clone()).map_or(0, |frame| frame.len());
        for at in (0..length).filter(|at| !relative.iter().any(|span| span.contains(at))) {
            let mut other = run.clone();
            if let Some(frame) = frame(&mut other.records[index].item) {
                frame[at] ^= 0x41;
            }
            let wrong = transcript(&script, &other);
            assert_ne!(right, wrong, "byte {at} of {:?}", run.records[index]);
            changed += 1;
        }
    }
    assert!(changed > 600, "only {changed} bytes were tried");
}

/// A lost, doubled or moved event or reply.
#[test]
fn every_missing_doubled_or_moved_frame_is_seen() {
    let script = Script::parse(EVERY_KIND).unwrap_or_else(|e| panic!("{e}"));
    let run = play(&script, reference());
    let right = transcript(&script, &run);
    for index in (0..run.records.len()).filter(|i| !matches!(run.records[*i].item, Item::SessionMade(_))) {
        let mut lost = run.clone();
        lost.records.remove(index);
        assert_ne!(right, transcript(&script, &lost), "without {:?}", run.records[index]);
        let mut doubled = run.clone();
        doubled.records.insert(index, run.records[index].clone());
        assert_ne!(right, transcript(&script, &doubled), "with two of {:?}", run.records[index]);
        let mut moved = run.clone();
        if index > 0 && moved.records[index].step == moved.records[index - 1].step {
            moved.records.swap(index, index - 1);
            assert_ne!(right, transcript(&script, &moved), "{:?} before its time", run.records[index]);
        }
    }
}

/// What the normalisation leaves of zxids and times must still see a wrong one.
#[test]
fn a_stats_wrong_zxid_or_time_is_seen() {
    let script = Script::parse(EVERY_KIND).unwrap_or_else(|e| panic!("{e}"));
    let run = play(&script, reference());
    let right = transcript(&script, &run);
    let index = run
        .records
        .iter()
        .position(|r| matches!(r.item, Item::Reply { op: 5, .. }))
        .unwrap_or_else(|| panic!("no reply to setData"));
    // The Stat of setData begins with czxid, mzxid, ctime and mtime, then versions, then pzxid.
    let [czxid, mzxid, ctime, mtime, pzxid] = [16, 24, 32, 40, 76];
    for (what, from, to) in [
        ("mzxid as czxid", czxid, mzxid),
        ("czxid as mzxid", mzxid, czxid),
        ("pzxid as mzxid", mzxid, pzxid),
        ("the header's zxid as czxid", czxid, 4),
        ("ctime as a zxid", czxid, ctime),
        ("mtime as a zxid", czxid, mtime),
    ] {
        let mut other = run.clone();
        let frame = frame(&mut other.records[index].item).unwrap_or_else(|| panic!("no frame"));
        let value = frame[from..from + 8].to_vec();
        frame[to..to + 8].copy_from_slice(&value);
        assert_ne!(right, transcript(&script, &other), "{what}");
    }
}

fn frame(item: &mut Item) -> Option<&mut Vec<u8>> {
    match item {
        Item::Connected { frame, .. }
        | Item::Reply { frame, .. }
        | Item::Event(frame)
        | Item::Frame(frame) => Some(frame),
        _ => None,
    }
}
