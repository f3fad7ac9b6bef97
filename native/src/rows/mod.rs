//! Files of rows: opened, tokenised on every core, kept in a file of tokens.

mod file;
mod parquet;
mod tokens;
mod workers;

use anyhow::{Context, Result};
use wgpu_sft::data::tasks::Task;
use wgpu_sft::data::{Intake, Mix, Preparation, Reading, Row, TalliedFile, Tally};
use wgpu_sft::{Error, Result as RowResult};

use crate::progress::{Progress, line, tell, warn};

pub use file::{DataFile, for_each_row, for_each_text};
pub use tokens::TokenFile;
pub use workers::on_every_core;

/// The examples of some files.
pub struct Rows {
    /// The examples, file after file.
    pub examples: TokenFile,
    /// What each file held.
    pub tally: Tally,
}

impl Rows {
    /// Read and tokenise files.
    pub fn read(files: &[String], reading: &Reading, with: &Preparation, quiet: bool) -> Result<Self> {
        let mut rows = Self {
            examples: TokenFile::new(with.vocab_size),
            tally: Tally::new(with),
        };
        for file in DataFile::all(files)? {
            rows.tally.begin_file(file.weight)?;
            let mut intake = Intake::new(with)?;
            let progress = Progress::bytes(quiet || file.size().is_none(), file.size().unwrap_or(0), "tokenising");
            let prepare = |place, row: RowResult<Row>| row.and_then(|row| with.prepare(place, row));
            let prepared = on_every_core(&file.name, reading, &progress, prepare, |place, row| {
                let task = row.as_ref().ok().and_then(|row| row.task.clone()).unwrap_or_default();
                for example in intake.take(place, row)? {
                    rows.tally.add(&task, &example)?;
                    rows.examples.push(&example)?;
                }
                Ok(())
            });
            prepared.with_context(|| file.name.clone())?;
            let report = intake.finish().with_context(|| file.name.clone())?;
            rows.tally.end_file(file.name, file.weight, report);
        }
        Ok(rows)
    }

    /// Refuse weights, which say nothing where each row is seen once.
    pub fn unweighted(self, field: &str) -> Result<Self> {
        match self.tally.files.iter().find(|file| file.weight != 1.0) {
            None => Ok(self),
            Some(file) => {
                let why = format!("{} has a weight, which only training knows", file.name);
                Err(Error::config(field, why).into())
            }
        }
    }

    /// Say what each file held.
    pub fn describe(&self) -> Result<()> {
        for TalliedFile { name, weight, report } in &self.tally.files {
            let mut parts: Vec<_> = report.shapes.iter().map(|(shape, n)| format!("{n} {shape}")).collect();
            if report.overlong > 0 {
                parts.push(format!("{} too long", report.overlong));
            }
            if report.truncated_to_nothing > 0 {
                parts.push(format!("{} truncated to nothing", report.truncated_to_nothing));
            }
            if report.bad > 0 {
                parts.push(format!("{} bad, left out", report.bad));
            }
            let weight = match *weight {
                1.0 => String::new(),
                weight => format!(", weight {weight}"),
            };
            line(&format!(
                "  {name}: {} rows ({}), {} examples{weight}",
                report.rows,
                parts.join(", "),
                report.examples
            ))?;
        }
        Ok(())
    }

    /// Say how many examples of each task an epoch has, where rows have tasks.
    pub fn describe_tasks(&self, mix: Mix) -> Result<()> {
        let (named, mixed) = (
            self.tally.tasks_per_epoch(Mix::Proportional),
            self.tally.tasks_per_epoch(mix),
        );
        if named.keys().all(|task| task.is_empty()) {
            return Ok(());
        }
        let mut tasks: Vec<_> = mixed.into_iter().collect();
        tasks.sort_by_key(|(task, n)| (std::cmp::Reverse(*n), *task));
        let count = tasks.len();
        for name in tasks.iter().map(|(task, _)| *task).filter(|_| mix != Mix::Proportional) {
            let Some(meant) = Task::from_name(name).map(Task::name) else {
                continue;
            };
            if meant != name && tasks.iter().any(|(task, _)| *task == meant) {
                warn(&format!(
                    "tasks: {name:?} and {meant:?} share the mix as two tasks; rows that name none count to the second: name them alike"
                ));
            }
        }
        let name = |task: &str| {
            if task.is_empty() {
                "unnamed".to_owned()
            } else {
                task.to_owned()
            }
        };
        let shown: Vec<_> = tasks
            .iter()
            .take(12)
            .map(|(task, n)| format!("{} {n}", name(task)))
            .collect();
        let more = if count > shown.len() { ", ..." } else { "" };
        line(&format!("tasks in an epoch: {}{more}", shown.join(", ")))
    }

    /// Say which rows were left out, on standard error.
    pub fn warn_of_bad_rows(&self) {
        for TalliedFile { name, report, .. } in self.tally.files.iter().filter(|file| file.report.bad > 0) {
            warn(&format!(
                "{name}: {} of {} rows cannot be used and are left out:",
                report.bad, report.rows
            ));
            for row in &report.bad_rows {
                tell(&format!("  {row}"));
            }
            if report.bad > report.bad_rows.len() {
                tell(&format!("  and {} more", report.bad - report.bad_rows.len()));
            }
        }
    }
}
