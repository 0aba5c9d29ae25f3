//! The table of ZooKeeper's bugs in the tests' README: what it names is there.

use crate::source::Repository;

const README: &str = "tests/README.md";
const SECTION: &str = "## ZooKeeper's bugs";
const STORIES: &str = "tests/testdata/zab/stories";

/// Names of the table that no story, test or file has.
pub fn check(repository: &Repository) -> Vec<String> {
    let readme = &repository.texts[README];
    let section = readme.split(SECTION).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|') && line.contains('`'));
    let names: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    if names.len() < 40 {
        return vec![format!("{README}: the table of ZooKeeper's bugs names {} tests", names.len())];
    }
    let missing = names.into_iter().filter(|name| !is_there(repository, name));
    missing.map(|name| format!("{README}: there is no {name}")).collect()
}

fn is_there(repository: &Repository, name: &str) -> bool {
    let text = |path: &str| repository.texts.get(path);
    match name.split_once("::") {
        Some((path, test)) => text(path).is_some_and(|text| {
            // The differential scripts' tests are made by a macro, of lines with an arrow.
            text.contains(&format!("fn {test}(")) || text.contains(&format!("    {test} => "))
        }),
        None if name.contains('/') => text(name).is_some(),
        None => text(&format!("{STORIES}/{name}.txt")).is_some(),
    }
}

#[test]
fn a_name_that_nothing_has_is_found() {
    let mut repository = Repository::read();
    let table = repository.texts.get_mut(README).expect("the tests' README");
    *table = table
        .replace("`4685_acks_in_order`", "`4685_acks_in_disorder`")
        .replace("::zxids_roll", "::zxids_do");
    let faults = check(&repository).join("\n");
    assert!(faults.contains("4685_acks_in_disorder") && faults.contains("::zxids_do_over"), "{faults}");
}
