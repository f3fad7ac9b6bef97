//! The report of a run as one page that needs nothing else: no network, no script. Plain data in, text out.

mod comparison;
mod curves;
mod facts;
mod page;
mod run;
pub mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::eval::Comparison;
use crate::{Error, Result};

pub use run::{FileSummary, Hashes, MemorySummary, Outcome, Run, SCHEMA, Session, TaskSummary};

/// Everything that a report is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The run.
    pub run: Run,
    /// Its log.
    pub log: Log,
    /// Answers that were given while it ran.
    pub samples: Vec<Sample>,
    /// What tuning changed, if that was measured.
    pub comparison: Option<Comparison>,
}

/// An answer to a prompt after some steps: a line of `samples.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Optimizer steps done.
    pub step: u64,
    /// The suite that asked.
    #[serde(default)]
    pub suite: String,
    /// What was asked.
    pub prompt: String,
    /// What would be right.
    pub reference: String,
    /// What was answered.
    pub answer: String,
}

/// The log of a run: `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// Each line's step and its other numbers, NaN for those that JSON has no form for.
    pub lines: Vec<(u64, BTreeMap<String, f64>)>,
}

/// The lines of a file of JSON lines, parsed. A last line without an end is left out: a crash, or a run that goes on, cut it short.
fn json_lines<T: for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<Vec<T>> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = whole.enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| Error::data(format!("{name}: line {}: {e}", i + 1))))
        .collect()
}

impl Log {
    /// Read `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Data`] naming a line that is not JSON, or has no step.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
            #[serde(flatten)]
            rest: BTreeMap<String, Value>,
        }
        let number = |value: Value| match value {
            Value::Null => Some(f64::NAN),
            other => other.as_f64(),
        };
        let lines: Vec<Line> = json_lines("metrics.jsonl", text)?;
        let numbers = |line: Line| {
            let rest = line.rest.into_iter();
            (
                line.step,
                rest.filter_map(|(key, value)| Some((key, number(value)?))).collect(),
            )
        };
        Ok(Self {
            lines: lines.into_iter().map(numbers).collect(),
        })
    }

    /// A number over steps.
    pub fn series(&self, key: &str) -> Vec<(f64, f64)> {
        let of = |(step, numbers): &(u64, BTreeMap<String, f64>)| Some((*step as f64, *numbers.get(key)?));
        self.lines.iter().filter_map(of).collect()
    }

    /// The last of a number that is finite.
    pub fn last(&self, key: &str) -> Option<f64> {
        let mut latest = self.lines.iter().rev().filter_map(|(_, numbers)| numbers.get(key));
        latest.find(|value| value.is_finite()).copied()
    }
}

/// Read `samples.jsonl`.
///
/// # Errors
/// [`Error::Data`] naming a line that is not a sample.
pub fn samples(text: &str) -> Result<Vec<Sample>> {
    json_lines("samples.jsonl", text)
}
