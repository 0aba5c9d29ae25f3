//! The texts of the answers: functions of what is known, line by line as ZooKeeper 3.9.5 prints it.
//! Where ZooKeeper lists in the order of a hash table, these lists are sorted.

use super::Facts;
use super::machine::{DirectorySizes, FileDescriptors};
use crate::client::core::HANDSHAKE_MS_MAX;
use crate::stages::{Stage, Summary};
use jiff::Timestamp;
use ringkeeper_engine::id::{Now, SessionId, Tick};
use ringkeeper_engine::stats::{
    ConnectionReport, EnsembleReport, Latency, LeaderReport, ReplicaReport, Report,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;

/// A text from what writes it.
fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    write(&mut out).expect("a string takes everything");
    out
}

pub fn srvr(version: &str, report: &Report) -> String {
    text(|out| {
        write_head(out, version, report)?;
        write_server(out, report)
    })
}

pub fn stat(version: &str, report: &Report) -> String {
    text(|out| {
        write_head(out, version, report)?;
        writeln!(out, "Clients:")?;
        for connection in report.connections() {
            write_connection(out, connection, true)?;
        }
        writeln!(out)?;
        write_server(out, report)
    })
}

pub fn cons(report: &Report) -> String {
    text(|out| {
        for connection in report.connections() {
            write_connection(out, connection, false)?;
        }
        writeln!(out)
    })
}

fn write_head(out: &mut String, version: &str, report: &Report) -> fmt::Result {
    writeln!(out, "Zookeeper version: {version}")?;
    if report.replica.state == "read-only" {
        writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
    }
    Ok(())
}

fn write_server(out: &mut String, report: &Report) -> fmt::Result {
    let traffic = report.traffic();
    let Latency { min, max, .. } = traffic.latency;
    writeln!(out, "Latency min/avg/max: {min}/{}/{max}", average(traffic.latency))?;
    writeln!(out, "Received: {}", traffic.received)?;
    writeln!(out, "Sent: {}", traffic.sent)?;
    writeln!(out, "Connections: {}", report.sum(|core| core.connection_count))?;
    writeln!(out, "Outstanding: {}", report.sum(|core| core.outstanding))?;
    writeln!(out, "Zxid: {}", report.replica.zxid)?;
    writeln!(out, "Mode: {}", report.replica.state)?;
    writeln!(out, "Node count: {}", node_count(report))?;
    if let Some(leader) = report.replica.ensemble.as_ref().and_then(|ensemble| ensemble.leader.as_ref()) {
        let [last, min, max] = proposal_bytes(leader);
        writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
    }
    Ok(())
}

/// Last, smallest and largest; -1 before the first.
fn proposal_bytes(leader: &LeaderReport) -> [i64; 3] {
    leader.proposal_bytes.map_or([-1; 3], |bytes| [bytes.last, bytes.min, bytes.max].map(|n| n as i64))
}

/// ZooKeeper's tree knows its root by two names, and counts both.
fn node_count(report: &Report) -> usize {
    report.replica.node_count + 1
}

fn write_connection(out: &mut String, connection: &ConnectionReport, brief: bool) -> fmt::Result {
    let ConnectionReport { peer, interest, outstanding, traffic, .. } = connection;
    write!(out, " {}[{interest:x}](queued={outstanding},", java_address(*peer))?;
    write!(out, "recved={},sent={}", traffic.received, traffic.sent)?;
    if let (false, Some(session)) = (brief, connection.session) {
        let (established, timeout) = (connection.established_ms, connection.timeout_ms);
        let name = connection.last.map_or("NA", |last| last.name);
        write!(out, ",sid={session},lop={name},est={established},to={timeout}")?;
        if let Some(last) = connection.last.filter(|last| last.xid >= 0) {
            write!(out, ",lcxid=0x{:x}", last.xid)?;
        }
        // Without an operation ZooKeeper has -1 as the zxid, and 0 as the time.
        let zxid = connection.last.map_or(u64::MAX, |last| last.zxid.0);
        let (at, took) = connection.last.map_or((0, 0), |last| (last.at_ms, last.latency_ms));
        let Latency { min, max, total, count } = traffic.latency;
        let average = total.checked_div(count).unwrap_or(0);
        write!(out, ",lzxid=0x{zxid:x},lresp={at},llat={took},minlat={min},avglat={average},maxlat={max}")?;
    }
    writeln!(out, ")")
}

