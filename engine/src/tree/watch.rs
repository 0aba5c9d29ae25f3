//! The watches of one core's connections: who is told of which change.
//!
//! As in ZooKeeper there are two tables: data watches (getData, exists, and all that addWatch
//! sets) and child watches (getChildren, and persistent but not recursive ones). A one-shot watch
//! goes when it fires; a persistent one stays; a recursive one hears of its whole subtree.

use super::{Change, ChangeKind, path};
use crate::tree::acl::AclList;
use foldhash::fast::FixedState;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// What a watch event says happened (`Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum EventKind {
    /// The node came to be.
    Created = 1,
    /// The node went.
    Deleted = 2,
    /// The node's data changed.
    DataChanged = 3,
    /// The node's children changed.
    ChildrenChanged = 4,
}

/// How a watch was set; a connection can have each once a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WatchMode {
    /// Fires once.
    OneShot = 1,
    /// Fires until it is removed.
    Persistent = 2,
    /// Fires until it is removed, for the node and everything under it.
    Recursive = 4,
}

/// Which watches checkWatches and removeWatches mean (`Watcher.WatcherType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchType {
    /// One-shot child watches.
    Children,
    /// One-shot data watches.
    Data,
    /// All.
    Any,
    /// Persistent ones.
    Persistent,
    /// Persistent recursive ones.
    Recursive,
}

impl WatchType {
    /// The type of that number.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => WatchType::Children,
            2 => WatchType::Data,
            3 => WatchType::Any,
            4 => WatchType::Persistent,
            5 => WatchType::Recursive,
            _ => return None,
        })
    }
}

type Modes = u8;

/// Who hears of an event, each once, in the order in which they came to be told.
struct Told<C> {
    order: Vec<C>,
    known: HashSet<C, FixedState>,
}

impl<C: Copy + Eq + Hash> Told<C> {
    fn new(hasher: FixedState) -> Self {
        Told { order: Vec::new(), known: HashSet::with_hasher(hasher) }
    }

    fn push(&mut self, connection: C) {
        if self.known.insert(connection) {
            self.order.push(connection);
        }
    }
}

/// One table: connections by path, paths by connection.
struct Table<C> {
    by_path: HashMap<Arc<str>, Vec<(C, Modes)>, FixedState>,
    by_connection: HashMap<C, HashSet<Arc<str>, FixedState>, FixedState>,
    seed: u64,
    /// Recursive watches; with none, ancestors need no look.
    recursive: usize,
}

impl<C: Copy + Eq + Hash> Table<C> {
    fn new(seed: u64) -> Self {
        Table {
            by_path: HashMap::with_hasher(FixedState::with_seed(seed)),
            by_connection: HashMap::with_hasher(FixedState::with_seed(seed)),
            seed,
            recursive: 0,
        }
    }

    fn add(&mut self, path: &str, connection: C, mode: WatchMode) {
        let key =
            self.by_path.get_key_value(path).map_or_else(|| Arc::from(path), |(key, _)| Arc::clone(key));
        let watchers = self.by_path.entry(Arc::clone(&key)).or_default();
        let at = watchers.iter().position(|(watcher, _)| *watcher == connection).unwrap_or_else(|| {
            watchers.push((connection, 0));
            watchers.len() - 1
        });
        if mode == WatchMode::Recursive && watchers[at].1 & mode as Modes == 0 {
            self.recursive += 1;
        }
        watchers[at].1 |= mode as Modes;
        let none = || HashSet::with_hasher(FixedState::with_seed(self.seed));
        self.by_connection.entry(connection).or_insert_with(none).insert(key);
    }

    fn modes(&self, path: &str, connection: C) -> Modes {
        let watchers = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        watchers.iter().find(|(watcher, _)| *watcher == connection).map_or(0, |(_, modes)| *modes)
    }

    /// Takes modes away; returns whether there was one of them.
    fn remove(&mut self, path: &str, connection: C, modes: Modes) -> bool {
        let before = self.modes(path, connection);
        if before & modes == 0 {
            return false;
        }
        self.recursive -= usize::from(before & modes & WatchMode::Recursive as Modes != 0);
        let Some(watchers) = self.by_path.get_mut(path) else { return false };
        if before & !modes == 0 {
            watchers.retain(|(watcher, _)| *watcher != connection);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
            self.forget_path(path, connection);
        } else {
            for (_, held) in watchers.iter_mut().filter(|(watcher, _)| *watcher == connection) {
                *held &= !modes;
            }
        }
        true
    }

