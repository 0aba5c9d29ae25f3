//! Whole ensembles under the simulator. `ZAB_SEEDS` sets how many seeds are played, `ZAB_SEED` plays
//! one, `ZAB_TRACE` prints every step of it.

#[path = "zab/planted.rs"]
mod planted;

use ringkeeper_tests::sim::{self, Settings, World};
use std::path::Path;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn ensembles_agree_and_go_on_whatever_happens() {
    if let Some(seed) = number("ZAB_SEED") {
        println!("{}", sim::play(seed));
        return;
    }
    for seed in 0..number("ZAB_SEEDS").unwrap_or(100) {
        println!("{}", sim::play(seed));
    }
}

/// A calm ensemble of three voters and an observer.
fn calm() -> Settings {
    Settings {
        voters: 3,
        observers: 1,
        hierarchical: false,
        plain: false,
        window_bytes: 400,
        whole_trees: false,
        epoch_transactions_max: u32::MAX,
        rage_ms: 0,
        write_ms: 5,
        fault_ms: 1,
        hasty: false,
        wild_ms: 0,
        deaf: false,
        ambush: 0,
    }
}

#[test]
fn zxids_roll_over_without_an_election() {
    let mut world = World::new(1, Settings { epoch_transactions_max: 40, ..calm() });
    world.run_ms(5000);
    world.demand_progress();
    assert_eq!(world.interruptions, 0);
    assert!(world.oracle.epochs() > 20, "{}", world.summary());
}

/// Every script in `testdata/zab/stories` ends as it stands there; `ZAB_STORIES=write` writes them anew.
#[test]
fn stories_go_as_they_are_told() {
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/zab/stories");
    let mut told = 0;
    for entry in std::fs::read_dir(stories).expect("the stories") {
        let path = entry.expect("an entry").path();
        let script = std::fs::read_to_string(&path).expect("a story");
        println!("{}", path.display());
        let retold = sim::story::retell(&script);
        if std::env::var("ZAB_STORIES").is_ok_and(|what| what == "write") {
            std::fs::write(&path, retold).expect("a story");
        } else {
            assert_eq!(retold, script, "{}", path.display());
        }
        told += 1;
    }
    assert!(told > 20);
}
