//! `ringkeeper ensemble`: what it shows, and that nothing is left of it however it ends.

#[path = "ensemble_command/terminal.rs"]
mod terminal;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::tree;
use ringkeeper_tests::process::{Output, Process, free_ports_from};
use ringkeeper_tests::server::ringkeeper_binary;
use ringkeeper_tests::wire::{Session, op};
use rustix::process::Signal;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Run {
    process: Process,
    output: Arc<Output>,
    base_port: u16,
}

/// The command; `more` are options of it.
fn command(home: &TempDir, servers: u16, base_port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(ringkeeper_binary().expect("it builds"));
    command.args(["ensemble", "--servers", &servers.to_string(), "--base-port", &base_port.to_string()]);
    command.args(more).arg("--dir").arg(home.path());
    command
}

/// A base port with room for `servers`, from 1 to 100: clients', learners' and elections' are 100 apart.
fn free_base_port(servers: u16) -> u16 {
    let offsets: Vec<u16> =
        [0, 100, 200].iter().flat_map(|block| (0..servers).map(move |n| block + n)).collect();
    free_ports_from(&offsets).expect("ports are free")
}

fn start(home: &TempDir, servers: u16, more: &[&str]) -> Run {
    let base_port = free_base_port(4);
    let command = command(home, servers, base_port, more);
    let output = Arc::default();
    let process = Process::spawn(&command, &output).expect("it runs");
    Run { process, output, base_port }
}

impl Run {
    fn await_line(&self, text: &str) {
        self.output.wait_for(text, PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    }

    fn address(&self, server: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base_port + server - 1))
    }

    fn connects(&self, server: u16) -> bool {
        TcpStream::connect(self.address(server)).is_ok()
    }

    fn servers(&self) -> Vec<u32> {
        children(self.process.id())
    }

    fn await_end(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.exited() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it never ended:\n{}", self.output.tail());
            std::thread::yield_now();
        }
    }
}

fn children(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
    children.split_whitespace().map(|id| id.parse().expect("a process id")).collect()
}

fn runs(id: u32) -> bool {
    // One that is dead and not yet collected has no command line any more.
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|words| !words.is_empty())
}

fn await_gone(servers: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while servers.iter().any(|id| runs(*id)) {
        assert!(Instant::now() < deadline, "{servers:?} are left behind");
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_stops_all_and_the_next_start_goes_on() {
    let home = TempDir::new().expect("a directory");
    for _ in 0..2 {
        let mut run = start(&home, 1, &[]);
        run.await_line("all servers serve: 127.0.0.1:");
        run.await_line("standalone  zxid 0x");
        assert!(run.connects(1));
        let servers = run.servers();
        assert_eq!(servers.len(), 1);
        run.process.signal(Signal::INT);
        assert_eq!(run.await_end(), 0, "{}", run.output.tail());
        assert!(!servers.iter().any(|id| runs(*id)), "{servers:?} are left behind");
        assert!(!run.connects(1));
    }
    let log = fs::read_to_string(home.path().join("server-1/log")).expect("it has a log");
    assert_eq!(log.matches("serving ZooKeeper clients").count(), 2, "{log}");
}

#[test]
fn a_server_outlives_no_kill_of_its_ensemble() {
    let home = TempDir::new().expect("a directory");
    let mut run = start(&home, 1, &[]);
    run.await_line("all servers serve");
    let servers = run.servers();
    // A server's group is its own: this reaches the parent alone.
    run.process.signal(Signal::KILL);
    assert_eq!(run.await_end(), -1);
    await_gone(&servers);
    // The kernel closes what a ring held a moment after the process.
    let deadline = Instant::now() + PATIENCE;
    while run.connects(1) {
        assert!(Instant::now() < deadline, "somebody still listens");
    }
}

#[test]
fn a_server_that_cannot_start_says_why_and_no_ensemble_is_left() {
    let home = TempDir::new().expect("a directory");
    let data = home.path().join("server-1/data");
    fs::create_dir_all(&data).expect("a directory");
    fs::write(data.join("database"), b"no record").expect("it can be written");
    let mut run = start(&home, 1, &[]);
    assert_eq!(run.await_end(), 1);
    run.await_line("ended, exit status: 1: error: ");
    let said = run.output.text();
    assert!(said.contains("ended, exit status: 1: error: ") && said.contains("database"), "{said}");
}

#[test]
fn three_servers_have_one_leader_and_end_together() {
    let home = TempDir::new().expect("a directory");
    let mut run = start(&home, 3, &[]);
    run.await_line("all servers serve");
    let said = run.output.text();
    assert_eq!(said.matches("  leader ").count(), 1, "{said}");
    assert_eq!(said.matches("  follower ").count(), 2, "{said}");
    let servers = run.servers();
    assert_eq!(servers.len(), 3);
    run.process.signal(Signal::TERM);
    assert_eq!(run.await_end(), 0, "{}", run.output.tail());
    assert!(!servers.iter().any(|id| runs(*id)), "{servers:?} are left behind");
}

/// What is written through an observer is at every server, and Ctrl-C ends the observer, too.
#[test]
fn an_observer_is_shown_serves_and_ends_with_the_others() {
    let home = TempDir::new().expect("a directory");
    let mut run = start(&home, 3, &["--observers", "1"]);
    run.await_line("all servers serve");
    let said = run.output.text();
    let observer = format!("server 4  {}  observer ", run.address(4));
    assert_eq!(said.matches("  observer ").count(), 1, "{said}");
    assert!(said.contains(&observer), "{said}");
    assert_eq!(said.matches("  leader ").count(), 1, "{said}");
    assert_eq!(said.matches("  follower ").count(), 2, "{said}");
    let written = Session::begin(run.address(4), 30_000).ask(op::CREATE, &body::create("/node", b"text", 0));
    assert_eq!(written.error, 0);
    for server in 1..=4 {
        let mut reader = Session::begin(run.address(server), 30_000);
        reader.ask(op::SYNC, &body::path("/node"));
        let shown = tree::look(&mut reader, "/node").expect("it answers").expect("it is there");
        assert_eq!((&shown.data[..], shown.stat.czxid), (&b"text"[..], written.zxid), "server {server}");
    }
    let servers = run.servers();
    assert_eq!(servers.len(), 4);
    run.process.signal(Signal::INT);
    assert_eq!(run.await_end(), 0, "{}", run.output.tail());
    assert!(!servers.iter().any(|id| runs(*id)), "{servers:?} are left behind");
    assert!(!(1..=4).any(|server| run.connects(server)));
}
