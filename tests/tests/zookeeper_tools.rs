//! `ringkeeper log` and `ringkeeper snapshot` on files that a real ZooKeeper made in the run, field by
//! field beside what ZooKeeper's own `TxnLogToolkit` and `SnapshotFormatter` print of them.
//!
//! The ZooKeeper is Debian's 3.8.0, or the one that `REFERENCE_CLASS_PATH` names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_tests::differential::reference;
use ringkeeper_tests::script::{Run, Script};
use ringkeeper_tests::server::{Kind, Server, ringkeeper_binary};
use serde_json::Value;

const HISTORY: &str = include_str!("../testdata/zookeeper_files/history.zkt");

/// A ZooKeeper that has lived through the history and was started once more, stopped. When it starts it
/// writes a snapshot, and nobody changes the tree meanwhile.
fn lived_through() -> Server {
    let script = Script::parse(HISTORY).unwrap_or_else(|e| panic!("{e}"));
    let mut server = Server::start(reference(), script.options.clone()).unwrap_or_else(|e| panic!("{e}"));
    let run = Run::play(&script, &mut server);
    assert!(run.broken_off.is_none(), "{:?}\n{}", run.broken_off, server.output_tail());
    server.stop().unwrap_or_else(|e| panic!("{e}"));
    server.restart().unwrap_or_else(|e| panic!("{e}"));
    server.stop().unwrap_or_else(|e| panic!("{e}"));
    server
}

/// Its logs and its snapshots, oldest first.
fn files(data: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let entries = fs::read_dir(data.join("version-2")).expect("ZooKeeper made it");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let named: BTreeMap<FileName, PathBuf> =
        paths.filter_map(|path| Some((FileName::parse(path.file_name()?.to_str()?)?, path))).collect();
    let of = |log: bool| {
        let some = named.iter().filter(|(name, _)| matches!(name, FileName::Log(_)) == log);
        some.map(|(_, path)| path.clone()).collect()
    };
    (of(true), of(false))
}

