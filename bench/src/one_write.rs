//! `one-write`: what one client that writes one value at a time waits for, beside what the machine itself
//! takes for it: the fastest durable append of the same bytes to the same file system, and an echo. Beside
//! them the hollow server, which does both in the place of a server and nothing else.
//!
//! The four alternate in slices of some milliseconds, since another load on the machine slows all of
//! them: each round gives one ratio.

use crate::failure::Failure;
use crate::measure::{Effort, explain_limit, percent_of_generator};
use crate::raw::{Echo, RawDisk, median, median_us};
use crate::servers::{self, Kind};
use crate::wire::{self, Path as NodePath, Scanner};
use crate::workload;
use clap::Args;
use ringkeeper_engine::log::SyncMode;
use serde::Serialize;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TIMEOUT_MS: i32 = 30_000;
/// The bytes of a log batch that holds one setData of 100 bytes.
const BATCH_BYTES: usize = 512;
/// Answers are no longer than this.
const REPLY_BYTES_MAX: usize = 4096;
/// No slice of appends takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
const MODES: [(SyncMode, &str); 3] =
    [(SyncMode::Direct, "direct"), (SyncMode::Dsync, "dsync"), (SyncMode::Fdatasync, "fdatasync")];

/// Measures one write at a time beside the machine's own limit.
#[derive(Args)]
pub struct Options {
    /// The server's binary; it is started on a directory below `--dir`.
    #[arg(long, value_name = "FILE", default_value = "target/release/ringkeeper")]
    binary: PathBuf,
    /// Settings of the server, as its `--set`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Directory on the file system that is measured.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    dir: PathBuf,
    /// Bytes of a value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Rounds, each of one slice of each kind.
    #[arg(long, value_name = "N", default_value_t = 60)]
    rounds: usize,
    /// Operations of a slice.
    #[arg(long, value_name = "N", default_value_t = 100)]
    slice: usize,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Medians of one round, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    append: f64,
    echo: f64,
    write: f64,
    /// One write of the hollow server.
    hollow: f64,
    /// Share of the time of the writes that the client worked or waited for a core.
    generator_share: f64,
}

impl Round {
    fn limit(&self) -> f64 {
        self.append + self.echo
    }

    fn ratio(&self) -> f64 {
        self.write / self.limit()
    }
}

#[derive(Serialize)]
struct Report {
    /// The way of appending that was the fastest.
    append: &'static str,
    rounds: Vec<Round>,
    /// All rounds.
    all: Summary,
    /// The quarter of the rounds in which append and echo were fastest: the machine had little else to do.
    quiet: Summary,
}

#[derive(Clone, Copy, Serialize)]
struct Summary {
    rounds: usize,
    append_us: f64,
    echo_us: f64,
    write_us: f64,
    ratio: f64,
    hollow_us: f64,
    over_hollow: f64,
    generator_share: f64,
}

impl Summary {
    fn of(rounds: &[Round]) -> Summary {
        let median = |value: fn(&Round) -> f64| median(&mut rounds.iter().map(value).collect::<Vec<_>>());
        Summary {
            rounds: rounds.len(),
            append_us: median(|round| round.append),
            echo_us: median(|round| round.echo),
            write_us: median(|round| round.write),
            ratio: median(Round::ratio),
            hollow_us: median(|round| round.hollow),
            over_hollow: median(|round| round.write / round.hollow),
            generator_share: median(|round| round.generator_share),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:14} {:>6} {:>12} {:>9} {:>10} {:>7} {:>10} {:>7} {:>12}",
            "medians, µs",
            "rounds",
            "raw append",
            "echo",
            "one write",
            "ratio",
            "hollow",
            "ratio",
            "generator %"
        )?;
        for (name, of) in [("all rounds", self.all), ("quiet quarter", self.quiet)] {
            writeln!(
                f,
                "{name:14} {:>6} {:>12.1} {:>9.1} {:>10.1} {:>7.2} {:>10.1} {:>7.2} {:>12}",
                of.rounds,
                of.append_us,
                of.echo_us,
                of.write_us,
                of.ratio,
                of.hollow_us,
                of.over_hollow,
                percent_of_generator(of.generator_share)
            )?;
        }
        writeln!(f, "raw append: {}, {BATCH_BYTES} bytes", self.append)
    }
}

