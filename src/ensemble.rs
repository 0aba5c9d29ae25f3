//! `ringkeeper ensemble`: an ensemble in one terminal, for trying things out.
//!
//! It writes a configuration for each server, starts them as children of this process from this binary, and
//! shows what each of them does. Nothing of it is left when it ends, however it ends: the kernel kills the
//! servers with it. Their data stays, and the next start goes on with it.
//!
//! - `layout`: directories, ports and files.
//! - `children`: the processes.
//! - `board`: a line a server.

mod board;
mod children;
mod layout;

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::EnsembleArgs;
use board::Board;
use children::Children;
use layout::Layout;

pub use children::end_with;

/// Between two looks at the servers.
const REFRESH: Duration = Duration::from_secs(1);

/// While they start, so that each is seen as soon as it serves.
const REFRESH_AT_START: Duration = Duration::from_millis(100);

/// Runs an ensemble until SIGINT, SIGTERM or SIGHUP.
pub fn main(args: &EnsembleArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &EnsembleArgs) -> Result<ExitCode, String> {
    let layout = Layout::new(args)?;
    layout.check_ports()?;
    layout.write()?;
    // Before the first child: a signal must find somebody who ends them in order.
    let signals = signals().map_err(|error| format!("waiting for signals: {error}"))?;
    let mut board = Board::new(&layout);
    let mut children = Children::start(&layout)?;
    loop {
        let states = children.look();
        board.show(&states);
        if children.all_ended() {
            return Ok(ExitCode::FAILURE);
        }
        let pause = if board.is_settled() { REFRESH } else { REFRESH_AT_START };
        match signals.recv_timeout(pause) {
            Ok(()) => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("nobody waits for signals any more".into()),
        }
    }
    board.say("stopping; press Ctrl-C again to kill");
    let in_order = children.stop(&signals);
    Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An item for each signal that asks us to end.
fn signals() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = mpsc::channel();
    let forward = move || signals.forever().take_while(|_| sender.send(()).is_ok()).for_each(drop);
    thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(receiver)
}
