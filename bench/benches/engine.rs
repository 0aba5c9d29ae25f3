//! The engine's parts alone, in memory: index, codec, log encoding, apply and checkpoint. They show where a
//! change of the engine makes it slower; what a server does as a whole the load generator measures.
//!
//! `cargo bench -p ringkeeper-bench --bench engine`; a word behind `--` chooses by name. Every group has its
//! sizes as constants here, and a seed for what is picked.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::{CreateRequest, SetDataRequest, Stat};
use ringkeeper_engine::jute::{self, Write};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{DatabaseId, LogWriter, Sequence, Tail, Upkeep};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::{Prep, Stamp, WriteRequest};
use ringkeeper_engine::read::ReadContext;
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter};
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_engine::tree::kept::KeptFault;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// Nodes of the trees that are read and written.
const TREES: [usize; 2] = [1_000, 100_000];
/// Children under one parent.
const FAN_OUT: usize = 100;
const DATA_BYTES: usize = 100;
const SEED: u64 = 42;

fn path(number: usize) -> String {
    format!("/parent-{:05}/child-{:03}", number / FAN_OUT, number % FAN_OUT)
}

/// A request's transaction, and the request's place in the log.
fn propose(prep: &mut Prep, database: &Database, zxid: Zxid, op: OpCode, body: &[u8]) -> Vec<u8> {
    let request = WriteRequest {
        session: SessionId(1),
        xid: 1,
        op,
        body,
        auth: &[],
        internal: false,
        no_ephemerals: None,
    };
    let mut transaction = Vec::new();
    let stamp = Stamp { zxid, time: 1_700_000_000_000 };
    prep.prepare(&database.tree, &request, stamp, &mut transaction).expect("a sound request");
    transaction
}

fn create(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    path.write(&mut body);
    Some(&[7u8; DATA_BYTES][..]).write(&mut body);
    body.extend_from_slice(&AclList::open().bytes);
    0i32.write(&mut body);
    body
}

fn set_data(path: &str) -> Vec<u8> {
    jute::to_bytes(&SetDataRequest { path: path.into(), data: Some(&[8; DATA_BYTES]), version: -1 })
}

fn new_prep() -> Prep {
    Prep::new(Arc::new(Settings::default()), 1)
}

/// A tree of so many nodes below its parents.
fn filled(nodes: usize) -> Database {
    let (mut prep, mut database) = (new_prep(), Database::new(1));
    for number in 0..nodes {
        let child = path(number);
        let parent =
            (number % FAN_OUT == 0).then(|| child[..child.rfind('/').unwrap_or_default()].to_owned());
        for path in parent.into_iter().chain([child]) {
            let zxid = database.last.next();
            let transaction = propose(&mut prep, &database, zxid, OpCode::Create, &create(&path));
            database.replay(&transaction).expect("a sound transaction");
            prep.applied(zxid);
        }
    }
    database
}

fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(1));
    for nodes in TREES {
        let database = filled(nodes);
        let reader = database.tree.reader();
        let mut random = fastrand::Rng::with_seed(SEED);
        let picked: Vec<String> = (0..4096).map(|_| path(random.usize(..nodes))).collect();
        let absent: Vec<String> = picked.iter().map(|path| format!("{path}-absent")).collect();
        for (name, paths) in [("hit", &picked), ("miss", &absent)] {
            let mut next = 0;
            group.bench_function(BenchmarkId::new(name, nodes), |b| {
                b.iter(|| {
                    next = (next + 1) % paths.len();
                    let view = reader.view(Zxid(u64::MAX));
                    black_box(view.node(&paths[next]).is_ok_and(|found| found.is_ok()))
                });
            });
        }
    }
    group.finish();
}