/// What one of ZooKeeper's own tools prints.
fn zookeepers(class: &str, words: &[&str], file: &Path) -> String {
    let Kind::ZooKeeper { class_path } = reference() else { panic!("the reference is a ZooKeeper") };
    let fixed = ["timezone=UTC", "language=en", "country=GB"].map(|fixed| format!("-Duser.{fixed}"));
    let output = Command::new("java")
        .args(["-Xmx256m", "-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", "-cp", &class_path])
        .args(fixed)
        .arg(class)
        .args(words)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("java runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ours(words: &[&str]) -> Vec<Value> {
    let output = Command::new(ringkeeper_binary().unwrap_or_else(|e| panic!("{e}"))).args(words).output();
    let output = output.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("the tools print UTF-8");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{words:?}: {text}{complaint}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn of_type<'v>(values: &'v [Value], name: &str) -> Vec<&'v Value> {
    values.iter().filter(|value| value["type"] == name).collect()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// `2023-11-14T22:13:20.250Z` in parts: year, month, day, and the time to the second.
fn parts(time: &str) -> [&str; 4] {
    [&time[..4], &time[5..7], &time[8..10], &time[11..19]]
}

/// A transaction as `TxnLogToolkit` prints it: the beginning of the line, and what the record has to
/// contain at its ends. What is between them, data and lists, has no end that could be told.
fn expected_line(transaction: &Value) -> (String, String, String) {
    let [year, month, day, time] = parts(text(transaction, "time"));
    let op = text(transaction, "op");
    let head = format!(
        "{day}/{month}/{year}, {time} UTC session {} cxid 0x{:x} zxid {} {op} ",
        text(transaction, "session"),
        number(transaction, "cxid") as u32,
        text(transaction, "zxid"),
    );
    let version = |field| number(transaction, field);
    let (begin, end) = match op {
        "create" | "create2" => {
            let ephemeral = transaction["mode"] == "ephemeral";
            let end = format!(",{ephemeral},{}", version("parentCversion"));
            (format!("{},", text(transaction, "path")), end)
        }
        "createContainer" => {
            (format!("{},", text(transaction, "path")), format!(",{}", version("parentCversion")))
        }
        "createTTL" => {
            let end = format!(",{},{}", version("parentCversion"), version("ttlMs"));
            (format!("{},", text(transaction, "path")), end)
        }
        "setData" => (format!("{},", text(transaction, "path")), format!(",{}", version("version"))),
        "delete" => (format!("'{}", text(transaction, "path")), String::new()),
        "setACL" => (format!("'{},", text(transaction, "path")), format!(",{}", version("version"))),
        "createSession" => (version("timeoutMs").to_string(), String::new()),
        "error" => (version("error").to_string(), String::new()),
        "closeSession" => {
            let deleted = transaction["deleted"].as_array().expect("3.6 and later list them");
            let quoted = deleted.iter().map(|path| format!("'{}", path.as_str().expect("a path")));
            (quoted.collect::<Vec<_>>().join(","), String::new())
        }
        "multi" => {
            let operations = transaction["operations"].as_array().expect("a multi has some");
            (format!("{}:", text(&operations[0], "op")), String::new())
        }
        other => panic!("{other}"),
    };
    (head, begin, end)
}

#[test]
fn logs_are_shown_as_zookeepers_own_tool_shows_them() {
    let server = lived_through();
    let mut transactions = 0;
    let mut ops: BTreeMap<String, usize> = BTreeMap::new();
    for path in files(&server.data_dir).0 {
        let file = path.to_str().expect("a temporary directory");
        let printed = zookeepers("org.apache.zookeeper.server.persistence.TxnLogToolkit", &["-d"], &path);
        // Releases differ in how they write this one (`Request.op2String`).
        let printed = printed.replace(" createTtl ", " createTTL ");
        let mut rest = printed.split_once('\n').expect("a line of the header").1;
        let dumped = ours(&["log", "dump", "--json", file]);
        let dumped = of_type(&dumped, "transaction");
        let heads: Vec<_> = dumped.iter().map(|transaction| expected_line(transaction)).collect();
        for (number, (head, begin, end)) in heads.iter().enumerate() {
            let found = rest.strip_prefix(head.as_str());
            let found =
                found.unwrap_or_else(|| panic!("{head}\n{}", rest.chars().take(300).collect::<String>()));
            let next = heads.get(number + 1).map_or("EOF reached", |(head, ..)| head);
            let length = found.find(&format!("\n{next}")).unwrap_or_else(|| panic!("{next} after {head}"));
            // A list has brackets of one kind or another.
            let record = found[..length].trim_start_matches(['v', '{', '[']);
            assert!(record.starts_with(begin.as_str()), "{head}{record}: {begin}");
            assert!(record.trim_end().ends_with(end.as_str()), "{head}{record}: {end}");
            rest = &found[length + 1..];
            *ops.entry(text(dumped[number], "op").to_owned()).or_default() += 1;
        }
        assert!(rest.starts_with(&format!("EOF reached after {} txns.", dumped.len())), "{rest}");
        transactions += dumped.len();
        let verified = ours(&["log", "verify", "--json", file]);
        let [total] = of_type(&verified, "total")[..] else { panic!("{verified:?}") };
        assert_eq!((number(total, "transactions"), number(total, "damaged")), (dumped.len() as i64, 0));
    }
    assert!(transactions > 50 && ops.len() > 9, "{transactions} {ops:?}");
    // The count of each operation, over all logs.
    let data = server.data_dir.to_str().expect("a temporary directory");
    let [stats] = &ours(&["log", "stats", "--json", data])[..] else { panic!("one value") };
    let counted = stats["operations"].to_string();
    for (op, count) in &ops {
        assert!(counted.contains(op.as_str()), "{op} {count}: {counted}");
    }
    assert_eq!(number(stats, "transactions"), transactions as i64);
}

/// A node's fields as `SnapshotFormatter -d` prints them.
fn expected_fields(node: &Value) -> BTreeMap<&'static str, String> {
    let hex = |field| format!("0x{:0>14}", &text(node, field)[2..]);
    let time = |field| parts(text(node, field)).join(" ");
    let data = node.get("dataBase64").and_then(Value::as_str).unwrap_or_default().to_owned();
    BTreeMap::from([
        ("cZxid", hex("czxid")),
        ("ctime", time("ctime")),
        ("mZxid", hex("mzxid")),
        ("mtime", time("mtime")),
        ("pZxid", hex("pzxid")),
        ("cversion", number(node, "cversion").to_string()),
        ("dataVersion", number(node, "version").to_string()),
        ("aclVersion", number(node, "aversion").to_string()),
        ("ephemeralOwner", hex("ephemeralOwner")),
        ("data", data),
    ])
}

/// Java's `Tue Nov 14 22:13:20 UTC 2023` as [`parts`] has it.
fn java_time(text: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, month, day, time, "UTC", year] = words[..] else { panic!("{text}") };
    let month = 1 + MONTHS.iter().position(|name| *name == month).expect("a month");
    format!("{year} {month:02} {day} {time}")
}

