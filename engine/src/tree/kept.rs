//! Values that stay where the checkpoint has them until they change: the node names the place, the tree
//! holds the checkpoint's bytes for as long as a node does.
//!
//! Who reads a node finds its bytes, for they go only when every guard has ended that was there when the last
//! node let go. One reader comes later: a walk that has the number of a node that was removed. It finds
//! either, and may pass over what is gone.

use super::TreeReader;
use super::index::{Guard, Slot, pin};
use crate::snap::{Checkpoint, Fault, Held};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shorter values are copied into their nodes. From here on, by measurement, leaving them halves a restart and
/// saves nine tenths of its memory, and a read takes a few percent more of a core, as it waits for the memory
/// once more. The shorter a value, the less is saved, and the more others share the page that is read for it.
pub const KEPT_BYTES_MIN: usize = if cfg!(any(miri, fuzzing)) { 2 } else { 1024 };

/// Where a value is in its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the beginning of the checkpoint's bytes.
    pub offset: u64,
    /// Bytes of the value.
    pub len: u32,
}

impl Place {
    /// Bytes of a place in a node.
    pub(super) const BYTES: usize = 8 + 4;

    pub(super) fn to_bytes(self) -> [u8; Place::BYTES] {
        let mut bytes = [0; Place::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Place {
        let (offset, len) = bytes.split_at(8);
        Place {
            offset: u64::from_le_bytes(offset.try_into().expect("eight bytes")),
            len: u32::from_le_bytes(len.try_into().expect("four bytes")),
        }
    }

    /// Of a value that is part of `all`, if it is to stay there.
    pub(super) fn of(value: &[u8], all: &[u8]) -> Option<Place> {
        if value.len() < KEPT_BYTES_MIN {
            return None;
        }
        let offset = all.element_offset(value.first()?)? as u64;
        Some(Place { offset, len: u32::try_from(value.len()).ok()? })
    }
}

/// A node's data, or where they are. Null and empty are different to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'g> {
    /// There are none.
    Null,
    /// In the node.
    Inline(&'g [u8]),
    /// In the checkpoint.
    Kept(Place),
}

impl Value<'_> {
    /// Bytes of it.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Inline(bytes) => bytes.len(),
            Value::Kept(place) => place.len as usize,
        }
    }

    /// Whether it has no bytes, as null has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Value::Kept(_))
    }
}

impl<'g> From<Option<&'g [u8]>> for Value<'g> {
    #[inline]
    fn from(bytes: Option<&'g [u8]>) -> Self {
        bytes.map_or(Value::Null, Value::Inline)
    }
}

/// The checkpoint's bytes, for readers.
pub(super) struct Kept(Slot<Arc<dyn Held>>);

impl Kept {
    pub fn none() -> Self {
        Kept(Slot::empty())
    }

    /// To be called while nobody reads.
    pub fn begin(&self, held: Arc<dyn Held>, guard: &Guard) {
        self.0.replace(Some(held), guard);
    }

    /// A value; `None` if the bytes are gone.
    #[inline(never)]
    pub fn get<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g [u8]> {
        let offset = place.offset as usize;
        Some(&self.0.load(guard)?.bytes()[offset..offset + place.len as usize])
    }
}

/// The checkpoint that values were left in is not any more what it was when they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFault {
    /// Which.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for KeptFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, and values of the tree are in it", self.name, self.fault)
    }
}

impl std::error::Error for KeptFault {}

/// Verifies values again, just before they are copied to where they get another checksum. Memory may have had
/// no room for a page that was verified, and the disk need not give again what it gave then: without this a new
/// checkpoint, or a learner, would have other bytes than were written, and nothing would ever tell.
pub struct Recheck<'h> {
    held: Option<(&'h dyn Held, Checkpoint<'h>)>,
    /// Of the file: the block that was verified last.
    verified: Range<u64>,
}

impl TreeReader {
    /// What values were left in, if some are there still: for [`Recheck`].
    pub fn held(&self) -> Option<Arc<dyn Held>> {
        self.shared().kept.0.load(&pin()).cloned()
    }
}

