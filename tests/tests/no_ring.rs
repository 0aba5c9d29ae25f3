//! Where the kernel forbids io_uring, the server says exactly that, and what to change.

use ringkeeper_tests::server;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::thread;

/// `io_uring_setup`, the same number on every architecture.
const IO_URING_SETUP: i64 = 425;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Runs `serve` as in a container whose seccomp profile answers io_uring_setup with `errno`.
fn serve_without_ring(errno: u32) -> Output {
    let binary = server::ringkeeper_binary().expect("the binary is there, or can be built");
    let data = tempfile::tempdir().expect("a temporary directory");
    // The filter stays with the thread that sets it, and goes to the children of that thread.
    let run = thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(IO_URING_SETUP, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows"),
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter of one rule");
        seccompiler::apply_filter(&program).expect("a process may restrict itself");
        Command::new(binary)
            .args(["serve", "--client-port", "0", "--data-dir"])
            .arg(data.path())
            .output()
            .expect("the binary runs")
    });
    run.join().expect("the thread ends")
}

#[test]
fn a_kernel_that_forbids_the_ring_is_named_with_the_cure() {
    for (errno, cure) in [(EPERM, "io_uring_setup"), (ENOSYS, "seccomp profile")] {
        let output = serve_without_ring(errno);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("refuses io_uring") && said.contains(cure), "{said}");
        assert!(output.stdout.is_empty(), "it claims to serve: {}", String::from_utf8_lossy(&output.stdout));
    }
}
