//! How far a measurement is: a bar on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Between two changes of the bar: drawing must not cost what is measured.
const INTERVAL_NS: u64 = 100_000_000;

/// A bar of a measurement's time. It is wiped when dropped.
pub struct Progress {
    bar: ProgressBar,
    begin_ns: u64,
    next_ns: u64,
    /// When it was drawn last, and how many operations were done then.
    last: (u64, u64),
}

impl Progress {
    /// Begins at `begin_ns` of the generator's clock and takes `time_ns`.
    pub fn new(what: &str, begin_ns: u64, time_ns: u64) -> Progress {
        let draw_to = ProgressDrawTarget::stderr();
        // Without a terminal nothing is drawn, so the style is of no matter then.
        let bar =
            ProgressBar::with_draw_target(Some(Duration::from_nanos(time_ns).as_millis() as u64), draw_to);
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:40}] {percent:>3} %  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        Progress { bar, begin_ns, next_ns: begin_ns, last: (begin_ns, 0) }
    }

    /// Draws it anew when it is time to.
    pub fn show(&mut self, now_ns: u64, operations: impl FnOnce() -> u64) {
        if now_ns < self.next_ns || self.bar.is_hidden() {
            return;
        }
        self.next_ns = now_ns + INTERVAL_NS;
        let (done, since_ns) = (operations(), (now_ns - self.last.0).max(1));
        let per_s = done.saturating_sub(self.last.1) as f64 * 1e9 / since_ns as f64;
        self.last = (now_ns, done);
        self.bar.set_position(Duration::from_nanos(now_ns - self.begin_ns).as_millis() as u64);
        self.bar.set_message(format!("{per_s:.0}/s"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
