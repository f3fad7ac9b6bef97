//! The log, as TensorBoard reads it.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;
use wgpu_sft::formats::tfevents;

use crate::log_file::LogFile;

/// How names of event files begin, and what stands in ours where others have the machine's name.
const PREFIX: &str = "events.out.tfevents.";
const OURS: &str = ".wgpu-sft.";

/// An event file that is being written.
pub struct Events {
    file: LogFile,
    /// When it began, in seconds since 1970 and by a clock that nobody sets.
    begun: (f64, Instant),
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The time in the name of one of our event files. The digits of a name that is not ours, or beyond what ten digits say, count for nothing.
fn seconds(name: &str) -> Option<u64> {
    let (time, _) = name.strip_prefix(PREFIX)?.split_once(OURS)?;
    time.parse().ok().filter(|_| time.len() == 10)
}

impl Events {
    /// Whether a file of this name is one of a run.
    pub fn is_ours(name: &str) -> bool {
        name.starts_with(PREFIX) && name.contains(OURS)
    }

    /// A new file of a run that has done so many steps. TensorBoard reads files in the order of their names, and then forgets what earlier
    /// ones say of steps that are done again: its name is later than theirs, also where the clock was set back.
    pub fn create(folder: &Path, done: u64) -> Result<Self> {
        let named = || folder.display().to_string();
        let mut time = now();
        for entry in fs::read_dir(folder).with_context(named)? {
            let name = entry.with_context(named)?.file_name();
            if let Some(other) = seconds(&name.to_string_lossy()) {
                time = time.max(other as f64 + 1.0);
            }
        }
        let path = folder.join(format!("{PREFIX}{:010}{OURS}0", time as u64));
        let mut file = LogFile::open(path)?;
        file.append(&tfevents::file_version(time))?;
        if done > 0 {
            file.append(&tfevents::start(time, done + 1))?;
        }
        Ok(Self {
            file,
            begun: (time, Instant::now()),
        })
    }

    /// Add a line of the log: each of its numbers that is finite. Evaluations do not say again which epoch it is.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        let (Some(object), Some(step)) = (line.as_object(), line["step"].as_u64()) else {
            return Ok(());
        };
        let evaluation = object.keys().any(|key| key.starts_with("eval_"));
        let is_told = |key: &str| key != "step" && !(evaluation && key == "epoch");
        let numbers: Vec<(String, f64)> = object
            .iter()
            .filter(|(key, _)| is_told(key))
            .filter_map(|(key, value)| Some((tfevents::tag(key), value.as_f64()?)))
            .collect();
        let numbers = numbers.iter().map(|(tag, value)| (tag.as_str(), *value));
        let (since, begun) = self.begun;
        let time = since + begun.elapsed().as_secs_f64();
        self.file.append(&tfevents::scalars(time, step, numbers))
    }
}
