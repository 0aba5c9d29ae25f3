//! Delivering what the replica says: events and answers in their order, and with the last of a
//! batch the core's horizon.

use super::commands::NOT_SERVING;
use super::connection::{Connection, Sent, Stage};
use super::core::{Core, EVENT_BYTES_MAX};
use super::requests::write_event;
use crate::mailbox::Mail;
use crate::stages::Stage as Hop;
use ringkeeper_engine::auth;
use ringkeeper_engine::tree::Changes;
use ringkeeper_engine::tree::index::pin;
use ringkeeper_quorum::replica::is_read;
use ringkeeper_quorum::step::{CloseReason, ConnectionId, Reply, ReplyBatch, Request, Service};
use std::ops::Range;
use tracing::{debug, info, warn};

impl Core {
    /// Delivers one batch.
    pub fn on_mail(&mut self, mail: Mail<ReplyBatch>) {
        self.begin_turn();
        let Mail { batch, sent_us } = mail;
        self.state.stamps.add(Hop::Reply, sent_us, self.state.now.us);
        self.emptied.keep_all(batch.emptied);
        let mut freed = std::mem::take(&mut self.freed);
        for item in batch.items {
            match item {
                Reply::Changes(range) => self.tell_watchers(&batch.changes, range),
                Reply::Answer { connection, frame, last } => {
                    let Some(connection) = self.connections.get_mut(&connection.number) else { continue };
                    let frame = &batch.bytes[frame];
                    // Who finds more in the output goes on writing.
                    if connection.output.is_empty() {
                        self.state.spare_outputs.lend(&mut connection.output);
                        connection.output_us = self.state.now.us;
                        connection.writer.wake();
                    }
                    connection.output.extend_from_slice(frame);
                    connection.order.answered();
                    self.state.in_flight -= 1;
                    if let Some(Sent { xid, op, at, watch }) = connection.sent.pop_front() {
                        self.state.asking -= u32::from(connection.sent.is_empty());
                        connection.reads_sent -= u32::from(is_read(op));
                        if let Some(path) = watch {
                            // Between the changes that the answer knows of and those that it does not.
                            self.state.watch_answered(connection, op, &path, frame);
                        }
                        self.state.answered(connection, op, xid, batch.zxid, at);
                    }
                    if last {
                        connection.close_after_output();
                    }
                    if freed.last() != Some(&connection.id.number) {
                        freed.push(connection.id.number);
                    }
                }
                Reply::Opened { connection, session, timeout_ms } => {
                    let there = self.connections.get_mut(&connection.number);
                    if let Some(connection) = there.filter(|there| !there.closing) {
                        self.state.opened(connection, Some((session, timeout_ms)), batch.zxid);
                        freed.push(connection.id.number);
                    } else {
                        self.state.ask(Request::Gone { connection, session });
                    }
                }
                Reply::Refused { connection } => {
                    if let Some(connection) = self.connections.get_mut(&connection.number) {
                        self.state.opened(connection, None, batch.zxid);
                    }
                }
                Reply::Close { connection, reason } => self.close(connection, reason),
                Reply::Serving(service) => self.set_service(service),
                Reply::Tree(tree) => self.state.tree = tree,
                Reply::Collect { ticket, inquiry } => {
                    let report = Box::new(self.report(inquiry));
                    self.state.inquire(Request::Collected { ticket, report });
                }
                Reply::Report { connection, report } => {
                    let Some(connection) = self.connections.get_mut(&connection.number) else { continue };
                    let Stage::Command(word) = connection.stage else { continue };
                    let text = match self.state.service {
                        Service::Nothing => NOT_SERVING.to_owned(),
                        Service::ReadOnly | Service::Full => {
                            self.state.commands.answer(word, &report, self.state.now)
                        }
                    };
                    self.state.say(connection, &text);
                }
            }
        }
        self.state.horizon = batch.zxid;
        freed.append(&mut self.state.later);
        freed.sort_unstable();
        freed.dedup();
        // Once, not for each of their requests.
        let _reading = pin();
        for number in freed.drain(..) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            self.state.resume(connection);
        }
        self.freed = freed;
    }

    fn tell_watchers(&mut self, changes: &Changes, range: Range<u32>) {
        if self.state.watches.is_empty() {
            return;
        }
        let Core { state, connections, .. } = self;
        for index in range {
            let (change, path) = changes.get(index as usize);
            state.watches.trigger(change, path, |number, kind, path, acl| {
                let Some(connection) = connections.get_mut(&number).filter(|c| !c.closing) else { return };
                if connection.output.len() > EVENT_BYTES_MAX {
                    warn!(peer = %connection.peer, session = ?connection.session(), "closed: it takes no events");
                    connection.abort();
                    return;
                }
                if auth::may_read(acl, &connection.auth, &state.settings) {
                    state.spare_outputs.lend(&mut connection.output);
                    write_event(&mut connection.output, change.zxid.to_jute(), kind, path);
                    connection.traffic.sent += 1;
                    state.traffic.sent += 1;
                    connection.writer.wake();
                }
            });
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(&id.number) else { return };
        let peer = connection.peer;
        match reason {
            CloseReason::Expired => {
                info!(%peer, session = ?connection.session(), "closed: the session expired")
            }
            CloseReason::Moved => {
                debug!(%peer, session = ?connection.session(), "closed: the session has moved")
            }
            CloseReason::Behind => info!(%peer, "closed: the client has seen newer transactions than ours"),
            CloseReason::NotServing => debug!(%peer, "closed: no client is served now"),
            CloseReason::NeedsQuorum => {
                info!(%peer, "closed: such a session needs a quorum, and there is none")
            }
        }
        match reason {
            // What is not sent yet is not: the session answers over another connection by now.
            CloseReason::Behind | CloseReason::Moved | CloseReason::NotServing | CloseReason::NeedsQuorum => {
                Connection::abort(connection)
            }
            CloseReason::Expired => connection.close_after_output(),
        }
    }
}