/// getData as a client core does it: on one thread, on two that share a tree, and on two with a tree each, which
/// is what the machine has to give. What serialised reads, a lock or a line of memory that each of them writes,
/// would show as a difference between the last two. It needs two idle processors.
fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    let (nodes, settings) = (TREES[0], Settings::default());
    let databases = [filled(nodes), filled(nodes)];
    for (name, threads, trees) in
        [("1 thread", 1, 1), ("2 threads, 1 tree", 2, 1), ("2 threads, 2 trees", 2, 2)]
    {
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(BenchmarkId::new("getData", name), |b| {
            b.iter_custom(|times| {
                let start = Barrier::new(threads);
                let one = &|thread: usize| {
                    let reader = databases[thread % trees].tree.reader();
                    let mut random = fastrand::Rng::with_seed(SEED + thread as u64);
                    let picked: Vec<String> = (0..256).map(|_| path(random.usize(..nodes))).collect();
                    let mut reply = Vec::with_capacity(4096);
                    start.wait();
                    let begun = Instant::now();
                    for path in picked.iter().cycle().take(times as usize) {
                        reply.clear();
                        let view = reader.view(Zxid(u64::MAX));
                        let context = ReadContext { view: &view, auth: &[], settings: &settings };
                        black_box(context.get_data(path, &mut reply).is_ok());
                    }
                    begun.elapsed()
                };
                std::thread::scope(|scope| {
                    let running: Vec<_> =
                        (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
                    let took = running.into_iter().map(|thread| thread.join().expect("a sound read"));
                    took.max().unwrap_or_default()
                })
            });
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    let create = create("/parent-00001/child-001");
    group.bench_function("decode create", |b| {
        b.iter(|| jute::from_bytes::<CreateRequest<'_>>(black_box(&create)).map(|request| request.flags));
    });
    let set_data = set_data("/parent-00001/child-001");
    group.bench_function("decode setData", |b| {
        b.iter(|| {
            jute::from_bytes::<SetDataRequest<'_>>(black_box(&set_data)).map(|request| request.version)
        });
    });
    let mut out = Vec::with_capacity(256);
    group.bench_function("encode Stat", |b| {
        b.iter(|| {
            out.clear();
            black_box(Stat { czxid: 7, ..Stat::default() }).write(&mut out);
            black_box(out.len())
        });
    });
    group.finish();
}

/// The files that the log asks for are there at once.
fn prepare_segment(log: &mut LogWriter) {
    while let Some(step) = log.take_upkeep(0).expect("nothing failed") {
        log.on_upkeep(step, Ok(()), 0).expect("nothing failed");
        if step == Upkeep::SyncDirectory {
            break;
        }
    }
}

/// From the append of a batch's transactions to the bytes of its write, checksums included.
fn log_encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("log encode");
    let settings = ringkeeper_engine::log::Settings::default();
    let transaction =
        propose(&mut new_prep(), &filled(FAN_OUT), Zxid(1000), OpCode::SetData, &set_data(&path(1)));
    for batch in [1, 64, 1024] {
        let mut log = LogWriter::new(settings, DatabaseId(1), Tail::origin(Zxid::ZERO, Sequence::FIRST));
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                for _ in 0..batch {
                    let zxid = log.last_appended().next();
                    log.append(zxid, &transaction, 0).expect("room");
                }
                let write = loop {
                    match log.take_write(0).expect("nothing failed") {
                        Some(write) => break write,
                        None => prepare_segment(&mut log),
                    }
                };
                black_box(write.bytes().len());
                log.on_written(write, Ok(())).expect("nothing failed").map(|durable| durable.upto())
            });
        });
    }
    group.finish();
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(FAN_OUT as u64));
    for nodes in TREES {
        let mut database = filled(nodes);
        let mut prep = new_prep();
        let mut random = fastrand::Rng::with_seed(SEED);
        let bodies: Vec<Vec<u8>> = (0..FAN_OUT).map(|_| set_data(&path(random.usize(..nodes)))).collect();
        group.bench_function(BenchmarkId::new("prepare and apply 100 setData", nodes), |b| {
            b.iter(|| {
                for body in &bodies {
                    let zxid = database.last.next();
                    let transaction = propose(&mut prep, &database, zxid, OpCode::SetData, body);
                    database.replay(&transaction).expect("a sound transaction");
                    prep.applied(zxid);
                }
            });
        });
    }
    group.bench_function("prepare and apply 100 creates", |b| {
        b.iter_batched(|| (), |()| black_box(filled(FAN_OUT)), BatchSize::PerIteration);
    });
    group.finish();
}

fn write_checkpoint(database: &Database) -> Vec<u8> {
    let mut writer = CheckpointWriter::new(DatabaseId(1), database.last);
    let mut file = Vec::new();
    let drained = checkpoint::write(&mut writer, database.last, &[], &database.tree.reader(), |writer| {
        while let Some(bytes) = writer.take_bytes() {
            file.extend_from_slice(&bytes);
        }
        Ok::<(), KeptFault>(())
    });
    writer.finish(drained.expect("nothing fails")).for_each(|bytes| file.extend_from_slice(&bytes));
    file
}

fn checkpoints(c: &mut Criterion) {
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(20);
    let nodes = TREES[1];
    let database = filled(nodes);
    group.throughput(Throughput::Elements(nodes as u64));
    group.bench_function(BenchmarkId::new("write", nodes), |b| b.iter(|| write_checkpoint(&database).len()));
    let file = write_checkpoint(&database);
    group.bench_function(BenchmarkId::new("verify", nodes), |b| {
        b.iter(|| {
            let mut records = 0;
            let opened = Checkpoint::open(&file).expect("what was just written");
            opened.visit(|_| records += 1).expect("what was just written");
            records
        });
    });
    group.bench_function(BenchmarkId::new("read", nodes), |b| {
        b.iter(|| {
            let mut restored = Database::new(2);
            let opened = Checkpoint::open(&file).expect("what was just written");
            checkpoint::read(&mut restored, &opened, false).expect("what was just written");
            restored.tree.node_count()
        });
    });
    group.finish();
}

criterion_group!(benches, index, read, codec, log_encode, apply, checkpoints);
criterion_main!(benches);
