//! Whole ensembles under the simulator. `ZAB_SEEDS` sets how many seeds are played, `ZAB_SEED` plays
//! one, `ZAB_TRACE` prints every step of it.

use ringkeeper_tests::sim::{self, Settings, World};

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
        epoch_transactions_max: u32::MAX,
        rage_ms: 0,
        write_ms: 5,
        fault_ms: 1,
        hasty: false,
        wild_ms: 0,
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