pub fn mntr(
    version: &str,
    report: &Report,
    files: FileDescriptors,
    stages: &[(Stage, Summary)],
    now: Now,
) -> String {
    let traffic = report.traffic();
    let Latency { min, max, .. } = traffic.latency;
    let rejected: u64 = report.cores.iter().map(|core| core.rejected).sum();
    text(|out| {
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(out, "zk_{key}\t{value}");
        line("version", &version)?;
        line("server_state", &report.replica.state)?;
        let ensemble = report.replica.ensemble.as_ref();
        if let Some(ensemble) = ensemble {
            line("peer_state", &ensemble.peer_state)?;
            if let Some(observed) = ensemble.observed {
                line("observer_master_id", &observed.0)?;
            }
        }
        line("avg_latency", &average(traffic.latency))?;
        line("max_latency", &max)?;
        line("min_latency", &min)?;
        line("packets_received", &traffic.received)?;
        line("packets_sent", &traffic.sent)?;
        line("num_alive_connections", &report.sum(|core| core.connection_count))?;
        line("outstanding_requests", &report.sum(|core| core.outstanding))?;
        // The clock starts with the server.
        line("uptime", &now.tick.0)?;
        line("znode_count", &node_count(report))?;
        line("watch_count", &report.sum(|core| core.watch_count))?;
        line("ephemerals_count", &report.replica.ephemeral_count)?;
        line("approximate_data_size", &report.replica.data_bytes)?;
        line("global_sessions", &report.replica.session_count)?;
        line("local_sessions", &report.replica.local_session_count)?;
        // There is no throttle that drops connections, and no TLS.
        line("connection_drop_probability", &"0.0")?;
        line("outstanding_tls_handshake", &0)?;
        line("connection_rejected", &rejected)?;
        line("open_file_descriptor_count", &files.open)?;
        line("max_file_descriptor_count", &files.max)?;
        for (namespace, count) in report.replica.quota_refusals.iter() {
            line(&format!("{namespace}_quota_exceeded_error_per_namespace"), &count)?;
        }
        ensemble.map_or(Ok(()), |ensemble| write_ensemble(out, ensemble))?;
        write_stages(out, stages)
    })
}

/// How long the hops of writes and reads took.
fn write_stages(out: &mut String, stages: &[(Stage, Summary)]) -> fmt::Result {
    for (stage, summary) in stages {
        let mut line = |key, value: &dyn fmt::Display| {
            let name = stage.name();
            writeln!(out, "zk_stage_{name}_{key}\t{value}")
        };
        line("count", &summary.count)?;
        line("sum_us", &summary.sum_us)?;
        line("avg_us", &format_args!("{:.1}", summary.average_us()))?;
        line("p50_us", &summary.p50_us)?;
        line("p99_us", &summary.p99_us)?;
        line("max_us", &summary.max_us)?;
    }
    Ok(())
}

