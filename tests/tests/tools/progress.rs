//! The bar of long work: on a terminal, and nowhere else.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::zookeeper::snapshot::{Item, OPEN_ACL, SnapshotNode, SnapshotWriter, Trailer};
use ringkeeper_engine::zookeeper::stream::Compression;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::fixture::command;

/// Whose lines are more than a pipe and the tool's own buffer take.
const NODES: usize = 4000;
/// The tool shows no bar of what takes less than half a second; its output is left unread for as long.
const LONG_WORK: Duration = Duration::from_millis(700);
const WORDS: [&str; 3] = ["snapshot", "dump", "snapshot.1.gz"];

/// Writes a snapshot of ZooKeeper's, packed.
fn snapshot(directory: &Path) {
    let mut writer = SnapshotWriter::new(Compression::Gzip);
    writer.count(0);
    writer.count(0);
    for number in 0..NODES {
        let path = if number == 0 { String::new() } else { format!("/{number}") };
        let (data, stat) = (Some(&b"value"[..]), StatPersisted::default());
        writer.item(&Item::Node(SnapshotNode { path: path.into(), data, acl: OPEN_ACL, stat }));
    }
    let mut bytes = writer.take_bytes();
    bytes.extend(writer.finish(&Trailer { digest: None, last_zxid: Some(Zxid(1)) }));
    std::fs::write(directory.join(WORDS[2]), bytes).expect("a file");
}

/// A terminal's two ends: ours, and the one that a program is started on.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let name = name.to_str().expect("a path");
    let theirs = File::options().read(true).write(true).open(name).expect("the other end");
    let size = Winsize { ws_row: 25, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, size).expect("it has a size");
    (ours.into(), theirs)
}

/// All that comes until nobody has the other end any more, which a terminal calls an error.
fn read_all(mut from: impl Read) -> String {
    const EIO: i32 = 5;
    let mut all = Vec::new();
    if let Err(error) = from.read_to_end(&mut all) {
        assert_eq!(error.raw_os_error(), Some(EIO), "{error}");
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads nothing for as long as makes it long work, then everything.
fn read_late(mut from: ChildStdout) -> io::Result<String> {
    let mut first = [0; 1];
    from.read_exact(&mut first)?;
    thread::sleep(LONG_WORK);
    let mut rest = String::new();
    from.read_to_string(&mut rest)?;
    Ok(rest)
}

/// What comes of standard error, and how many lines of standard output, when the first is one end of a
/// terminal or a pipe, and the second is a pipe.
fn run(directory: &Path, on_terminal: bool) -> (String, usize) {
    let (ours, theirs) = terminal();
    let mut command = command(directory, &WORDS);
    command.stdout(Stdio::piped()).env("TERM", "xterm").env_remove("NO_COLOR");
    match on_terminal {
        true => command.stderr(theirs),
        false => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().expect("it runs");
    // It holds the terminal's other end.
    drop(command);
    let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take());
    let messages = thread::spawn(move || match err {
        Some(pipe) => read_all(pipe),
        None => read_all(ours),
    });
    let lines = read_late(out).expect("its lines").lines().count();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    (messages.join().expect("it is read"), lines)
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_not_on_a_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    snapshot(directory.path());
    let file_bytes = std::fs::metadata(directory.path().join(WORDS[2])).expect("the snapshot").len();
    let (drawn, lines) = run(directory.path(), true);
    assert!(lines > NODES, "{lines}");
    assert!(drawn.contains('█') && drawn.contains(" left"), "{drawn:?}");
    // Of the file's own bytes, which are fewer than those of the nodes in it.
    let total = format!(" of {:.2} KiB,", file_bytes as f64 / 1024.0);
    assert!(drawn.contains(&total), "{total} {drawn:?}");
    assert!(drawn.trim_end().ends_with("\u{1b}[2K"), "it is taken away at the end: {drawn:?}");
    let (piped, same) = run(directory.path(), false);
    assert_eq!((piped.as_str(), same), ("", lines));
}

#[test]
fn lines_on_the_same_terminal_are_not_torn_apart_by_a_bar() {
    let directory = tempfile::tempdir().expect("a directory");
    snapshot(directory.path());
    let (ours, theirs) = terminal();
    let mut command = command(directory.path(), &WORDS);
    command.stdout(theirs.try_clone().expect("the same terminal")).stderr(theirs).env("TERM", "xterm");
    let mut child = command.spawn().expect("it runs");
    drop(command);
    // A terminal holds back who writes to it as a pipe does.
    thread::sleep(LONG_WORK);
    let shown = read_all(ours);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(shown.lines().count() > NODES && !shown.contains('█') && !shown.contains('\u{1b}'));
}
