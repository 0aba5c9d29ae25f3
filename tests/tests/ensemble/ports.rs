//! A reconfiguration that moves a server that runs: for its clients, for its learners, for votes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::check::{check, digests, equal, trees};
use ringkeeper_tests::ensemble::load::{Load, Rate};
use ringkeeper_tests::ensemble::node::{Mode, Ports};
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::process::free_port;
use ringkeeper_tests::server::{Kind, Options};
use ringkeeper_tests::wire::{Session, op};

use crate::{PATIENCE, TIMEOUT_MS, reconfigure, report};

/// So many of our cores take clients.
fn plan(line_up: &str, cores: u8) -> Plan {
    let options = Options {
        config: vec!["reconfigEnabled=true".to_owned(), format!("cores={cores}")],
        properties: vec!["zookeeper.skipACL=yes".to_owned()],
        ..Options::default()
    };
    Plan { options, clients_in_members: true, ..Plan::of(line_up) }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn new_port() -> u16 {
    free_port().unwrap_or_else(|e| panic!("{e}"))
}

/// Has somebody else ask for a server's new ports.
fn move_to(ensemble: &mut Ensemble, id: u8, ports: Ports) {
    let witness = ensemble.voters().into_iter().find(|other| *other != id).expect("it is not alone");
    let line = ports.line(id, ensemble.node(id).role, true);
    reconfigure(ensemble, witness, &body::reconfig(Some(&line), None, None, -1));
    ensemble.node_mut(id).ports = ports;
}

/// Asks for a whole configuration, of the servers' ports as they are now.
fn write_down(ensemble: &mut Ensemble, witness: u8, ports: &[(u8, Ports)]) {
    let line = |(id, ports): &(u8, Ports)| ports.line(*id, ensemble.node(*id).role, true);
    let lines: Vec<String> = ports.iter().map(line).collect();
    reconfigure(ensemble, witness, &body::reconfig(None, None, Some(&lines.join(",")), -1));
    ports.iter().for_each(|(id, ports)| ensemble.node_mut(*id).ports = *ports);
}

fn await_free(ensemble: &mut Ensemble, port: u16) {
    let is_free = |_: &Ensemble| TcpListener::bind(local(port)).is_ok();
    ensemble.await_that(&format!("port {port} is free"), PATIENCE, is_free);
}

fn await_open(ensemble: &mut Ensemble, port: u16) {
    let is_open = |_: &Ensemble| TcpStream::connect(local(port)).is_ok();
    ensemble.await_that(&format!("somebody listens on port {port}"), PATIENCE, is_open);
}

fn is_ours(ensemble: &Ensemble, id: u8) -> bool {
    matches!(ensemble.node(id).kind, Kind::Ringkeeper)
}

/// A leader hands over under the load. The tree of a ZooKeeper that does so while others write may come to be
/// another than it should, as its digests say: among such servers nobody writes meanwhile, and another load, with
/// the time that it began, follows.
fn handed_over(
    ensemble: &mut Ensemble,
    load: Load,
    from: Instant,
    act: impl FnOnce(&mut Ensemble),
) -> (Load, Instant) {
    if ensemble.voters().iter().all(|id| is_ours(ensemble, *id)) {
        act(ensemble);
        return (load, from);
    }
    check(ensemble, load, from);
    act(ensemble);
    ensemble.await_all();
    let from = Instant::now();
    (Load::start(&ensemble.addresses(), Rate::default()), from)
}

/// Clients come to where the configuration says, and nowhere else; those who are there stay. It is so of a
/// follower and of the leader, and back again.
pub fn clients_come_to_the_port_that_a_reconfiguration_names(line_up: &str) {
    let mut ensemble = Ensemble::start(&plan(line_up, 3));
    let leader = ensemble.await_leader();
    for (id, mode) in [(ensemble.followers()[0], Mode::Follower), (leader, Mode::Leader)] {
        let before = ensemble.node(id).ports;
        let mut session = Session::begin(ensemble.node(id).address(), TIMEOUT_MS);
        let path = format!("/held-{id}");
        session.ask(op::CREATE, &body::create(&path, b"1", 1));
        let after = Ports { client: new_port(), ..before };
        for (from, to) in [(before, after), (after, before)] {
            move_to(&mut ensemble, id, to);
            ensemble.await_mode(id, &[mode]);
            await_free(&mut ensemble, from.client);
            let conf = ensemble.node(id).four_letter_word("conf").expect("it answers");
            assert!(conf.contains(&format!("clientPort={}\n", to.client)), "{conf}");
            session.ask(op::SET_DATA, &body::set_data(&path, b"2"));
            // All cores come to the new address.
            for _ in 0..20 {
                Session::begin(local(to.client), TIMEOUT_MS).ask(op::CLOSE_SESSION, &[]);
            }
        }
        let mut renewed = Session::connect(local(before.client), &session.renewal()).expect("it lives");
        renewed.ask(op::SET_DATA, &body::set_data(&path, b"3"));
    }
    assert_eq!(ensemble.leader(), Some(leader), "nobody needed another one");
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// A new port for clients that somebody else has is nobody's to connect to, and the old one is free. Nothing else
/// changes, until another reconfiguration names a port that can be had.
pub fn a_port_for_clients_that_is_taken_costs_new_clients_alone(line_up: &str) {
    let mut ensemble = Ensemble::start(&plan(line_up, 1));
    let leader = ensemble.await_leader();
    for (id, mode) in [(ensemble.followers()[0], Mode::Follower), (leader, Mode::Leader)] {
        let before = ensemble.node(id).ports;
        let mut session = Session::begin(ensemble.node(id).address(), TIMEOUT_MS);
        session.ask(op::CREATE, &body::create(&format!("/held-{id}"), b"1", 1));
        let blocked = Ports { client: new_port(), ..before };
        let blocker = TcpListener::bind(local(blocked.client)).expect("it was free");
        move_to(&mut ensemble, id, blocked);
        await_free(&mut ensemble, before.client);
        session.ask(op::SET_DATA, &body::set_data(&format!("/held-{id}"), b"2"));
        if is_ours(&ensemble, id) {
            let said = format!("the port for clients 127.0.0.1:{}: Address already in use", blocked.client);
            ensemble
                .await_that("it says so", PATIENCE, |ensemble| ensemble.node(id).output().contains(&said));
            drop(blocker);
            ensemble.await_mode(id, &[mode]);
        } else {
            let _taken = blocker;
            session.ask(op::SET_DATA, &body::set_data(&format!("/held-{id}"), b"3"));
        }
        move_to(&mut ensemble, id, before);
        ensemble.await_mode(id, &[mode]);
        session.ask(op::SET_DATA, &body::set_data(&format!("/held-{id}"), b"4"));
    }
    assert_eq!(ensemble.leader(), Some(leader), "nobody needed another one");
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// Servers come to be reached elsewhere by the others: a follower and an observer without anybody else noticing, a
/// leader whose learners are to come elsewhere hands over. The next elections and leaders are at the new ports.
pub fn servers_meet_at_the_ports_that_a_reconfiguration_names(line_up: &str) {
    let observers = line_up[..1].to_owned();
    let mut ensemble = Ensemble::start(&Plan { observers, ..plan(line_up, 1) });
    let mut load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let (mut from, leader) = (Instant::now(), ensemble.await_leader());
    let moved = |ensemble: &Ensemble, id: u8| {
        let before = ensemble.node(id).ports;
        (before, Ports { quorum: new_port(), election: new_port(), ..before })
    };
    for id in ensemble.ids().into_iter().filter(|id| *id != leader) {
        let (before, after) = moved(&ensemble, id);
        move_to(&mut ensemble, id, after);
        await_open(&mut ensemble, after.election);
        await_free(&mut ensemble, before.election);
        await_free(&mut ensemble, before.quorum);
        load.await_more(100);
        assert_eq!(ensemble.leader(), Some(leader), "a learner moved");
    }
    let (before, after) = moved(&ensemble, leader);
    move_to(&mut ensemble, leader, Ports { quorum: before.quorum, ..after });
    await_free(&mut ensemble, before.election);
    load.await_more(100);
    assert_eq!(ensemble.leader(), Some(leader), "learners come to where they came");
    (load, from) = handed_over(&mut ensemble, load, from, |ensemble| {
        move_to(ensemble, leader, after);
        ensemble.await_mode(leader, &[Mode::Follower]);
    });
    await_free(&mut ensemble, before.quorum);
    load.await_more(100);
    for _ in 0..2 {
        ensemble.await_all();
        let leader = ensemble.await_leader();
        ensemble.stop(leader);
        load.await_more(100);
        ensemble.start_one(leader);
    }
    ensemble.await_all();
    load.await_more(100);
    report("moved servers", line_up, check(&mut ensemble, load, from));
}

/// New ports for the other servers that somebody else has cost nobody anything while nobody has to come there: a
/// follower goes on, a leader hands over. Another reconfiguration mends it. A ZooKeeper ends where it cannot have
/// its election port, so there the port for learners alone is taken.
pub fn ports_for_servers_that_are_taken_cost_no_session_and_no_write(line_up: &str) {
    let mut ensemble = Ensemble::start(&plan(line_up, 3));
    let mut load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let (mut from, leader) = (Instant::now(), ensemble.await_leader());
    for id in [ensemble.followers()[0], leader] {
        let (before, ours) = (ensemble.node(id).ports, is_ours(&ensemble, id));
        let election = if ours { new_port() } else { before.election };
        let blocked = Ports { quorum: new_port(), election, ..before };
        let _taken = TcpListener::bind(local(blocked.quorum)).expect("it was free");
        let _taken_too = ours.then(|| TcpListener::bind(local(blocked.election)).expect("it was free"));
        (load, from) = handed_over(&mut ensemble, load, from, |ensemble| {
            move_to(ensemble, id, blocked);
            ensemble.await_mode(id, &[Mode::Follower]);
        });
        load.await_more(100);
        if ours {
            let said =
                |what: &str, port: u16| format!("the {what} port 127.0.0.1:{port}: Address already in use");
            let both = [said("quorum", blocked.quorum), said("election", blocked.election)];
            ensemble.await_that("it says so", PATIENCE, |ensemble| {
                let output = ensemble.node(id).output();
                both.iter().all(|said| output.contains(said))
            });
        }
        let mended = Ports { quorum: new_port(), election: new_port(), ..before };
        move_to(&mut ensemble, id, mended);
        await_open(&mut ensemble, mended.election);
        ensemble.await_mode(id, &[Mode::Follower]);
        if ours {
            await_open(&mut ensemble, mended.quorum);
        }
        load.await_more(100);
    }
    ensemble.await_all();
    let leader = ensemble.await_leader();
    ensemble.stop(leader);
    load.await_more(100);
    ensemble.start_one(leader);
    ensemble.await_all();
    report("taken ports", line_up, check(&mut ensemble, load, from));
}

/// A server that was away when it was moved comes to its old ports, hears of the new ones, and goes there; from
/// then on it starts there.
pub fn a_server_that_was_away_comes_to_its_new_ports(line_up: &str) {
    let mut ensemble = Ensemble::start(&plan(line_up, 3));
    let leader = ensemble.await_leader();
    let id = ensemble.followers()[0];
    ensemble.stop(id);
    let before = ensemble.node(id).ports;
    let after = Ports::free().unwrap_or_else(|e| panic!("{e}"));
    move_to(&mut ensemble, id, after);
    ensemble.start_one(id);
    for _ in 0..2 {
        ensemble.await_mode(id, &[Mode::Follower]);
        await_open(&mut ensemble, after.election);
        for port in [before.client, before.quorum, before.election] {
            await_free(&mut ensemble, port);
        }
        ensemble.stop(id);
        ensemble.start_one(id);
    }
    ensemble.await_all();
    assert_eq!(ensemble.leader(), Some(leader), "nobody needed another one");
    equal(&ensemble, &trees(&ensemble));
    digests(&ensemble);
}

/// Two servers may take each other's ports in one reconfiguration. Who comes first to a port of the other may find
/// it taken still; a ZooKeeper leaves it at that where it is the port for clients.
pub fn two_servers_may_trade_places(line_up: &str) {
    if line_up.contains(|kind| kind != 'r') {
        // No test of its own is skipped: only a line-up that somebody names comes here.
        return println!("{line_up}: a ZooKeeper among them may lose its clients by that");
    }
    let mut ensemble = Ensemble::start(&plan(line_up, 3));
    let load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let (from, ids) = (Instant::now(), ensemble.ids());
    for witness in &ids {
        let of = |ensemble: &Ensemble, id: u8| ensemble.node(id).ports;
        let others: Vec<u8> = ids.iter().copied().filter(|id| id != witness).collect();
        let traded = [
            (*witness, of(&ensemble, *witness)),
            (others[0], of(&ensemble, others[1])),
            (others[1], of(&ensemble, others[0])),
        ];
        write_down(&mut ensemble, *witness, &traded);
        ensemble.await_all();
        load.await_more(100);
        let leader = ensemble.await_leader();
        ensemble.stop(leader);
        load.await_more(100);
        ensemble.start_one(leader);
        ensemble.await_all();
    }
    report("traded places", line_up, check(&mut ensemble, load, from));
}