/// The lines of `mntr` that servers of an ensemble have.
fn write_ensemble(out: &mut String, ensemble: &EnsembleReport) -> fmt::Result {
    let mut line = |key: &str, value: &dyn fmt::Display| writeln!(out, "zk_{key}\t{value}");
    line("quorum_size", &ensemble.quorum_size)?;
    if let Some(leader) = &ensemble.leader {
        line("learners", &leader.learners)?;
        line("synced_followers", &leader.synced_followers)?;
        line("synced_non_voting_followers", &leader.synced_non_voting_followers)?;
        line("synced_observers", &leader.synced_observers)?;
        line("pending_syncs", &leader.pending_syncs)?;
        line("leader_uptime", &leader.uptime_ms)?;
        let [last, min, max] = proposal_bytes(leader);
        line("last_proposal_size", &last)?;
        line("max_proposal_size", &max)?;
        line("min_proposal_size", &min)?;
    }
    let counters = &ensemble.counters;
    let counts = [
        ("looking_count", counters.looking_count),
        ("diff_count", counters.diff_count),
        ("snap_count", counters.snap_count),
        ("proposal_count", counters.proposal_count),
        ("commit_count", counters.commit_count),
        ("quit_leading_due_to_disloyal_voter", counters.quit_leading_due_to_disloyal_voter),
        ("revalidate_count", counters.revalidate_count),
        ("learner_proposal_received_count", counters.learner_proposal_received_count),
        ("learner_commit_received_count", counters.learner_commit_received_count),
    ];
    counts.iter().try_for_each(|(key, value)| line(key, value))?;
    let times = [
        ("election_time", counters.election_time),
        ("unavailable_time", counters.unavailable_time),
        ("leader_unavailable_time", counters.leader_unavailable_time),
        ("follower_sync_time", counters.follower_sync_time),
        ("observer_sync_time", counters.observer_sync_time),
    ];
    times.iter().try_for_each(|(key, time)| {
        writeln!(out, "zk_avg_{key}\t{}", average(*time))?;
        writeln!(out, "zk_min_{key}\t{}", time.min)?;
        writeln!(out, "zk_max_{key}\t{}", time.max)?;
        writeln!(out, "zk_cnt_{key}\t{}", time.count)?;
        writeln!(out, "zk_sum_{key}\t{}", time.total)
    })
}

pub fn dump(report: &Report, now: Now) -> String {
    let replica = &report.replica;
    let moment = |tick: Tick| now.wall_ms + tick.0 as i64 - now.tick.0 as i64;
    text(|out| {
        writeln!(out, "SessionTracker dump:")?;
        write_sessions(out, replica, moment)?;
        writeln!(out, "ephemeral nodes dump:")?;
        writeln!(out, "Sessions with Ephemerals ({}):", replica.ephemerals.len())?;
        for (session, paths) in &replica.ephemerals {
            writeln!(out, "{session}:")?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }
        writeln!(out, "Connections dump:")?;
        write_connection_sets(out, report, moment, now)
    })
}

/// Sessions by the moment at which they expire; a learner knows that of its local ones alone.
fn write_sessions(
    out: &mut String,
    replica: &ReplicaReport,
    moment: impl Fn(Tick) -> i64 + Copy,
) -> fmt::Result {
    let write_sets = |out: &mut String, name: &str, sets: &[(Tick, Vec<SessionId>)]| {
        let all: usize = sets.iter().map(|(_, sessions)| sessions.len()).sum();
        writeln!(out, "{name}Session Sets ({})/({all}):", sets.len())?;
        for (at, sessions) in sets {
            writeln!(out, "{} expire at {}:", sessions.len(), date(moment(*at)))?;
            for session in sessions {
                writeln!(out, "\t{session}")?;
            }
        }
        Ok(())
    };
    if let Some(local) = &replica.local_expiry {
        write_sets(out, "Local ", local)?;
    }
    match &replica.timeouts {
        None => {
            let name = if replica.local_expiry.is_some() { "Global " } else { "" };
            write_sets(out, name, &replica.expiry)
        }
        Some(timeouts) => {
            writeln!(out, "Global Sessions({}):", timeouts.len())?;
            timeouts.iter().try_for_each(|(session, ms)| writeln!(out, "{session}\t{ms}ms"))
        }
    }
}

/// Connections by the moment at which they are closed: with their session, or if they have none when
/// the time for a handshake is over.
fn write_connection_sets(
    out: &mut String,
    report: &Report,
    moment: impl Fn(Tick) -> i64,
    now: Now,
) -> fmt::Result {
    let mut deadlines = BTreeMap::new();
    let replica = &report.replica;
    for (at, sessions) in replica.expiry.iter().chain(replica.local_expiry.iter().flatten()) {
        deadlines.extend(sessions.iter().map(|session| (*session, moment(*at))));
    }
    let mut sets: BTreeMap<i64, Vec<&ConnectionReport>> = BTreeMap::new();
    for connection in report.connections() {
        let at = match connection.session {
            // A session without a deadline is being closed.
            Some(session) => deadlines.get(&session).copied().unwrap_or(now.wall_ms),
            None => connection.established_ms + HANDSHAKE_MS_MAX as i64,
        };
        sets.entry(at).or_default().push(connection);
    }
    writeln!(out, "Connections Sets ({})/({}):", sets.len(), report.sum(|core| core.connections.len()))?;
    for (at, connections) in sets {
        writeln!(out, "{} expire at {}:", connections.len(), date(at))?;
        for connection in connections {
            let session = connection.session.unwrap_or(SessionId(0));
            writeln!(out, "\tip: {} sessionId: {session}", java_address(connection.peer))?;
        }
    }
    Ok(())
}

