//! Whole ensembles under the simulator. `ZAB_SEEDS` sets how many seeds are played, `ZAB_SEED` plays
//! one, `ZAB_TRACE` prints every step of it.

#[path = "zab/hierarchies.rs"]
mod hierarchies;
#[path = "zab/planted.rs"]
mod planted;

use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::zab::{Serving, Zab};
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

/// `REPLICA_SEEDS` sets how many seeds are played, `REPLICA_SEED` plays one.
#[test]
fn replicas_lose_nothing_that_clients_were_told_whatever_happens() {
    if let Some(seed) = number("REPLICA_SEED") {
        println!("{}", sim::replicas::play(seed));
        return;
    }
    for seed in 0..number("REPLICA_SEEDS").unwrap_or(100) {
        println!("{}", sim::replicas::play(seed));
    }
}

/// A calm ensemble of three voters and an observer.
fn calm() -> Settings {
    Settings {
        voters: 3,
        observers: 1,
        places: Vec::new(),
        plain: 0,
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

/// Two servers try to lead, both in one epoch, and a third goes from one to the other, at any moment of
/// discovery and synchronisation. Elections by votes hardly ever come to this.
#[test]
fn ensembles_agree_though_rivals_share_a_follower() {
    for seed in 0..10 * number("ZAB_SEEDS").unwrap_or(100) {
        let mut world = World::new(seed, Settings { deaf: true, observers: 0, ..calm() });
        for index in 0..3 {
            world.servers[index].slow = *world.rng.choice(&[1, 1, 10, 60]).expect("four");
        }
        for _ in 0..world.rng.usize(2..12) {
            world.elect(0, ServerId(1));
            world.elect(1, ServerId(2));
            let leader = ServerId(world.rng.u8(1..=2));
            world.elect(2, leader);
            let pause = world.rng.u64(1..12);
            world.run_ms(pause);
            let links: Vec<_> = world.network.connections.keys().copied().collect();
            links.into_iter().for_each(|link| world.break_connection(link));
            if world.rng.u8(0..4) == 0 {
                world.crash(2, false);
                world.start(2);
            }
            world.run_ms(2);
        }
        world.heal_core();
        world.demand_progress();
    }
}

/// How long it takes from a leader's end until another leads, in simulated milliseconds: the median of many.
fn interregnum_ms(silent: bool) -> u64 {
    let leader = |world: &World| {
        let leads = |zab: &Zab| matches!(zab.serving(), Serving::Leader(_));
        world.servers.iter().position(|server| server.zab.as_ref().is_some_and(leads))
    };
    let mut times: Vec<u64> = (0..51)
        .map(|seed| {
            let mut world = World::new(seed, Settings { observers: 0, ..calm() });
            world.demand_progress();
            let first = leader(&world).expect("they are settled");
            world.crash(first, silent);
            let from = world.now_ms();
            while leader(&world).is_none() {
                world.run_ms(1);
                assert!(world.now_ms() < from + 30_000, "nobody leads:\n{}", world.describe());
            }
            world.now_ms() - from
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Of a killed server the connections break: that, the votes and the epoch are some messages of less than a
/// millisecond each and some writes to disk, and no wait of a fixed time (an election of ZooKeeper's has one of
/// 200 ms). A server that is gone with its connections unbroken is noticed by its silence, here of 500 ms.
#[test]
fn a_leaders_end_is_noticed_at_once_or_by_its_silence() {
    let (killed, silent) = (interregnum_ms(false), interregnum_ms(true));
    println!("another leads after {killed} ms, after a silent end {silent} ms");
    assert!(killed < 100, "{killed} ms");
    assert!((400..1000).contains(&silent), "{silent} ms");
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
