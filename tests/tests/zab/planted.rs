//! Bugs on purpose, from `testdata/zab/planted_bugs.txt`, to see that the simulator has teeth. They
//! are planted in a copy of the sources: the sources themselves know nothing of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that replace others in a file.
struct Change {
    file: String,
    old: Vec<String>,
    new: Vec<String>,
}

#[derive(Default)]
struct Planted {
    /// Names, and whether they must be found.
    bugs: Vec<(String, bool)>,
    changes: Vec<Change>,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn parse(text: &str) -> Planted {
    let mut planted = Planted::default();
    let mut file = String::new();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("bug", name)) => planted.bugs.push((name.to_owned(), true)),
            Some(("harmless", name)) => planted.bugs.push((name.to_owned(), false)),
            Some((">", name)) => name.clone_into(&mut file),
            Some(("-", line)) => {
                if planted.changes.last().is_none_or(|change| !change.new.is_empty()) {
                    planted.changes.push(Change { file: file.clone(), old: Vec::new(), new: Vec::new() });
                }
                planted.changes.last_mut().expect("just pushed").old.push(line.to_owned());
            }
            Some(("+", line)) => planted.changes.last_mut().expect("after -").new.push(line.to_owned()),
            _ => {}
        }
    }
    planted
}

/// The files that change, as they are with every bug in them.
fn plant(changes: &[Change]) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in changes {
        let lines = files.entry(change.file.clone()).or_insert_with(|| {
            let text = fs::read_to_string(workspace().join(&change.file)).expect("a source file");
            text.lines().map(str::to_owned).collect()
        });
        let fits = |start: &usize| {
            lines[*start..*start + change.old.len()].iter().map(|line| line.trim()).eq(&change.old)
        };
        let places: Vec<usize> = (0..=lines.len() - change.old.len()).filter(fits).collect();
        let [start] = places[..] else {
            panic!("in {}, {} places are {:?}", change.file, places.len(), change.old)
        };
        lines.splice(start..start + change.old.len(), change.new.iter().cloned());
    }
    files.into_iter().map(|(file, lines)| (file, lines.join("\n"))).collect()
}

fn planted() -> Planted {
    parse(&fs::read_to_string(workspace().join("tests/testdata/zab/planted_bugs.txt")).expect("the bugs"))
}

#[test]
fn planted_bugs_fit_the_sources() {
    let planted = planted();
    assert!(planted.bugs.len() > 20);
    let files = plant(&planted.changes);
    for (name, _) in &planted.bugs {
        let mention = format!("planted(\"{name}\")");
        assert!(files.values().any(|text| text.contains(&mention)), "{name} is planted nowhere");
    }
}

/// Copies what cargo needs; a file that is the same keeps its time, so that little is built anew.
fn copy(from: &Path, to: &Path, changed: &BTreeMap<String, String>) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("a plain name").to_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                copy(&path, &to.join(name), changed);
            }
            continue;
        }
        let relative = path.strip_prefix(workspace()).expect("inside").to_str().expect("a plain name");
        let content = changed.get(relative).map(|text| text.clone().into_bytes());
        let content = content.unwrap_or_else(|| fs::read(&path).expect("a file"));
        if fs::read(to.join(&name)).ok().as_ref() != Some(&content) {
            fs::write(to.join(&name), content).expect("a copy");
        }
    }
}

/// Plays one of the tests beside with a bug in it; `None` if it passes.
fn play(copied: &Path, name: &str, test: &str) -> Option<String> {
    let mut cargo = Command::new(env!("CARGO"));
    for package in ["quorum", "tests"] {
        cargo.args(["--config", &format!("profile.dev.package.ringkeeper-{package}.opt-level=2")]);
    }
    cargo.args(["test", "-q", "-p", "ringkeeper-tests", "--test", "zab", test]);
    cargo.env("CARGO_TARGET_DIR", copied.join("target")).env("PLANTED", name).current_dir(copied);
    let output = cargo.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("could not compile"), "{text}");
    (!output.status.success()).then(|| text.into_owned())
}

/// Plants each bug (or `PLANTED`), and plays up to `ZAB_SEEDS` seeds: each must be found, unless it is
/// harmless. Of some, whose harm takes a schedule that chance does not bring, only a story knows.
#[test]
#[ignore = "takes minutes"]
fn every_planted_bug_is_found() {
    let planted = planted();
    let copied = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    copy(&workspace(), &copied, &plant(&planted.changes));
    let only = std::env::var("PLANTED").ok();
    let mut wrong = Vec::new();
    for (name, found) in planted.bugs.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
    {
        let story = play(&copied, name, "stories_go");
        let history = play(&copied, name, "ensembles_agree");
        let text = history.as_deref().unwrap_or_default();
        let seed = text.lines().find(|line| line.starts_with("seed ") && line.contains(" at "));
        let law = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
        let seed = seed.and_then(|line| line.split(':').next()).unwrap_or("no seed finds it");
        println!("{name}: {seed} {law}{}", if story.is_some() { "; and a story" } else { "" });
        if (history.is_some() || *found && story.is_some()) != *found {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not as they should be: {wrong:?}");
}