impl<'h> Recheck<'h> {
    /// Of values that are in what is `held`.
    ///
    /// # Errors
    /// Its beginning or its end is damaged.
    pub fn of(held: Option<&'h Arc<dyn Held>>) -> Result<Self, KeptFault> {
        let open = |held: &'h Arc<dyn Held>| match Checkpoint::open_held(held) {
            Ok(checkpoint) => Ok((&**held, checkpoint)),
            Err(fault) => Err(KeptFault { name: held.name(), fault }),
        };
        Ok(Recheck { held: held.map(open).transpose()?, verified: 0..0 })
    }

    /// Verifies the block that a value is in, unless it is the one of the value before.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn verify(&mut self, value: &Value<'_>) -> Result<(), KeptFault> {
        let (Value::Kept(place), Some((held, checkpoint))) = (value, &self.held) else { return Ok(()) };
        if !self.verified.contains(&place.offset) {
            let verified = checkpoint.verify_at(place.offset);
            self.verified = verified.map_err(|fault| KeptFault { name: held.name(), fault })?;
        }
        Ok(())
    }
}

/// How many nodes name a value that was kept; the writer's.
#[derive(Default)]
pub(super) struct Uses {
    left: u64,
    /// Whether the bytes are held.
    held: bool,
    /// No reader but a late walk can name a value any more, when it is true.
    unread: Option<Arc<AtomicBool>>,
}

impl Uses {
    /// By so many nodes of a tree that holds a checkpoint's bytes.
    pub fn of(left: u64) -> Self {
        Uses { left, held: true, unread: None }
    }

    /// A node names none any more.
    pub fn leave(&mut self) {
        self.left -= 1;
    }

    /// To be called when readers cannot come to what left.
    #[inline]
    pub fn settle(&mut self, guard: &Guard) {
        if self.held && self.left == 0 && self.unread.is_none() {
            let unread = Arc::new(AtomicBool::new(false));
            self.unread = Some(Arc::clone(&unread));
            guard.defer(move || unread.store(true, Ordering::Release));
        }
    }

    /// Lets the bytes go once they can.
    pub fn reclaim(&mut self, kept: &Kept, guard: &Guard) {
        if self.unread.as_ref().is_some_and(|unread| unread.load(Ordering::Acquire)) {
            kept.0.replace(None, guard);
            *self = Uses::default();
        }
    }

