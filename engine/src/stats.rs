//! Plain counters, one set a core, and the report that an operator gets of them.

use crate::id::{ServerId, SessionId, Tick, Zxid};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Namespaces that are counted; ZooKeeper's set of them grows without a bound.
const NAMESPACES_MAX: usize = 10_000;

/// Requests that a hard quota refused, by the first name of their paths (`QUOTA_EXCEEDED_ERROR_PER_NAMESPACE`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaRefusals {
    by_namespace: BTreeMap<Box<str>, u64>,
}

impl QuotaRefusals {
    /// A request for `path` was refused.
    pub fn add(&mut self, path: &str) {
        let Some(namespace) = path.split('/').nth(1).filter(|name| !name.is_empty()) else { return };
        if let Some(count) = self.by_namespace.get_mut(namespace) {
            *count += 1;
        } else if self.by_namespace.len() < NAMESPACES_MAX {
            self.by_namespace.insert(namespace.into(), 1);
        }
    }

    /// Each namespace with its refusals, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_namespace.iter().map(|(namespace, count)| (&**namespace, *count))
    }

    /// Counts from zero: ZooKeeper keeps the names (`SimpleCounterSet.reset`).
    pub fn reset(&mut self) {
        self.by_namespace.values_mut().for_each(|count| *count = 0);
    }
}

/// Latencies of requests, or other times, in milliseconds, as ZooKeeper counts them (`AvgMinMaxCounter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The shortest; zero before the first.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// Their sum.
    pub total: u64,
    /// How many.
    pub count: u64,
}

impl Latency {
    /// One request took `ms`.
    pub fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.total += ms;
        self.count += 1;
    }

    /// Both.
    pub fn merged(self, other: Latency) -> Latency {
        let min = match (self.count, other.count) {
            (0, _) => other.min,
            (_, 0) => self.min,
            _ => self.min.min(other.min),
        };
        Latency {
            min,
            max: self.max.max(other.max),
            total: self.total + other.total,
            count: self.count + other.count,
        }
    }

    /// The mean; zero without a request.
    pub fn average(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total as f64 / self.count as f64 }
    }
}

/// What happened on one connection, or on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames that came.
    pub received: u64,
    /// Frames that went.
    pub sent: u64,
    /// How long answers took.
    pub latency: Latency,
}

impl Traffic {
    /// Both.
    pub fn merged(self, other: Traffic) -> Traffic {
        Traffic {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            latency: self.latency.merged(other.latency),
        }
    }
}

/// What a report is for: it holds no more than that, so that a monitor's question does not copy
/// every path that a big server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Numbers alone.
    Counters,
    /// And each connection.
    Connections,
    /// And sessions with their deadlines, connections and ephemeral nodes.
    Sessions,
    /// And each data watch.
    Watches,
    /// Numbers; the server's count from zero after it.
    ResetServer,
    /// Numbers; those of each connection count from zero after it.
    ResetConnections,
}

/// One client connection, as `cons` shows it.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its session, once it has one.
    pub session: Option<SessionId>,
    /// The session's timeout, in milliseconds.
    pub timeout_ms: u32,
    /// Requests without an answer.
    pub outstanding: usize,
    /// What its task waits for, as Java's `SelectionKey` numbers it: 1 to read, 4 to write, 5 both.
    pub interest: u8,
    /// Frames and latencies.
    pub traffic: Traffic,
    /// When it was made, in milliseconds since 1970.
    pub established_ms: i64,
    /// The last request, since the counters began.
    pub last: Option<LastOperation>,
}

