//! A file system of a test's own. Mounting one takes a user and mount namespace of one's own; where the
//! kernel or a container forbids that, the test says that it was skipped, and why.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use crate::run::{Started, start_command};
use ringkeeper_tests::server::ringkeeper_binary;

/// What becomes a child of this test's binary, in its own namespaces.
const CHILD: &str = "RINGKEEPER_TEST_DISK";

/// Runs `test`, which has that name, with what `mount` mounts at a path, or says why it cannot.
pub fn on_own_disk(mount: &str, name: &str, test: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(CHILD) {
        return test(Path::new(&disk));
    }
    let disk = tempfile::tempdir().expect("a directory");
    let mount = format!("{mount} \"$0\"");
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(disk.path());
        command
    };
    let probe = unshared(&mount).output().expect("util-linux");
    if !probe.status.success() {
        let why = String::from_utf8_lossy(&probe.stderr);
        // Past the capture of a passing test's output: `tests/run` counts these lines.
        let line = format!("SKIPPED {name}: no file system of one's own here: {}\n", why.trim());
        io::stderr().write_all(line.as_bytes()).expect("standard error");
        return;
    }
    let again = format!("{mount} && exec \"$@\"");
    let binary = std::env::current_exe().expect("this test");
    let ran = unshared(&again)
        .arg(binary)
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, disk.path())
        .env("RINGKEEPER_BIN", ringkeeper_binary().expect("the binary"))
        .output()
        .expect("this test again");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}

/// Starts a server on such a file system.
pub fn start_on(disk: &Path, more: &[&str]) -> Started {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).arg(ringkeeper_binary().expect("the binary"));
    command.args(["serve", "--client-port", "0", "--set", "4lw.commands.whitelist=*"]);
    command.args(more).arg("--data-dir").arg(disk.join("data"));
    start_command(command)
}
