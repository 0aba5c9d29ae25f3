//! What an ensemble promises, as laws over line-ups of Java's servers and ours (letters: see
//! `ringkeeper_tests::ensemble::kind`). Each law is proven on Java alone first, so that a failure of another
//! line-up is the fault of our server: any line-up is run by `LINE_UP=jjj`, those of CI stand below. The last server of an even start leads: of equal votes the highest
//! number wins.

#[path = "ensemble/monitor.rs"]
mod monitor;
#[path = "ensemble/permissions.rs"]
mod permissions;
#[path = "ensemble/ports.rs"]
mod ports;
#[path = "ensemble/weights.rs"]
mod weights;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use permissions::a_reconfiguration_is_for_who_may_write_the_configuration;
use ports::{
    a_port_for_clients_that_is_taken_costs_new_clients_alone, a_server_that_was_away_comes_to_its_new_ports,
    clients_come_to_the_port_that_a_reconfiguration_names,
    ports_for_servers_that_are_taken_cost_no_session_and_no_write,
    servers_meet_at_the_ports_that_a_reconfiguration_names, two_servers_may_trade_places,
};
use ringkeeper_engine::id::Zxid;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::reconfig::{self, Change, Rules};
use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::check::{Summary, check, digests, equal, trees};
use ringkeeper_tests::ensemble::load::{Load, Rate, Seen};
use ringkeeper_tests::ensemble::node::{Data, Mode, Role};
use ringkeeper_tests::ensemble::{Ensemble, Plan, kind, tree};
use ringkeeper_tests::server::Options;
use ringkeeper_tests::wire::{ConnectRequest, Decoder, Received, Session, error_name, op};
use weights::{a_server_without_weight_counts_for_nothing, groups_decide_and_not_heads};

/// Waits that a failure ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for the start of an ensemble, which may be of JVMs.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// Long beside what a test takes.
const TIMEOUT_MS: i32 = 30_000;

/// A law, told its line-up.
type Law = fn(&str);

/// The laws of a list, by name.
macro_rules! table {
    ($($law:ident),* $(,)?) => { &[$((stringify!($law), $law)),*] };
}

/// For three servers.
const THREE: &[(&str, Law)] = table![
    a_killed_leader_costs_no_session_and_no_write,
    a_killed_follower_costs_no_session_and_no_write,
    a_paused_leader_is_replaced_and_comes_back_as_a_follower,
    a_paused_follower_catches_up,
    a_rolling_restart_costs_no_session_and_no_write,
    an_observer_serves_and_does_not_vote,
    a_session_is_everywhere,
    sync_shows_what_was_acknowledged_elsewhere,
    without_a_quorum_nobody_serves_but_readers,
    a_leader_that_serves_no_client_leads_all_the_same,
    a_local_session_is_its_servers_until_it_has_an_ephemeral_node,
    a_server_without_data_takes_the_whole_tree,
    an_epoch_that_is_used_up_ends_without_a_pause,
    a_reconfiguration_is_granted_or_refused_as_the_rules_say,
    a_reconfiguration_is_for_who_may_write_the_configuration,
    a_leader_that_is_voted_out_hands_over,
    clients_come_to_the_port_that_a_reconfiguration_names,
    a_port_for_clients_that_is_taken_costs_new_clients_alone,
    servers_meet_at_the_ports_that_a_reconfiguration_names,
    ports_for_servers_that_are_taken_cost_no_session_and_no_write,
    a_server_that_was_away_comes_to_its_new_ports,
    two_servers_may_trade_places,
    a_server_without_weight_counts_for_nothing,
];

/// For five.
const FIVE: &[(&str, Law)] = table![
    a_killed_leader_costs_no_session_and_no_write,
    a_killed_follower_costs_no_session_and_no_write,
    a_paused_leader_is_replaced_and_comes_back_as_a_follower,
    a_rolling_restart_costs_no_session_and_no_write,
    two_of_five_may_be_killed_at_once,
];

/// For nine.
const NINE: &[(&str, Law)] = table![groups_decide_and_not_heads];

