//! What no client should send: the server stays up, its memory bounded, other sessions untouched.
//!
//! `BAD_INPUT_FRAMES` sets the number of random frames (100,000), `BAD_INPUT_SEED` replays them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use ringkeeper_tests::differential::{compare, subject};
use ringkeeper_tests::mangle::{self, REQUESTS, Spoilable};
use ringkeeper_tests::script::Script;
use ringkeeper_tests::server::{Kind, Options, Server};
use ringkeeper_tests::wire::{Client, ConnectRequest, Encoder, Received, Reply, Session, op};

/// How much a server may grow under bad input, in KiB: buffers of the connections open at once and
/// what an allocator keeps, but nothing that a length field claimed.
const GROWTH_KIB_MAX: u64 = 48 << 10;

/// How many frames are sent before their replies are read.
const BATCH: usize = 100;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn spoilt_requests_are_answered_as_zookeeper_answers_them() {
    let text = mangle::script().unwrap_or_else(|e| panic!("{e}"));
    let script = Script::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert!(script.steps.len() > 1500, "only {} steps", script.steps.len());
    compare("spoilt requests", &script);
}

#[test]
fn random_frames_trouble_nobody_else() {
    let seed = number("BAD_INPUT_SEED").unwrap_or_else(|| {
        u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos())
    });
    let frames = usize::try_from(number("BAD_INPUT_FRAMES").unwrap_or(100_000)).unwrap_or(usize::MAX);
    println!("BAD_INPUT_SEED={seed} BAD_INPUT_FRAMES={frames}");
    let mut server = start();
    let mut bystander = Bystander::new(server.address());
    let mut rng = Rng::with_seed(seed);
    let requests: Vec<Spoilable> =
        REQUESTS.iter().map(|line| Spoilable::of(line).unwrap_or_else(|e| panic!("{e}"))).collect();
    let before = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    let mut sent = 0;
    while sent < frames {
        let batch: Vec<Vec<u8>> =
            (0..BATCH.min(frames - sent)).map(|_| random_frame(&mut rng, &requests)).collect();
        sent += batch.len();
        throw(server.address(), &batch);
        if sent.is_multiple_of(BATCH * 20) {
            bystander.is_untouched(&format!("{sent} frames"));
        }
    }
    bystander.is_untouched("all frames");
    stays_within(&mut server, before, "random frames");
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let mut server = start();
    let mut bystander = Bystander::new(server.address());
    let before = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    // Frames within jute.maxbuffer that never come, before a handshake; and in a session, a
    // request whose vector and buffers claim all there is.
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut client = Client::open(server.address()).unwrap_or_else(|e| panic!("{e}"));
        client.send_raw(&0x000f_fffe_i32.to_be_bytes()).unwrap_or_else(|e| panic!("{e}"));
        held.push(client);
    }
    let mut session = Session::connect(server.address(), &ConnectRequest::new_session(30_000))
        .unwrap_or_else(|e| panic!("{e}"));
    for claim in [i32::MAX, i32::MAX - 1, 1 << 30, 1 << 24] {
        for count in 1..200 {
            let mut body = Encoder::default();
            body.string("/x").buffer(None).int(claim);
            for _ in 0..count % 7 {
                body.int(31).int(claim);
            }
            let reply = session.request(op::CREATE, &body.bytes).unwrap_or_else(|e| panic!("{claim}: {e}"));
            assert_ne!(reply.error, 0);
            let mut body = Encoder::default();
            body.long(0).int(claim).int(claim);
            let reply =
                session.request(op::SET_WATCHES, &body.bytes).unwrap_or_else(|e| panic!("{claim}: {e}"));
            assert_ne!(reply.error, 0);
        }
    }
    bystander.is_untouched("claimed lengths");
    stays_within(&mut server, before, "claimed lengths");
    drop(held);
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn start() -> Server {
    let options = Options { config: vec!["maxSessionTimeout=600000".to_owned()], ..Options::default() };
    Server::start(subject(), options).unwrap_or_else(|e| panic!("{e}"))
}

fn stays_within(server: &mut Server, before_kib: u64, what: &str) {
    assert!(server.exited().is_none(), "{what} ended the server:\n{}", server.output_tail());
    let after_kib = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    println!("{what}: {before_kib} KiB before, {after_kib} KiB after");
    // A Java heap grows as it likes.
    if server.kind == Kind::Ringkeeper {
        assert!(after_kib < before_kib + GROWTH_KIB_MAX, "{what}: from {before_kib} KiB to {after_kib} KiB");
    }
}

