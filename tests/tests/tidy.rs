//! Holds the house: what may depend on what, where `unsafe` may stand, how long things may be, and
//! what no file may contain. A rule reads text and says what breaks it; each has a test beside it
//! that shows it a fault, so that a rule that finds nothing has been seen to find something.

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/leftovers.rs"]
mod leftovers;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/traps.rs"]
mod traps;
#[path = "tidy/unsafety.rs"]
mod unsafety;

use source::{Repository, Source};

/// Fails with every fault, one a line.
fn none(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

fn each(rule: &str, check: fn(&Source) -> Vec<String>) {
    let repository = Repository::read();
    none(rule, repository.sources.iter().flat_map(check).collect());
}

#[test]
fn every_source_file_is_declared_by_a_module() {
    let repository = Repository::read();
    none("files that no module declares", house::undeclared(&repository));
}

#[test]
fn dependencies_run_one_way() {
    let repository = Repository::read();
    none("dependencies that the house forbids", house::dependencies(&repository));
}

#[test]
fn engine_and_quorum_are_pure() {
    each("the engine and the quorum are pure", purity::check);
}

#[test]
fn unsafe_code_has_three_addresses() {
    each("unsafe code elsewhere, or without its law", unsafety::check);
}

#[test]
fn files_and_functions_are_short() {
    each("longer than anybody can hold in mind", sizes::check);
}

#[test]
fn every_module_says_what_it_is() {
    each("modules without a first comment", leftovers::opening);
}

#[test]
fn nothing_is_left_over() {
    each("leftovers", leftovers::check);
}

#[test]
fn every_bug_of_zookeepers_has_its_test() {
    let repository = Repository::read();
    none("tests that the README names and that are not there", traps::check(&repository));
}

#[test]
fn no_file_knows_where_it_was_made() {
    let repository = Repository::read();
    let texts = repository.texts.iter().flat_map(|(path, text)| leftovers::places(path, text));
    none("names of this workplace or of a registry's host", texts.collect());
}
