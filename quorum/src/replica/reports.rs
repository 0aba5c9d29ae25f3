//! What operators ask of every part of the server at once.

use super::{Owner, Replica};
use crate::step::{ConnectionId, Reply};
use crate::zab::Serving;
use ringkeeper_engine::id::Now;
use ringkeeper_engine::session::Sessions;
use ringkeeper_engine::stats::{CoreReport, EnsembleReport, Inquiry, ReplicaReport, Report};
use std::collections::{BTreeMap, BTreeSet};

/// Reports whose parts are being collected.
#[derive(Debug, Default)]
pub(super) struct Reports {
    open: BTreeMap<u64, (ConnectionId, Inquiry, Vec<CoreReport>)>,
    next_ticket: u64,
}

impl Replica {
    pub(super) fn begin_report(&mut self, connection: ConnectionId, inquiry: Inquiry) {
        let ticket = self.reports.next_ticket;
        self.reports.next_ticket += 1;
        self.reports.open.insert(ticket, (connection, inquiry, Vec::new()));
        self.outboxes.iter_mut().for_each(|outbox| outbox.push(Reply::Collect { ticket, inquiry }));
    }

    pub(super) fn collect(&mut self, now: Now, ticket: u64, part: CoreReport) {
        let Some((_, _, parts)) = self.reports.open.get_mut(&ticket) else { return };
        parts.push(part);
        if parts.len() < self.outboxes.len() {
            return;
        }
        let Some((connection, inquiry, cores)) = self.reports.open.remove(&ticket) else { return };
        let report = Box::new(Report { replica: self.report(now, inquiry), cores });
        if inquiry == Inquiry::ResetServer {
            self.prep.reset_quota_refusals();
        }
        self.outboxes[connection.core as usize].push(Reply::Report { connection, report });
    }

    fn report(&self, now: Now, inquiry: Inquiry) -> ReplicaReport {
        let tree = &self.database.tree;
        let owned = |paths: &BTreeSet<Box<str>>| paths.iter().map(|p| p.to_string()).collect();
        let mut report = ReplicaReport {
            state: self.state_name(),
            zxid: self.applied(),
            node_count: tree.node_count(),
            data_bytes: tree.data_bytes(),
            ephemeral_count: tree.ephemerals().count(),
            ephemerals: Vec::new(),
            expiry: Vec::new(),
            local_expiry: None,
            timeouts: None,
            session_count: self.database.sessions.len(),
            local_session_count: self.local.len(),
            outstanding: self.pending.len() + self.learner.outstanding(),
            quota_refusals: self.prep.quota_refusals().clone(),
            at: now.tick,
            ensemble: (!self.standalone).then(|| self.ensemble_report()),
        };
        if inquiry == Inquiry::Sessions {
            report.ephemerals =
                tree.ephemerals().iter().map(|(session, paths)| (session, owned(paths))).collect();
            let expiry = |sessions: &Sessions<Owner>| {
                sessions.buckets().map(|(at, ids)| (at, ids.iter().copied().collect())).collect()
            };
            report.expiry = expiry(&self.sessions);
            report.local_expiry = self.has_local_sessions().then(|| expiry(&self.local));
            let decides = matches!(self.serving, Serving::Leader(_));
            report.timeouts = (!decides).then(|| self.sessions_on_disk());
        }
        report
    }

    fn ensemble_report(&self) -> EnsembleReport {
        let mut report = self.zab.report();
        if let Some(leader) = &mut report.leader {
            leader.pending_syncs = self.syncs.iter().map(|(after, _)| after).collect::<BTreeSet<_>>().len();
        }
        report
    }
}