    fn forget_path(&mut self, path: &str, connection: C) {
        if let Some(paths) = self.by_connection.get_mut(&connection) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    fn remove_connection(&mut self, connection: C) {
        for path in self.by_connection.remove(&connection).into_iter().flatten() {
            let Some(watchers) = self.by_path.get_mut(&path) else { continue };
            let recursive = |modes: Modes| modes & WatchMode::Recursive as Modes != 0;
            let gone = watchers.iter().filter(|(watcher, modes)| *watcher == connection && recursive(*modes));
            self.recursive -= gone.count();
            watchers.retain(|(watcher, _)| *watcher != connection);
            if watchers.is_empty() {
                self.by_path.remove(&path);
            }
        }
    }

    /// Who hears of an event at `path`; one-shot watches go.
    fn trigger(&mut self, path: &str) -> Told<C> {
        let mut told = Told::new(self.by_connection.hasher().clone());
        if let Some(watchers) = self.by_path.get_mut(path) {
            let mut spent = Vec::new();
            watchers.retain_mut(|(connection, modes)| {
                told.push(*connection);
                *modes &= !(WatchMode::OneShot as Modes);
                if *modes == 0 {
                    spent.push(*connection);
                }
                *modes != 0
            });
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
            for connection in spent {
                self.forget_path(path, connection);
            }
        }
        if self.recursive > 0 {
            for ancestor in path::self_and_ancestors(path).skip(1) {
                let watchers = self.by_path.get(ancestor).map_or(&[][..], Vec::as_slice);
                for (connection, modes) in watchers {
                    if modes & WatchMode::Recursive as Modes != 0 {
                        told.push(*connection);
                    }
                }
            }
        }
        told
    }

    fn len(&self) -> usize {
        self.by_connection.values().map(HashSet::len).sum()
    }
}

/// The watches of a core. `C` names a connection.
pub struct Watches<C> {
    data: Table<C>,
    children: Table<C>,
}

impl<C: Copy + Eq + Hash> Watches<C> {
    /// None. `seed` keys the hash, so that no client can choose paths that collide.
    pub fn new(seed: u64) -> Self {
        Watches { data: Table::new(seed), children: Table::new(seed) }
    }

    /// getData or exists with a watch.
    pub fn add_data(&mut self, path: &str, connection: C) {
        self.data.add(path, connection, WatchMode::OneShot);
    }

    /// getChildren with a watch.
    pub fn add_children(&mut self, path: &str, connection: C) {
        self.children.add(path, connection, WatchMode::OneShot);
    }

    /// addWatch.
    pub fn add(&mut self, path: &str, connection: C, mode: WatchMode) {
        self.data.add(path, connection, mode);
        if mode != WatchMode::Recursive {
            self.children.add(path, connection, mode);
        }
    }

    /// Whether there is a watch of that type.
    pub fn contains(&self, path: &str, connection: C, kind: WatchType) -> bool {
        let has = |table: &Table<C>, modes: Modes| table.modes(path, connection) & modes != 0;
        match kind {
            WatchType::Children => has(&self.children, WatchMode::OneShot as Modes),
            WatchType::Data => has(&self.data, WatchMode::OneShot as Modes),
            WatchType::Persistent => has(&self.data, WatchMode::Persistent as Modes),
            WatchType::Recursive => has(&self.data, WatchMode::Recursive as Modes),
            WatchType::Any => has(&self.children, Modes::MAX) || has(&self.data, Modes::MAX),
        }
    }

    /// Removes the watches of that type; returns whether there was one.
    pub fn remove(&mut self, path: &str, connection: C, kind: WatchType) -> bool {
        let one_shot = WatchMode::OneShot as Modes;
        match kind {
            WatchType::Children => self.children.remove(path, connection, one_shot),
            WatchType::Data => self.data.remove(path, connection, one_shot),
            WatchType::Persistent => {
                let persistent = WatchMode::Persistent as Modes;
                let children = self.children.remove(path, connection, persistent);
                self.data.remove(path, connection, persistent) || children
            }
            WatchType::Recursive => self.data.remove(path, connection, WatchMode::Recursive as Modes),
            WatchType::Any => {
                let children = self.children.remove(path, connection, Modes::MAX);
                self.data.remove(path, connection, Modes::MAX) || children
            }
        }
    }

