//! Which ephemeral nodes each session owns.

use crate::id::SessionId;
use std::collections::{BTreeMap, BTreeSet};

/// Paths by session.
#[derive(Debug, Default)]
pub struct Ephemerals {
    by_session: BTreeMap<SessionId, BTreeSet<Box<str>>>,
    count: usize,
}

impl Ephemerals {
    /// A session created a node.
    pub fn add(&mut self, session: SessionId, path: &str) {
        self.count += usize::from(self.by_session.entry(session).or_default().insert(path.into()));
    }

    /// A session's node went.
    pub fn remove(&mut self, session: SessionId, path: &str) {
        let Some(paths) = self.by_session.get_mut(&session) else { return };
        self.count -= usize::from(paths.remove(path));
        if paths.is_empty() {
            self.by_session.remove(&session);
        }
    }

    /// The nodes of one session, in the order of their paths.
    pub fn of(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.by_session.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// Every session that owns a node, with its nodes.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<Box<str>>)> {
        self.by_session.iter().map(|(session, paths)| (*session, paths))
    }

    /// Nodes of all sessions.
    pub fn count(&self) -> usize {
        self.count
    }
}
