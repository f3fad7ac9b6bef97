//! Ctrl-C: the first asks a command to stop, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::progress::tell;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on, let [`asked`] tell of Ctrl-C (or a request to terminate) instead of ending at once.
pub fn catch(notice: &'static str) -> Result<()> {
    ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        tell(&format!("\n{notice}"));
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Forget that a stop was asked for: what was interrupted has ended.
pub fn reset() {
    ASKED.store(false, Ordering::Relaxed);
}