/// Data watches of every session: who watches what.
fn watches(report: &Report) -> BTreeSet<(SessionId, &str)> {
    let all = report.cores.iter().flat_map(|core| &core.watches);
    all.flat_map(|(session, paths)| paths.iter().map(|path| (*session, &**path))).collect()
}

pub fn wchs(report: &Report) -> String {
    let watches = watches(report);
    let sessions: BTreeSet<_> = watches.iter().map(|(session, _)| session).collect();
    let paths: BTreeSet<_> = watches.iter().map(|(_, path)| path).collect();
    let (sessions, paths) = (sessions.len(), paths.len());
    format!("{sessions} connections watching {paths} paths\nTotal watches:{}\n", watches.len())
}

pub fn wchc(report: &Report) -> String {
    grouped(watches(report))
}

pub fn wchp(report: &Report) -> String {
    grouped(watches(report).into_iter().map(|(session, path)| (path, session)).collect())
}

/// A line for each key, under it an indented one for each of its values, and an empty one at the end.
fn grouped<K: PartialEq + fmt::Display, V: fmt::Display>(pairs: BTreeSet<(K, V)>) -> String {
    text(|out| {
        let mut last = None;
        for (key, value) in pairs {
            if last.as_ref() != Some(&key) {
                writeln!(out, "{key}")?;
            }
            writeln!(out, "\t{value}")?;
            last = Some(key);
        }
        writeln!(out)
    })
}

pub fn conf(facts: &Facts, sizes: DirectorySizes) -> String {
    let settings = &facts.settings;
    text(|out| {
        writeln!(out, "clientPort={}", facts.client_port.load(Ordering::Relaxed))?;
        // There is no port for TLS.
        writeln!(out, "secureClientPort=-1")?;
        writeln!(out, "dataDir={}", absolute(&facts.data_dir))?;
        writeln!(out, "dataDirSize={}", sizes.data)?;
        writeln!(out, "dataLogDir={}", absolute(&facts.data_log_dir))?;
        writeln!(out, "dataLogSize={}", sizes.log)?;
        writeln!(out, "tickTime={}", settings.tick_ms)?;
        writeln!(out, "maxClientCnxns={}", settings.max_client_cnxns)?;
        writeln!(out, "minSessionTimeout={}", settings.min_session_timeout_ms)?;
        writeln!(out, "maxSessionTimeout={}", settings.max_session_timeout_ms)?;
        writeln!(out, "clientPortListenBacklog={}", facts.listen_backlog.map_or(-1, i64::from))?;
        writeln!(out, "serverId={}", facts.server.0)
    })
}

pub fn dirs(sizes: DirectorySizes) -> String {
    format!("datadir_size: {}\nlogdir_size: {}\n", sizes.data, sizes.log)
}

pub fn envi(environment: &[(&str, String)]) -> String {
    text(|out| {
        writeln!(out, "Environment:")?;
        environment.iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
    })
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string()
}

/// The mean, to four places, as Java prints it.
fn average(latency: Latency) -> String {
    java_double((latency.average() * 1e4).round() / 1e4)
}

/// A finite number as Java's `Double.toString` prints it: with an exponent below 0.001 and from
/// 10,000,000 on, always with a decimal point.
fn java_double(number: f64) -> String {
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// A socket's address as Java prints one that was never looked up.
fn java_address(peer: SocketAddr) -> String {
    let port = peer.port();
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => format!("/{address}:{port}"),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}")).join(":");
            format!("/[{groups}]:{port}")
        }
    }
}

