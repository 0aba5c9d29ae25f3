//! What an ensemble promises, as laws over line-ups of Java's servers and ours (letters: see
//! `ringkeeper_tests::ensemble::kind`). Each law is proven on Java alone first, so that a failure of another
//! line-up is the fault of our server. The last server of an even start leads: of equal votes the highest
//! number wins.

use std::time::{Duration, Instant};

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::check::{Summary, check, digests, equal, trees};
use ringkeeper_tests::ensemble::load::{Load, Rate};
use ringkeeper_tests::ensemble::node::{Data, Mode};
use ringkeeper_tests::ensemble::{Ensemble, Plan, kind, tree};
use ringkeeper_tests::server::Options;
use ringkeeper_tests::wire::{ConnectRequest, Received, Session, error_name, op};

/// Waits that a failure ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long beside what a test takes.
const TIMEOUT_MS: i32 = 30_000;

/// Every law for one line-up of three. The mark goes to each: `ignore`, or `cfg(test)` for a line-up that always runs.
macro_rules! line_up {
    (#[$mark:meta] $line_up:ident) => {
        line_up! { #[$mark] $line_up:
            a_killed_leader_costs_no_session_and_no_write,
            a_killed_follower_costs_no_session_and_no_write,
            a_paused_leader_is_replaced_and_comes_back_as_a_follower,
            a_paused_follower_catches_up,
            a_rolling_restart_costs_no_session_and_no_write,
            an_observer_serves_and_does_not_vote,
            a_session_is_everywhere,
            sync_shows_what_was_acknowledged_elsewhere,
            without_a_quorum_nobody_serves_but_readers,
            a_server_without_data_takes_the_whole_tree,
        }
    };
    (#[$mark:meta] $line_up:ident: $($law:ident,)*) => {
        mod $line_up {
            $(#[test] #[$mark] fn $law() { crate::$law(stringify!($line_up)) })*
        }
    };
}

line_up!(
    #[ignore = "Java alone: shows that the laws are right"]
    jjj
);
line_up!(
    #[ignore = "Java alone, of REFERENCE_CLASS_PATH: shows that the laws are right"]
    nnn
);
line_up!(
    #[ignore = "`serve` joins no ensemble yet"]
    jjr
);
line_up!(
    #[ignore = "`serve` joins no ensemble yet"]
    rjj
);
line_up!(
    #[ignore = "`serve` joins no ensemble yet"]
    rrj
);
line_up!(
    #[ignore = "`serve` joins no ensemble yet"]
    rrr
);

/// Each server of the first line-up is replaced by that of the second, one at a time.
mod replacement {
    #[test]
    #[ignore = "Java alone: shows that the law is right"]
    fn of_java_by_java_and_back() {
        crate::a_rolling_replacement_costs_no_session_and_no_write("jjj", "nnn");
    }

    #[test]
    #[ignore = "`serve` joins no ensemble yet"]
    fn of_java_by_ours_and_back() {
        crate::a_rolling_replacement_costs_no_session_and_no_write("jjj", "rrr");
    }
}

fn report(law: &str, line_up: &str, summary: Summary) {
    let Summary { acked, reconnects, longest_gap } = summary;
    println!("{line_up}: {law}: {acked} writes, {reconnects} reconnects, longest gap {longest_gap:.0?}");
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
        // The connection before it is closed, or ends with its next request.
        if let Ok(reply) = session.request(op::SET_DATA, &body::set_data("/ephemeral", b"2")) {
            assert_eq!(error_name(reply.error), "SessionMoved");
        }
        session = renewed;
        session.ask(op::SET_DATA, &body::set_data("/ephemeral", b"3"));
    }
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
    let silent = Session::begin(addresses[1], 2_000);
    let owner = silent.granted.session_id;
    let mut silent = silent;
    silent.ask(op::CREATE, &body::create("/ephemeral", b"", 1));
    let gone = |ensemble: &Ensemble| {
        trees(ensemble).values().all(|t| t.values().all(|shown| shown.stat.ephemeral_owner != owner))
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
