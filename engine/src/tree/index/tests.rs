//! The index against a map, and against readers of other threads. Miri runs these too:
//! ```text
//! MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
//!     cargo +nightly miri test -p ringkeeper-engine --lib -- tree::index tree::children
//! ```
//! The flags are for crossbeam-epoch: it goes from a list entry to the record around it, which the
//! older model of borrows forbids, keeps marks in pointers, and never frees its own records.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

impl Keyed for String {
    fn key(&self) -> &str {
        self
    }
}

#[test]
fn behaves_as_a_map_while_it_grows_and_shrinks() {
    let mut writer = IndexWriter::<String>::new(7);
    let mut model = BTreeMap::new();
    let mut state = 1u64;
    let steps = if cfg!(miri) { 400 } else { 60_000 };
    for step in 0..steps {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = format!("/{}", (state >> 33) % (steps / 4));
        let guard = pin();
        if let Some(id) = model.remove(&key) {
            writer.remove(id, &key, &guard);
            writer.retire(id, &guard);
            assert!(writer.index().get(&key, &guard).is_none());
        } else {
            let id = writer.insert(key.clone(), &guard);
            model.insert(key.clone(), id);
            assert_eq!(writer.index().get(&key, &guard), Some((id, &key)));
        }
        if step % 1000 == 0 {
            for (key, id) in &model {
                assert_eq!(writer.index().get(key, &guard).map(|found| found.0), Some(*id));
            }
        }
    }
    assert_eq!(writer.len(), model.len());
}

#[test]
fn a_node_that_stays_is_never_missed_by_a_reader() {
    let mut writer = IndexWriter::<String>::new(3);
    let (many, rounds) = if cfg!(miri) { (10, 3) } else { (50, 400) };
    let stays: Vec<String> = (0..many).map(|n| format!("/stays/{n}")).collect();
    for key in &stays {
        writer.insert(key.clone(), &pin());
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = writer.reader();
            let (stays, done) = (&stays, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for key in stays {
                        assert!(reader.get(key, &pin()).is_some(), "{key} went missing");
                    }
                }
            });
        }
        for round in 0..rounds {
            let names: Vec<String> = (0..many * 4).map(|n| format!("/goes/{round}/{n}")).collect();
            let ids: Vec<NodeId> = names.iter().map(|n| writer.insert(n.clone(), &pin())).collect();
            for (id, name) in ids.into_iter().zip(&names) {
                let guard = pin();
                writer.remove(id, name, &guard);
                writer.retire(id, &guard);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn every_number_has_one_place() {
    let position = |number: usize| Arena::<String>::position(NodeId(number as u32));
    assert_eq!(position(0), (0, 0));
    for segment in 0..10 {
        let start = FIRST_SEGMENT * ((1 << segment) - 1);
        let slots = FIRST_SEGMENT << segment;
        assert_eq!(position(start), (segment, 0));
        assert_eq!(position(start + slots - 1), (segment, slots - 1));
        assert_eq!(position(start + slots), (segment + 1, 0));
    }
}

#[test]
fn a_table_that_shrank_has_room_until_the_old_one_is_moved() {
    let mut writer = IndexWriter::<String>::new(11);
    let guard = pin();
    let add = |writer: &mut IndexWriter<String>, n: usize| {
        let name = format!("/{n}");
        (writer.insert(name.clone(), &guard), name)
    };
    let many = if cfg!(miri) { 300 } else { 600_000 };
    let ids: Vec<_> = (0..many).map(|n| add(&mut writer, n)).collect();
    let large = writer.current.entries.len();
    for (id, name) in ids {
        writer.remove(id, &name, &guard);
    }
    let mut n = many;
    while writer.previous.is_some() || writer.current.entries.len() == large {
        let (id, name) = add(&mut writer, n);
        if writer.previous.is_none() {
            writer.remove(id, &name, &guard);
        }
        let entries = writer.current.entries.len();
        assert!(writer.used * 4 < entries * 3, "{} of {entries} entries used", writer.used);
        n += 1;
    }
}
