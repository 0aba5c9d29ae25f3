//! Containers and TTL nodes that have outlived their use (`ContainerManager`).

use ringkeeper_engine::id::{Now, Tick};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::tree::TreeWriter;
use ringkeeper_engine::tree::index::pin;
use ringkeeper_engine::tree::node::NodeKind;
use std::collections::VecDeque;

/// When to look next, and what the last look found.
#[derive(Debug)]
pub(super) struct Containers {
    interval_ms: u64,
    per_minute: u64,
    max_never_used_ms: u64,
    next_look: Tick,
    found: VecDeque<Box<str>>,
    /// When the next one may be removed: removals are spread, so that they never come as a herd.
    next_removal: Tick,
}

impl Containers {
    pub fn new(settings: &Settings, now: Now) -> Self {
        let interval_ms = u64::from(settings.container_check_interval_ms.max(1));
        Containers {
            interval_ms,
            per_minute: u64::from(settings.container_max_per_minute.max(1)),
            max_never_used_ms: settings.container_max_never_used_ms,
            next_look: now.tick.plus_ms(interval_ms),
            found: VecDeque::new(),
            next_removal: now.tick,
        }
    }

    /// Paths that may be removed now.
    pub fn due(&mut self, now: Now, tree: &TreeWriter) -> Vec<Box<str>> {
        if now.tick >= self.next_look && self.found.is_empty() {
            self.found = self.candidates(now, tree).into();
            self.next_look = now.tick.plus_ms(self.interval_ms);
        }
        if now.tick < self.next_removal || self.found.is_empty() {
            return Vec::new();
        }
        let since = now.tick.since(self.next_removal).min(1000);
        let allowed = (1 + since * self.per_minute / 60_000) as usize;
        self.next_removal = now.tick.plus_ms(60_000 / self.per_minute);
        self.found.drain(..allowed.min(self.found.len())).collect()
    }

    fn candidates(&self, now: Now, tree: &TreeWriter) -> Vec<Box<str>> {
        let guard = pin();
        let is_over = |path: &&str| {
            let Some(node) = tree.get(path, &guard) else { return false };
            let (data, children) = (node.data(), tree.children(node, &guard));
            if children.is_some_and(|children| !children.set.is_empty()) {
                return false;
            }
            let unchanged_ms = now.wall_ms - data.mtime;
            match data.kind {
                NodeKind::Container if children.is_some_and(|children| children.cversion > 0) => true,
                NodeKind::Container => {
                    self.max_never_used_ms > 0 && unchanged_ms > self.max_never_used_ms as i64
                }
                NodeKind::Ttl { ttl_ms } => ttl_ms != 0 && unchanged_ms > ttl_ms,
                NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
            }
        };
        tree.containers().chain(tree.ttls()).filter(is_over).map(Into::into).collect()
    }
}
