//! The simulator: a whole ensemble in one thread, on simulated disks, network and clock. One seed is
//! one history, so a failure is repeated by its seed.
//!
//! | file | what lives there |
//! |---|---|
//! | `disk` | what a server has on disk, and what a crash leaves of it |
//! | `network` | connections that keep their order until they break; paths that can be cut one way |
//! | `oracle` | what must hold between servers, checked at every step |
//! | `world` | servers, time, clients, and what happens next |
//! | `faults` | what goes wrong, and when |
//! | `groups` | voters in groups of different weights |
//! | `replicas` | the same with real replicas, log and tree, and clients with sessions |
//! | `story` | scripts in which one server hears what the script says |
//!
//! A run first does its worst while clients write, with safety checked at every step. Then a quorum
//! no larger than need be heals, and must serve and agree; then all the others.

pub mod disk;
pub mod faults;
pub mod groups;
pub mod network;
pub mod oracle;
pub mod replicas;
pub mod story;
pub mod world;

pub use world::{Settings, World};

/// Plays one seed: panics if a law is broken. Returns a line of what happened.
pub fn play(seed: u64) -> String {
    play_with(seed, Settings::of_seed(seed))
}

/// Plays one seed with these settings.
pub fn play_with(seed: u64, settings: Settings) -> String {
    let mut world = World::new(seed, settings);
    faults::rage(&mut world);
    world.heal_core();
    world.demand_progress();
    world.heal();
    world.demand_progress();
    world.summary()
}
