//! The ensemble's configuration as clients see it and change it: `/zookeeper/config`, reconfig.
//!
//! Each server sets the node by itself to the configuration that it goes by, but for one that a transaction
//! makes: applying that transaction sets it, at every server alike (`QuorumPeer.initConfigInZKDatabase`).

use super::Replica;
use crate::members::Members;
use crate::reconfig::{self, Change};
use crate::zab::{self, MembersBy};
use ringkeeper_engine::database::Database;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::ReconfigRequest;
use ringkeeper_engine::prep::{Stamp, WriteRequest};
use ringkeeper_engine::tree::index::pin;
use ringkeeper_engine::tree::path::CONFIG;

/// The configuration that a tree shows, if it does.
pub(super) fn shown(database: &Database) -> Option<Members> {
    let guard = pin();
    let node = database.tree.get(CONFIG, &guard)?;
    std::str::from_utf8(database.tree.value(&node.data(), &guard)?)
        .ok()
        .and_then(|text| Members::parse(text).ok())
}

impl Replica {
    /// Another configuration is in force.
    pub(super) fn on_members(&mut self, now: Now, members: &Members, by: MembersBy) {
        if self.members_prepared.as_ref().is_some_and(|prepared| prepared.version() <= members.version()) {
            self.members_prepared = None;
        }
        if by == MembersBy::Word {
            self.show_members(now.wall_ms);
        }
    }

    /// Shows clients the configuration that is in force.
    pub(super) fn show_members(&mut self, wall_ms: i64) {
        let members = self.zab.members();
        let (text, version) = (members.to_string(), Zxid(members.version()));
        let before = self.changes.len() as u32;
        self.database.set_config(&text, version, wall_ms, &mut self.changes);
        let changes = before..self.changes.len() as u32;
        self.outboxes.iter_mut().for_each(|outbox| outbox.changed(changes.clone()));
    }

    /// Makes a client's change of the ensemble a transaction (`PrepRequestProcessor`).
    pub(super) fn prepare_reconfig(
        &mut self,
        request: &WriteRequest<'_>,
        stamp: Stamp,
    ) -> Result<(), ErrorCode> {
        let asked: ReconfigRequest<'_> = jute::from_bytes(request.body)?;
        if !self.zab.takes_changes() {
            return Err(ErrorCode::ReconfigInProgress);
        }
        let change = Change {
            joining: asked.joining_servers.as_deref(),
            leaving: asked.leaving_servers.as_deref(),
            whole: asked.new_members.as_deref(),
            from_version: asked.cur_config_id,
        };
        let seen = self.members_prepared.as_ref().unwrap_or(self.zab.members_seen());
        let synced = |server| self.zab.is_synced(server);
        let members = reconfig::prepare(&change, self.zab.members(), seen, self.rules, stamp.zxid, synced)
            .map_err(|refusal| {
                let text = format!("a change of the ensemble is refused: {}", refusal.why);
                self.messages.push(zab::Effect::Notice(text));
                refusal.code
            })?;
        let (tree, text) = (&self.database.tree, members.to_string());
        self.prep.prepare_reconfig(tree, request, &text, stamp, self.prepared.buffer())?;
        self.members_prepared = Some(members);
        Ok(())
    }
}
