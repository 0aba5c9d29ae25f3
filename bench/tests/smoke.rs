//! Every experiment, for a moment, against real servers: what it prints and writes is there and whole.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The server's binary: `RINGKEEPER_BIN`, or built once by cargo.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("RINGKEEPER_BIN") {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "ringkeeper", "--bin", "ringkeeper"]);
        let built = build.arg("--message-format=json-render-diagnostics").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let artifacts = built.stdout.split(|&byte| byte == b'\n');
        let executables = artifacts.filter_map(|line| {
            let artifact: Value = serde_json::from_slice(line).ok()?;
            artifact["executable"].as_str().map(PathBuf::from)
        });
        executables.last().expect("cargo names the executable")
    })
}

fn bench(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-bench"));
    command.args(arguments).current_dir(directory).output().unwrap()
}

/// What it prints when all goes well.
fn succeeds(directory: &Path, arguments: &[&str]) -> String {
    let output = bench(directory, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when asked for something that makes no sense.
fn refuses(directory: &Path, arguments: &[&str]) -> String {
    let output = bench(directory, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(directory: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

/// A standalone server on a free port, ended with this value.
struct Server {
    child: Child,
    address: String,
    directory: TempDir,
}

impl Server {
    fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", "--client-port", "0", "--client-address", "127.0.0.1", "--data-dir"]);
        let mut child = command.arg(directory.path().join("data")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split([' ', ',']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Server { child, address, directory }
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OPERATIONS: [&str; 9] =
    ["set", "create", "get", "exists", "children", "multi", "delete", "sequential", "ephemeral"];

#[test]
fn a_run_measures_every_operation_and_leaves_nothing() {
    let server = Server::start();
    let directory = server.directory();
    let run = |more: &[&str]| {
        let of =
            ["run", "--server", &server.address, "--seconds", "0.5", "--warmup", "0.1", "--clients", "4"];
        succeeds(directory, &[&of[..], more].concat())
    };
    let printed =
        run(&["--op", &OPERATIONS.join(","), "--depth", "8", "--distribution", "zipf", "--json", "a.json"]);
    let report = json(directory, "a.json");
    for (number, operation) in OPERATIONS.iter().enumerate() {
        assert!(printed.lines().any(|line| line.starts_with(operation)), "{printed}");
        let of = &report["operations"][number];
        assert_eq!(of["operation"], **operation);
        assert!(of["count"].as_u64().unwrap() > 0 && of["latency_us"]["p99"].as_f64().unwrap() > 0.0, "{of}");
    }
    assert_eq!(report["errors"], serde_json::json!({}), "every request has a node");
    // The process was found by the port that it listens on.
    assert!(report["server"]["written_bytes_per_operation"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["server"]["resident_mib"].as_f64().unwrap() > 1.0, "{report}");

    run(&["--op", "mix", "--rate", "500", "--json", "b.json", "--hgrm", "b.hgrm"]);
    let open = json(directory, "b.json");
    let counts = ["count"].map(|key| {
        open["operations"].as_array().unwrap().iter().map(|of| of[key].as_u64().unwrap()).sum::<u64>()
    });
    assert_eq!(counts, [250], "an open loop asks as often as it is told");
    assert!(open["generator"]["lateness_us"]["p50"].as_f64().is_some());
    let distribution = std::fs::read_to_string(directory.join("b.get.hgrm")).unwrap();
    assert!(distribution.contains("TotalCount") && distribution.contains("#[Max"), "{distribution}");

    succeeds(directory, &["merge", "a.json", "b.json", "--in-turn", "--json", "c.json"]);
    let merged = json(directory, "c.json");
    assert!((merged["seconds"].as_f64().unwrap() - 1.0).abs() < 0.2, "{merged}");
    // Nothing is left under the root: another run creates it.
    let again = run(&["--op", "create", "--keep", "--json", "d.json"]);
    assert!(again.contains("create"), "{again}");
}

#[test]
fn options_that_make_no_sense_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (&["run", "--op", "gte"][..], "--op gte: `gte` is no operation"),
        (&["run", "--server", "nowhere"], "--server nowhere: expected HOST:PORT"),
        (&["run", "--seconds", "0"], "--seconds 0: expected more than 0"),
        (&["run", "--op", "mix", "--read-percent", "101"], "--read-percent 101: expected 0 to 100"),
        (&["merge"], "<FILE>"),
    ] {
        let error = refuses(directory.path(), arguments);
        assert!(error.contains(part), "{error}");
    }
}
