//! How often memory is allocated for an operation, by a whole server.
//!
//! `cargo bench -p ringkeeper-bench --bench allocations`; behind `--` an operation, or an operation and a depth,
//! measure that alone: under `heaptrack` it says where the allocations are made.

use ringkeeper_engine::op::OpCode;
use ringkeeper_net::ring::Runtime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

mod whole;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 16;
const DEPTHS: [usize; 2] = [64, 1];
/// Rounds before the count, in which buffers grow to what they stay at.
const WARM_UP: usize = 200;
const ROUNDS: usize = 500;

fn main() {
    // Cargo adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let mut clients = whole::start(directory.path(), Runtime::Own, 1, CLIENTS);
    println!("{:<20}{:>8}{:>20}{:>20}", "operation", "depth", "allocations each", "bytes each");
    for (name, op) in [("set", OpCode::SetData), ("create", OpCode::Create), ("get", OpCode::GetData)] {
        for depth in DEPTHS {
            let names = [name.to_owned(), depth.to_string()];
            if asked.iter().zip(&names).any(|(asked, name)| asked != name) {
                continue;
            }
            let requests: Vec<Vec<u8>> =
                (0..CLIENTS).map(|client| whole::requests(op, client, depth)).collect();
            (0..WARM_UP).for_each(|_| whole::round(&mut clients, &requests, depth));
            let region = Region::new(ALLOCATOR);
            (0..ROUNDS).for_each(|_| whole::round(&mut clients, &requests, depth));
            let counted = region.change();
            let operations = (ROUNDS * CLIENTS * depth) as f64;
            let allocations = (counted.allocations + counted.reallocations) as f64 / operations;
            let bytes = counted.bytes_allocated as f64 / operations;
            println!("{name:<20}{depth:>8}{allocations:>20.3}{bytes:>20.1}");
        }
    }
    // The server ends with the process.
    drop(directory);
}