/// Milliseconds since 1970 as Java prints a `Date`, in UTC.
fn date(wall_ms: i64) -> String {
    let moment = Timestamp::from_millisecond(wall_ms).unwrap_or(Timestamp::MAX);
    moment.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::id::{ServerId, Zxid};
    use ringkeeper_engine::limits::Settings;
    use ringkeeper_engine::stats::{CoreReport, EnsembleCounters, LastOperation, ProposalBytes, Traffic};
    use std::sync::Arc;

    const VERSION: &str = "3.9.5-test, built on 2026-02-11 20:18 UTC";
    const A: SessionId = SessionId(0x100_002c_b214_0000);
    const B: SessionId = SessionId(-0x10);
    /// 2026-11-21 22:50:52.250 UTC, nine seconds after the server's start.
    const NOW: Now = Now { tick: Tick(9_000), us: 9_000_000, wall_ms: 1_795_301_452_250 };

    fn latencies(all: &[u64]) -> Latency {
        let mut latency = Latency::default();
        all.iter().for_each(|ms| latency.add(*ms));
        latency
    }

    fn connection(port: u16, session: Option<SessionId>) -> ConnectionReport {
        ConnectionReport {
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
            session,
            timeout_ms: if session.is_some() { 10_000 } else { 0 },
            outstanding: 0,
            interest: u8::from(session.is_some()),
            traffic: Traffic { received: 1, sent: 0, latency: Latency::default() },
            established_ms: NOW.wall_ms - 8_000 + i64::from(port),
            last: None,
        }
    }

    /// Two cores, two clients, and the operator who asks.
    fn report() -> Report {
        let mut client = connection(1, Some(A));
        client.outstanding = 3;
        client.traffic = Traffic { received: 7, sent: 5, latency: latencies(&[0, 2, 14, 1]) };
        client.last =
            Some(LastOperation { name: "GETD", xid: 20, zxid: Zxid(0x1f), at_ms: 77, latency_ms: 2 });
        let mut idle = connection(2, Some(B));
        idle.interest = 5;
        let mut reports = [CoreReport::default(), CoreReport::default()];
        reports[0].connections = vec![client];
        reports[0].outstanding = 3;
        reports[0].traffic = Traffic { received: 100, sent: 90, latency: latencies(&[0, 2, 14, 1]) };
        reports[0].watch_count = 4;
        reports[0].watches = vec![(A, vec!["/n".into(), "/a".into()])];
        reports[0].rejected = 2;
        reports[1].connections = vec![connection(3, None), idle];
        reports[1].traffic = Traffic { received: 3, sent: 2, latency: latencies(&[5, 6]) };
        reports[1].watch_count = 1;
        reports[1].watches = vec![(B, vec!["/n".into()])];
        reports.iter_mut().for_each(|core| core.connection_count = core.connections.len());
        let replica = ReplicaReport {
            state: "standalone",
            zxid: Zxid(0x1f),
            node_count: 8,
            data_bytes: 71,
            ephemeral_count: 3,
            ephemerals: vec![(B, vec!["/e3".into()]), (A, vec!["/e1".into(), "/e2".into()])],
            expiry: vec![(Tick(12_000), vec![B]), (Tick(20_000), vec![A])],
            local_expiry: None,
            timeouts: None,
            session_count: 2,
            local_session_count: 0,
            outstanding: 1,
            quota_refusals: Default::default(),
            at: NOW.tick,
            ensemble: None,
        };
        Report { replica, cores: reports.into() }
    }

    const SERVER: &str = "Latency min/avg/max: 0/4.6667/14\nReceived: 103\nSent: 92\nConnections: 3\n\
                          Outstanding: 3\nZxid: 0x1f\nMode: standalone\nNode count: 9\n";

    #[test]
    fn srvr_is_the_server_in_nine_lines() {
        assert_eq!(srvr(VERSION, &report()), format!("Zookeeper version: {VERSION}\n{SERVER}"));
    }

    #[test]
    fn stat_is_the_server_with_its_connections_in_short() {
        let expected = format!(
            "Zookeeper version: {VERSION}\nClients:\n\
             \x20/127.0.0.1:1[1](queued=3,recved=7,sent=5)\n\
             \x20/127.0.0.1:2[5](queued=0,recved=1,sent=0)\n\
             \x20/127.0.0.1:3[0](queued=0,recved=1,sent=0)\n\n{SERVER}"
        );
        assert_eq!(stat(VERSION, &report()), expected);
    }

    #[test]
    fn cons_is_each_connection_in_full_and_one_without_a_session_in_short() {
        let expected = "\x20/127.0.0.1:1[1](queued=3,recved=7,sent=5,sid=0x100002cb2140000,lop=GETD,\
                        est=1795301444251,to=10000,lcxid=0x14,lzxid=0x1f,lresp=77,llat=2,\
                        minlat=0,avglat=4,maxlat=14)\n\
                        \x20/127.0.0.1:2[5](queued=0,recved=1,sent=0,sid=0xfffffffffffffff0,lop=NA,\
                        est=1795301444252,to=10000,lzxid=0xffffffffffffffff,lresp=0,llat=0,\
                        minlat=0,avglat=0,maxlat=0)\n\
                        \x20/127.0.0.1:3[0](queued=0,recved=1,sent=0)\n\n";
        assert_eq!(cons(&report()), expected);
    }

    #[test]
    fn dump_is_sessions_ephemeral_nodes_and_connections_by_their_deadlines() {
        let expected = "SessionTracker dump:\n\
                        Session Sets (2)/(2):\n\
                        1 expire at Sat Nov 21 22:50:55 UTC 2026:\n\t0xfffffffffffffff0\n\
                        1 expire at Sat Nov 21 22:51:03 UTC 2026:\n\t0x100002cb2140000\n\
                        ephemeral nodes dump:\n\
                        Sessions with Ephemerals (2):\n\
                        0xfffffffffffffff0:\n\t/e3\n\
                        0x100002cb2140000:\n\t/e1\n\t/e2\n\
                        Connections dump:\n\
                        Connections Sets (3)/(3):\n\
                        1 expire at Sat Nov 21 22:50:54 UTC 2026:\n\
                        \tip: /127.0.0.1:3 sessionId: 0x0\n\
                        1 expire at Sat Nov 21 22:50:55 UTC 2026:\n\
                        \tip: /127.0.0.1:2 sessionId: 0xfffffffffffffff0\n\
                        1 expire at Sat Nov 21 22:51:03 UTC 2026:\n\
                        \tip: /127.0.0.1:1 sessionId: 0x100002cb2140000\n";
        assert_eq!(dump(&report(), NOW), expected);
    }

    #[test]
    fn dump_says_of_each_session_who_decides_when_it_expires() {
        let sessions = |report: &Report| {
            let dump = dump(report, NOW);
            let (sessions, _) = dump.split_once("ephemeral nodes dump:").expect("what follows them");
            sessions.replace("SessionTracker dump:\n", "")
        };
        let mut report = report();
        report.replica.local_expiry = Some(vec![(Tick(12_000), vec![SessionId(7)])]);
        let local =
            "Local Session Sets (1)/(1):\n1 expire at Sat Nov 21 22:50:55 UTC 2026:\n\t0x7\n".to_owned();
        let leaders = sessions(&report);
        assert!(leaders.starts_with(&format!("{local}Global Session Sets (2)/(2):\n")), "{leaders}");
        report.replica.timeouts = Some(vec![(B, 4000), (A, 10_000)]);
        let global = "Global Sessions(2):\n0xfffffffffffffff0\t4000ms\n0x100002cb2140000\t10000ms\n";
        assert_eq!(sessions(&report), local + global);
        report.replica.local_expiry = None;
        assert_eq!(sessions(&report), global);
    }

    #[test]
    fn who_serves_readers_alone_says_so() {
        let mut report = report();
        report.replica.state = "read-only";
        let says = srvr(VERSION, &report);
        let second = says.lines().nth(1);
        assert_eq!(second, Some("READ-ONLY mode; serving only read-only clients"), "{says}");
        assert!(says.contains("\nMode: read-only\n"), "{says}");
    }

    #[test]
    fn watches_of_all_cores_are_counted_and_listed_by_session_and_by_path() {
        let report = report();
        assert_eq!(wchs(&report), "2 connections watching 2 paths\nTotal watches:3\n");
        let by_session = "0xfffffffffffffff0\n\t/n\n0x100002cb2140000\n\t/a\n\t/n\n\n";
        assert_eq!(wchc(&report), by_session);
        let by_path = "/a\n\t0x100002cb2140000\n/n\n\t0xfffffffffffffff0\n\t0x100002cb2140000\n\n";
        assert_eq!(wchp(&report), by_path);
        let none = Report::default();
        assert_eq!(wchs(&none), "0 connections watching 0 paths\nTotal watches:0\n");
        assert_eq!([wchc(&none), wchp(&none)], ["\n", "\n"]);
    }

    #[test]
    fn mntr_is_a_key_a_tab_and_a_value_a_line() {
        let summary = Summary { count: 4, sum_us: 50, p50_us: 11, p99_us: 15, max_us: 14 };
        let stages = [(Stage::LogWrite, summary)];
        let mut report = report();
        ["/tenant/a", "/tenant"].iter().for_each(|path| report.replica.quota_refusals.add(path));
        let answer = mntr(VERSION, &report, FileDescriptors { open: 47, max: 20_000 }, &stages, NOW);
        assert!(answer.ends_with('\n'));
        let mut values = BTreeMap::new();
        for line in answer.lines() {
            let (key, value) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?} has no tab"));
            let name = key.strip_prefix("zk_").unwrap_or_else(|| panic!("{line:?} does not start with zk_"));
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.bytes().all(plain), "{key}");
            let text = matches!(name, "version" | "server_state");
            assert!(text || value.parse::<f64>().is_ok_and(f64::is_finite), "{line:?} is no number");
            assert_eq!(values.insert(name, value), None, "{key} comes twice");
        }
        let expected = [
            ("approximate_data_size", "71"),
            ("avg_latency", "4.6667"),
            ("connection_drop_probability", "0.0"),
            ("connection_rejected", "2"),
            ("ephemerals_count", "3"),
            ("global_sessions", "2"),
            ("local_sessions", "0"),
            ("max_file_descriptor_count", "20000"),
            ("max_latency", "14"),
            ("min_latency", "0"),
            ("num_alive_connections", "3"),
            ("open_file_descriptor_count", "47"),
            ("outstanding_requests", "3"),
            ("outstanding_tls_handshake", "0"),
            ("packets_received", "103"),
            ("packets_sent", "92"),
            ("server_state", "standalone"),
            ("stage_log_write_avg_us", "12.5"),
            ("stage_log_write_count", "4"),
            ("stage_log_write_max_us", "14"),
            ("stage_log_write_p50_us", "11"),
            ("stage_log_write_p99_us", "15"),
            ("stage_log_write_sum_us", "50"),
            ("tenant_quota_exceeded_error_per_namespace", "2"),
            ("uptime", "9000"),
            ("version", VERSION),
            ("watch_count", "5"),
            ("znode_count", "9"),
        ];
        assert_eq!(values.into_iter().collect::<Vec<_>>(), expected);
        assert!(answer.starts_with(&format!("zk_version\t{VERSION}\nzk_server_state\tstandalone\n")));
    }

    #[test]
    fn a_server_of_an_ensemble_says_more_and_its_leader_most() {
        let mut report = report();
        let counters =
            EnsembleCounters { proposal_count: 7, election_time: latencies(&[3, 8]), ..Default::default() };
        let leader = LeaderReport { learners: 3, synced_followers: 2, uptime_ms: 5000, ..Default::default() };
        let ensemble = EnsembleReport {
            quorum_size: 3,
            peer_state: "leading - broadcast",
            observed: None,
            leader: Some(leader),
            counters,
        };
        report.replica.ensemble = Some(ensemble.clone());
        let files = FileDescriptors { open: 47, max: 20_000 };
        let mut has = |ensemble: EnsembleReport, line: &str| {
            report.replica.ensemble = Some(ensemble);
            let answer = mntr(VERSION, &report, files, &[], NOW);
            answer.lines().any(|found| found == line)
        };
        for line in [
            "zk_peer_state\tleading - broadcast",
            "zk_quorum_size\t3",
            "zk_learners\t3",
            "zk_synced_followers\t2",
            "zk_leader_uptime\t5000",
            "zk_last_proposal_size\t-1",
            "zk_proposal_count\t7",
            "zk_avg_election_time\t5.5",
            "zk_min_election_time\t3",
            "zk_max_election_time\t8",
            "zk_cnt_election_time\t2",
            "zk_sum_election_time\t11",
        ] {
            assert!(has(ensemble.clone(), line), "{line}");
        }
        let observer = EnsembleReport { observed: Some(ServerId(2)), leader: None, ..ensemble.clone() };
        assert!(has(observer.clone(), "zk_observer_master_id\t2"));
        assert!(!has(observer, "zk_learners\t0"), "it has none to count");
        let last_line = srvr(VERSION, &report).lines().last().map(str::to_owned);
        assert_eq!(last_line.as_deref(), Some("Node count: 9"));
        let sizes = Some(ProposalBytes { last: 20, min: 10, max: 30 });
        let leader = LeaderReport { proposal_bytes: sizes, ..LeaderReport::default() };
        report.replica.ensemble = Some(EnsembleReport { leader: Some(leader), ..ensemble });
        assert!(srvr(VERSION, &report).ends_with("Node count: 9\nProposal sizes last/min/max: 20/10/30\n"));
    }

    #[test]
    fn conf_is_the_configuration_in_zookeepers_order() {
        let settings = Settings {
            tick_ms: 2000,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            max_client_cnxns: 60,
            ..Settings::default()
        };
        let mut facts = Facts {
            settings: Arc::new(settings),
            client_port: Arc::new(2181.into()),
            data_dir: "/data".into(),
            data_log_dir: "/log".into(),
            server: ServerId(3),
            ..Facts::default()
        };
        let sizes = DirectorySizes { data: 12, log: 67_109_337 };
        let expected = "clientPort=2181\nsecureClientPort=-1\ndataDir=/data\ndataDirSize=12\n\
                        dataLogDir=/log\ndataLogSize=67109337\ntickTime=2000\nmaxClientCnxns=60\n\
                        minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\n\
                        serverId=3\n";
        assert_eq!(conf(&facts, sizes), expected);
        facts.listen_backlog = Some(128);
        assert!(conf(&facts, sizes).contains("\nclientPortListenBacklog=128\n"));
        assert_eq!(dirs(sizes), "datadir_size: 12\nlogdir_size: 67109337\n");
    }

    #[test]
    fn envi_is_a_key_and_a_value_a_line() {
        let environment = [("zookeeper.version", VERSION.to_owned()), ("java.home", "<NA>".to_owned())];
        let expected = format!("Environment:\nzookeeper.version={VERSION}\njava.home=<NA>\n");
        assert_eq!(envi(&environment), expected);
    }

    #[test]
    fn numbers_are_printed_as_java_prints_them() {
        let printed = [
            (0.0, "0.0"),
            (2.75, "2.75"),
            (0.3333, "0.3333"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (9_999_999.5, "9999999.5"),
            (10_000_000.0, "1.0E7"),
            (12_345_678.5, "1.23456785E7"),
        ];
        for (number, text) in printed {
            assert_eq!(java_double(number), text);
        }
        assert_eq!(average(Latency { min: 0, max: 1, total: 1, count: 32 }), "0.0313", "half goes up");
    }

    #[test]
    fn addresses_are_printed_as_java_prints_them() {
        let printed = [
            ("127.0.0.1:2181", "/127.0.0.1:2181"),
            ("[::1]:9", "/[0:0:0:0:0:0:0:1]:9"),
            ("[fe80::ab:1]:9", "/[fe80:0:0:0:0:0:ab:1]:9"),
            ("[::ffff:10.0.0.7]:9", "/10.0.0.7:9"),
        ];
        for (address, text) in printed {
            assert_eq!(java_address(address.parse().unwrap()), text);
        }
    }
}