/// The last request of a connection.
#[derive(Clone, Copy, Debug)]
pub struct LastOperation {
    /// ZooKeeper's four letters for the operation.
    pub name: &'static str,
    /// The client's number for it, or if that is negative (a ping's) the last that was not; -1
    /// without one.
    pub xid: i32,
    /// The zxid of its answer.
    pub zxid: Zxid,
    /// When it was answered, in milliseconds since 1970.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// What one client core knows.
#[derive(Clone, Debug, Default)]
pub struct CoreReport {
    /// How many connections it has.
    pub connection_count: usize,
    /// Its connections, if they were asked for.
    pub connections: Vec<ConnectionReport>,
    /// Requests without an answer.
    pub outstanding: usize,
    /// Frames and latencies of all of them, those that are gone included.
    pub traffic: Traffic,
    /// Every watch, in both tables.
    pub watch_count: usize,
    /// Data watches by session, if they were asked for.
    pub watches: Vec<(SessionId, Vec<String>)>,
    /// Connections that were turned away.
    pub rejected: u64,
}

/// What the replica knows.
#[derive(Clone, Debug, Default)]
pub struct ReplicaReport {
    /// ZooKeeper's word for what the server is: `standalone`, `leader`, `read-only` and so on.
    pub state: &'static str,
    /// The newest transaction in the tree.
    pub zxid: Zxid,
    /// Nodes, the server's own included.
    pub node_count: usize,
    /// Bytes of paths and data.
    pub data_bytes: i64,
    /// Ephemeral nodes.
    pub ephemeral_count: usize,
    /// The ephemeral nodes of each session, if they were asked for.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// Sessions of the ensemble by the moment at which they expire, if they were asked for. A learner has
    /// those of its connections.
    pub expiry: Vec<(Tick, Vec<SessionId>)>,
    /// The same of local sessions; `None` where there can be none.
    pub local_expiry: Option<Vec<(Tick, Vec<SessionId>)>>,
    /// Sessions of the ensemble with their timeouts in milliseconds, of a server that does not decide when
    /// they expire.
    pub timeouts: Option<Vec<(SessionId, u32)>>,
    /// Sessions of the ensemble.
    pub session_count: usize,
    /// Sessions of this server alone.
    pub local_session_count: usize,
    /// Requests that wait for the log.
    pub outstanding: usize,
    /// Requests that a hard quota refused here.
    pub quota_refusals: QuotaRefusals,
    /// The moment of the report.
    pub at: Tick,
    /// What it knows of its ensemble, if it belongs to one.
    pub ensemble: Option<EnsembleReport>,
}

/// What a server knows of its ensemble.
#[derive(Clone, Debug, Default)]
pub struct EnsembleReport {
    /// Servers with a vote.
    pub quorum_size: usize,
    /// What it does in the protocol, in ZooKeeper's words: `leading - broadcast`.
    pub peer_state: &'static str,
    /// Whom an observer observes.
    pub observed: Option<ServerId>,
    /// What a leader that serves knows of its learners.
    pub leader: Option<LeaderReport>,
    /// What happened since the start.
    pub counters: EnsembleCounters,
}

/// What a leader knows of its learners.
#[derive(Clone, Debug, Default)]
pub struct LeaderReport {
    /// Those that are connected.
    pub learners: usize,
    /// Those of them that get proposals.
    pub synced_followers: usize,
    /// Those of these that have no vote.
    pub synced_non_voting_followers: usize,
    /// Those that get what is committed.
    pub synced_observers: usize,
    /// Positions in the order of proposals that a sync waits for.
    pub pending_syncs: usize,
    /// Since when it leads, in milliseconds.
    pub uptime_ms: u64,
    /// Of what it proposed.
    pub proposal_bytes: Option<ProposalBytes>,
}

/// Sizes of proposals, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalBytes {
    /// Of the last.
    pub last: usize,
    /// Of the smallest.
    pub min: usize,
    /// Of the largest.
    pub max: usize,
}

/// What happened to a server of an ensemble, under the names of ZooKeeper's `ServerMetrics`. Times are in
/// milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnsembleCounters {
    /// From looking for a leader to having one.
    pub election_time: Latency,
    /// From looking for a leader to serving clients.
    pub unavailable_time: Latency,
    /// Those that ended with this server as the leader.
    pub leader_unavailable_time: Latency,
    /// From knowing the leader's epoch to serving, as a follower.
    pub follower_sync_time: Latency,
    /// The same as an observer.
    pub observer_sync_time: Latency,
    /// How often it began to look for a leader.
    pub looking_count: u64,
    /// Learners that were sent what they missed.
    pub diff_count: u64,
    /// Learners that were sent a whole tree.
    pub snap_count: u64,
    /// Transactions proposed as the leader.
    pub proposal_count: u64,
    /// Transactions committed as the leader.
    pub commit_count: u64,
    /// How often it gave up to lead because its voters had gone.
    pub quit_leading_due_to_disloyal_voter: u64,
    /// Sessions that learners asked the leader about.
    pub revalidate_count: u64,
    /// Transactions that a leader proposed to this server.
    pub learner_proposal_received_count: u64,
    /// Transactions that a leader committed.
    pub learner_commit_received_count: u64,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From the replica.
    pub replica: ReplicaReport,
    /// From each core.
    pub cores: Vec<CoreReport>,
}

impl Report {
    /// Frames and latencies of all cores.
    pub fn traffic(&self) -> Traffic {
        self.cores.iter().fold(Traffic::default(), |sum, core| sum.merged(core.traffic))
    }

    /// A number of every core, summed.
    pub fn sum(&self, number: impl Fn(&CoreReport) -> usize) -> usize {
        self.cores.iter().map(number).sum()
    }

    /// The connections of all cores, the oldest first.
    pub fn connections(&self) -> Vec<&ConnectionReport> {
        let mut all: Vec<_> = self.cores.iter().flat_map(|core| &core.connections).collect();
        all.sort_by_key(|connection| (connection.established_ms, connection.peer));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_the_first_name_within_a_bound() {
        let mut refusals = QuotaRefusals::default();
        ["/a", "/a/b", "/b/a/a", "/", "//x", ""].iter().for_each(|path| refusals.add(path));
        assert_eq!(refusals.iter().collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
        refusals.reset();
        assert_eq!(refusals.iter().collect::<Vec<_>>(), [("a", 0), ("b", 0)]);
        (0..2 * NAMESPACES_MAX).for_each(|number| refusals.add(&format!("/n{number}")));
        refusals.add("/a");
        assert_eq!(refusals.iter().count(), NAMESPACES_MAX);
        assert_eq!(refusals.iter().next(), Some(("a", 1)));
    }
}
