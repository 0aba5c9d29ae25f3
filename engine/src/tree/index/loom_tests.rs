//! The index under loom: every order in which a reader can meet a writer's steps, and every value
//! that the memory orderings let it see, Tables and segments are small here
//! (`cfg!(loom)`), and reclamation is a model (see `epoch_model`).
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test -p ringkeeper-engine --lib tree::index::loom_tests
//! ```

use super::map::Map;
use super::*;
use loom::thread;

fn explore(f: impl Fn() + Send + Sync + 'static) {
    loom::model(move || {
        epoch_model::reset();
        f();
    });
}

/// An empty index, and as many names as asked for whose probes all start at one entry of a table
/// of 16 or fewer: the reader passes everything that the writer changes.
fn colliding<const N: usize>() -> (Map, [String; N]) {
    let writer = Map::new(5);
    let mut names = (0..).map(|n| format!("/{n}")).filter(|name| writer.reader.tag(name) % 16 == 3);
    let names = std::array::from_fn(|_| names.next().expect("one name in sixteen"));
    (writer, names)
}

fn add(writer: &mut Map, name: &str) -> NodeId {
    writer.insert(name, &pin())
}

fn take(writer: &mut Map, name: &str, id: NodeId) {
    writer.remove(id, name, &pin());
}

#[test]
fn a_borrowed_value_outlives_its_replacement() {
    explore(|| {
        let slot = Arc::new(Slot::new(1));
        let reader = Arc::clone(&slot);
        let reading = thread::spawn(move || {
            let guard = pin();
            let first = *reader.load(&guard).expect("it is never empty");
            let second = *reader.load(&guard).expect("it is never empty");
            assert!(first <= second, "{second} after {first}");
        });
        slot.replace(Some(2), &pin());
        slot.replace(Some(3), &pin());
        reading.join().unwrap();
    });
}

#[test]
fn what_was_written_before_a_replacement_is_seen_with_it() {
    explore(|| {
        let (slot, stamp) = (Arc::new(Slot::empty()), Arc::new(AtomicU64::new(0)));
        let (reader, seen) = (Arc::clone(&slot), Arc::clone(&stamp));
        let reading = thread::spawn(move || {
            if reader.load(&pin()).is_some() {
                assert_eq!(seen.load(Ordering::Relaxed), 7);
            }
        });
        let guard = pin();
        stamp.store(7, Ordering::Relaxed);
        slot.replace(Some(()), &guard);
        reading.join().unwrap();
    });
}

#[test]
fn a_node_that_stays_is_never_missed_while_the_table_is_replaced() {
    explore(|| {
        let (mut writer, [first, stays, more @ ..]) = colliding::<6>();
        add(&mut writer, &first);
        let id = add(&mut writer, &stays);
        let reader = Arc::clone(&writer.reader);
        let reading = thread::spawn(move || {
            let guard = pin();
            assert_eq!(reader.get(&stays, &guard).map(|found| found.0), Some(id));
        });
        // The fourth entry of four starts a larger table, the next two insertions move the old.
        for name in &more {
            add(&mut writer, name);
        }
        assert!(writer.index.previous.is_none() && writer.index.current.entries.len() > SMALLEST_TABLE);
        reading.join().unwrap();
    });
}

#[test]
fn a_node_that_stays_is_never_missed_while_others_go() {
    explore(|| {
        let (mut writer, [goes, stays, comes]) = colliding();
        let gone = add(&mut writer, &goes);
        let id = add(&mut writer, &stays);
        let reader = Arc::clone(&writer.reader);
        let reading = thread::spawn(move || {
            let guard = pin();
            assert_eq!(reader.get(&stays, &guard).map(|found| found.0), Some(id));
        });
        take(&mut writer, &goes, gone);
        add(&mut writer, &comes);
        reading.join().unwrap();
    });
}

#[test]
fn a_number_is_not_used_again_while_a_reader_may_hold_it() {
    explore(|| {
        let (mut writer, [goes, next, last]) = colliding();
        let gone = add(&mut writer, &goes);
        let reader = Arc::clone(&writer.reader);
        let (key, other) = (goes.clone(), next.clone());
        let reading = thread::spawn(move || {
            let guard = pin();
            if let Some((id, node)) = reader.get(&key, &guard) {
                assert_eq!(reader.node(id, &guard), Some(node), "the number means another node now");
            }
            drop(guard);
            let guard = pin();
            if let Some((_, node)) = reader.get(&other, &guard) {
                assert_eq!(*node, other);
            }
        });
        take(&mut writer, &goes, gone);
        let next = add(&mut writer, &next);
        reading.join().unwrap();
        let last = add(&mut writer, &last);
        assert!(next == gone || last == gone, "a number that nobody holds is used again");
    });
}

#[test]
fn a_node_is_found_by_its_number_once_the_number_is_published() {
    explore(|| {
        let (mut writer, [name]) = colliding();
        let children = Arc::new(Slot::empty());
        let (reader, list, key) = (Arc::clone(&writer.reader), Arc::clone(&children), name.clone());
        let reading = thread::spawn(move || {
            let guard = pin();
            if let Some(id) = list.load(&guard) {
                assert_eq!(reader.node(*id, &guard), Some(&key));
                assert!(reader.get(&key, &guard).is_some());
            }
        });
        let id = add(&mut writer, &name);
        children.replace(Some(id), &pin());
        reading.join().unwrap();
    });
}
