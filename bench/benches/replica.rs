//! The one sequencer of writes, alone: `Replica` driven in memory, prepare, propose, commit, apply and answer,
//! with a disk that is done at once and no network. What an operation costs here is the ceiling of writes.
//!
//! `cargo bench -p ringkeeper-bench --bench replica`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper_engine::auth;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{Now, ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::jute::records::{PathVersion, SetDataRequest};
use ringkeeper_engine::jute::{self, Write};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{self, DatabaseId, LogWriter, Sequence, Tail};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_quorum::reconfig::Rules;
use ringkeeper_quorum::replica::{LOGGED_BYTES_MAX, Replica, ReplicaConfig};
use ringkeeper_quorum::step::{ConnectionId, Effect, Emptied, Input, Reply, Request, RequestBatch};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 100_000;
const FAN_OUT: usize = 1_000;
const DATA_BYTES: usize = 100;
/// Requests that come together, as so many clients that have 64 each in flight send them.
const BATCHES: [usize; 3] = [1, 64, 1024];
const CONNECTION: ConnectionId = ConnectionId { core: 0, number: 1 };

/// A replica, the time, and the disk that is done at once.
struct Bench {
    replica: Replica,
    session: SessionId,
    ms: u64,
    effects: Vec<Effect>,
    /// Batches that came back, whose memory a core uses again.
    emptied: Emptied,
    answers: usize,
}

impl Bench {
    fn new() -> Bench {
        let settings = Settings { snap_count: 0, snap_log_bytes: 0, ..Settings::default() };
        let config = ReplicaConfig {
            settings: Arc::new(settings),
            server: ServerId(1),
            cores: 1,
            first_session: SessionId(1),
            rules: Rules::default(),
            logged_bytes_max: LOGGED_BYTES_MAX,
            seed: 1,
        };
        let tail = Tail::origin(Zxid::ZERO, Sequence::FIRST);
        let log = LogWriter::new(log::Settings::default(), DatabaseId(1), tail);
        let replica = Replica::new(config, Database::new(1), log, now(0));
        let mut bench = Bench {
            replica,
            session: SessionId(1),
            ms: 0,
            effects: Vec::new(),
            emptied: Emptied::default(),
            answers: 0,
        };
        let open = Request::Open { connection: CONNECTION, timeout_ms: 30_000, last_seen: Zxid::ZERO };
        bench.run(RequestBatch { items: vec![open], ..RequestBatch::default() });
        for first in (0..NODES).step_by(FAN_OUT) {
            let parent = create(&parent(first), b"");
            let children = (first..first + FAN_OUT).map(|number| create(&path(number), &[7; DATA_BYTES]));
            let requests: Vec<_> = std::iter::once(parent).chain(children).collect();
            let batch = bench.batch(requests.iter().map(|body| (OpCode::Create, &body[..])));
            bench.run(batch);
        }
        bench
    }

    fn batch<'b>(&mut self, requests: impl Iterator<Item = (OpCode, &'b [u8])>) -> RequestBatch {
        let mut batch = self.emptied.take();
        let auth = auth::from_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        for (op, body) in requests {
            let (body, auth) = (batch.body(body), batch.auth(&auth));
            let (connection, session) = (CONNECTION, self.session);
            batch.items.push(Request::Ordered { connection, session, xid: 1, op, body, auth });
        }
        batch
    }

    /// How long these requests take in one batch, which a core makes and not the replica.
    fn time(&mut self, op: OpCode, bodies: &[Vec<u8>]) -> Duration {
        let batch = self.batch(bodies.iter().map(|body| (op, &body[..])));
        let begun = Instant::now();
        self.run(batch);
        begun.elapsed()
    }

    /// Takes a batch, and does all that it calls for. Returns how many requests were answered.
    fn run(&mut self, batch: RequestBatch) -> usize {
        let requests = batch.items.len();
        self.answers = 0;
        self.ms += 1;
        let now = now(self.ms);
        self.replica.step(now, Input::Requests(batch), &mut self.effects);
        while self.answers < requests {
            self.replica.flush(now, &mut self.effects);
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Write(write) => {
                        self.replica.step(now, Input::Written(write, Ok(())), &mut self.effects);
                    }
                    Effect::Upkeep(step) => {
                        self.replica.step(now, Input::Upkeep(step, Ok(())), &mut self.effects);
                    }
                    Effect::Deliver { batch, .. } => {
                        let is_answer = |item: &&Reply| !matches!(item, Reply::Changes(_));
                        self.answers += batch.items.iter().filter(is_answer).count();
                        self.emptied.keep_all(batch.emptied);
                    }
                    Effect::Mark(_) => {}
                    other => panic!("{other:?} is not expected here"),
                }
            }
        }
        self.answers
    }
}

fn now(ms: u64) -> Now {
    Now { tick: Tick(ms), us: ms * 1000, wall_ms: 1_700_000_000_000 + ms as i64 }
}

fn parent(number: usize) -> String {
    format!("/parent-{:05}", number / FAN_OUT)
}

fn path(number: usize) -> String {
    format!("{}/child-{:03}", parent(number), number % FAN_OUT)
}

fn create(path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    path.write(&mut body);
    Some(data).write(&mut body);
    body.extend_from_slice(&AclList::open().bytes);
    0i32.write(&mut body);
    body
}

/// New nodes below the parents, which are deleted again beside the clock: the tree stays as large.
fn creates(c: &mut Criterion) {
    let mut group = c.benchmark_group("replica, create");
    let mut bench = Bench::new();
    let new = |number: usize| format!("{}/new-{number:06}", parent(number * FAN_OUT % NODES));
    for requests in BATCHES {
        group.throughput(Throughput::Elements(requests as u64));
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(requests), |b| {
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let numbers = next..next + requests;
                    next = numbers.end % (1 << 20);
                    let bodies: Vec<_> =
                        numbers.clone().map(|number| create(&new(number), &[7; DATA_BYTES])).collect();
                    took += bench.time(OpCode::Create, &bodies);
                    let delete = |number| PathVersion { path: new(number).into(), version: -1 };
                    let bodies: Vec<_> = numbers.map(|number| jute::to_bytes(&delete(number))).collect();
                    let batch = bench.batch(bodies.iter().map(|body| (OpCode::Delete, &body[..])));
                    bench.run(batch);
                }
                took
            });
        });
    }
    group.finish();
}

fn set_data(c: &mut Criterion) {
    let mut group = c.benchmark_group("replica, setData");
    let mut bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(42);
    let set = |number| {
        let path = path(number);
        jute::to_bytes(&SetDataRequest { path: path.into(), data: Some(&[8; DATA_BYTES]), version: -1 })
    };
    for requests in BATCHES {
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(BenchmarkId::from_parameter(requests), |b| {
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    // In an order that comes again nodes would lie in memory as they are asked for.
                    let chosen: Vec<Vec<u8>> = (0..requests).map(|_| set(random.usize(..NODES))).collect();
                    took += bench.time(OpCode::SetData, &chosen);
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, set_data, creates);
criterion_main!(benches);
