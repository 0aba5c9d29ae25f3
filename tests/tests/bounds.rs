//! What clients can make a server hold and do: memory follows what came and is asked for, never what is
//! claimed; what piles up for one client is bounded, and ends that client's connection where waiting
//! cannot; no core's clients starve another's. Peaks of resident memory are compared, so that nothing
//! passes between two looks.

use ringkeeper_tests::body;
use ringkeeper_tests::process::await_some;
use ringkeeper_tests::server::{Kind, Options, Server};
use ringkeeper_tests::wire::{Decoder, Encoder, Received, Session, error_name, op};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 60_000;
const MIB: usize = 1 << 20;
/// What the parts of a server that no client fills may grow while a test runs, in KiB.
const OVERHEAD_KIB: u64 = 24 << 10;
/// `jute.maxbuffer`, by default.
const REQUEST_BYTES_MAX: usize = MIB - 1;

fn start(config: &[&str], properties: &[&str]) -> Server {
    let owned = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect();
    let mut config: Vec<String> = owned(config);
    config.extend(["maxClientCnxns=0".to_owned(), format!("maxSessionTimeout={TIMEOUT_MS}")]);
    let messages = Some("info,ringkeeper_net::client::core=debug".to_owned());
    let options = Options { config, properties: owned(properties), messages };
    Server::start(Kind::Ringkeeper, options).unwrap_or_else(|e| panic!("{e}"))
}

fn begin(server: &Server) -> Session {
    Session::begin(server.address(), TIMEOUT_MS)
}

fn peak_kib(server: &Server) -> u64 {
    server.peak_resident_kib().unwrap_or_else(|e| panic!("{e}"))
}

/// Fails if the server has ever held `allowed_kib` more than `before_kib`.
fn held_at_most(server: &mut Server, before_kib: u64, allowed_kib: u64) {
    assert!(server.exited().is_none(), "the server ended:\n{}", server.output_tail());
    let peak_kib = peak_kib(server);
    println!("{before_kib} KiB before, at most {peak_kib} KiB, {} KiB allowed", before_kib + allowed_kib);
    assert!(peak_kib <= before_kib + allowed_kib, "from {before_kib} KiB to {peak_kib} KiB");
}

/// A path of that many bytes.
fn long_path(bytes: usize) -> String {
    format!("/{}", "p".repeat(bytes - 1))
}

#[test]
fn a_body_that_does_not_come_costs_what_came() {
    const CONNECTIONS: usize = 300;
    const CAME_BYTES: usize = 1024;
    let mut server = start(&[], &[]);
    let mut bystander = begin(&server);
    let before = peak_kib(&server);
    let mut request = Encoder::request(1, op::EXISTS);
    request.raw(&body::read(&long_path(REQUEST_BYTES_MAX - 100), false));
    let frame = [&(request.bytes.len() as i32).to_be_bytes()[..], &request.bytes].concat();
    let mut sessions: Vec<Session> = (0..CONNECTIONS).map(|_| begin(&server)).collect();
    for session in &mut sessions {
        session.client.send_raw(&frame[..CAME_BYTES]).unwrap_or_else(|e| panic!("{e}"));
        bystander.ask(op::PING, &[]);
    }
    // A connection's own is its read buffer of 64 KiB, and its two tasks.
    let allowed = (CONNECTIONS * (CAME_BYTES + (128 << 10)) / 1024) as u64;
    held_at_most(&mut server, before, allowed);
    // They were waited for all the same.
    for session in &mut sessions[..10] {
        session.client.send_raw(&frame[CAME_BYTES..]).unwrap_or_else(|e| panic!("{e}"));
        let reply = session.reply().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((reply.xid, error_name(reply.error).as_str()), (1, "NoNode"));
    }
    bystander.ask(op::PING, &[]);
}

#[test]
fn requests_that_wait_behind_a_write_are_bounded() {
    const CLIENTS: usize = 8;
    const READS: usize = 60;
    // A write takes a second here, and what its client asks behind it waits as long.
    let mut server = start(&["log.groupCommit.maxDelayUs=1000000"], &[]);
    let mut bystander = begin(&server);
    let before = peak_kib(&server);
    let address = server.address();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || flood_behind_a_write(address, client, READS));
        }
        for _ in 0..1000 {
            bystander.ask(op::EXISTS, &body::read("/", false));
        }
    });
    // Of 30 MiB that each sends: what waits for its turn, a frame in the making, and what was read.
    let allowed = CLIENTS * (4 + 1 + 1) * MIB / 1024;
    held_at_most(&mut server, before, allowed as u64 + OVERHEAD_KIB);
}