    /// One while the bytes wait for readers to end.
    pub fn away(&self) -> usize {
        usize::from(self.unread.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint;
    use crate::database::Database;
    use crate::id::Zxid;
    use crate::log::DatabaseId;
    use crate::snap::{CheckpointWriter, Fetch};
    use crate::tree::acl::{AclEntry, AclList};
    use crate::tree::digest::TreeDigest;
    use crate::tree::index::pin;
    use crate::tree::node::{DataSet, NodeKind};
    use crate::tree::{Batch, Changes, NewNode};
    use crate::zookeeper::export::write_stream;
    use std::time::{Duration, Instant};

    /// Of each length that matters, and none.
    fn values() -> Vec<(String, Option<Vec<u8>>)> {
        let lengths = [0, 1, KEPT_BYTES_MIN - 1, KEPT_BYTES_MIN, KEPT_BYTES_MIN + 1, 3 * KEPT_BYTES_MIN];
        let value = |(number, length)| (format!("/{number}"), Some(vec![number as u8 + 1; length]));
        let mut values: Vec<_> = lengths.into_iter().enumerate().map(value).collect();
        values.push(("/null".into(), None));
        values
    }
    /// Of those, the ones that are long enough.
    const KEPT: [&str; 3] = ["/3", "/4", "/5"];

    fn change(database: &mut Database, zxid: u64, change: impl FnOnce(&mut Batch<'_>, Zxid)) {
        let mut batch = database.tree.begin();
        change(&mut batch, Zxid(zxid));
        batch.publish();
        database.last = Zxid(zxid);
    }

    fn create(database: &mut Database, zxid: u64, path: &str, data: Option<&[u8]>) {
        let acl = database.tree.acls.intern_list(&AclList::open());
        change(database, zxid, |batch, zxid| {
            let new = NewNode { path, data, acl, kind: NodeKind::Persistent, parent_cversion: -1 };
            batch.create(&new, None, zxid, 7, &mut Changes::default()).unwrap();
        });
    }

    fn delete(database: &mut Database, zxid: u64, path: &str) {
        change(database, zxid, |batch, zxid| batch.delete(path, zxid, &mut Changes::default()).unwrap());
    }

    fn set(database: &mut Database, zxid: u64, path: &str, data: Option<&[u8]>) {
        change(database, zxid, |batch, mzxid| {
            let set = DataSet { mzxid, mtime: 9, version: 1, data };
            batch.set_data(path, None, &set, &mut Changes::default()).unwrap();
        });
    }

    fn set_acl(database: &mut Database, zxid: u64, path: &str) {
        let own = AclEntry { perms: 1, scheme: "ip".into(), id: "10.0.0.1".into() };
        let acl = database.tree.acls.intern_list(&AclList::new(vec![own]));
        change(database, zxid, |batch, zxid| {
            batch.set_acl(path, acl, 1, zxid).unwrap();
        });
    }

    /// The checkpoint's file.
    fn written(database: &Database) -> Vec<u8> {
        let mut writer = CheckpointWriter::new(DatabaseId(9), database.last);
        let drain = |_: &mut CheckpointWriter| Ok::<(), KeptFault>(());
        let reader = database.tree.reader();
        let newest = checkpoint::write(&mut writer, database.last, &[], &reader, drain).unwrap();
        writer.finish(newest).flatten().collect()
    }

    /// What was read of a file whose bytes stay, and of one whose bytes go.
    fn twins() -> [Database; 2] {
        let mut database = Database::new(1);
        for ((path, data), zxid) in values().iter().zip(1..) {
            create(&mut database, zxid, path, data.as_deref());
        }
        let file = written(&database);
        let (mut kept, mut copied) = (Database::new(2), Database::new(2));
        let held: Arc<dyn Held> = Arc::new(file.clone());
        checkpoint::read(&mut kept, &Checkpoint::open_held(&held).unwrap(), false).unwrap();
        checkpoint::read(&mut copied, &Checkpoint::open(&file).unwrap(), false).unwrap();
        assert_eq!((kept.tree.kept.left, copied.tree.kept.left), (KEPT.len() as u64, 0));
        let found = |database: &Database, path: &str| value_of(database, path);
        for (path, data) in values() {
            assert_eq!(
                [found(&kept, &path), found(&copied, &path)],
                [Some(data.clone()), Some(data)],
                "{path}"
            );
        }
        [kept, copied]
    }

    fn value_of(database: &Database, path: &str) -> Option<Option<Vec<u8>>> {
        let guard = pin();
        let node = database.tree.get(path, &guard)?;
        let data = node.data();
        let value = database.tree.value(&data, &guard);
        assert_eq!(data.data_length(), value.map_or(0, <[u8]>::len));
        let reader = database.tree.reader();
        let view = reader.view(Zxid(u64::MAX));
        let seen = view.node(path).unwrap().unwrap();
        assert_eq!(view.value(&view.data(seen).unwrap()), value, "{path}");
        Some(value.map(<[u8]>::to_vec))
    }

    fn are_the_same(twins: &[Database; 2]) {
        let [kept, copied] = twins;
        assert!(written(kept) == written(copied), "one checkpoint differs from the other");
        let digest = |database: &Database| TreeDigest::of_tree(&database.tree.reader());
        assert_eq!(digest(kept), digest(copied));
        let paths: Vec<String> = values().into_iter().map(|(path, _)| path).collect();
        let of_paths = |database: &Database| {
            TreeDigest::of_paths(&database.tree, paths.iter().map(|path| path.as_str()))
        };
        assert_eq!(of_paths(kept), of_paths(copied));
        assert_eq!(kept.tree.data_bytes(), copied.tree.data_bytes());
    }

    #[test]
    fn whatever_is_done_a_tree_that_left_its_values_is_one_that_copied_them() {
        let new = vec![1; 2 * KEPT_BYTES_MIN];
        type Step<'s> = (&'s str, u64, &'s dyn Fn(&mut Database, u64));
        let steps: [Step<'_>; 8] = [
            ("its list", 3, &|database, zxid| set_acl(database, zxid, "/3")),
            ("a child", 3, &|database, zxid| create(database, zxid, "/4/child", Some(b"x"))),
            ("another value", 2, &|database, zxid| set(database, zxid, "/3", Some(&new))),
            ("the same again", 2, &|database, zxid| set(database, zxid, "/3", Some(b""))),
            ("a value that was never kept", 2, &|database, zxid| set(database, zxid, "/1", Some(&new))),
            ("a deletion", 1, &|database, zxid| delete(database, zxid, "/5")),
            ("another node of its path", 1, &|database, zxid| create(database, zxid, "/5", Some(&new))),
            ("null", 0, &|database, zxid| set(database, zxid, "/4", None)),
        ];
        let mut twins = twins();
        are_the_same(&twins);
        for ((what, left, step), zxid) in steps.into_iter().zip(100..) {
            twins.iter_mut().for_each(|database| step(database, zxid));
            assert_eq!(twins[0].tree.kept.left, left, "{what}");
            are_the_same(&twins);
        }
    }

    #[test]
    fn a_checkpoint_of_kept_values_is_read_again() {
        let [kept, _] = twins();
        let held: Arc<dyn Held> = Arc::new(written(&kept));
        let mut again = Database::new(3);
        checkpoint::read(&mut again, &Checkpoint::open_held(&held).unwrap(), false).unwrap();
        drop((kept, held));
        are_the_same(&[again, twins().into_iter().next_back().unwrap()]);
    }

    #[test]
    fn the_bytes_go_with_the_last_value_when_no_reader_is_left() {
        let [mut database, _] = twins();
        let bytes_are_held = |database: &Database| database.tree.shared.kept.0.load(&pin()).is_some();
        let reader = database.tree.reader();
        let view = reader.view(Zxid(u64::MAX));
        let data = view.data(view.node("/3").unwrap().unwrap()).unwrap();
        let before = value_of(&database, "/3").unwrap();
        set(&mut database, 100, "/3", None);
        delete(&mut database, 101, "/4");
        set(&mut database, 102, "/5", Some(b"small"));
        for _ in 0..100 {
            database.tree.reclaim();
        }
        assert_eq!(view.value(&data), before.as_deref(), "who began before reads what was");
        assert_eq!(database.tree.kept.left, 0);
        drop(view);
        let begun = Instant::now();
        while bytes_are_held(&database) {
            database.tree.reclaim();
            // Other tests of this process hold guards, briefly.
            assert!(begun.elapsed() < Duration::from_secs(60), "the bytes are still held");
        }
        assert_eq!(value_of(&database, "/5"), Some(Some(b"small".to_vec())));
    }

    /// A disk that gives other bytes the second time.
    #[derive(Debug)]
    struct Changing {
        before: Vec<u8>,
        after: Vec<u8>,
        changed: AtomicBool,
    }

    impl Fetch for Changing {
        fn fetch(&self, _: Range<usize>) -> Result<(), Fault> {
            Ok(())
        }
    }

    impl Held for Changing {
        fn bytes(&self) -> &[u8] {
            if self.changed.load(Ordering::Relaxed) { &self.after } else { &self.before }
        }

        fn name(&self) -> String {
            "changing".into()
        }
    }

    #[test]
    fn what_changed_on_the_disk_goes_into_no_other_checkpoint_and_to_no_learner() {
        let [database, _] = twins();
        let before = written(&database);
        let at = before.windows(KEPT_BYTES_MIN).position(|bytes| bytes.iter().all(|byte| *byte == 5));
        let mut after = before.clone();
        after[at.expect("the value of /4")] ^= 1;
        let changing = Arc::new(Changing { before, after, changed: AtomicBool::new(false) });
        let held: Arc<dyn Held> = changing.clone();
        let mut database = Database::new(2);
        checkpoint::read(&mut database, &Checkpoint::open_held(&held).unwrap(), false).unwrap();
        let reader = database.tree.reader();
        let copied = || {
            let mut writer = CheckpointWriter::new(DatabaseId(9), database.last);
            let checkpoint =
                checkpoint::write(&mut writer, database.last, &[], &reader, |_| Ok::<(), KeptFault>(()));
            let stream = write_stream(&reader, &[], database.last, 1, |_| Ok::<(), KeptFault>(()));
            [checkpoint.map(drop), stream]
        };
        assert_eq!(copied(), [Ok(()), Ok(())]);
        changing.changed.store(true, Ordering::Relaxed);
        for copied in copied() {
            let why = copied.unwrap_err().to_string();
            assert!(why.starts_with("changing: damaged at offset "), "{why}");
        }
        // What was set since is elsewhere.
        for path in KEPT {
            set(&mut database, 100, path, None);
        }
        assert!(written(&database).len() > KEPT_BYTES_MIN);
    }

    #[test]
    fn bytes_of_which_no_value_is_kept_go_at_once() {
        let mut database = Database::new(1);
        create(&mut database, 1, "/a", Some(b"short"));
        let file: Arc<Vec<u8>> = Arc::new(written(&database));
        let held: Arc<dyn Held> = file.clone();
        checkpoint::read(&mut database, &Checkpoint::open_held(&held).unwrap(), false).unwrap();
        drop(held);
        assert_eq!((Arc::strong_count(&file), database.tree.kept.left), (1, 0));
    }
}
