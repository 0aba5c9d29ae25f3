//! The board as a terminal shows it: a line a server, written anew where it stands.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use ringkeeper_tests::process::await_some;
use ringkeeper_tests::wire::Session;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use tempfile::TempDir;

use super::{Ipv4Addr, PATIENCE, SocketAddr, children, command, free_base_port, runs};

/// Ctrl-C, which the terminal makes a signal of.
const INTERRUPT: &[u8] = b"\x03";

/// Moves the cursor up a line.
const UP: &str = "\x1b[1A";

/// A process on a terminal of its own, killed when the value is dropped.
struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs the command as the terminal's foreground process, under its own process id.
    fn run(inner: &Command) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).expect("there are terminals");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let slave = || Stdio::from(ioctl_tiocgptpeer(&master, flags).expect("its other side"));
        // setsid makes it the terminal of the process, setpriv lets the kernel end that with this test.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "setpriv", "--pdeathsig=KILL", "--"]);
        command.arg(inner.get_program()).args(inner.get_args()).env("TERM", "xterm");
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().expect("it runs");
        // Ours of the other side end, and with the process the terminal.
        drop(command);
        let mut screen = File::from(master);
        let keys = screen.try_clone().expect("a descriptor");
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let seen = Arc::clone(&shown);
        let read = move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = screen.read(&mut bytes)
                && count > 0
            {
                seen.lock().expect("no holder panics").extend_from_slice(&bytes[..count]);
            }
        };
        Terminal { child, keys, shown, reader: Some(thread::spawn(read)) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no holder panics")).into_owned()
    }

    fn await_text(&self, text: &str) {
        let found = await_some(PATIENCE, || self.text().contains(text).then_some(()));
        assert!(found.is_some(), "never shown `{text}`:\n{}", self.text());
    }

    fn await_end(&mut self) -> ExitStatus {
        let ended = await_some(PATIENCE, || self.child.try_wait().ok().flatten());
        ended.unwrap_or_else(|| panic!("it never ended:\n{}", self.text()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().map(JoinHandle::join);
    }
}

#[test]
fn a_terminal_shows_a_line_a_server_and_writes_it_anew() {
    let home = TempDir::new().expect("a directory");
    let base_port = free_base_port(3);
    let mut terminal = Terminal::run(&command(&home, 2, base_port, &["--observers", "1"]));
    terminal.await_text("all servers serve");
    let servers = children(terminal.child.id());
    assert_eq!(servers.len(), 3);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, base_port + 2));
    let client = Session::begin(address, 30_000);
    // What is shown behind the line of this client was written over what was there before.
    let line = format!("server 3  {address}  observer    zxid 0x");
    terminal.await_text("clients 1");
    let text = terminal.text();
    let (before, _) = text.split_once("clients 1").expect("it was shown a moment ago");
    let (start, _) = before.rsplit_once("server 3").expect("its line");
    assert!(before[start.len()..].starts_with(&line), "{text}");
    assert!(before.matches(&line).count() > 1, "it was shown before with no client: {text}");
    assert!(start.contains(UP), "nothing was written anew: {text}");
    drop(client);
    terminal.keys.write_all(INTERRUPT).expect("a key is pressed");
    assert!(terminal.await_end().success(), "{}", terminal.text());
    terminal.await_text("stopping; press Ctrl-C again to kill");
    assert!(!servers.iter().any(|id| runs(*id)), "{servers:?} are left behind");
}