#[test]
fn snapshots_are_shown_as_zookeepers_own_tool_shows_them() {
    let server = lived_through();
    let (_, snapshots) = files(&server.data_dir);
    // Each takes a JVM: the first, one that was written while transactions came, and the last.
    for path in [&snapshots[0], &snapshots[snapshots.len() / 2], snapshots.last().expect("there are some")] {
        let file = path.to_str().expect("a temporary directory");
        let printed = zookeepers("org.apache.zookeeper.server.SnapshotFormatter", &["-d"], path);
        let dumped = ours(&["snapshot", "dump", "--json", "--data=base64", file]);
        let nodes = of_type(&dumped, "node");
        // ZooKeeper has the root twice, as "" and as "/" (`DataTree`'s constructor).
        let count = format!("ZNode Details (count={}):", nodes.len() + 1);
        assert!(printed.starts_with(&count), "{count}\n{printed}");
        let mut blocks: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for block in printed.split("----\n").filter(|block| block.starts_with('/')) {
            let (path, fields) = block.split_once('\n').expect("a path, then its fields");
            let fields = fields.lines().map(|line| {
                let (name, value) = line.trim_start().split_once(" =").expect("a field");
                let value = value.trim();
                (name, if name.ends_with("time") { java_time(value) } else { value.to_owned() })
            });
            blocks.insert(path, fields.collect());
        }
        assert_eq!(blocks.len(), nodes.len());
        for node in &nodes {
            let path = text(node, "path");
            let found: BTreeMap<&str, String> = blocks.remove(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(expected_fields(node), found, "{path}");
        }
        for session in of_type(&dumped, "session") {
            let [timeout, ephemerals] = ["timeoutMs", "ephemerals"].map(|field| number(session, field));
            let id = format!("0x{:0>14}", &text(session, "session")[2..]);
            let line = format!("\n{id}, {timeout}, {ephemerals}\n");
            assert!(printed.contains(&line), "{line}{printed}");
        }
        let sessions = printed.split_once("Session Details").expect("they follow").1.lines().skip(1);
        let sessions = sessions.take_while(|line| line.starts_with("0x")).count();
        assert_eq!(of_type(&dumped, "session").len(), sessions);
        let verified = ours(&["snapshot", "verify", "--json", file]);
        let [line] = of_type(&verified, "file")[..] else { panic!("{verified:?}") };
        assert_eq!((number(line, "nodes"), number(line, "damaged")), (nodes.len() as i64, 0));
        let [summary] = &ours(&["snapshot", "summary", "--json", file])[..] else { panic!("one value") };
        assert_eq!(
            [number(summary, "nodes"), number(summary, "sessions")],
            [nodes.len() as i64, sessions as i64]
        );
    }
}

#[test]
fn what_import_makes_of_a_snapshot_compares_equal_with_it() {
    let server = lived_through();
    let (_, snapshots) = files(&server.data_dir);
    let last = snapshots.last().expect("there are some");
    let made = tempfile::tempdir().expect("a directory");
    let [alone, own] = ["alone", "own"].map(|name| made.path().join(name));
    fs::create_dir_all(alone.join("version-2")).expect("a new directory");
    fs::copy(last, alone.join("version-2").join(last.file_name().expect("a file"))).expect("copied");
    let [alone, own] = [&alone, &own].map(|path| path.to_str().expect("a temporary directory"));
    let [imported] = &ours(&["import", alone, "--to", own, "--json"])[..] else { panic!("one value") };
    assert_eq!((text(imported, "type"), number(imported, "digestsDifferent")), ("import", 0));
    let compared = ours(&["snapshot", "compare", "--json", alone, own]);
    let [total] = &compared[..] else { panic!("{compared:?}") };
    let differences = ["onlyInA", "onlyInB", "differ", "sessions"].map(|field| number(total, field));
    assert_eq!(differences, [0; 4], "{compared:?}");
    assert_eq!(number(total, "same"), number(imported, "nodes"));
    let back = made.path().join("back");
    let back = back.to_str().expect("a temporary directory");
    let [exported] = &ours(&["export", own, "--to", back, "--json"])[..] else { panic!("one value") };
    assert_eq!(exported["nodes"], imported["nodes"]);
    assert_eq!(ours(&["snapshot", "compare", "--json", alone, back]), compared);
}
