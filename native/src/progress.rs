//! A bar on a terminal, plain lines where the output is read by something else.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgpu_sft::report::words;

pub use words::bytes;

/// Print a line to standard output; a closed pipe is an error like any other.
pub fn line(text: &str) -> Result<()> {
    writeln!(stdout(), "{text}").context("standard output")
}

/// Tell something on standard error; where that is closed or full, nobody.
pub fn tell(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Tell of something that is amiss, and no reason to stop.
pub fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

/// How a long command tells how far it is.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// Whether every line is printed, there being no bar to show the latest.
    plain: bool,
}

impl Progress {
    /// For a run of `total` steps, `done` of which are done.
    pub fn steps(quiet: bool, done: u64, total: u64) -> Self {
        let style = "{bar:30} {pos}/{len} {msg} {my_left}";
        Self::new(quiet, total, style).at(done)
    }

    /// For the bytes of a model that is read or written.
    pub fn bytes(quiet: bool, total: u64, doing: &'static str) -> Self {
        let progress = Self::new(quiet, total, "{msg} {bar:30} {bytes}/{total_bytes}");
        progress.bar.set_message(doing);
        progress
    }

    /// For the items of something that has a name.
    pub fn items(quiet: bool, total: u64, name: &str) -> Self {
        let progress = Self::new(quiet, total, "{msg} {bar:30} {pos}/{len} {my_left}");
        progress.bar.set_message(name.to_owned());
        progress
    }

    fn new(quiet: bool, total: u64, style: &str) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(total),
            if quiet {
                ProgressDrawTarget::hidden()
            } else {
                ProgressDrawTarget::stderr()
            },
        );
        let left = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // An estimate needs a step to go by.
            if state.eta() > Duration::ZERO {
                let _ = write!(out, "{} left", duration(state.eta()));
            }
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.with_key("my_left", left).progress_chars("=> "));
        }
        Self {
            bar,
            quiet,
            plain: !(stderr().is_terminal() && stdout().is_terminal()),
        }
    }

    fn at(self, done: u64) -> Self {
        self.bar.set_position(done);
        self.bar.reset_eta();
        self
    }

    /// Count `n` more, and show `message` beside the bar.
    pub fn advance(&self, n: u64, message: Option<String>) {
        if let Some(message) = message {
            self.bar.set_message(message);
        }
        self.bar.inc(n);
    }

    /// Print what a bar shows anyway: only where there is none.
    pub fn plain_line(&self, text: &str) -> Result<()> {
        if self.plain { self.line(text) } else { Ok(()) }
    }

    /// Print a line, above the bar.
    pub fn line(&self, text: &str) -> Result<()> {
        if self.quiet {
            Ok(())
        } else {
            self.bar.suspend(|| line(text))
        }
    }

    /// Take the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(time: Duration) -> String {
    words::duration(time.as_secs())
}