/// A test a law, for a line-up that always runs.
macro_rules! line_up {
    ($line_up:ident: $($law:ident),* $(,)?) => {
        mod $line_up {
            $(#[test] fn $law() { crate::$law(stringify!($line_up)) })*
        }
    };
}

line_up! { rrr:
    a_killed_leader_costs_no_session_and_no_write,
    a_killed_follower_costs_no_session_and_no_write,
    a_paused_leader_is_replaced_and_comes_back_as_a_follower,
    a_paused_follower_catches_up,
    a_rolling_restart_costs_no_session_and_no_write,
    an_observer_serves_and_does_not_vote,
    a_session_is_everywhere,
    sync_shows_what_was_acknowledged_elsewhere,
    without_a_quorum_nobody_serves_but_readers,
    a_leader_that_serves_no_client_leads_all_the_same,
    a_local_session_is_its_servers_until_it_has_an_ephemeral_node,
    a_server_without_data_takes_the_whole_tree,
    an_epoch_that_is_used_up_ends_without_a_pause,
    a_reconfiguration_is_granted_or_refused_as_the_rules_say,
    a_reconfiguration_is_for_who_may_write_the_configuration,
    a_leader_that_is_voted_out_hands_over,
    clients_come_to_the_port_that_a_reconfiguration_names,
    a_port_for_clients_that_is_taken_costs_new_clients_alone,
    servers_meet_at_the_ports_that_a_reconfiguration_names,
    ports_for_servers_that_are_taken_cost_no_session_and_no_write,
    a_server_that_was_away_comes_to_its_new_ports,
    two_servers_may_trade_places,
    a_server_without_weight_counts_for_nothing,
}
// Ours leads Java's servers.
line_up! { jjr:
    a_killed_leader_costs_no_session_and_no_write,
    a_rolling_restart_costs_no_session_and_no_write,
    a_session_is_everywhere,
    a_server_without_data_takes_the_whole_tree,
    servers_meet_at_the_ports_that_a_reconfiguration_names,
    a_server_that_was_away_comes_to_its_new_ports,
}
// Ours follows one, and observes. A killed leader is not among the laws: where a ZooKeeper of 3.8 comes back to
// another under load, it may fail by itself (ZOOKEEPER-4394).
line_up! { rjj:
    an_observer_serves_and_does_not_vote,
    a_server_without_data_takes_the_whole_tree,
    clients_come_to_the_port_that_a_reconfiguration_names,
    servers_meet_at_the_ports_that_a_reconfiguration_names,
    a_server_that_was_away_comes_to_its_new_ports,
}
// Both kinds of servers keep the same files.
line_up! { rrj: a_reconfiguration_is_granted_or_refused_as_the_rules_say }
line_up! { rrrrr:
    a_killed_leader_costs_no_session_and_no_write,
    a_killed_follower_costs_no_session_and_no_write,
    a_paused_leader_is_replaced_and_comes_back_as_a_follower,
    a_rolling_restart_costs_no_session_and_no_write,
    two_of_five_may_be_killed_at_once,
}
line_up! { rrrrrrrrr: groups_decide_and_not_heads }

/// The laws whose names contain `LAW` (all without it) for the line-up that `LINE_UP` names, such as `jjj`.
#[test]
#[ignore = "runs what LINE_UP and LAW name"]
fn laws_of_a_line_up() {
    let line_up = std::env::var("LINE_UP").unwrap_or_else(|_| "jjj".to_owned());
    let part = std::env::var("LAW").unwrap_or_default();
    let laws = match line_up.len() {
        9 => NINE,
        5 => FIVE,
        _ => THREE,
    };
    for (name, law) in laws.iter().filter(|(name, _)| name.contains(&part)) {
        println!("{line_up}: {name}");
        law(&line_up);
    }
}

/// Each server of the line-up `LINE_UP` (`jjj`) is replaced by that of `LINE_UP_AFTER` (`nnn`), one at a time.
#[test]
#[ignore = "runs what LINE_UP and LINE_UP_AFTER name"]
fn rolling_replacement() {
    let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (before, after) = (text("LINE_UP", "jjj"), text("LINE_UP_AFTER", "nnn"));
    a_rolling_replacement_costs_no_session_and_no_write(&before, &after);
}

#[test]
fn java_is_replaced_by_ours_and_back() {
    a_rolling_replacement_costs_no_session_and_no_write("jjj", "rrr");
}

/// The laws can fail: three servers that have lost their disks at once have lost what was acknowledged.
#[test]
#[ignore = "Java alone: shows that a loss is found"]
#[should_panic(expected = "a session failed")]
fn a_loss_is_found() {
    let mut ensemble = Ensemble::start(&Plan::of("jjj"));
    let load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    for id in ensemble.ids() {
        ensemble.node_mut(id).kill();
        ensemble.node_mut(id).replace(kind('j'), Data::Empty).unwrap_or_else(|e| panic!("server {id}: {e}"));
    }
    ensemble.ids().into_iter().for_each(|id| ensemble.start_one(id));
    ensemble.await_all();
    check(&mut ensemble, load, Instant::now());
}

/// How long nothing is acknowledged after a leader's kill -9, while 100 sessions write 1,500 times a second:
/// the median over rounds in which the line-ups of `GAP_LINE_UPS` (`nnn`) take turns, `GAP_ROUNDS` (10) each.
#[test]
#[ignore = "a measurement"]
fn longest_gaps_after_a_killed_leader() {
    let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let line_ups = text("GAP_LINE_UPS", "nnn");
    let rounds: usize = text("GAP_ROUNDS", "10").parse().expect("GAP_ROUNDS is a number");
    let mut gaps: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    for round in 0..rounds {
        for line_up in line_ups.split(',') {
            let mut ensemble = Ensemble::start(&Plan::of(line_up));
            let rate = Rate { sessions: 100, writes_per_second: 1_500, ..Rate::default() };
            let load = Load::start(&ensemble.addresses(), rate);
            load.await_more(3_000);
            let from = Instant::now();
            let leader = ensemble.await_leader();
            ensemble.node_mut(leader).kill();
            load.await_more(1_000);
            let summary = check(&mut ensemble, load, from);
            report(&format!("round {round}"), line_up, summary);
            gaps.entry(line_up).or_default().push(summary.longest_gap.as_millis());
        }
    }
    for (line_up, mut gaps) in gaps {
        gaps.sort_unstable();
        println!("{line_up}: median {} ms of {gaps:?}", gaps[gaps.len() / 2]);
    }
}

/// How long it takes from the start of the processes until all serve: `START_ROUNDS` (10) starts of each of the
/// line-ups of `START_LINE_UPS` (`rrr`), in turn. Of one that takes longer than `START_SLOW_MS` (none) the
/// outputs are printed; `RUST_LOG=ringkeeper_net=debug` has our servers tell of the election.
#[test]
#[ignore = "a measurement"]
fn times_until_all_serve() {
    let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let number = |name: &str, default: &str| text(name, default).parse().expect("it is a number");
    let line_ups = text("START_LINE_UPS", "rrr");
    let (rounds, slow_ms): (u64, u64) = (number("START_ROUNDS", "10"), number("START_SLOW_MS", "600000"));
    let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for round in 0..rounds {
        for line_up in line_ups.split(',') {
            let from = Instant::now();
            let ensemble = Ensemble::start(&Plan::of(line_up));
            let taken = from.elapsed().as_millis() as u64;
            times.entry(line_up).or_default().push(taken);
            println!(
                "round {round}: {line_up} serves after {taken} ms, server {:?} leads",
                ensemble.leader()
            );
            if taken > slow_ms {
                ensemble
                    .ids()
                    .into_iter()
                    .for_each(|id| println!("server {id}\n{}", ensemble.node(id).output()));
            }
        }
    }
    for (line_up, mut times) in times {
        times.sort_unstable();
        println!("{line_up}: median {} ms of {times:?}", times[times.len() / 2]);
    }
}

fn report(law: &str, line_up: &str, summary: Summary) {
    let Summary { acked, reconnects, longest_gap } = summary;
    println!(
        "{line_up}: {law}: {acked} writes, {reconnects} reconnects, longest gap {} ms",
        longest_gap.as_millis()
    );
}

/// A load over a failure: writes go on before, after it and after it is mended.
fn under_load(law: &str, line_up: &str, failure: impl FnOnce(&mut Ensemble, &Load)) {
    let mut ensemble = Ensemble::start(&Plan::of(line_up));
    let load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let from = Instant::now();
    failure(&mut ensemble, &load);
    load.await_more(200);
    report(law, line_up, check(&mut ensemble, load, from));
}

fn a_killed_leader_costs_no_session_and_no_write(line_up: &str) {
    under_load("a killed leader", line_up, |ensemble, load| {
        let leader = ensemble.await_leader();
        ensemble.node_mut(leader).kill();
        load.await_more(200);
        ensemble.start_one(leader);
        ensemble.await_all();
    });
}

fn two_of_five_may_be_killed_at_once(line_up: &str) {
    under_load("two killed", line_up, |ensemble, load| {
        let both = [ensemble.await_leader(), ensemble.followers()[0]];
        both.iter().for_each(|id| ensemble.node_mut(*id).kill());
        load.await_more(200);
        both.iter().for_each(|id| ensemble.start_one(*id));
        ensemble.await_all();
    });
}

fn a_killed_follower_costs_no_session_and_no_write(line_up: &str) {
    under_load("killed followers", line_up, |ensemble, load| {
        for follower in ensemble.followers() {
            ensemble.node_mut(follower).kill();
            load.await_more(200);
            ensemble.start_one(follower);
            ensemble.await_all();
        }
    });
}

fn a_paused_leader_is_replaced_and_comes_back_as_a_follower(line_up: &str) {
    under_load("a paused leader", line_up, |ensemble, load| {
        let paused = ensemble.await_leader();
        ensemble.node_mut(paused).pause();
        let leader = ensemble.await_leader();
        assert_ne!(leader, paused);
        load.await_more(200);
        ensemble.node_mut(paused).resume();
        ensemble.await_mode(paused, &[Mode::Follower]);
        assert_eq!(ensemble.leader(), Some(leader), "the one that was paused takes nothing back");
    });
}

fn a_paused_follower_catches_up(line_up: &str) {
    under_load("paused followers", line_up, |ensemble, load| {
        let leader = ensemble.await_leader();
        for follower in ensemble.followers() {
            ensemble.node_mut(follower).pause();
            load.await_more(400);
            ensemble.node_mut(follower).resume();
            ensemble.await_all();
        }
        assert_eq!(ensemble.leader(), Some(leader), "nobody needed another leader");
    });
}

fn a_rolling_restart_costs_no_session_and_no_write(line_up: &str) {
    under_load("a rolling restart", line_up, |ensemble, load| {
        for id in ensemble.ids() {
            ensemble.stop(id);
            load.await_more(100);
            ensemble.start_one(id);
            ensemble.await_all();
        }
    });
}

fn a_rolling_replacement_costs_no_session_and_no_write(before: &str, after: &str) {
    let law = format!("a rolling replacement by {after} and back");
    under_load(&law, before, |ensemble, load| {
        for (to, data) in [(after, Data::Kept), (before, Data::Empty)] {
            for (id, letter) in (1..).zip(to.chars()) {
                ensemble.stop(id);
                let data = if to == before && after.contains('r') { Data::Exported } else { data };
                let replaced = ensemble.node_mut(id).replace(kind(letter), data);
                replaced.unwrap_or_else(|e| panic!("server {id}: {e}"));
                ensemble.start_one(id);
                ensemble.await_all();
                load.await_more(100);
            }
        }
    });
}

/// The observer is of the kind of the first server.
fn an_observer_serves_and_does_not_vote(line_up: &str) {
    let observers = line_up[..1].to_owned();
    let mut ensemble = Ensemble::start(&Plan { observers, ..Plan::of(line_up) });
    let (observer, leader) = (4, ensemble.await_leader());
    ensemble.await_mode(observer, &[Mode::Observer]);
    // In its transaction stands what the first part would have done.
    let parts = [(op::CREATE, body::create("/part", b"", 0)), (op::DELETE, body::delete("/none"))];
    let multi = body::multi(parts.iter().map(|(op, record)| (*op, &record[..])));
    Session::begin(ensemble.node(observer).address(), TIMEOUT_MS).ask(op::MULTI, &multi);
    let load = Load::start(&[ensemble.node(observer).address()], Rate::default());
    load.await_more(200);
    check(&mut ensemble, load, Instant::now());
    // It serves on over a change of leader, though not without one.
    let load = Load::start(&ensemble.addresses(), Rate { sessions: 8, ..Rate::default() });
    let from = Instant::now();
    ensemble.node_mut(leader).kill();
    load.await_more(200);
    ensemble.await_all();
    report("an observer", line_up, check(&mut ensemble, load, from));
    // With one voter of three left it is no help.
    let left = ensemble.followers()[0];
    let other = ensemble.await_leader();
    ensemble.node_mut(other).kill();
    let ends = |ensemble: &Ensemble| [left, observer].iter().all(|id| ensemble.node(*id).mode().is_none());
    ensemble.await_that("one voter of three and an observer serve nobody", PATIENCE, ends);
}

/// A session that began at one server is the same at every other, and its end is seen at all.
fn a_session_is_everywhere(line_up: &str) {
    let mut ensemble = Ensemble::start(&Plan::of(line_up));
    let addresses = ensemble.addresses();
    let mut watchers: Vec<Session> = addresses.iter().map(|a| Session::begin(*a, TIMEOUT_MS)).collect();
    let mut session = Session::begin(addresses[0], TIMEOUT_MS);
    session.ask(op::CREATE, &body::create("/ephemeral", b"1", 1));
    for address in addresses.iter().cycle().skip(1).take(4) {
        let renewal = ConnectRequest { last_zxid_seen: 0, ..session.renewal() };
        let renewed = Session::connect(*address, &renewal).unwrap_or_else(|e| panic!("{address}: {e}"));
        assert_eq!(renewed.granted.session_id, session.granted.session_id);
        // Over the connection before nothing is done any more: it ends with its next request, and the error that
        // the leader makes of that, SessionMoved, is said by the end alone, as by ZooKeeper.
        if let Ok(reply) = session.request(op::SET_DATA, &body::set_data("/ephemeral", b"2")) {
            assert_eq!(error_name(reply.error), "SessionMoved");
        }
        assert_eq!(session.client.receive(PATIENCE), Received::Closed, "{address}");
        session = renewed;
        session.ask(op::SET_DATA, &body::set_data("/ephemeral", b"3"));
    }
    let shown = tree::look(&mut session, "/ephemeral").expect("it answers").expect("it is there");
    assert_eq!((shown.stat.version, &shown.data[..]), (4, &b"3"[..]), "what came over the new connections");
    permissions::access_is_the_same_everywhere(&addresses);
    let wrong = ConnectRequest { password: vec![1; 16], ..session.renewal() };
    for address in &addresses {
        assert!(Session::connect(*address, &wrong).is_err(), "{address} takes a wrong password");
    }
    // ZooKeeper closes a session's connection for whoever names the session, before it looks at the password.
    let mut session = Session::connect(addresses[2], &session.renewal()).expect("the password is right");
    for watcher in &mut watchers {
        watcher.ask(op::SYNC, &body::path("/"));
        let reply = watcher.ask(op::EXISTS, &body::read("/ephemeral", true));
        assert_eq!(reply.error, 0);
    }
    session.ask(op::CLOSE_SESSION, &[]);
    for watcher in &mut watchers {
        let event = watcher.client.receive(PATIENCE);
        assert!(matches!(event, Received::Frame(_)), "no event of the session's end: {event:?}");
    }
    // A session that says nothing any more expires, at all servers.
    let mut silent = Session::begin(addresses[1], 2_000);
    silent.ask(op::CREATE, &body::create("/ephemeral", b"", 1));
    let gone = |_: &Ensemble| {
        addresses.iter().all(|address| {
            let mut reader = Session::begin(*address, TIMEOUT_MS);
            reader.ask(op::SYNC, &body::path("/"));
            matches!(tree::look(&mut reader, "/ephemeral"), Ok(None))
        })
    };
    ensemble.await_that("the silent session's node is gone everywhere", PATIENCE, gone);
    for address in &addresses {
        let error = Session::connect(*address, &silent.renewal()).expect_err("it has expired");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{address}: {error}");
    }
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// What one client was told is written, another sees after a sync, at whatever server.
fn sync_shows_what_was_acknowledged_elsewhere(line_up: &str) {
    let ensemble = Ensemble::start(&Plan::of(line_up));
    let mut sessions: Vec<Session> =
        ensemble.addresses().iter().map(|a| Session::begin(*a, TIMEOUT_MS)).collect();
    sessions[0].ask(op::CREATE, &body::create("/shared", b"", 0));
    for round in 0..100 {
        let (writer, text) = (round % sessions.len(), round.to_string());
        sessions[writer].ask(op::SET_DATA, &body::set_data("/shared", text.as_bytes()));
        for session in &mut sessions {
            session.ask(op::SYNC, &body::path("/shared"));
            let shown = tree::look(session, "/shared").expect("it answers").expect("it is there");
            assert_eq!(String::from_utf8_lossy(&shown.data), text);
        }
    }
    digests(&ensemble);
}

/// With `readonlymode.enabled` a server without a quorum serves reads to those who asked for that. It can
/// give them local sessions alone: ZooKeeper, too, refuses a new session there unless they are enabled.
fn without_a_quorum_nobody_serves_but_readers(line_up: &str) {
    let options = Options {
        config: ["localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"].map(str::to_owned).into(),
        properties: vec!["readonlymode.enabled=true".to_owned()],
        ..Options::default()
    };
    let mut ensemble = Ensemble::start(&Plan { options, ..Plan::of(line_up) });
    let leader = ensemble.await_leader();
    let mut session = Session::begin(ensemble.node(leader).address(), TIMEOUT_MS);
    session.ask(op::CREATE, &body::create("/kept", b"1", 0));
    // With this it is a session of the ensemble.
    session.ask(op::CREATE, &body::create("/held", b"", 1));
    for follower in ensemble.followers() {
        ensemble.node_mut(follower).kill();
    }
    ensemble.await_mode(leader, &[Mode::ReadOnly]);
    let address = ensemble.node(leader).address();
    assert_eq!(ensemble.node(leader).four_letter_word("isro").expect("it answers").trim(), "ro");
    assert!(
        session.request(op::SET_DATA, &body::set_data("/kept", b"2")).is_err(),
        "the old connection is gone"
    );
    let plain = Session::connect(address, &ConnectRequest::new_session(TIMEOUT_MS));
    assert!(plain.is_err(), "a client that needs a quorum is refused");
    let global = ConnectRequest { read_only: Some(true), ..session.renewal() };
    assert!(Session::connect(address, &global).is_err(), "a session of the ensemble needs its quorum");
    let wish = ConnectRequest { read_only: Some(true), ..ConnectRequest::new_session(TIMEOUT_MS) };
    let mut reader = Session::connect(address, &wish).unwrap_or_else(|e| panic!("a reader: {e}"));
    assert_eq!(reader.granted.read_only, Some(true));
    let shown = tree::look(&mut reader, "/kept").expect("it answers").expect("it is there");
    assert_eq!(shown.data, b"1");
    let refused = reader.request(op::SET_DATA, &body::set_data("/kept", b"2")).expect("it answers");
    assert_eq!(error_name(refused.error), "NotReadOnly");
    for id in ensemble.ids().into_iter().filter(|id| *id != leader) {
        ensemble.start_one(id);
    }
    ensemble.await_all();
    // The session is older than the outage and outlived it.
    let mut session = Session::connect(ensemble.addresses()[0], &session.renewal()).expect("it is renewed");
    session.ask(op::SET_DATA, &body::set_data("/kept", b"3"));
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// With `leaderServes=no` the leader is there for its followers alone. To clients it is what it is without a
/// quorum, and so are the words of operators; whoever leads next stops serving, and serves again as a follower.
fn a_leader_that_serves_no_client_leads_all_the_same(line_up: &str) {
    let options = Options { config: vec!["leaderServes=no".to_owned()], ..Options::default() };
    let mut ensemble = Ensemble::prepare(&Plan { options, ..Plan::of(line_up) });
    let ids = ensemble.ids();
    ids.iter().for_each(|id| ensemble.start_one(*id));
    let serve = |ensemble: &Ensemble| {
        let follows = |id: &u8| ensemble.node(*id).mode() == Some(Mode::Follower);
        ids.iter().copied().filter(follows).collect::<Vec<u8>>()
    };
    let is_shut = |ensemble: &Ensemble, leader: u8| {
        let (node, wish) = (ensemble.node(leader), ConnectRequest::new_session(TIMEOUT_MS));
        let word = node.four_letter_word("srvr").expect("it answers");
        assert_eq!(word.trim(), "This ZooKeeper instance is not currently serving requests");
        assert!(Session::connect(node.address(), &wish).is_err(), "server {leader} leads and takes a client");
    };
    ensemble.await_that("two follow", START_PATIENCE, |ensemble| serve(ensemble).len() == 2);
    let followers = serve(&ensemble);
    let first = *ids.iter().find(|id| !followers.contains(id)).expect("one of three leads");
    is_shut(&ensemble, first);
    let mut session = Session::begin(ensemble.node(followers[0]).address(), TIMEOUT_MS);
    session.ask(op::CREATE, &body::create("/held", b"1", 1));
    ensemble.node_mut(first).kill();
    // Only a leader knows that the session lives.
    let renewed = RefCell::new(None);
    ensemble.await_that("the session is renewed", START_PATIENCE, |ensemble| {
        let renew =
            |id: &u8| Some((*id, Session::connect(ensemble.node(*id).address(), &session.renewal()).ok()?));
        renewed.replace(followers.iter().find_map(renew));
        renewed.borrow().is_some()
    });
    let (follower, mut session) = renewed.into_inner().expect("it was renewed a moment ago");
    is_shut(&ensemble, *followers.iter().find(|id| **id != follower).expect("the other one leads"));
    session.ask(op::SET_DATA, &body::set_data("/held", b"2"));
    ensemble.start_one(first);
    ensemble.await_that("it follows", START_PATIENCE, |ensemble| serve(ensemble).contains(&first));
    let mut session =
        Session::connect(ensemble.node(first).address(), &session.renewal()).expect("it serves");
    let shown = tree::look(&mut session, "/held").expect("it answers").expect("it is there");
    assert_eq!(shown.data, b"2");
}

/// With `localSessionsEnabled` a session costs no transaction and is known to one server, until it makes an
/// ephemeral node: from then on it is the ensemble's, and its node ends with it.
fn a_local_session_is_its_servers_until_it_has_an_ephemeral_node(line_up: &str) {
    let options = Options {
        config: ["localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"].map(str::to_owned).into(),
        ..Options::default()
    };
    let mut ensemble = Ensemble::start(&Plan { options, ..Plan::of(line_up) });
    let (ids, addresses) = (ensemble.ids(), ensemble.addresses());
    let zxids = |ensemble: &Ensemble| ids.iter().map(|id| ensemble.node(*id).zxid()).collect::<Vec<_>>();
    let before = zxids(&ensemble);
    let begin = |timeout_ms| addresses.iter().map(|a| Session::begin(*a, timeout_ms)).collect::<Vec<_>>();
    let (mut sessions, mut brief) = (begin(TIMEOUT_MS), begin(1_000));
    for (session, elsewhere) in sessions.iter_mut().zip(addresses.iter().cycle().skip(1)) {
        let error = Session::connect(*elsewhere, &session.renewal()).expect_err("it is known to one server");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    }
    for (session, here) in sessions.iter_mut().zip(&addresses) {
        *session = Session::connect(*here, &session.renewal()).expect("it is known here");
    }
    let counts = |ensemble: &Ensemble, id: u8| {
        ["zk_local_sessions", "zk_global_sessions"].map(|name| ensemble.node(id).measure(name))
    };
    let everywhere = |ensemble: &Ensemble, expected: [&str; 2]| {
        ids.iter().all(|id| counts(ensemble, *id) == expected.map(|count| Some(count.to_owned())))
    };
    let one_is_left = |ensemble: &Ensemble| everywhere(ensemble, ["1", "0"]);
    ensemble.await_that("the brief sessions are over", PATIENCE, one_is_left);
    for session in &mut brief {
        assert_eq!(session.client.receive(PATIENCE), Received::Closed);
    }
    assert_eq!(zxids(&ensemble), before, "sessions of one server are no transactions");
    for (id, session) in ids.iter().zip(&mut sessions) {
        session.ask(op::CREATE, &body::create(&format!("/plain{id}"), b"", 0));
        session.ask(op::CREATE, &body::create(&format!("/ephemeral{id}"), b"", 1));
    }
    let all_are_global = |ensemble: &Ensemble| everywhere(ensemble, ["0", "3"]);
    ensemble.await_that("the sessions are the ensemble's", PATIENCE, all_are_global);
    for (session, elsewhere) in sessions.iter_mut().zip(addresses.iter().cycle().skip(1)) {
        *session = Session::connect(*elsewhere, &session.renewal()).expect("it is known everywhere");
        session.ask(op::CLOSE_SESSION, &[]);
    }
    let mut reader = Session::begin(addresses[0], TIMEOUT_MS);
    reader.ask(op::SYNC, &body::path("/"));
    for id in &ids {
        assert!(matches!(tree::look(&mut reader, &format!("/ephemeral{id}")), Ok(None)));
        assert!(matches!(tree::look(&mut reader, &format!("/plain{id}")), Ok(Some(_))));
    }
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// A follower whose disk was replaced has everything again before it serves.
fn a_server_without_data_takes_the_whole_tree(line_up: &str) {
    under_load("empty servers", line_up, |ensemble, load| {
        for id in ensemble.followers() {
            ensemble.stop(id);
            let same = ensemble.node(id).kind.clone();
            ensemble.node_mut(id).replace(same, Data::Empty).unwrap_or_else(|e| panic!("server {id}: {e}"));
            load.await_more(100);
            ensemble.start_one(id);
            ensemble.await_all();
        }
    });
}

/// A zxid can tell so many transactions of an epoch: the leader moves to the next one in place, and no client
/// loses its connection. Only ours can; a ZooKeeper's leader steps down.
fn an_epoch_that_is_used_up_ends_without_a_pause(line_up: &str) {
    if line_up.contains(|kind| kind != 'r') {
        // No test of its own is skipped: only a line-up that somebody names comes here.
        return println!("{line_up}: a ZooKeeper among them does not move to an epoch in place");
    }
    let options =
        Options { config: vec!["leader.epochTransactionsMax=1000".to_owned()], ..Options::default() };
    let mut ensemble = Ensemble::start(&Plan { options, ..Plan::of(line_up) });
    let leader = ensemble.await_leader();
    let load = Load::start(&ensemble.addresses(), Rate { writes_per_second: 2_000, ..Rate::default() });
    let epoch = |load: &Load| {
        let newest =
            |seen: &Seen| seen.acked.last().map_or(Zxid::ZERO, |acked| Zxid(acked.zxid.cast_unsigned()));
        load.seen().iter().map(newest).max().unwrap_or_default().epoch().0
    };
    let (from, first) = (Instant::now(), epoch(&load));
    load.await_more(4_000);
    let epochs = epoch(&load) - first;
    assert!((4..=6).contains(&epochs), "4,000 writes took {epochs} epochs");
    assert_eq!(ensemble.leader(), Some(leader));
    let summary = check(&mut ensemble, load, from);
    assert_eq!(summary.reconnects, 0);
    report("used up epochs", line_up, summary);
}

/// The pure rules foretell what a leader answers, what `/zookeeper/config` is then, and the files.
fn a_reconfiguration_is_granted_or_refused_as_the_rules_say(line_up: &str) {
    const NONE: Change<'_> = Change { joining: None, leaving: None, whole: None, from_version: -1 };
    let options = Options {
        config: vec!["reconfigEnabled=true".to_owned()],
        properties: vec!["zookeeper.skipACL=yes".to_owned()],
        ..Options::default()
    };
    let mut ensemble = Ensemble::start(&Plan { options, clients_in_members: true, ..Plan::of(line_up) });
    let lines: Vec<String> =
        (1..=3).map(|id| ensemble.node(id).ports.line(id, Role::Participant, true)).collect();
    let observer = ensemble.node(1).ports.line(1, Role::Observer, true);
    let all = lines.join(",");
    let grouped = format!("{all},group.1=1:2:3,weight.3=2");
    // A server that is not there counts with its weight, so all three are needed; without one it is refused.
    let (nobody, absent) = (format!("{all},group.1=1:2:3:9"), format!("{all},group.1=1:2:3:9,weight.9=1"));
    let (pair, one) = (format!("{},{observer}", lines[1]), format!("{},tickTime=1", lines[1]));
    let joining = |text| Change { joining: Some(text), ..NONE };
    let leaving = |text| Change { leaving: Some(text), ..NONE };
    let whole = |text| Change { whole: Some(text), ..NONE };
    let changes = [
        whole(&absent),
        whole(&all),
        whole(&nobody),
        Change { from_version: 5, ..NONE },
        joining("nonsense"),
        joining("server.x=127.0.0.1:1:2;3"),
        joining("server.7=127.0.0.1:1:2"),
        joining("server.7=127.0.0.1:1:1;3"),
        joining("server.7=127.0.0.1:1:70000;3"),
        joining("server.7=127.0.0.1:1:p;3"),
        joining("server.7=127.0.0.1:1:2:king;3"),
        joining("server.7=10.0.0.1:1:2;3,server.8=10.0.0.1:4:2;5"),
        joining("server.7=127.0.0.1:1:2;3,8=127.0.0.1:1:2;3,9=127.0.0.1:1:2;3,10=127.0.0.1:1:2;3"),
        leaving("x"),
        leaving("1,2"),
        leaving("1,2,3"),
        whole("tickTime=1"),
        whole(&one),
        whole(&lines[0]),
        whole(&observer),
        whole(&pair),
        NONE,
        leaving("99"),
        leaving("1"),
        joining(&observer),
        joining(&lines[0]),
        joining("server.7=127.0.0.1:1:2:observer;3"),
        whole(&grouped),
        leaving("1"),
        whole(&all),
    ];
    let mut session = Session::begin(ensemble.node(2).address(), TIMEOUT_MS);
    let shown = tree::look(&mut session, "/zookeeper/config").expect("it answers").expect("it is there");
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("it is text");
    let mut members = Members::parse(&text(&shown.data)).expect("it is a configuration");
    assert_eq!(members.to_string(), text(&shown.data));
    let rules = Rules { standalone_enabled: true, multi_address: false };
    for change in &changes {
        let body = body::reconfig(change.joining, change.leaving, change.whole, change.from_version);
        let reply = session.request(op::RECONFIG, &body).unwrap_or_else(|e| panic!("{change:?}: {e}"));
        let zxid = Zxid(reply.zxid.cast_unsigned());
        match reconfig::prepare(change, &members, &members, rules, zxid, |id| id.0 <= 3) {
            Err(refusal) => {
                assert_eq!(reply.error, refusal.code.code(), "{change:?}: {}", error_name(reply.error));
            }
            Ok(next) => {
                assert_eq!(error_name(reply.error), "ok", "{change:?}");
                members = next;
                let data = Decoder::new(&reply.body).buffer("data").expect("a buffer").map(<[u8]>::to_vec);
                assert_eq!(text(&data.unwrap_or_default()), members.to_string(), "{change:?}");
                if members.is_hierarchical() {
                    await_files(&mut ensemble, &members);
                }
            }
        }
    }
    await_files(&mut ensemble, &members);
    ensemble.await_all();
    equal(&ensemble, &trees(&ensemble));
}

/// A leader that loses its vote names the next one, which leads without an election; when it comes back, it
/// follows. Nobody loses a session or a write.
fn a_leader_that_is_voted_out_hands_over(line_up: &str) {
    let options = Options {
        config: vec!["reconfigEnabled=true".to_owned()],
        properties: vec!["zookeeper.skipACL=yes".to_owned()],
        ..Options::default()
    };
    let mut ensemble = Ensemble::start(&Plan { options, clients_in_members: true, ..Plan::of(line_up) });
    let load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let from = Instant::now();
    for _ in 0..2 {
        let leader = ensemble.await_leader();
        let line = ensemble.node(leader).ports.line(leader, Role::Participant, true);
        let number = leader.to_string();
        let witness = ensemble.followers()[0];
        reconfigure(&mut ensemble, witness, &body::reconfig(None, Some(&number), None, -1));
        let other = |ensemble: &Ensemble| ensemble.leader().is_some_and(|now| now != leader);
        ensemble.await_that("another leads", PATIENCE, other);
        load.await_more(200);
        reconfigure(&mut ensemble, witness, &body::reconfig(Some(&line), None, None, -1));
        ensemble.await_mode(leader, &[Mode::Follower]);
        ensemble.await_all();
        load.await_more(200);
    }
    report("a leader that is voted out", line_up, check(&mut ensemble, load, from));
}

/// Asks until it is granted: the one who is asked may lose its leader meanwhile, and what was done is granted
/// again.
fn reconfigure(ensemble: &mut Ensemble, id: u8, body: &[u8]) {
    let granted = |ensemble: &Ensemble| {
        let wish = ConnectRequest::new_session(TIMEOUT_MS);
        let session = Session::connect(ensemble.node(id).address(), &wish);
        let reply = session.and_then(|mut session| session.request(op::RECONFIG, body));
        reply.is_ok_and(|reply| error_name(reply.error) == "ok")
    };
    ensemble.await_that("the reconfiguration is granted", PATIENCE, granted);
}

/// Each server, Java's or ours, keeps the configuration in its dynamic file, all to the byte the same one, and
/// `zoo.cfg` names that.
fn await_files(ensemble: &mut Ensemble, members: &Members) {
    let name = reconfig::dynamic_file_name("zoo.cfg", members);
    let written = |ensemble: &Ensemble, id: u8| {
        let home = ensemble.node(id).home();
        let config = fs::read_to_string(home.join("zoo.cfg")).unwrap_or_default();
        let pointer = format!("dynamicConfigFile={}", home.join(&name).display());
        let has_members = config.lines().any(|line| line.starts_with("server."));
        fs::read_to_string(home.join(&name)).ok() == Some(reconfig::dynamic_file(members, true))
            && config.lines().any(|line| line == pointer)
            && !has_members
    };
    let all_written = |ensemble: &Ensemble| ensemble.ids().iter().all(|id| written(ensemble, *id));
    ensemble.await_that("each server keeps the last configuration", PATIENCE, all_written);
}
