//! Whole ensembles under the simulator. `ZAB_SEEDS` sets how many seeds are played, `ZAB_SEED` plays
//! one, `ZAB_TRACE` prints every step of it.

use ringkeeper_tests::sim;

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
