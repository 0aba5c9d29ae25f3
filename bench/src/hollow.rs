//! `hollow`: a server that is nothing but the ceiling. On the server's own ring, one thread, it takes the
//! same frames, answers each with as many bytes as a real answer has, makes every write durable before it
//! answers, and keeps nothing. What a real server loses against it is the price of being real.
//!
//! Writes of all connections gather while one is on its way to the disk, which is a zero-filled file that
//! is written with O_DIRECT and O_DSYNC, over and over.

use crate::failure::Failure;
use clap::{Args, ValueEnum};
use log::Log;
use reply::{Answer, Memory};
use ringkeeper_net::ring::{self, Listener, Runtime, Stream, Wake};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

mod log;
mod reply;

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// The longest frame; a longer one ends its connection.
const FRAME_BYTES_MAX: usize = 4 << 20;
const LENGTH_BYTES: usize = 4;

/// What runs the thread.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ring {
    /// The server's own runtime.
    Own,
    /// tokio-uring.
    TokioUring,
}

/// The command line of `hollow`.
#[derive(Args)]
pub struct Options {
    /// Port on 127.0.0.1; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 2181)]
    port: u16,
    /// Directory for the file that writes go to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Megabytes of that file.
    #[arg(long, value_name = "MB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    log_mb: u64,
    /// The runtime of the thread.
    #[arg(long, value_enum, default_value_t = Ring::Own)]
    ring: Ring,
    /// Microseconds for which the thread looks for work before it sleeps; the server's default.
    #[arg(long, value_name = "US", default_value_t = 50)]
    spin_us: u32,
}

/// Serves until it is killed.
///
/// # Errors
/// The port, the directory or the ring cannot be had; a write to the disk fails.
pub fn run(options: &Options) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port));
    let listener = listener.map_err(|error| Failure::system(format!("port {}", options.port), error))?;
    let address = listener.local_addr().map_err(|error| Failure::system("the listening socket", error))?;
    let file = log::Prepared::create(&options.dir, options.log_mb << 20)?;
    println!(
        "serving nothing on {address}, {} written with {} in steps of {} bytes, stop with Ctrl-C",
        file.path().display(),
        file.flags(),
        file.step()
    );
    let runtime = match options.ring {
        Ring::Own => Runtime::Own,
        Ring::TokioUring => Runtime::TokioUring,
    };
    let spin = Duration::from_micros(options.spin_us.into());
    let served = ring::run_awake(runtime, spin, serve(listener, file));
    served.map_err(|error| Failure::system("starting a ring", error))?
}

async fn serve(listener: TcpListener, file: log::Prepared) -> Result<(), Failure> {
    let (listener, log, memory) =
        (Listener::new(listener), Rc::new(Log::new(file)), Rc::new(Memory::default()));
    let accepting = (Rc::clone(&log), Rc::clone(&memory));
    ring::spawn(async move {
        let (log, memory) = accepting;
        // Out of descriptors, say: the connections that there are go on.
        while let Ok((stream, _)) = listener.accept().await {
            let connection = Connection { stream, log: Rc::clone(&log), memory: Rc::clone(&memory) };
            ring::spawn(connection.serve());
        }
    });
    log.write_for_ever().await
}

/// One client.
struct Connection {
    stream: Stream,
    log: Rc<Log>,
    memory: Rc<Memory>,
}

impl Connection {
    async fn serve(self) {
        let (mut buffer, mut rest, mut out) = (Vec::with_capacity(READ_BYTES), Vec::new(), Vec::new());
        let (mut greeted, durable) = (false, Wake::new());
        loop {
            let (received, home) = self.stream.read(buffer).await;
            buffer = home;
            if !received.is_ok_and(|bytes| bytes > 0) {
                return;
            }
            let whole = if rest.is_empty() {
                &buffer
            } else {
                rest.extend_from_slice(&buffer);
                &rest
            };
            let Some((taken, ticket, closes)) = self.answer(whole, &mut greeted, &mut out, &durable) else {
                self.stream.shutdown();
                return;
            };
            if rest.is_empty() {
                rest.extend_from_slice(&buffer[taken..]);
            } else {
                rest.drain(..taken);
            }
            if let Some(ticket) = ticket {
                while !self.log.is_durable(ticket) {
                    durable.woken().await;
                }
            }
            let (sent, home) = self.stream.write_all(out).await;
            out = home;
            out.clear();
            if sent.is_err() || closes {
                self.stream.shutdown();
                return;
            }
        }
    }

    /// Answers every whole frame. Returns how many bytes they are, what to wait for on the disk, and
    /// whether the session ends. `None`: what came is no client's.
    fn answer(
        &self,
        bytes: &[u8],
        greeted: &mut bool,
        out: &mut Vec<u8>,
        durable: &Wake,
    ) -> Option<(usize, Option<log::Ticket>, bool)> {
        let (mut taken, mut ticket, mut closes) = (0, None, false);
        while let Some(length) = bytes[taken..].first_chunk::<LENGTH_BYTES>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
            if length > FRAME_BYTES_MAX {
                return None;
            }
            let end = taken + LENGTH_BYTES + length;
            let Some(frame) = bytes.get(taken + LENGTH_BYTES..end) else { break };
            let answer = if *greeted {
                reply::answer(frame, &self.memory, out)?
            } else {
                reply::greet(frame, &self.memory, out)?
            };
            *greeted = true;
            if answer != Answer::Read {
                self.log.append(frame);
                ticket = Some(self.log.ticket());
            }
            closes |= answer == Answer::Close;
            taken = end;
        }
        if ticket.is_some() {
            self.log.wait(durable.clone());
        }
        Some((taken, ticket, closes))
    }
}