fn flood_behind_a_write(address: SocketAddr, client: usize, reads: usize) {
    let mut session = Session::begin(address, TIMEOUT_MS);
    session.post(op::CREATE, &body::create(&format!("/{client}"), b"", 0)).unwrap_or_else(|e| panic!("{e}"));
    let read = body::read(&long_path(MIB / 2), false);
    for _ in 0..reads {
        session.post(op::EXISTS, &read).unwrap_or_else(|e| panic!("{e}"));
    }
    for expected in 1..=reads + 1 {
        let reply = session.reply().unwrap_or_else(|e| panic!("{e}"));
        let error = if expected == 1 { "ok" } else { "NoNode" };
        assert_eq!((reply.xid, error_name(reply.error).as_str()), (expected as i32, error));
    }
}

#[test]
fn who_takes_no_events_is_closed_at_64_mib_and_nobody_else_notices() {
    const CHANGES: usize = 260;
    const PATH_BYTES: usize = MIB / 2;
    let mut server = start(&[], &[]);
    let path = long_path(PATH_BYTES);
    let (mut writer, mut deaf, mut attentive) = (begin(&server), begin(&server), begin(&server));
    writer.ask(op::CREATE, &body::create(&path, b"", 0));
    deaf.ask(op::ADD_WATCH, &body::add_watch(&path, 0));
    attentive.ask(op::ADD_WATCH, &body::add_watch(&path, 0));
    let before = peak_kib(&server);
    let zxids = std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let event = |_| match attentive.client.receive(PATIENCE) {
                Received::Frame(frame) => Decoder::new(&frame[4..]).long("zxid").expect("an event"),
                other => panic!("{other:?} in place of an event"),
            };
            (0..CHANGES).map(event).collect::<Vec<i64>>()
        });
        let change = |_| writer.ask(op::SET_DATA, &body::set_data(&path, b"x")).zxid;
        let done: Vec<i64> = (0..CHANGES).map(change).collect();
        assert_eq!(heard.join().expect("the other watcher hears"), done);
        done
    });
    server.await_output("closed: it takes no events", PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    let gone = format!("gone session=0x{:x}", deaf.granted.session_id);
    server.await_output(&gone, PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    // The output, as large again while it grows, and what the kernel is writing of it.
    held_at_most(&mut server, before, 3 * (64 << 10) + OVERHEAD_KIB);
    let mut taken = 0;
    while matches!(deaf.client.receive(PATIENCE), Received::Frame(_)) {
        taken += 1;
    }
    assert!(taken < zxids.len(), "{taken} events came, and the connection was closed");
    // The session lives on, and a client that comes back asks what it missed.
    let mut back = Session::connect(server.address(), &deaf.renewal()).unwrap_or_else(|e| panic!("{e}"));
    back.ask(op::SET_WATCHES, &body::set_watches(zxids[taken], &[&path]));
    assert_eq!(back.events.len(), 1);
}

/// Voluntary context switches of the server's thread of that name: how often it waited for work. Threads get
/// their names when they first run.
fn waits(server: &Server, thread: &str) -> u64 {
    let found = await_some(PATIENCE, || waits_so_far(server, thread));
    found.unwrap_or_else(|| panic!("there is no thread {thread}"))
}

fn waits_so_far(server: &Server, thread: &str) -> Option<u64> {
    let id = server.process_id().expect("it runs");
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap_or_else(|e| panic!("{e}"));
    let of = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        (name.trim() == thread).then(|| line.trim().parse().ok()).flatten()
    };
    tasks.filter_map(Result::ok).find_map(of)
}

#[test]
fn new_connections_go_to_every_core() {
    const CONNECTIONS: usize = 64;
    const READS: usize = 40;
    // A core that looks for work before it sleeps would wait less often.
    let server = start(&["cores=2", "ring.spinUs=0"], &[]);
    let threads = ["client-0", "client-1"];
    let before = threads.map(|thread| waits(&server, thread));
    for _ in 0..CONNECTIONS {
        let mut session = begin(&server);
        for _ in 0..READS {
            session.ask(op::EXISTS, &body::read("/", false));
        }
    }
    let after = threads.map(|thread| waits(&server, thread));
    let woken = [after[0] - before[0], after[1] - before[1]];
    // A core without a connection is woken by its ticks alone, 20 a second.
    let least = (CONNECTIONS * READS / 20) as u64;
    assert!(woken.iter().all(|count| *count > least), "{woken:?} of {CONNECTIONS} connections");
}

