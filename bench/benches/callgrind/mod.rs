//! What callgrind wrote, instruction by instruction, and which of the instructions lock memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::Command;

/// Instructions that were executed.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All of them.
    pub instructions: u64,
    /// The same by where the source is from.
    pub areas: BTreeMap<&'static str, u64>,
    /// Those that lock a line of memory, by function: what is inlined is mostly of the standard
    /// library by its lines.
    pub locked: BTreeMap<String, u64>,
    /// By program or library: where such instructions are.
    known: HashMap<String, HashSet<u64>>,
}

impl Counts {
    /// Adds a file of one thread: lines of `0xADDRESS LINE COUNT`, each of the object, function and source file
    /// that were named last. The line behind a `calls=` has the cost of what was called, which has lines of its
    /// own.
    pub fn add(&mut self, text: &str) {
        let (mut object, mut function, mut file, mut is_call) =
            (String::new(), String::new(), String::new(), false);
        for line in text.lines() {
            if let Some((key, value)) = line.split_once('=').filter(|(key, _)| key.len() < 6) {
                match key {
                    "ob" => object = value.to_owned(),
                    "fn" => function = value.to_owned(),
                    "fl" | "fi" | "fe" => file = value.to_owned(),
                    "calls" => is_call = true,
                    _ => {}
                }
                continue;
            }
            let Some(address) = line.strip_prefix("0x") else { continue };
            if std::mem::take(&mut is_call) {
                continue;
            }
            let mut parts = address.split(' ');
            let address = parts.next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let count = parts.nth(1).and_then(|count| count.parse::<u64>().ok());
            let (Some(address), Some(count)) = (address, count) else { continue };
            self.instructions += count;
            *self.areas.entry(area(&file)).or_default() += count;
            if self.locks(&object, address) {
                *self.locked.entry(function.clone()).or_default() += count;
            }
        }
    }

    /// What this has more than `other`.
    pub fn less(&self, other: &Counts) -> Counts {
        let more = |(function, count): (&String, &u64)| {
            let more = count.saturating_sub(other.locked.get(function).copied().unwrap_or(0));
            (more > 0).then(|| (function.clone(), more))
        };
        Counts {
            instructions: self.instructions - other.instructions,
            areas: self
                .areas
                .iter()
                .map(|(area, count)| (*area, count - other.areas.get(area).unwrap_or(&0)))
                .collect(),
            locked: self.locked.iter().filter_map(more).collect(),
            known: HashMap::new(),
        }
    }

    fn locks(&mut self, object: &str, address: u64) -> bool {
        if !self.known.contains_key(object) {
            self.known.insert(object.to_owned(), locking(object));
        }
        self.known[object].contains(&address)
    }
}

/// Where a source file is from; what is inlined counts where it was written.
fn area(file: &str) -> &'static str {
    let areas =
        [("engine/src", "engine"), ("quorum/src", "quorum"), ("net/src", "net"), ("crossbeam", "crossbeam")];
    let runtimes = [("tokio", "runtime"), ("uring", "runtime"), ("/mio", "runtime"), ("slab", "runtime")];
    let found = areas.into_iter().chain(runtimes).find(|(part, _)| file.contains(part));
    found.map_or("std and libc", |(_, area)| area)
}

/// Where a program or library has instructions that lock memory: those that say so, and exchanges with memory,
/// which do it unasked. Of what is no file, the kernel's page of time for one, nothing is known.
fn locking(object: &str) -> HashSet<u64> {
    let disassembled = Command::new("objdump").args(["-d", "--no-show-raw-insn", object]).output();
    let disassembled = disassembled.expect("objdump is installed").stdout;
    let text = String::from_utf8_lossy(&disassembled);
    let instructions = text.lines().filter_map(|line| line.trim_start().split_once(":\t"));
    let locks = |code: &str| code.starts_with("lock ") || code.starts_with("xchg ") && code.contains('(');
    let locking = instructions.filter(|(_, code)| locks(code));
    locking.filter_map(|(address, _)| u64::from_str_radix(address, 16).ok()).collect()
}
