//! What goes wrong, and when.

use super::world::{Server, World};
use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::message::PeerState;

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
    let (one, other) = (world.rng.usize(0..all), world.rng.usize(0..all));
    match world.rng.u8(0..20) {
        0..=4 => {
            let silent = world.rng.u8(0..4) == 0;
            world.crash(one, silent);
            let away_ms = *world.rng.choice(&[20, 300, 3000]).expect("three");
            world.restart_within_ms(one, away_ms);
        }
        5..=8 => {
            cut(world, one, other);
            let cut_ms = *world.rng.choice(&[100, 800, 3000]).expect("three");
            world.heal_network_within_ms(cut_ms);
        }
        9..=11 => {
            let links: Vec<_> = world.network.connections.keys().copied().collect();
            if let Some(link) = world.rng.choice(&links).copied() {
                world.break_connection(link);
            }
        }
        12 if other != one => world.break_election(one, other),
        13..=15 => world.servers[one].slow = *world.rng.choice(&[1, 10, 100, 400]).expect("four"),
        16..=17 => {
            let server = &mut world.servers[one];
            if server.zab.is_some() {
                server.disk.write_checkpoint(&server.tree);
            }
        }
        // The power fails everywhere.
        18 => {
            for server in 0..all {
                world.crash(server, true);
                world.restart_within_ms(server, 100);
            }
        }
        _ => {}
    }
}

/// Some who look for a leader are told one by all the others: a server that tries to lead already, or
/// themselves, or anybody. Some lose the one that they have. So rivals meet in discovery, again and
/// again, with followers that go from one to the other.
pub fn decree(world: &mut World) {
    let leads = |server: &&Server| server.zab.as_ref().is_some_and(|zab| zab.state() == PeerState::Leading);
    let voters = usize::from(world.settings.voters);
    let ids = world.servers[..voters].iter().map(|server| server.id);
    let electable: Vec<ServerId> = ids.filter(|id| world.has_weight(*id)).collect();
    for index in 0..world.servers.len() {
        if !world.is_looking(index) || world.rng.u8(0..4) == 0 {
            continue;
        }
        let mut candidates: Vec<ServerId> =
            world.servers[..voters].iter().filter(leads).map(|server| server.id).collect();
        if electable.contains(&world.servers[index].id) && candidates.len() < 2 {
            candidates.push(world.servers[index].id);
        }
        if candidates.is_empty() || world.rng.u8(0..8) == 0 {
            candidates.clone_from(&electable);
        }
        let leader = *world.rng.choice(&candidates).expect("a voter");
        world.elect(index, leader);
    }
    let links: Vec<_> = world.network.connections.keys().copied().collect();
    if let Some(link) = world.rng.choice(&links).copied().filter(|_| world.rng.u8(0..3) == 0) {
        world.break_connection(link);
    }
}

fn cut(world: &mut World, one: usize, other: usize) {
    let all = world.servers.len();
    match world.rng.u8(0..5) {
        // One server is cut off, or hears but is not heard, or the other way round.
        way @ 0..=2 => {
            for peer in (0..all).filter(|peer| *peer != one) {
                if way != 0 {
                    world.network.cut(peer, one);
                }
                if way != 1 {
                    world.network.cut(one, peer);
                }
            }
        }
        3 => world.network.cut(one, other),
        // Two halves.
        _ => {
            let side: Vec<bool> = (0..all).map(|_| world.rng.bool()).collect();
            for (from, to) in (0..all).flat_map(|from| (0..all).map(move |to| (from, to))) {
                if side[from] != side[to] {
                    world.network.cut(from, to);
                }
            }
        }
    }
}
