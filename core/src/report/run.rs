//! What a run is, did and used: `run.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::train::checkpoint::Device;
use crate::{Error, Result};

/// The version of `run.json` written here; others are refused.
pub const SCHEMA: u32 = 1;

/// A run. Nothing of it decides what the run computes: that is a checkpoint's
/// [`Identity`](crate::train::checkpoint::Identity).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The model, as it was named.
    pub model: String,
    /// How many weights it has.
    pub parameters: u64,
    /// How many numbers are trained.
    pub trained_parameters: u64,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Optimizer steps of a pass over the rows.
    pub steps_per_epoch: u64,
    /// What contents are known by.
    pub hashes: Hashes,
    /// All settings by name, defaults written out.
    pub settings: Map<String, Value>,
    /// The files of rows that are learnt from.
    pub data: Vec<FileSummary>,
    /// Their examples by task; one without a name where rows name none.
    pub tasks: Vec<TaskSummary>,
    /// The files of rows to evaluate on.
    pub eval_data: Vec<FileSummary>,
    /// What is allocated.
    pub memory: MemorySummary,
    /// The program's runs that made it: one, and one for each time that it was resumed.
    pub sessions: Vec<Session>,
}

/// BLAKE3 hashes of contents, in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Of the tokenised rows.
    pub data: String,
    /// Of the model's configuration and, for LoRA, of its weights.
    pub model: String,
    /// Of the tokenizer and the chat template, if there is a tokenizer.
    pub tokenizer: Option<String>,
}

/// What a file of rows held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Its name.
    pub name: String,
    /// How often an epoch has each of its rows.
    pub weight: f64,
    /// Its rows.
    pub rows: u64,
    /// Rows kept.
    pub kept: u64,
    /// Rows that could not be used and were left out.
    pub bad: u64,
    /// Rows that were too long: dropped, or cut and kept.
    pub overlong: u64,
    /// The examples that the rows kept make.
    pub examples: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Their supervised targets.
    pub targets: u64,
    /// Tokens of the longest row, before truncation.
    pub longest: u64,
}

/// The examples of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its name, empty for rows that name none.
    pub name: String,
    /// Its examples.
    pub examples: u64,
    /// How many of them an epoch has.
    pub per_epoch: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Their supervised targets.
    pub targets: u64,
}

/// Bytes on the device by purpose, as planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySummary {
    /// The model's weights.
    pub weights: u64,
    /// The adapter's.
    pub adapter: u64,
    /// Gradients.
    pub gradients: u64,
    /// AdamW's moments.
    pub optimizer: u64,
    /// Activations, their gradients, logits, scratch.
    pub activations: u64,
    /// What asking suites takes: keys and values, activations of evaluations.
    #[serde(default)]
    pub suites: u64,
    /// Tokens computed at once.
    pub micro_batch_tokens: u64,
    /// How frozen weights are stored.
    pub dtype: String,
    /// Whether activations are computed twice.
    pub recompute: bool,
}

impl MemorySummary {
    /// All of it.
    pub fn total(&self) -> u64 {
        let parts = [
            self.weights,
            self.adapter,
            self.gradients,
            self.optimizer,
            self.activations,
            self.suites,
        ];
        // They may come from a file.
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// One run of the program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The command line, word by word, as it was typed.
    pub command: Vec<String>,
    /// The program's version.
    pub version: String,
    /// Operating system and processor.
    pub platform: String,
    /// The adapter.
    pub device: Device,
    /// The kernel family.
    pub kernels: String,
    /// When it began, in seconds since 1970 (UTC).
    pub started: u64,
    /// When it ended; none while it runs, or if nothing was left to tell.
    pub ended: Option<u64>,
    /// Optimizer steps that were done before.
    pub from_step: u64,
    /// Optimizer steps that are done after.
    pub to_step: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it failed.
    pub error: Option<String>,
    /// The most bytes that its buffers took on the device at once.
    pub peak_memory: Option<u64>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not, or it was killed.
    #[default]
    Running,
    /// All steps are done.
    Finished,
    /// It was stopped, and saved.
    Interrupted,
    /// A loss or gradient was not finite.
    Diverged,
    /// An error ended it.
    Failed,
}

impl Run {
    /// The text of `run.json`.
    ///
    /// # Errors
    /// [`Error::Data`] if a number has no JSON form.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::data(format!("run.json: {e}")))?;
        text.push('\n');
        Ok(text)
    }

    /// Read `run.json`.
    ///
    /// # Errors
    /// [`Error::Data`] if it is damaged or of another version.
    pub fn from_json(text: &str) -> Result<Self> {
        let damaged = |e: serde_json::Error| Error::data(format!("run.json is damaged: {e}"));
        let root: Value = serde_json::from_str(text).map_err(damaged)?;
        match root.get("schema").and_then(Value::as_u64) {
            Some(version) if version == u64::from(SCHEMA) => serde_json::from_value(root).map_err(damaged),
            Some(version) => {
                let why = format!("run.json is of version {version}, this program reads version {SCHEMA}");
                Err(Error::data(why))
            }
            None => Err(Error::data("run.json has no schema")),
        }
    }

    /// The latest session; a run that a program made has one.
    pub fn last(&self) -> Option<&Session> {
        self.sessions.last()
    }
}
