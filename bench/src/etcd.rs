//! A load on etcd: as much of gRPC as putting and getting a key needs. Each client is a connection of its
//! own with as many streams at a time as its depth. What is measured is what `load` measures, with the same
//! recorder and report; the generator costs more here, for HTTP/2 is not one frame out and one frame back.

use crate::failure::Failure;
use crate::measure::{Recorder, Window, histogram};
use crate::mix::Chooser;
use crate::report::Report;
use crate::workload::{self, Operation, Settings};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::{HeaderMap, Request, Uri};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

/// How long a run may take beyond its measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// HTTP/2's windows, so that they are never what is waited for.
const WINDOW_BYTES: u32 = 16 << 20;
const KEY: &str = "/ringkeeper-bench/";

/// Whether an operation can be asked.
pub fn knows(operation: Operation) -> bool {
    matches!(operation, Operation::Get | Operation::Set | Operation::Create)
}

/// Whether a server serves, by its own word.
pub fn is_ready(server: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

/// Runs a load.
///
/// # Errors
/// An operation that etcd has not, a server that cannot be reached or breaks off.
pub fn run(settings: &Settings) -> Result<Report, Failure> {
    settings.check()?;
    if let Some(operation) = settings.mix.operations().find(|&operation| !knows(operation)) {
        let wrong = format!("--op {}: of etcd get, set and create are measured", operation.name());
        return Err(Failure::Option(wrong));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::system("starting a runtime", error))?;
    let longest = PATIENCE + Duration::from_secs_f64(settings.warmup_s + settings.duration_s);
    let load = async { tokio::time::timeout(longest, drive(settings)).await };
    let measured = LocalSet::new().block_on(&runtime, load);
    let silence = |_| Failure::Silence { in_flight: settings.clients, seconds: longest.as_secs() };
    Report::new(settings, measured.map_err(silence)??)
}

/// What all requests of a run share.
struct Run {
    chooser: RefCell<Chooser>,
    recorder: RefCell<Recorder>,
    value: Vec<u8>,
    base: Instant,
    created: Cell<u64>,
    over: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    open_loop: Option<OpenLoop>,
}

/// Requests that come by the clock.
struct OpenLoop {
    pace: Pace,
    /// A permit for each whose time has come.
    permits: Arc<Semaphore>,
    /// How many were taken.
    taken: Cell<u64>,
}

/// Request *i* is to start *i* / rate after the beginning.
#[derive(Clone, Copy)]
struct Pace {
    rate_per_s: u64,
    total: u64,
}

impl Pace {
    fn new(rate_per_s: u64, end_ns: u64) -> Pace {
        let total = u128::from(end_ns) * u128::from(rate_per_s) / 1_000_000_000;
        Pace { rate_per_s, total: total as u64 }
    }

    fn intended_ns(self, request: u64) -> u64 {
        (u128::from(request) * 1_000_000_000 / u128::from(self.rate_per_s)) as u64
    }
}

impl Run {
    fn now_ns(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
        self.over.set(true);
    }

    /// The next request's intended start; `None`: there is no more.
    async fn next(&self) -> Option<u64> {
        let Some(OpenLoop { pace, permits, taken }) = &self.open_loop else {
            return (!self.over.get()).then(|| self.now_ns());
        };
        permits.acquire().await.ok()?.forget();
        let request = taken.replace(taken.get() + 1);
        (request < pace.total && self.failure.borrow().is_none()).then(|| pace.intended_ns(request))
    }

    fn record(&self, operation: Operation, intended_ns: u64) {
        self.recorder.borrow_mut().record(operation, intended_ns, self.now_ns(), 0);
    }
}

async fn drive(settings: &Settings) -> Result<Recorder, Failure> {
    let mut clients = Vec::new();
    for &server in settings.servers.iter().cycle().take(settings.clients) {
        clients.push(Rc::new(Client::connect(server).await?));
    }
    let value = workload::value(settings.value_bytes, settings.seed);
    prepare(&clients, settings.keys, &value).await?;

    let begin_ns = (settings.warmup_s * 1e9) as u64;
    let end_ns = begin_ns + (settings.duration_s * 1e9) as u64;
    let (base, workers) = (Instant::now(), settings.clients * settings.depth);
    let open_loop = settings.rate_per_s.map(|rate_per_s| OpenLoop {
        pace: Pace::new(rate_per_s, end_ns),
        permits: Arc::new(Semaphore::new(0)),
        taken: Cell::new(0),
    });
    let clock = open_loop.as_ref().map(|of| release(base, of.pace, Arc::clone(&of.permits), workers));
    let window = Window { begin_ns, end_ns, open_loop: open_loop.is_some() };
    let run = Rc::new(Run {
        chooser: RefCell::new(Chooser::new(settings)),
        recorder: RefCell::new(Recorder::new(&settings.pids, window)),
        value,
        base,
        created: Cell::new(0),
        over: Cell::new(false),
        failure: RefCell::new(None),
        open_loop,
    });
    let mut tasks = Vec::new();
    for client in clients.iter().cycle().take(workers) {
        tasks.push(spawn_local(ask_until_over(Rc::clone(client), Rc::clone(&run))));
    }
    tokio::time::sleep(Duration::from_nanos(begin_ns)).await;
    run.recorder.borrow_mut().begin(run.now_ns())?;
    let rest = end_ns.saturating_sub(run.now_ns());
    tokio::time::sleep(Duration::from_nanos(rest)).await;
    run.recorder.borrow_mut().end(run.now_ns())?;
    run.over.set(true);
    for task in tasks {
        task.await.map_err(|error| Failure::system("a client's task", error))?;
    }
    if let Some(clock) = clock {
        let lateness = clock.join().map_err(|_| Failure::system("the open loop's clock", "it panicked"))?;
        run.recorder.borrow_mut().all_late(lateness);
    }
    let run = Rc::into_inner(run).ok_or_else(|| Failure::system("ending a run", "a task is left"))?;
    run.failure.into_inner().map_or(Ok(run.recorder.into_inner()), Err)
}

/// Puts every key, each client its share.
async fn prepare(clients: &[Rc<Client>], keys: u64, value: &[u8]) -> Result<(), Failure> {
    let mut tasks = Vec::new();
    for (first, client) in (0..).zip(clients) {
        let (client, value, step) = (Rc::clone(client), value.to_vec(), clients.len());
        tasks.push(spawn_local(async move {
            for key in (first..keys).step_by(step) {
                client.put(&format!("{KEY}{key:09}"), &value).await?;
            }
            Ok::<(), Failure>(())
        }));
    }
    for task in tasks {
        task.await.map_err(|error| Failure::system("a client's task", error))??;
    }
    Ok(())
}

async fn ask_until_over(client: Rc<Client>, run: Rc<Run>) {
    while let Some(intended_ns) = run.next().await {
        let (operation, key) = {
            let mut chooser = run.chooser.borrow_mut();
            match chooser.operation() {
                Operation::Create => {
                    run.created.set(run.created.get() + 1);
                    (Operation::Create, format!("{KEY}c-{:09}", run.created.get()))
                }
                operation => (operation, format!("{KEY}{:09}", chooser.node())),
            }
        };
        let asked = match operation {
            Operation::Get => client.get(&key).await,
            _ => client.put(&key, &run.value).await,
        };
        match asked {
            Ok(()) => run.record(operation, intended_ns),
            Err(failure) => return run.fail(failure),
        }
    }
}

/// Gives out the requests of an open loop at their times, from a thread of its own, since the runtime's
/// timers know milliseconds only; returns how late it was. At the end each worker gets a permit to see it.
fn release(base: Instant, pace: Pace, permits: Arc<Semaphore>, workers: usize) -> JoinHandle<Histogram<u64>> {
    std::thread::spawn(move || {
        // Without it, requests are later and the report says so.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let (mut lateness, mut request) = (histogram(), 0);
        while request < pace.total {
            let now_ns = base.elapsed().as_nanos() as u64;
            let first = request;
            while request < pace.total && pace.intended_ns(request) <= now_ns {
                lateness.saturating_record((now_ns - pace.intended_ns(request)).max(1));
                request += 1;
            }
            permits.add_permits((request - first) as usize);
            let next_ns = pace.intended_ns(request);
            std::thread::sleep(Duration::from_nanos(
                next_ns.saturating_sub(base.elapsed().as_nanos() as u64),
            ));
        }
        permits.add_permits(workers);
        lateness
    })
}

/// A connection.
struct Client {
    sender: SendRequest<Bytes>,
    put: Uri,
    range: Uri,
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Connection(error.to_string())
}

impl Client {
    async fn connect(server: SocketAddr) -> Result<Client, Failure> {
        let stream = TcpStream::connect(server).await;
        let stream = stream.map_err(|error| Failure::Connect { server, why: error.to_string() })?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(stream).await.map_err(broken)?;
        // Its failure is every request's failure, and told there.
        spawn_local(async move { drop(connection.await) });
        let uri = |method| format!("http://{server}/etcdserverpb.KV/{method}").parse().map_err(broken);
        Ok(Client { sender, put: uri("Put")?, range: uri("Range")? })
    }

    async fn put(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.call(&self.put, &[(1, key.as_bytes()), (2, value)]).await
    }

    async fn get(&self, key: &str) -> Result<(), Failure> {
        self.call(&self.range, &[(1, key.as_bytes())]).await
    }

    async fn call(&self, uri: &Uri, fields: &[(u8, &[u8])]) -> Result<(), Failure> {
        let request = Request::post(uri.clone()).header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(()).map_err(broken)?;
        let mut sender = self.sender.clone().ready().await.map_err(broken)?;
        let (response, mut stream) = sender.send_request(request, false).map_err(broken)?;
        stream.send_data(message(fields), true).map_err(broken)?;
        let (head, mut body) = response.await.map_err(broken)?.into_parts();
        while let Some(chunk) = body.data().await {
            let bytes = chunk.map_err(broken)?.len();
            body.flow_control().release_capacity(bytes).map_err(broken)?;
        }
        let trailers = body.trailers().await.map_err(broken)?;
        status(trailers.as_ref().unwrap_or(&head.headers))
    }
}

/// gRPC's word on how a call went.
fn status(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
    match text("grpc-status") {
        "0" => Ok(()),
        code => Err(Failure::Connection(format!("etcd answers {code}: {}", text("grpc-message")))),
    }
}

/// A message of fields of bytes: not compressed, its length, then Protocol Buffers.
fn message(fields: &[(u8, &[u8])]) -> Bytes {
    const LENGTH_DELIMITED: u8 = 2;
    const HEADER_BYTES: usize = 5;
    let mut out =
        BytesMut::with_capacity(HEADER_BYTES + fields.iter().map(|(_, f)| f.len() + 6).sum::<usize>());
    out.put_bytes(0, HEADER_BYTES);
    for (number, field) in fields {
        out.put_u8(number << 3 | LENGTH_DELIMITED);
        let mut length = field.len();
        while length >= 0x80 {
            out.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        out.put_u8(length as u8);
        out.put_slice(field);
    }
    let length = (out.len() - HEADER_BYTES) as u32;
    out[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_protocol_buffers_behind_its_length() {
        assert_eq!(&message(&[(1, b"k"), (2, b"vw")])[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vw");
        let long = message(&[(2, &[7; 300])]);
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x12\xac\x02");
    }

    #[test]
    fn an_open_loop_asks_as_often_as_its_rate_says() {
        let pace = Pace::new(3000, 2_000_000_000);
        assert_eq!((pace.total, pace.intended_ns(0), pace.intended_ns(3000)), (6000, 0, 1_000_000_000));
        let permits = Arc::new(Semaphore::new(0));
        let quick = Pace::new(1_000_000, 5_000_000);
        let lateness = release(Instant::now(), quick, Arc::clone(&permits), 7).join().unwrap();
        assert_eq!((lateness.len(), permits.available_permits()), (5000, 5007));
    }

    #[test]
    fn what_is_no_success_is_told() {
        let mut trailers = HeaderMap::new();
        assert!(status(&trailers).is_err());
        trailers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(status(&trailers), Ok(()));
        trailers.insert("grpc-status", "8".parse().unwrap());
        trailers.insert("grpc-message", "too many requests".parse().unwrap());
        let error = status(&trailers).unwrap_err().to_string();
        assert!(error.contains("8: too many requests"), "{error}");
    }
}
