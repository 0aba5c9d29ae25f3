//! Which crate may use which, and that every file belongs to one.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::source::{Repository, words};

const OWN: &str = "ringkeeper";

/// Each manifest with the crates of the house that it may use.
const HOUSE: [(&str, &[&str]); 7] = [
    ("engine/Cargo.toml", &[]),
    ("quorum/Cargo.toml", &["ringkeeper-engine"]),
    ("net/Cargo.toml", &["ringkeeper-engine", "ringkeeper-quorum"]),
    ("Cargo.toml", &["ringkeeper-engine", "ringkeeper-quorum", "ringkeeper-net"]),
    ("bench/Cargo.toml", &["ringkeeper-engine", "ringkeeper-quorum", "ringkeeper-net", "ringkeeper"]),
    (
        "fuzz/Cargo.toml",
        &["ringkeeper-engine", "ringkeeper-quorum", "ringkeeper-net", "ringkeeper", "ringkeeper-tests"],
    ),
    ("tests/Cargo.toml", &["ringkeeper-engine", "ringkeeper-quorum", "ringkeeper-net", "ringkeeper"]),
];

/// What the pure crates may use from elsewhere: data structures, hashes and codecs, none of which
/// knows a file, a socket, a clock, a thread or a source of randomness. (crossbeam has threads:
/// the rule of purity looks at its paths.)
const PURE: [(&str, &[&str]); 2] = [
    (
        "engine/Cargo.toml",
        &[
            "base64",
            "bytemuck",
            "crc32c",
            "crc32fast",
            "crossbeam",
            "flate2",
            "foldhash",
            "hashbrown",
            "sha1",
            "simd-adler32",
            "snap",
        ],
    ),
    ("quorum/Cargo.toml", &["bytes"]),
];

/// Files that no crate reaches.
pub fn undeclared(repository: &Repository) -> Vec<String> {
    repository.undeclared.clone()
}

/// Dependencies that the house forbids.
pub fn dependencies(repository: &Repository) -> Vec<String> {
    HOUSE.iter().flat_map(|(path, own)| manifest(path, &repository.texts[*path], own)).collect()
}

fn manifest(path: &str, text: &str, own: &[&str]) -> Vec<String> {
    let table: Table = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    let pure = PURE.iter().find(|(pure, _)| *pure == path).map(|(_, allowed)| words(allowed));
    let mut faults = Vec::new();
    let mut targets = vec![&table];
    targets.extend(
        table
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values().filter_map(Value::as_table)),
    );
    for target in targets {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for name in names(target, kind) {
                let house = name == OWN || name.starts_with("ringkeeper-");
                if house && !own.contains(&name.as_str()) {
                    faults.push(format!("{path}: {name} is above it"));
                }
                let pure = pure.as_ref().filter(|_| kind != "dev-dependencies" && !house);
                if pure.is_some_and(|allowed| !allowed.contains(name.as_str())) {
                    faults.push(format!("{path}: {name} is not known to be pure"));
                }
            }
        }
    }
    faults
}

/// The packages of a table of dependencies, by their own names.
fn names(table: &Table, kind: &str) -> BTreeSet<String> {
    let Some(list) = table.get(kind).and_then(Value::as_table) else { return BTreeSet::new() };
    let package = |name: &String, value: &Value| {
        value.get("package").and_then(Value::as_str).map_or_else(|| name.clone(), str::to_owned)
    };
    list.iter().map(|(name, value)| package(name, value)).collect()
}

#[test]
fn a_dependency_upwards_or_unknown_is_found() {
    let check = |text: &str| manifest("quorum/Cargo.toml", text, &["ringkeeper-engine"]);
    assert_eq!(check("[dependencies]\nringkeeper-engine.workspace = true"), [""; 0]);
    assert_eq!(check("[dev-dependencies]\nproptest = '1'"), [""; 0]);
    for text in [
        "[dependencies]\nringkeeper-net.workspace = true",
        "[dev-dependencies]\nringkeeper-net.workspace = true",
        "[dependencies]\nengine = { package = 'ringkeeper-net', path = '../net' }",
        "[dependencies]\ntokio = '1'",
        "[target.'cfg(unix)'.dependencies]\nlibc = '1'",
        "[build-dependencies]\ncc = '1'",
    ] {
        assert_eq!(check(text).len(), 1, "{text}");
    }
}

#[test]
fn a_file_without_a_module_is_found() {
    let texts = [
        ("engine/src/lib.rs", "mod a; #[cfg(test)] mod tests;"),
        ("engine/src/a.rs", "mod b; #[path = \"elsewhere.rs\"] mod c; mod d { mod e; }"),
        ("engine/src/a/b.rs", ""),
        ("engine/src/elsewhere.rs", ""),
        ("engine/src/a/d/e.rs", ""),
        ("engine/src/tests.rs", ""),
        ("engine/src/forgotten.rs", ""),
        ("tests/tests/laws/main.rs", "mod one;"),
        ("tests/tests/laws/one.rs", ""),
        ("tests/tests/laws/two.rs", ""),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let repository = Repository::of(texts.into_iter().collect());
    assert_eq!(undeclared(&repository), ["engine/src/forgotten.rs", "tests/tests/laws/two.rs"]);
    let of_tests = |path: &str| repository.sources.iter().any(|s| s.path == path && s.test_only);
    assert!(of_tests("engine/src/tests.rs") && !of_tests("engine/src/a.rs"));
}
