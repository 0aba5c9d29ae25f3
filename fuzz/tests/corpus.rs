//! The committed seeds, and a short run of each target on made-up inputs, on any toolchain.

use ringkeeper_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

const MADE_UP_INPUTS: usize = 100;
const INPUT_BYTES_MAX: usize = 1200;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

#[test]
fn every_target_has_seeds_and_holds_on_them() {
    for (name, run) in TARGETS {
        let files = fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}"));
        let mut count = 0;
        for file in files {
            let path = file.expect("a directory that can be read").path();
            eprintln!("{}", path.display());
            run(&fs::read(&path).expect("a seed that can be read"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}

#[test]
fn every_target_holds_on_made_up_inputs() {
    for (name, run) in TARGETS {
        let mut random = fastrand::Rng::with_seed(7);
        for number in 0..MADE_UP_INPUTS {
            let mut input = vec![0; random.usize(0..INPUT_BYTES_MAX)];
            random.fill(&mut input);
            eprintln!("{name} {number}");
            run(&input);
        }
    }
}

#[test]
fn every_target_has_a_shell() {
    let manifest = include_str!("../Cargo.toml");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
