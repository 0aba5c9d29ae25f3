//! A whole server in this process, on its sockets, its ring and its log, and a client of it that allocates
//! nothing while it is counted.

use ringkeeper_engine::id::ServerId;
use ringkeeper_engine::jute::Write as _;
use ringkeeper_engine::jute::records::{ConnectRequest, PathWatchRequest, RequestHeader, SetDataRequest};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_net::background::CheckpointPolicy;
use ringkeeper_net::client::commands::Facts;
use ringkeeper_net::listen::ListenOptions;
use ringkeeper_net::ring::Runtime;
use ringkeeper_net::serve::{Options, serve};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Nodes that are read and written.
const KEYS: usize = 1000;
/// Bytes of the longest answers of a round of one client.
const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// Starts a server with so many client cores, which ends with the process, and makes the nodes.
pub fn start(directory: &Path, runtime: Runtime, cores: u16, clients: usize) -> Vec<Client> {
    let (ready, address) = mpsc::channel();
    let options = options(directory, runtime, cores);
    std::thread::spawn(move || serve(options, |address| ready.send(address).expect("who waits for it")));
    let address = address.recv().expect("the server starts");
    let mut clients: Vec<Client> = (0..clients).map(|_| Client::connect(address)).collect();
    for number in 0..KEYS {
        let mut request = Vec::new();
        put(OpCode::Create, &mut request, |out| create(&path(number), 0, out));
        clients[0].send(&request);
        clients[0].take(1);
    }
    clients
}

/// One round: each client asks `requests` of its own, `depth` of them at once, then all take their answers.
pub fn round(clients: &mut [Client], requests: &[Vec<u8>], depth: usize) {
    clients.iter_mut().zip(requests).for_each(|(client, requests)| client.send(requests));
    clients.iter_mut().for_each(|client| client.take(depth));
}

fn options(directory: &Path, runtime: Runtime, cores: u16) -> Options {
    let settings = Settings { max_client_cnxns: 0, ..Settings::default() };
    Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        listening: ListenOptions { backlog: 64, keep_alive: false },
        cores,
        runtime,
        spin: Duration::ZERO,
        stage_trace: true,
        data_dir: directory.to_owned(),
        data_log_dir: directory.to_owned(),
        server: ServerId(1),
        ensemble: None,
        settings: settings.clone(),
        log: log::Settings::default(),
        slow_sync_ms: 1000,
        checkpoints: CheckpointPolicy { bytes_per_second_max: 0, keep: Some(3) },
        facts: Facts { settings: Arc::new(settings), ..Facts::default() },
    }
}

fn path(number: usize) -> String {
    format!("/allocations-{number:05}")
}

/// What one client asks in a round.
pub fn requests(op: OpCode, client: usize, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..depth {
        let path = path((client * depth + number) % KEYS);
        put(op, &mut out, |out| match op {
            OpCode::Create => create(&path, SEQUENTIAL, out),
            OpCode::SetData => {
                let data = Some(&[8; 100][..]);
                SetDataRequest { path: path.as_str().into(), data, version: -1 }.write(out);
            }
            _ => PathWatchRequest { path: path.as_str().into(), watch: false }.write(out),
        });
    }
    out
}

/// `CreateMode.PERSISTENT_SEQUENTIAL`.
const SEQUENTIAL: i32 = 2;

fn create(path: &str, flags: i32, out: &mut Vec<u8>) {
    path.write(out);
    Some(&[7u8; 100][..]).write(out);
    out.extend_from_slice(&AclList::open().bytes);
    flags.write(out);
}

/// Appends a frame.
fn put(op: OpCode, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    0i32.write(out);
    RequestHeader { xid: 1, op: op.code() }.write(out);
    body(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A session.
pub struct Client {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Client {
    fn connect(server: SocketAddr) -> Client {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        let mut client = Client { stream, buffer: vec![0; ANSWERS_BYTES_MAX].into() };
        let mut handshake = Vec::new();
        0i32.write(&mut handshake);
        let passwd = Some(&[0; 16][..]);
        ConnectRequest { protocol_version: 0, last_zxid_seen: 0, time_out: 30_000, session_id: 0, passwd }
            .write(&mut handshake);
        let length = (handshake.len() - 4) as i32;
        handshake[..4].copy_from_slice(&length.to_be_bytes());
        client.send(&handshake);
        client.take(1);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a server");
    }

    /// Reads so many frames.
    fn take(&mut self, frames: usize) {
        let (mut filled, mut start) = (0, 0);
        for _ in 0..frames {
            loop {
                if let Some((length, rest)) = self.buffer[start..filled].split_first_chunk::<4>() {
                    let length = u32::from_be_bytes(*length) as usize;
                    if rest.len() >= length {
                        start += 4 + length;
                        break;
                    }
                }
                let read = self.stream.read(&mut self.buffer[filled..]).expect("a server");
                assert!(read > 0, "the server closed the connection");
                filled += read;
            }
        }
        assert_eq!(start, filled, "nothing that was not asked for");
    }
}
