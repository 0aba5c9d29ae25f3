//! What goes wrong, and when.

use super::world::World;

/// Lets faults and clients loose.
pub fn rage(world: &mut World) {
    let end = world.now_ms() + world.settings.rage_ms;
    while world.now_ms() < end {
        let pause = world.rng.u64(1..world.settings.fault_ms * 2);
        world.run_ms(pause);
        fault(world);
    }
}

fn fault(world: &mut World) {
    let all = world.servers.len();
    let one = world.rng.usize(0..all);
    match world.rng.u8(0..20) {
        0..=2 => world.crash(one, false),
        3 => world.crash(one, true),
        4..=8 => {
            if world.servers[one].zab.is_none() {
                world.start(one);
            }
        }
        // One server is cut off, or hears but is not heard, or the other way round.
        9 => {
            let (hears, speaks) =
                *world.rng.choice(&[(true, false), (false, true), (false, false)]).expect("three");
            for other in (0..all).filter(|other| *other != one) {
                if !hears {
                    world.network.cut(other, one);
                }
                if !speaks {
                    world.network.cut(one, other);
                }
            }
        }
        10 => {
            let other = world.rng.usize(0..all);
            world.network.cut(one, other);
        }
        // Two halves.
        11 => {
            let side: Vec<bool> = (0..all).map(|_| world.rng.bool()).collect();
            for (from, to) in (0..all).flat_map(|from| (0..all).map(move |to| (from, to))) {
                if side[from] != side[to] {
                    world.network.cut(from, to);
                }
            }
        }
        12..=13 => world.heal_network(),
        14 => {
            let links: Vec<_> = world.network.connections.keys().copied().collect();
            if let Some(link) = world.rng.choice(&links).copied() {
                world.break_connection(link);
            }
        }
        15 => {
            let other = world.rng.usize(0..all);
            if other != one {
                world.break_election(one, other);
            }
        }
        16 => world.servers[one].slow = *world.rng.choice(&[10, 100, 400]).expect("three"),
        17 => world.servers[one].slow = 1,
        18 => {
            let server = &mut world.servers[one];
            if server.zab.is_some() {
                server.disk.write_checkpoint(&server.tree);
            }
        }
        // The power fails everywhere.
        _ => {
            if world.rng.u8(0..4) == 0 {
                (0..all).for_each(|server| world.crash(server, true));
                (0..all).for_each(|server| world.start(server));
            }
        }
    }
}
