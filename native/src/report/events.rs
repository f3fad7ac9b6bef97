//! The log, as TensorBoard reads it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;
use wgpu_sft::formats::tfevents;

/// How names of event files begin, and what stands in ours where others have the machine's name.
const PREFIX: &str = "events.out.tfevents.";
const OURS: &str = ".wgpu-sft.";

/// An event file that is being written.
pub struct Events {
    file: File,
    path: PathBuf,
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

impl Events {
    /// Whether a file of this name is one of a run.
    pub fn is_ours(name: &str) -> bool {
        name.starts_with(PREFIX) && name.contains(OURS)
    }

    /// A new file of a run that has done so many steps. TensorBoard reads files in the order of their names, and then forgets what earlier
    /// ones say of steps that are done again.
    pub fn create(folder: &Path, done: u64) -> Result<Self> {
        let time = now();
        let mut number = 0;
        let (file, path) = loop {
            let path = folder.join(format!("{PREFIX}{:010}{OURS}{number}", time as u64));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (file, path),
                // Two in one second.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(e).with_context(|| path.display().to_string()),
            }
        };
        let mut events = Self { file, path };
        events.put(&tfevents::file_version(time))?;
        if done > 0 {
            events.put(&tfevents::start(time, done + 1))?;
        }
        Ok(events)
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
        self.put(&tfevents::scalars(now(), step, numbers))
    }

    fn put(&mut self, record: &[u8]) -> Result<()> {
        // One call a record: a crash leaves whole records, or one without its end.
        self.file
            .write_all(record)
            .with_context(|| self.path.display().to_string())
    }
}
