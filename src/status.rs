//! `ringkeeper status`: asks a server for its mode as `zkServer.sh status` does.
//!
//! zkServer.sh asks `srvr` alone, which ZooKeeper always answers. Other servers of the protocol may not, so
//! `stat` and `isro` follow. The lines and exit codes are those of zkServer.sh, because scripts read them.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::{self, StatusArgs};
use crate::config::Config;

/// How long a server may take to answer one word; ZooKeeper's own client of four-letter words waits as long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// `stat` lists all connections before its mode; beyond this an answer is nonsense.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Asks the server that the command line names. The mode goes to standard output, exit code 0 only with it.
pub fn main(args: &StatusArgs) -> ExitCode {
    let (host, port) = match (&args.server, &args.file) {
        (Some((host, port)), _) => (host.clone(), *port),
        (None, None) => ("127.0.0.1".to_owned(), 2181),
        (None, Some(file)) => match cli::load_config(Some(file), &[]) {
            Ok((config, _)) => {
                eprintln!("Using config: {}", file.display());
                client_address(&config)
            }
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("{error}"));
                return ExitCode::FAILURE;
            }
        },
    };
    println!("Client port found: {port}. Client address: {host}. Client SSL: false.");
    match mode(&host, port, ANSWER_TIME_MAX) {
        Ok(mode) => {
            println!("{mode}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Error contacting service. It is probably not running.");
            eprintln!("error: {host}:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where a client on this machine reaches the server of `config`.
fn client_address(config: &Config) -> (String, u16) {
    let address = &config.listen.address;
    let host = address.host.as_deref().filter(|_| !address.is_wildcard()).unwrap_or("localhost");
    (host.to_owned(), address.port)
}

/// The line that says a server's mode, such as `Mode: standalone`.
///
/// `srvr`, `stat` and `isro` are asked in this order until one tells. `isro` knows only whether writes are
/// taken, so its line is `Mode: read-write` or `Mode: read-only`, which no ZooKeeper says.
///
/// # Errors
///
/// The server cannot be reached, does not answer in time, or tells none of the three.
pub fn mode(host: &str, port: u16, time_max: Duration) -> io::Result<String> {
    let mut last = String::new();
    for word in ["srvr", "stat"] {
        last = ask(host, port, word, time_max)?;
        if let Some(mode) = last.lines().find(|line| line.starts_with("Mode:")) {
            return Ok(mode.trim_end().to_owned());
        }
    }
    match ask(host, port, "isro", time_max)?.trim() {
        "rw" => Ok("Mode: read-write".to_owned()),
        "ro" => Ok("Mode: read-only".to_owned()),
        _ => Err(other(format!("answers without a mode: {}", first_line(&last)))),
    }
}

fn first_line(answer: &str) -> String {
    let line: String = answer.lines().next().unwrap_or("").chars().take(120).collect();
    if line.is_empty() { "nothing".to_owned() } else { line.escape_debug().to_string() }
}

/// Sends one four-letter word and reads until the server closes.
///
/// # Errors
///
/// The server cannot be reached, or does not answer in time.
pub(crate) fn ask(host: &str, port: u16, word: &str, time_max: Duration) -> io::Result<String> {
    let deadline = Instant::now() + time_max;
    let mut stream = connect(host, port, deadline)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    stream.write_all(word.as_bytes())?;
    // ZooKeeper's own client closes its side too, and a server may wait for that.
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    while (answer.len() as u64) < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            // A server that closes with our bytes unread resets the connection; the answer came before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !answer.is_empty() => break,
            Err(error) if is_timeout(&error) => return Err(too_late()),
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Tries each address of the host.
fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, remaining(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| other("the host has no address")))
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no complete answer in time")
}

fn other(text: impl Display) -> io::Error {
    io::Error::other(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that answers each connection's word by `answer`, as many as there are words to ask.
    fn with_server(answer: fn(&str) -> &'static str, check: impl FnOnce(u16)) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let server = thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().expect("a client comes");
                let mut word = [0; 4];
                if stream.read_exact(&mut word).is_err() {
                    return;
                }
                let word = std::str::from_utf8(&word).expect("words are ASCII");
                stream.write_all(answer(word).as_bytes()).expect("the client reads");
            }
        });
        check(port);
        // A connection without a word ends the server.
        drop(TcpStream::connect(("127.0.0.1", port)).expect("the server is there"));
        server.join().expect("the server saw nothing unexpected");
    }

    fn ask_mode(port: u16) -> Result<String, String> {
        mode("127.0.0.1", port, Duration::from_secs(5)).map_err(|e| e.to_string())
    }

    const REFUSED: &str = "is not executed because it is not in the whitelist.\n";

    #[test]
    fn srvr_tells_the_mode() {
        let answer = |word: &str| match word {
            "srvr" => "Zookeeper version: 3.9.5\nMode: standalone\nNode count: 5\n",
            _ => REFUSED,
        };
        with_server(answer, |port| assert_eq!(ask_mode(port), Ok("Mode: standalone".to_owned())));
    }

    #[test]
    fn stat_then_isro_are_asked_where_srvr_is_refused() {
        let answer = |word: &str| if word == "stat" { "Clients:\n\nMode: follower\n" } else { REFUSED };
        with_server(answer, |port| assert_eq!(ask_mode(port), Ok("Mode: follower".to_owned())));
        let answer = |word: &str| if word == "isro" { "rw" } else { REFUSED };
        with_server(answer, |port| assert_eq!(ask_mode(port), Ok("Mode: read-write".to_owned())));
    }

    #[test]
    fn a_server_that_does_not_serve_has_no_mode() {
        let answer = |word: &str| match word {
            "isro" => "null",
            _ => "This ZooKeeper instance is not currently serving requests\n",
        };
        with_server(answer, |port| {
            let error = ask_mode(port).expect_err("there is no mode");
            assert!(error.contains("not currently serving"), "{error}");
        });
    }

    #[test]
    fn a_silent_server_is_given_up_after_the_time_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let error = mode("127.0.0.1", port, Duration::from_millis(50)).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
