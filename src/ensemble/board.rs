//! What is shown of the servers: on a terminal a line each that is written anew, elsewhere a line whenever one
//! of them changes its role.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::children::State;
use super::layout::Layout;

/// Lines on a terminal, one a server.
struct Lines {
    all: MultiProgress,
    bars: Vec<ProgressBar>,
}

/// Shows the servers.
pub struct Board {
    names: Vec<String>,
    addresses: Vec<String>,
    connect_string: String,
    lines: Option<Lines>,
    before: Vec<Option<State>>,
    /// Whether all have been seen to serve.
    served: bool,
}

impl Board {
    /// Says where the servers are; each has done nothing yet.
    pub fn new(layout: &Layout) -> Self {
        let lines = io::stdout().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is well formed");
            let bar = |_| all.add(ProgressBar::new_spinner().with_style(style.clone()));
            let bars = layout.places.iter().map(bar).collect();
            Lines { all, bars }
        });
        let board = Board {
            names: layout.places.iter().map(|place| format!("server {}", place.id)).collect(),
            addresses: layout.places.iter().map(|place| place.address().to_string()).collect(),
            connect_string: layout.connect_string(),
            lines,
            before: vec![None; layout.places.len()],
            served: false,
        };
        let directory = layout.places[0].directory.parent().unwrap_or(&layout.places[0].directory);
        board.say(&format!("data and logs in {}, stop with Ctrl-C", directory.display()));
        board
    }

    /// Whether nothing is expected to happen at once.
    pub fn is_settled(&self) -> bool {
        self.served
    }

    /// Shows what the servers do.
    pub fn show(&mut self, states: &[State]) {
        for (number, state) in states.iter().enumerate() {
            let line = line(&self.names[number], &self.addresses[number], state);
            match &self.lines {
                Some(lines) => lines.bars[number].set_message(line),
                None if differs(self.before[number].as_ref(), state) => self.say(&line),
                None => {}
            }
            self.before[number] = Some(state.clone());
        }
        if !self.served && states.iter().all(|state| matches!(state, State::Serving { .. })) {
            self.served = true;
            self.say(&format!("all servers serve: {}", self.connect_string));
        }
    }

    /// Prints a line.
    pub fn say(&self, line: &str) {
        match &self.lines {
            // Above the servers' lines. Nobody is told if the terminal is gone.
            Some(lines) => drop(lines.all.println(line)),
            None => drop(writeln!(io::stdout(), "{line}")),
        }
    }
}

/// Whether a change is worth a line of its own; transactions and clients come and go.
fn differs(before: Option<&State>, now: &State) -> bool {
    match (before, now) {
        (Some(State::Serving { role: before, .. }), State::Serving { role: now, .. }) => before != now,
        (before, now) => before != Some(now),
    }
}

fn line(name: &str, address: &str, state: &State) -> String {
    match state {
        State::Waiting => format!("{name}  {address}  does not serve"),
        State::Serving { role, zxid, clients } => {
            format!("{name}  {address}  {role:<10}  zxid {zxid}  clients {clients}")
        }
        State::Ended { status, last_words } => format!("{name}  {address}  ended, {status}: {last_words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn serving(role: &str, zxid: &str, clients: u64) -> State {
        State::Serving { role: role.to_owned(), zxid: zxid.to_owned(), clients }
    }

    #[test]
    fn a_line_has_role_zxid_and_clients() {
        let line = |state| line("server 1", "127.0.0.1:2181", &state);
        assert_eq!(
            line(serving("leader", "0x100000003", 2)),
            "server 1  127.0.0.1:2181  leader      zxid 0x100000003  clients 2"
        );
        assert_eq!(line(State::Waiting), "server 1  127.0.0.1:2181  does not serve");
        let ended = State::Ended { status: ExitStatus::from_raw(2 << 8), last_words: "error: no".into() };
        assert_eq!(line(ended), "server 1  127.0.0.1:2181  ended, exit status: 2: error: no");
    }

    #[test]
    fn plain_lines_tell_changes_of_role_alone() {
        let follower = serving("follower", "0x1", 0);
        assert!(differs(None, &State::Waiting));
        assert!(differs(Some(&State::Waiting), &follower));
        assert!(!differs(Some(&follower), &serving("follower", "0x2", 3)));
        assert!(differs(Some(&follower), &serving("leader", "0x1", 0)));
        assert!(!differs(Some(&State::Waiting), &State::Waiting));
    }
}
