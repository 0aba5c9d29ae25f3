//! Where the tools write to: standard output line by line, a progress bar on a terminal.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Work that takes less shows no bar.
const BAR_DELAY: Duration = Duration::from_millis(500);

/// Why a tool ends early.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing can be written any more; a reader that has seen enough (`| head`) is one reason.
    Output(io::Error),
    /// A file cannot be read.
    Input(PathBuf, io::Error),
    /// A file is not what it should be.
    Unusable(PathBuf, String),
    /// A running server took the file away while it was read, and may have written over it.
    Retired(PathBuf),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

impl Trouble {
    /// A file that cannot be read.
    pub fn input(path: &Path) -> impl FnOnce(io::Error) -> Trouble {
        move |error| Trouble::Input(path.to_path_buf(), error)
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Output(error) => write!(f, "standard output: {error}"),
            Trouble::Input(path, error) => write!(f, "{}: {error}", path.display()),
            Trouble::Unusable(path, why) => write!(f, "{}: {why}", path.display()),
            Trouble::Retired(path) => write!(
                f,
                "{}: a running server took it away while it was read, since there are newer ones: read one of \
                 those",
                path.display()
            ),
        }
    }
}

/// What a tool found, as its exit code says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Damaged places; differences, where two files are compared.
    pub faults: u64,
    /// Files that could not be read at all.
    pub unread: u64,
}

/// The exit code of a tool, with its reason on standard error.
pub fn conclude(result: Result<Findings, Trouble>) -> ExitCode {
    match result {
        Ok(Findings { unread: 1.., .. }) => ExitCode::from(2),
        Ok(Findings { faults: 1.., .. }) => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::from(2)
        }
    }
}

/// Standard output.
#[derive(Debug)]
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Out {
    /// Takes it, for text or for JSON.
    pub fn new(json: bool) -> Out {
        Out { writer: BufWriter::with_capacity(64 << 10, io::stdout().lock()), json }
    }

    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Nobody reads any more, or a disk is full.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.writer, "{line}")
    }

    /// Writes a JSON value as a line.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, value).map_err(io::Error::from)?;
        self.writer.write_all(b"\n")
    }

    /// Writes a line: a JSON value or text.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn either(&mut self, value: &(impl Serialize + Display)) -> io::Result<()> {
        if self.json { self.value(value) } else { self.line(value) }
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A bar on a terminal's standard error, after a moment; nothing where there is none.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: bool,
    possible: bool,
    /// Of the files before this one.
    before: u64,
}

impl Progress {
    /// For so many bytes of input. `prints_along`: lines are written while it works, which would tear a
    /// bar on the same terminal apart.
    pub fn new(bytes: u64, prints_along: bool) -> Progress {
        Progress::with("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left", bytes, prints_along)
    }

    /// For so many nodes.
    pub fn of_nodes() -> Progress {
        Progress::with("{bar:40} {pos} of {len} nodes, {per_sec}, {eta} left", 0, false)
    }

    fn with(style: &str, total: u64, prints_along: bool) -> Progress {
        let possible = io::stderr().is_terminal() && !(prints_along && io::stdout().is_terminal());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, began: Instant::now(), shown: false, possible, before: 0 }
    }

    /// So far in the present file, in bytes.
    pub fn at(&mut self, offset: u64) {
        if !self.possible {
            return;
        }
        if !self.shown && self.began.elapsed() > BAR_DELAY {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.set_position(self.before + offset);
    }

    /// So far, of so many in all.
    pub fn at_of(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.at(done);
    }

    /// A file of so many bytes is done.
    pub fn file_done(&mut self, bytes: u64) {
        self.before += bytes;
        self.at(0);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
