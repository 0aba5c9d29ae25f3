//! The index against a map, and against readers of other threads. Miri runs these too:
//! ```text
//! MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
//!     cargo +nightly miri test -p ringkeeper-engine --lib -- tree::index tree::children
//! ```
//! The flags are for crossbeam-epoch: it goes from a list entry to the record around it, which the
//! older model of borrows forbids, keeps marks in pointers, and never frees its own records.

use super::map::Map;
use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

#[test]
fn behaves_as_a_map_while_it_grows_and_shrinks() {
    let mut map = Map::new(7);
    let mut model = BTreeMap::new();
    let mut state = 1u64;
    let steps = if cfg!(miri) { 400 } else { 60_000 };
    for step in 0..steps {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = format!("/{}", (state >> 33) % (steps / 4));
        let guard = pin();
        if let Some(id) = model.remove(&key) {
            map.remove(id, &key, &guard);
            assert!(map.reader.get(&key, &guard).is_none());
        } else {
            let id = map.insert(&key, &guard);
            model.insert(key.clone(), id);
            assert_eq!(map.reader.get(&key, &guard), Some((id, &key)));
        }
        if step % 1000 == 0 {
            for (key, id) in &model {
                assert_eq!(map.reader.get(key, &guard).map(|found| found.0), Some(*id));
            }
        }
    }
    assert_eq!(map.index.len(), model.len());
}

#[test]
fn a_node_that_stays_is_never_missed_by_a_reader() {
    let mut map = Map::new(3);
    let (many, rounds) = if cfg!(miri) { (10, 3) } else { (50, 400) };
    let stays: Vec<String> = (0..many).map(|n| format!("/stays/{n}")).collect();
    for key in &stays {
        map.insert(key, &pin());
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = Arc::clone(&map.reader);
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
            let ids: Vec<NodeId> = names.iter().map(|n| map.insert(n, &pin())).collect();
            for (id, name) in ids.into_iter().zip(&names) {
                map.remove(id, name, &pin());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn every_number_has_one_place() {
    let position = |number: usize| Arena::<Slot<String>>::position(NodeId(number as u32));
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
#[cfg_attr(miri, ignore = "in steps as small as Miri's, no table shrinks")]
fn a_table_that_shrank_has_room_until_the_old_one_is_moved() {
    let mut map = Map::new(11);
    let guard = pin();
    let add = |map: &mut Map, n: usize| {
        let name = format!("/{n}");
        (map.insert(&name, &guard), name)
    };
    let many = 600_000;
    let ids: Vec<_> = (0..many).map(|n| add(&mut map, n)).collect();
    let large = map.index.current.entries.len();
    for (id, name) in ids {
        map.remove(id, &name, &guard);
    }
    let mut n = many;
    while map.index.previous.is_some() || map.index.current.entries.len() == large {
        let (id, name) = add(&mut map, n);
        if map.index.previous.is_none() {
            map.remove(id, &name, &guard);
        }
        let entries = map.index.current.entries.len();
        assert!(map.index.used * 8 < entries * 7, "{} of {entries} entries used", map.index.used);
        n += 1;
    }
    assert!(map.index.current.entries.len() * 8 <= large);
}

#[test]
fn a_zeroed_cell_is_empty() {
    let (values, bytes) = (Arena::<Slot<String>>::new(), Arena::<Bytes>::new());
    let guard = pin();
    for number in [0, 1, 5 * FIRST_SEGMENT as u32] {
        let (value, bytes) = (values.cell_or_grow(NodeId(number)), bytes.cell_or_grow(NodeId(number)));
        assert!(value.load(&guard).is_none() && bytes.load(&guard).is_none());
        value.replace(Some("value".into()), &guard);
        bytes.put([b"by", b"", b"tes", b""], &guard);
        assert_eq!(value.load(&guard).map(|value| &value[..]), Some("value"));
        assert_eq!(bytes.load(&guard), Some(&b"bytes"[..]));
        bytes.put([b"", b"", b"", b""], &guard);
        assert_eq!(bytes.load(&guard), Some(&b""[..]));
        bytes.clear(&guard);
        assert!(bytes.load(&guard).is_none());
    }
}

#[test]
fn threads_that_fill_partitions_lose_nothing_and_see_what_is_there_twice() {
    let many = if cfg!(miri) { 100 } else { 20_000 };
    // Many of the same few tags, so that partitions run over, the last one into the first.
    let tag = |number: u32| [number.wrapping_mul(0x9e37_79b9), u32::MAX, number % 7][number as usize % 3];
    let mut index = IndexWriter::with_capacity(many as usize);
    let filling = index.filling();
    let filling = &filling;
    let of = move |partition: usize| {
        let belongs = move |number: &u32| filling.partition_of(tag(*number)) == partition;
        (0..many).filter(belongs).map(move |number| (tag(number), NodeId(number)))
    };
    let mut over: Vec<Entry> = std::thread::scope(|scope| {
        let run = |thread: usize| {
            move || {
                let mut over = Vec::new();
                for partition in (thread..filling.partitions()).step_by(3) {
                    filling.insert(partition, of(partition), |_, _| false, &mut over).unwrap();
                }
                over
            }
        };
        let running: Vec<_> = (0..3).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(!over.is_empty());
    let last = over.pop().unwrap();
    filling.insert_rest(over, |_, _| false).unwrap();
    filling.insert_rest(vec![last], |_, _| false).unwrap();
    let again = filling.insert_rest(vec![(tag(5), NodeId(many))], |other, _| other == NodeId(5));
    assert_eq!(again, Err(NodeId(many)));
    index.filled(many as usize);
    let guard = pin();
    for number in 0..many {
        let is = |id: NodeId| (id.0 == number).then_some(());
        assert!(index.reader().find(tag(number), &guard, is).is_some(), "{number}");
    }
}