/// A session that minds its own business and must always find it as it was.
struct Bystander {
    session: Session,
    data: Vec<u8>,
}

impl Bystander {
    fn new(address: SocketAddr) -> Self {
        let mut session = Session::connect(address, &ConnectRequest::new_session(600_000))
            .unwrap_or_else(|e| panic!("{e}"));
        let mut auth = Encoder::default();
        auth.int(0).string("digest").string("amy:amy");
        session.request(op::AUTH, &auth.bytes).unwrap_or_else(|e| panic!("{e}"));
        let mut create = Encoder::default();
        create.string("/mine").string("kept").int(1).int(31).string("auth").string("").int(1);
        let reply = session.request(op::CREATE, &create.bytes).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reply.error, 0);
        let mut bystander = Bystander { session, data: Vec::new() };
        bystander.data = bystander.read();
        bystander
    }

    fn read(&mut self) -> Vec<u8> {
        let mut body = Encoder::default();
        body.string("/mine").boolean(true);
        let reply = self.session.request(op::GET_DATA, &body.bytes).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reply.error, 0);
        reply.body
    }

    fn is_untouched(&mut self, by: &str) {
        assert_eq!(self.read(), self.data, "the bystander's node after {by}");
        assert!(self.session.events.is_empty(), "the bystander got an event after {by}");
    }
}

/// A frame with its length; some are nothing at all, most have an operation, many were once right.
fn random_frame(rng: &mut Rng, requests: &[Spoilable]) -> Vec<u8> {
    let bytes =
        |rng: &mut Rng, max: usize| -> Vec<u8> { (0..rng.usize(..max)).map(|_| rng.u8(..)).collect() };
    let request = &requests[rng.usize(..requests.len())];
    let frame = match rng.u32(..100) {
        // No frame: whatever its first four bytes say is the length.
        0 => return bytes(rng, 64),
        1 => bytes(rng, 64),
        2..40 => {
            let mut encoder = Encoder::request(rng.i32(..), request.op);
            encoder.raw(&bytes(rng, 80));
            encoder.bytes
        }
        _ => {
            let mut encoder = Encoder::request(rng.i32(1..), request.op);
            let mut body = request.body.clone();
            for _ in 0..rng.usize(..4) {
                if !body.is_empty() {
                    let at = rng.usize(..body.len());
                    body[at] = rng.u8(..);
                }
            }
            body.truncate(rng.usize(..=body.len()));
            encoder.raw(&body);
            encoder.bytes
        }
    };
    let mut all = u32::try_from(frame.len()).unwrap_or(0).to_be_bytes().to_vec();
    all.extend(frame);
    all
}

/// Sends frames, over as many sessions as it takes: a frame may end its connection, and the rest go
/// over the next one. Each session is closed in the end.
fn throw(address: SocketAddr, frames: &[Vec<u8>]) {
    let mut session = Session::connect(address, &ConnectRequest::new_session(30_000))
        .unwrap_or_else(|e| panic!("no new session: {e}"));
    for (index, frame) in frames.iter().enumerate() {
        // A connection that is closed by now shows when the rest is read.
        let _ = session.client.send_raw(frame);
        let ends = index + 1 == frames.len() || may_end(frame);
        if ends {
            session.client.shut_write();
            drain(&mut session.client, frame);
            if index + 1 < frames.len() {
                session = Session::connect(address, &ConnectRequest::new_session(30_000))
                    .unwrap_or_else(|e| panic!("no new session after {}: {e}", hex(frame)));
            }
        }
    }
}

/// Whether a frame may end its connection or swallow what follows: one whose length is not its own,
/// that has no header, or whose operation is answered so.
fn may_end(frame: &[u8]) -> bool {
    let claimed = frame.get(..4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let operation = frame.get(8..12).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    claimed != Some(frame.len().saturating_sub(4))
        || !matches!(operation, Some(1..=9 | 11 | 12 | 14..=22 | 101 | 103..=107))
}

/// Reads until the server closes, which it must, since our side has ended.
fn drain(client: &mut Client, last: &[u8]) {
    loop {
        match client.receive(PATIENCE) {
            Received::Frame(frame) => {
                // A reply to a random frame is a reply all the same.
                Reply::decode(&frame)
                    .unwrap_or_else(|e| panic!("{}: no {} at {}", hex(&frame), e.what, e.at));
            }
            Received::Closed => return,
            Received::Silence => panic!("the server neither answers nor closes after {}", hex(last)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
