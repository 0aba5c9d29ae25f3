//! What a read costs and what it shares with other cores, counted and not timed: instructions of the server's
//! threads an operation, and those among them that lock a line of memory, with their functions. What locks
//! costs most where several cores do it to one line; whether they do, the code of those functions tells.
//!
//! `cargo bench -p ringkeeper-bench --bench reads`; it needs valgrind and objdump. A whole server runs in a
//! process of its own under callgrind, twice, the second time with more rounds: what differs is the rounds'. It
//! runs on tokio-uring, which sleeps in epoll: valgrind lets one thread run at a time, and one that sleeps in
//! io_uring, as our own runtime does, keeps the turn.

use callgrind::Counts;
use ringkeeper_engine::op::OpCode;
use ringkeeper_net::ring::Runtime;
use std::path::Path;
use std::process::{Command, Stdio};

mod callgrind;
mod whole;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 16;
/// Client cores, and requests in flight of each client.
const CASES: [(u16, usize); 3] = [(1, 64), (2, 64), (1, 1)];
/// Of the two runs, in requests of each client.
const REQUESTS: [usize; 2] = [6_400, 25_600];
/// The word by which this program calls itself.
const SERVE: &str = "serve";
/// Functions that are shown.
const FUNCTIONS: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == SERVE) {
        let numbers: Vec<usize> = arguments[at + 1..].iter().map(|n| n.parse().expect("a number")).collect();
        let [cores, depth, requests] = numbers[..] else { panic!("{SERVE} CORES DEPTH REQUESTS") };
        return serve(cores as u16, depth, requests);
    }
    for (cores, depth) in CASES {
        let [few, many] = REQUESTS.map(|requests| count(cores, depth, requests));
        let operations = (CLIENTS * (REQUESTS[1] - REQUESTS[0])) as f64;
        let of_rounds = many.less(&few);
        let each = |count: u64| count as f64 / operations;
        println!(
            "getData, {cores} client cores, {CLIENTS} clients x {depth}: {:.0} instructions an operation, {:.3} of \
             them locked",
            each(of_rounds.instructions),
            each(of_rounds.locked.values().sum())
        );
        let areas: Vec<String> =
            of_rounds.areas.iter().map(|(area, &count)| format!("{area} {:.0}", each(count))).collect();
        println!("  of the instructions: {}", areas.join(", "));
        let mut functions: Vec<(&String, u64)> =
            of_rounds.locked.iter().map(|(function, &count)| (function, count)).collect();
        functions.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (function, count) in functions.into_iter().take(FUNCTIONS) {
            println!("{:>10.4}  {function}", each(count));
        }
    }
}

/// The server and its clients, as the process that is counted.
fn serve(cores: u16, depth: usize, requests: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut clients = whole::start(directory.path(), Runtime::TokioUring, cores, CLIENTS);
    let of_client: Vec<Vec<u8>> =
        (0..CLIENTS).map(|client| whole::requests(OpCode::GetData, client, depth)).collect();
    (0..requests / depth).for_each(|_| whole::round(&mut clients, &of_client, depth));
    drop(directory);
}

/// Of all threads but the first, which is the clients'.
fn count(cores: u16, depth: usize, requests: usize) -> Counts {
    let directory = tempfile::tempdir().expect("a directory");
    let own = std::env::current_exe().expect("this program");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--dump-instr=yes"]);
    command.args(["--compress-strings=no", "--compress-pos=no"]);
    command.arg(format!("--callgrind-out-file={}", directory.path().join("out").display()));
    command
        .arg(&own)
        .arg(SERVE)
        .args([cores.into(), depth, requests].map(|number: usize| number.to_string()));
    let output = command.stdin(Stdio::null()).output().expect("valgrind is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    of_threads(directory.path())
}

fn of_threads(directory: &Path) -> Counts {
    let mut all = Counts::default();
    for file in std::fs::read_dir(directory).expect("a directory").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("callgrind's output");
        if !text.lines().any(|line| line == "thread: 1") {
            all.add(&text);
        }
    }
    all
}
