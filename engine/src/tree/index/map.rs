//! A map of strings made of the parts of the index, as the tree makes its own: for the tests.

use super::*;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// The readers' half.
pub struct Reader {
    pub arena: Arena<Slot<String>>,
    pub index: Arc<Index>,
    hasher: FixedState,
}

impl Reader {
    pub fn tag(&self, key: &str) -> u32 {
        (self.hasher.hash_one(key.as_bytes()) >> 32) as u32
    }

    pub fn node<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<&'g String> {
        self.arena.cell(id)?.load(guard)
    }

    pub fn get<'g>(&'g self, key: &str, guard: &'g Guard) -> Option<(NodeId, &'g String)> {
        self.index.find(self.tag(key), guard, |id| {
            self.node(id, guard).filter(|found| *found == key).map(|found| (id, found))
        })
    }
}

/// The writer's half.
pub struct Map {
    pub reader: Arc<Reader>,
    pub index: IndexWriter,
    pub numbers: Numbers,
}

impl Map {
    pub fn new(seed: u64) -> Self {
        let index = IndexWriter::new();
        let hasher = FixedState::with_seed(seed);
        let reader = Arc::new(Reader { arena: Arena::new(), index: index.reader(), hasher });
        Map { reader, index, numbers: Numbers::from(0) }
    }

    pub fn insert(&mut self, key: &str, guard: &Guard) -> NodeId {
        self.numbers.reclaim(&self.reader.arena, guard);
        let id = self.numbers.take();
        self.reader.arena.cell_or_grow(id).replace(Some(key.to_owned()), guard);
        self.index.insert(self.reader.tag(key), id, guard);
        id
    }

    pub fn remove(&mut self, id: NodeId, key: &str, guard: &Guard) {
        self.index.remove(self.reader.tag(key), id, guard);
        self.numbers.retire(id, guard);
    }
}