    /// The connection is gone.
    pub fn remove_connection(&mut self, connection: C) {
        self.data.remove_connection(connection);
        self.children.remove_connection(connection);
    }

    /// Calls `tell` for each connection that hears of a change, with the event, its path, and the
    /// list that must let the connection read it (none: everyone may).
    pub fn trigger(
        &mut self,
        change: &Change,
        changed: &str,
        mut tell: impl FnMut(C, EventKind, &str, Option<&AclList>),
    ) {
        let acl = change.acl.as_deref();
        let event = match change.kind {
            ChangeKind::Created => EventKind::Created,
            ChangeKind::Deleted => EventKind::Deleted,
            ChangeKind::Data => EventKind::DataChanged,
        };
        let told = self.data.trigger(changed);
        told.order.iter().for_each(|connection| tell(*connection, event, changed, acl));
        if change.kind == ChangeKind::Data {
            return;
        }
        if change.kind == ChangeKind::Deleted {
            let children = self.children.trigger(changed);
            let untold = children.order.into_iter().filter(|connection| !told.known.contains(connection));
            untold.for_each(|connection| tell(connection, event, changed, acl));
        }
        let Some((parent, _)) = path::split(changed) else { return };
        for connection in self.children.trigger(parent).order {
            tell(connection, EventKind::ChildrenChanged, parent, change.parent_acl.as_deref());
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.by_path.is_empty() && self.children.by_path.is_empty()
    }

    /// Watches, as ZooKeeper counts them: paths by connection, in both tables.
    pub fn len(&self) -> usize {
        self.data.len() + self.children.len()
    }

    /// Data watches by connection.
    pub fn by_connection(&self) -> impl Iterator<Item = (C, impl Iterator<Item = &str>)> {
        self.data
            .by_connection
            .iter()
            .map(|(connection, paths)| (*connection, paths.iter().map(|path| &**path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Zxid;

    fn events(watches: &mut Watches<u32>, kind: ChangeKind, path: &str) -> Vec<(u32, EventKind, String)> {
        let change = Change { kind, zxid: Zxid(1), path: 0..0, acl: None, parent_acl: None };
        let mut events = Vec::new();
        watches.trigger(&change, path, |connection, event, path, _| {
            events.push((connection, event, path.into()))
        });
        events
    }

    #[test]
    fn one_shot_watches_fire_once() {
        let mut watches = Watches::new(1);
        watches.add_data("/a", 1);
        watches.add_children("/", 1);
        let first = events(&mut watches, ChangeKind::Created, "/a");
        assert_eq!(
            first,
            [(1, EventKind::Created, "/a".into()), (1, EventKind::ChildrenChanged, "/".into())]
        );
        assert!(watches.is_empty());
        assert_eq!(watches.len(), 0);
    }

    #[test]
    fn a_deletion_is_told_once_to_who_watches_data_and_children() {
        let mut watches = Watches::new(1);
        watches.add_data("/a", 1);
        watches.add_children("/a", 1);
        watches.add_children("/a", 2);
        let told = events(&mut watches, ChangeKind::Deleted, "/a");
        assert_eq!(told, [(1, EventKind::Deleted, "/a".into()), (2, EventKind::Deleted, "/a".into())]);
    }

    #[test]
    fn recursive_watches_hear_of_the_subtree_but_not_of_children_changed() {
        let mut watches = Watches::new(1);
        watches.add("/a", 1, WatchMode::Recursive);
        assert_eq!(
            events(&mut watches, ChangeKind::Created, "/a/b/c"),
            [(1, EventKind::Created, "/a/b/c".into())]
        );
        assert_eq!(events(&mut watches, ChangeKind::Data, "/ab"), []);
        assert!(!watches.remove("/a", 1, WatchType::Persistent));
        assert!(watches.remove("/a", 1, WatchType::Recursive));
        assert!(watches.is_empty());
    }

    #[test]
    fn persistent_watches_survive_and_one_shot_ones_on_the_same_path_do_not() {
        let mut watches = Watches::new(1);
        watches.add("/a", 1, WatchMode::Persistent);
        watches.add_data("/a", 1);
        assert_eq!(events(&mut watches, ChangeKind::Data, "/a").len(), 1);
        assert!(!watches.contains("/a", 1, WatchType::Data));
        assert!(watches.contains("/a", 1, WatchType::Persistent));
        assert_eq!(events(&mut watches, ChangeKind::Data, "/a").len(), 1);
        watches.remove_connection(1);
        assert!(watches.is_empty());
    }
}
