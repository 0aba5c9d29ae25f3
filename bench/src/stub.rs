//! A server for tests: it opens sessions, answers each frame with success, and keeps counts.

use crate::mix::Mix;
use crate::run::run;
use crate::workload::{Operation, Settings, tests::settings};
use ringkeeper_engine::jute::records::{ConnectResponse, ReplyHeader, RequestHeader};
use ringkeeper_engine::jute::{Write as _, from_bytes};
use ringkeeper_engine::op::OpCode;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests by operation code.
type Counts = BTreeMap<i32, u64>;

/// Serves `connections` connections, each to its end; their counts come home with the thread.
fn serve(connections: usize) -> (SocketAddr, JoinHandle<io::Result<Counts>>) {
    serve_slowly(connections, Duration::ZERO)
}

/// The same; each connection takes so long for a request.
fn serve_slowly(connections: usize, each: Duration) -> (SocketAddr, JoinHandle<io::Result<Counts>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut sessions = Vec::new();
        for id in 1..=connections {
            let (stream, _) = listener.accept()?;
            sessions.push(std::thread::spawn(move || session(stream, id as i64, each)));
        }
        let mut all = Counts::new();
        for session in sessions {
            for (code, count) in session.join().unwrap()? {
                *all.entry(code).or_default() += count;
            }
        }
        Ok(all)
    });
    (address, server)
}

fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn send(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}

/// One connection until its session is closed.
fn session(mut stream: TcpStream, id: i64, each: Duration) -> io::Result<Counts> {
    frame(&mut stream)?;
    let mut body = Vec::new();
    ConnectResponse { protocol_version: 0, time_out: 30_000, session_id: id, passwd: Some(&[0; 16]) }
        .write(&mut body);
    send(&mut stream, &body)?;
    let mut counts = Counts::new();
    loop {
        let request = frame(&mut stream)?;
        let header: RequestHeader = from_bytes(&request).map_err(io::Error::other)?;
        *counts.entry(header.op).or_default() += 1;
        std::thread::sleep(each);
        let mut body = Vec::new();
        ReplyHeader { xid: header.xid, zxid: 1, err: 0 }.write(&mut body);
        send(&mut stream, &body)?;
        if header.op == OpCode::CloseSession.code() {
            return Ok(counts);
        }
    }
}

fn count(counts: &Counts, op: OpCode) -> u64 {
    counts.get(&op.code()).copied().unwrap_or(0)
}

#[test]
fn a_closed_loop_asks_what_it_is_told_and_leaves_nothing() {
    let (address, server) = serve(3);
    let settings = settings(address);
    let report = run(&settings).unwrap();
    let counts = server.join().unwrap().unwrap();
    // The root, 3 directories, 250 nodes.
    assert_eq!((count(&counts, OpCode::Create), count(&counts, OpCode::Delete)), (254, 254));
    assert_eq!(count(&counts, OpCode::CloseSession), 3);
    assert!(count(&counts, OpCode::GetData) > 0 && count(&counts, OpCode::SetData) > 0);
    let measured: Vec<_> = report.operations.iter().map(|of| of.operation).collect();
    assert_eq!(measured, [Operation::Set, Operation::Get]);
    assert!(report.count() <= count(&counts, OpCode::GetData) + count(&counts, OpCode::SetData));
    assert!(report.errors.is_empty());
    // The stub is in the generator's own process, which is never taken for a server.
    assert!(report.to_string().contains("server: no process is known"), "{report}");
}

#[test]
fn an_open_loop_starts_as_many_requests_as_its_rate_says() {
    let (address, server) = serve(3);
    let settings = Settings {
        rate_per_s: Some(2000),
        mix: Mix::one(Operation::Create),
        warmup_s: 0.01,
        ..settings(address)
    };
    let report = run(&settings).unwrap();
    let counts = server.join().unwrap().unwrap();
    // 10 ms of warm-up and 50 ms of measurement at 2000/s; the root and 3 directories of sessions.
    assert_eq!((count(&counts, OpCode::Create), report.count()), (120 + 4, 100));
    assert_eq!(count(&counts, OpCode::Delete), 120 + 4);
}

#[test]
fn a_server_that_takes_less_than_an_open_loop_offers_is_told() {
    // 3 sessions of 200 requests a second each.
    let (address, server) = serve_slowly(3, Duration::from_millis(5));
    let create = Mix::one(Operation::Create);
    let settings = Settings { rate_per_s: Some(2000), mix: create, warmup_s: 0.01, ..settings(address) };
    let report = run(&settings).unwrap();
    server.join().unwrap().unwrap();
    assert_eq!(report.count(), 100, "the latency of every request of the measurement counts");
    assert!(report.operations_per_s < 1000.0 && report.operations[0].per_s < 1000.0, "{report}");
    assert!(report.remarks().iter().any(|remark| remark.ends_with("of 2000 a second")), "{report}");
}

#[test]
fn a_server_that_hangs_up_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = settings(listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for _ in 0..settings.clients {
            let (mut stream, _) = listener.accept().unwrap();
            frame(&mut stream).unwrap();
        }
    });
    let failure = run(&settings).map(|_| ()).unwrap_err().to_string();
    server.join().unwrap();
    assert!(failure.starts_with("no session from the server: "), "{failure}");
}
