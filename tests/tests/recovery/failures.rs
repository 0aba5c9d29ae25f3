//! A failed write or sync is fatal at once: what the disk holds is unknown then, so nobody is told anything
//! more, and the reason is said. (Space that is missing is another matter: see `disk_full.rs`.)

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;

use ringkeeper_tests::server::ringkeeper_binary;
use ringkeeper_tests::wire::op;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::data::{Data, End, get, put, shown};
use crate::disk_full::{set, until};
use crate::run::{Started, start, start_command, until_prepared};

const EIO: u32 = 5;

#[test]
fn a_failed_log_write_ends_the_server_with_its_reason_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    // A write behind the limit of a file's size fails, if the signal that comes with it is ignored.
    let mut command = Command::new("sh");
    let serve = "trap '' XFSZ; exec setpriv --pdeathsig=KILL -- \"$@\"";
    command.args(["-c", serve, "sh"]).arg(ringkeeper_binary().expect("the binary"));
    command.args(["serve", "--client-port", "0", "--data-dir"]).arg(&data);
    command.args(["--set", "log.segmentBytes=65536"]);
    let server = start_command(command).serves();
    let mut session = server.session().expect("a session");
    put(&mut session, "/kept", b"before", false).expect("a reply");
    // Else the preparation of the next segment may meet the limit first.
    until_prepared(&data, 65_536);
    let limit = Rlimit { current: Some(4096), maximum: Some(4096) };
    prlimit(Some(server.id()), Resource::Fsize, limit).expect("one's own process may be limited");
    let unanswered = put(&mut session, "/kept", b"after", true);
    assert!(unanswered.is_err(), "a write that is not on disk was acknowledged");
    let (code, said) = server.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: the log failed: writing ") && said.contains(".rklog: File too large"),
        "{said}"
    );

    let server = start(&data, &[]).serves();
    let found = get(&mut server.session().expect("a session"), "/kept").expect("the node");
    assert!(found == b"before" || found == b"after", "{found:?}");
}

#[test]
fn a_failed_sync_at_the_start_ends_the_server_with_its_reason() {
    let data = Data::fill("fdatasync", End::Killed);
    let path = data.path.clone();
    // The filter stays with the thread that sets it, and goes to the children of that thread.
    let started = thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(libc_fsync(), Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(EIO),
            std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows"),
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter of one rule");
        seccompiler::apply_filter(&program).expect("a process may restrict itself");
        start(&path, &[])
    });
    let Started::Ended { code, said } = started.join().expect("the thread ends") else {
        panic!("it serves what it does not know to be durable");
    };
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: syncing ") && said.contains("Input/output error"), "{said}");
    let server = start(&data.path, &[]).serves();
    assert_eq!(shown(&server, &data.nodes(0)), data.nodes(0));
}

/// A server that ended for this would end again for as long as its clients come back.
#[test]
fn a_server_that_can_open_no_more_files_stops_writes_alone_and_goes_on() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    // What it finds is what a shell's user has; what it is to have is what it may.
    let mut command = Command::new("sh");
    let serve = "ulimit -Sn 200; exec setpriv --pdeathsig=KILL -- \"$@\"";
    command.args(["-c", serve, "sh"]).arg(ringkeeper_binary().expect("the binary"));
    command.args(["serve", "--client-port", "0", "--data-dir"]).arg(&data);
    command.args(["--set", "log.segmentBytes=65536"]);
    let server = start_command(command).serves();
    let mut session = server.session().expect("a session");
    put(&mut session, "/n", b"first", false).expect("a reply");
    until_prepared(&data, 65_536);
    let limit_files = |limit| prlimit(Some(server.id()), Resource::Nofile, limit).expect("one's own process");
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = limit_files(Rlimit { current: Some(3), maximum });
    assert_eq!(before.current, maximum, "as many files may be open as the system allows");
    // More than the segment that is there and the prepared one hold.
    for number in 0..200 {
        session.post(op::SET_DATA, &set("/n", &[b'a' + number % 26; 900])).expect("it is taken");
    }
    until(&server, "no more files can be opened (");
    limit_files(Rlimit { current: maximum, maximum });
    for _ in 0..200 {
        assert_eq!(session.reply().expect("every write is answered").error, 0);
    }
    until(&server, "files can be opened again");
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    let server = start(&data, &[]).serves();
    let found = get(&mut server.session().expect("a session"), "/n").expect("the node");
    assert_eq!(found, [b'a' + 199 % 26; 900]);
}

/// The number of fsync.
fn libc_fsync() -> i64 {
    if cfg!(target_arch = "x86_64") { 74 } else { 82 }
}