/// Keeps more large writes under way than the server takes at once, on a node of its own.
fn flood(address: SocketAddr, client: usize, done: &AtomicBool) {
    const DEPTH: usize = 100;
    let mut session = Session::begin(address, TIMEOUT_MS);
    let write = body::set_data(&format!("/flood{client}"), &[7; 100_000]);
    let mut under_way = 0;
    while under_way > 0 || !done.load(Ordering::Relaxed) {
        while under_way < DEPTH && !done.load(Ordering::Relaxed) {
            session.post(op::SET_DATA, &write).unwrap_or_else(|e| panic!("{e}"));
            under_way += 1;
        }
        assert_eq!(session.reply().unwrap_or_else(|e| panic!("{e}")).error, 0);
        under_way -= 1;
    }
}

#[test]
fn no_core_starves_another() {
    const FLOODING: usize = 10;
    const MODEST: usize = 10;
    const WRITES: usize = 8;
    let server = start(&["cores=2", "forceSync=no"], &[]);
    let mut first = begin(&server);
    for client in 0..FLOODING {
        first.ask(op::CREATE, &body::create(&format!("/flood{client}"), b"", 0));
    }
    first.ask(op::CREATE, &body::create("/modest", b"", 0));
    let (address, done) = (server.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let done = &done;
        let floods: Vec<_> =
            (0..FLOODING).map(|client| scope.spawn(move || flood(address, client, done))).collect();
        let write_some = || {
            let mut session = Session::begin(address, TIMEOUT_MS);
            let mut write = || session.request(op::SET_DATA, &body::set_data("/modest", b"x"));
            (0..WRITES).filter(|_| write().is_ok_and(|reply| reply.error == 0)).count()
        };
        let modest: Vec<_> = (0..MODEST).map(|_| scope.spawn(write_some)).collect();
        let served: Vec<usize> = modest.into_iter().map(|thread| thread.join().unwrap_or(0)).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(served, [WRITES; MODEST], "writes beside the flood");
        floods.into_iter().for_each(|flood| flood.join().expect("the flood is answered too"));
    });
}

#[test]
fn what_a_connection_proves_is_bounded() {
    const CONNECTIONS: usize = 20;
    let mut server = start(&[], &[]);
    let mut bystander = begin(&server);
    let before = peak_kib(&server);
    // One identity, however often it is proved.
    let mut session = begin(&server);
    let proof = body::auth("digest", b"amy:secret");
    for _ in 0..200 {
        for _ in 0..100 {
            session.post(op::AUTH, &proof).unwrap_or_else(|e| panic!("{e}"));
        }
        for _ in 0..100 {
            assert_eq!(session.reply().unwrap_or_else(|e| panic!("{e}")).error, 0);
        }
    }
    held_at_most(&mut server, before, OVERHEAD_KIB);
    // Many: the connection ends at a number of them.
    let refused = (0..).find(|number| {
        let reply = session.request(op::AUTH, &body::auth("digest", format!("user{number}:p").as_bytes()));
        reply.unwrap_or_else(|e| panic!("{e}")).error != 0
    });
    assert_eq!(refused, Some(1022), "with the address and amy, 1,024 are proved");
    assert!(matches!(session.client.receive(PATIENCE), Received::Closed));
    // Long ones: at a number of bytes.
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut session = begin(&server);
        let user = |name: &str| [name.as_bytes(), &vec![b'u'; REQUEST_BYTES_MAX - 1000], b":p"].concat();
        session.ask(op::AUTH, &body::auth("digest", &user("first")));
        let second = session.request(op::AUTH, &body::auth("digest", &user("second")));
        assert_eq!(error_name(second.unwrap_or_else(|e| panic!("{e}")).error), "AuthFailed");
        assert!(matches!(session.client.receive(PATIENCE), Received::Closed));
        held.push(session);
    }
    bystander.ask(op::PING, &[]);
    // The connections are gone, but for those whose end the server has not seen yet.
    held_at_most(&mut server, before, (CONNECTIONS * 2 * MIB / 1024) as u64 + OVERHEAD_KIB);
}