/// Runs it.
///
/// # Errors
/// As the server, the disk and the system say.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory = tempfile::Builder::new().prefix("one-write-").tempdir_in(&options.dir);
    let directory = directory.map_err(|error| Failure::system("making a directory", error))?;
    let mut disk = RawDisk::create(directory.path())?;
    let mut echo = Echo::start()?;
    let server = Server::start(options, directory.path().join("data"))?;
    let mut hollow = servers::Server::prepare(Kind::Hollow, directory.path(), &[])?;
    hollow.start("/")?;
    let mut writer = Writer::open(&server.address, options)?;
    let mut beside = Writer::open(&hollow.address().to_string(), options)?;
    writer.write(options.slice)?;
    beside.write(options.slice)?;
    let (fastest, name) = fastest_append(&mut disk, options)?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let effort = Effort::begin()?;
        let write = median_us(&writer.write(options.slice)?);
        let generator_share = effort.share()?;
        let hollow = median_us(&beside.write(options.slice)?);
        let echo = median_us(&echo.exchange(writer.request_bytes(), options.slice)?);
        let append = median_us(&disk.append(fastest, BATCH_BYTES, options.slice, PATIENCE)?);
        rounds.push(Round { append, echo, write, hollow, generator_share });
    }
    let mut quiet = rounds.clone();
    quiet.sort_unstable_by(|a, b| a.limit().total_cmp(&b.limit()));
    quiet.truncate(rounds.len().div_ceil(4));
    let report = Report { append: name, all: Summary::of(&rounds), quiet: Summary::of(&quiet), rounds };
    print!("{report}");
    explain_limit([report.all.generator_share].into_iter());
    match &options.json {
        Some(path) => crate::report::write_json(&report, path),
        None => Ok(()),
    }
}

/// Which way of appending is the fastest here, over as many slices as are measured later: the least of
/// several in each slice would be below all of them.
fn fastest_append(disk: &mut RawDisk, options: &Options) -> Result<(SyncMode, &'static str), Failure> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); MODES.len()];
    for _ in 0..options.rounds {
        for ((mode, _), times) in MODES.iter().zip(&mut times) {
            // A file system may refuse O_DIRECT: then another way is the fastest.
            if let Ok(slice) = disk.append(*mode, BATCH_BYTES, options.slice, PATIENCE) {
                times.extend(slice);
            }
        }
    }
    let tried = MODES.iter().zip(&times).filter(|(_, times)| !times.is_empty());
    let fastest = tried.min_by(|(_, a), (_, b)| median_us(a).total_cmp(&median_us(b)));
    let nothing = || Failure::system("appending", "no way of making it durable works");
    fastest.map(|(mode, _)| *mode).ok_or_else(nothing)
}

/// A server on a free port, ended with this value.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(options: &Options, data: PathBuf) -> Result<Server, Failure> {
        let binary = &options.binary;
        let failed = |error| Failure::system(format!("starting {}", binary.display()), error);
        let mut command = Command::new(binary);
        command
            .args(["serve", "--client-port", "0", "--client-address", "127.0.0.1", "--data-dir"])
            .arg(data);
        command.args(options.set.iter().flat_map(|set| ["--set", set]));
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let stdout = child.stdout.take().expect("asked for");
        let mut server = Server { child, address: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        let address = line.split([' ', ',']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.ok_or_else(|| Failure::system("the server does not serve", line.trim()))?;
        server.address = address.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Failing means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One session that sets one node.
struct Writer {
    stream: TcpStream,
    template: wire::Template,
    xid: i32,
}

impl Writer {
    fn open(server: &str, options: &Options) -> Result<Writer, Failure> {
        let open = || -> std::io::Result<TcpStream> {
            let mut stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.write_all(&wire::handshake(TIMEOUT_MS))?;
            Ok(stream)
        };
        let mut stream = open().map_err(|error| Failure::Connection(error.to_string()))?;
        wire::read_handshake(&mut stream).map_err(|error| Failure::Handshake { why: error.to_string() })?;
        let (path, value) = (NodePath::new("/one-write"), workload::value(options.value_bytes, 1));
        let mut writer =
            Writer { stream, template: workload::create(&path, &value, workload::PERSISTENT), xid: 0 };
        writer.write(1)?;
        writer.template = workload::set(&path, &value);
        Ok(writer)
    }

    fn request_bytes(&self) -> usize {
        let mut out = Vec::new();
        self.template.encode(0, 0, &mut out);
        out.len()
    }

    /// Writes so often, one after the other.
    fn write(&mut self, count: usize) -> Result<Vec<Duration>, Failure> {
        (0..count).map(|_| self.write_once()).collect()
    }

    fn write_once(&mut self) -> Result<Duration, Failure> {
        let broken = |error: std::io::Error| Failure::Connection(error.to_string());
        self.xid += 1;
        let mut out = Vec::new();
        self.template.encode(self.xid, 0, &mut out);
        let begun = Instant::now();
        self.stream.write_all(&out).map_err(broken)?;
        let (mut scanner, mut reply) = (Scanner::default(), None);
        let mut buffer = [0; REPLY_BYTES_MAX];
        while reply.is_none() {
            let bytes = self.stream.read(&mut buffer).map_err(broken)?;
            if bytes == 0 {
                return Err(Failure::Connection("the server hung up".into()));
            }
            let fed = scanner.feed(&buffer[..bytes], |header| reply = Some(header));
            fed.map_err(|wire::NoReply(length)| Failure::Connection(format!("a frame of {length} bytes")))?;
        }
        let took = begun.elapsed();
        match reply {
            Some(header) if header.err == 0 => Ok(took),
            Some(header) => Err(Failure::Preparation { what: "writing", code: header.err }),
            None => unreachable!("awaited above"),
        }
    }
}
