//! Files of rows: opened, tokenised on every core, kept in a file of tokens.

mod file;
mod parquet;
mod tokens;
mod workers;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use wgpu_sft::data::{AlpacaStyle, ContentHash, Group, Intake, Mix, Mixture, Preparation, Reading, Report, Row, Shape};
use wgpu_sft::report::{FileSummary, TaskSummary};
use wgpu_sft::{Error, Result as RowResult};

use crate::args::RowArgs;
use crate::progress::{Progress, line};

pub use file::{DataFile, for_each_row, for_each_text};
pub use tokens::TokenFile;
pub use workers::on_every_core;

impl RowArgs {
    /// How rows are recognised.
    pub fn reading(&self) -> Result<Reading> {
        Ok(Reading {
            columns: self.columns.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            shape: self.shape.as_deref().map(str::parse).transpose()?,
        })
    }

    /// How they are prepared, for a model that knows so many tokens of context.
    pub fn preparation<'a>(&self, context: usize, for_model: Preparation<'a>) -> Result<Preparation<'a>> {
        let max_length = self.max_length.unwrap_or(1024.min(context));
        if max_length > context {
            let why = format!("{max_length} is more than the model's context of {context} tokens");
            return Err(Error::config("max_length", why).into());
        }
        Ok(Preparation {
            max_length,
            overlong: self
                .overlong
                .as_deref()
                .map(str::parse)
                .transpose()?
                .unwrap_or_default(),
            train_on: self
                .train_on
                .as_deref()
                .map(str::parse)
                .transpose()?
                .unwrap_or_default(),
            alpaca_style: self.alpaca_style.as_deref().map(str::parse).transpose()?,
            skip_bad_rows: self.skip_bad_rows,
            guess_tasks: self.guess_tasks,
            ..for_model
        })
    }
}

/// The examples of some files.
pub struct Rows {
    /// The examples, file after file.
    pub examples: TokenFile,
    /// What each file held.
    pub files: Vec<(DataFile, Report)>,
    /// How instructions became tokens.
    pub alpaca_style: AlpacaStyle,
    /// What the examples of each task are, which has no name for rows that name none.
    tasks: BTreeMap<String, TaskSummary>,
    mixture: Mixture,
    hash: ContentHash,
}

impl Rows {
    /// Read and tokenise files.
    pub fn read(files: &[String], reading: &Reading, with: &Preparation, quiet: bool) -> Result<Self> {
        let files = DataFile::all(files)?;
        let mut rows = Self {
            examples: TokenFile::new(with.vocab_size),
            files: Vec::new(),
            alpaca_style: with.alpaca_style(),
            tasks: BTreeMap::new(),
            mixture: Mixture::default(),
            hash: ContentHash::default(),
        };
        for file in files {
            rows.mixture.begin_file(file.weight)?;
            let mut intake = Intake::new(with)?;
            let progress = Progress::bytes(quiet || file.size().is_none(), file.size().unwrap_or(0), "tokenising");
            let prepare = |place, row: RowResult<Row>| row.and_then(|row| with.prepare(place, row));
            let prepared = on_every_core(&file.name, reading, &progress, prepare, |place, row| {
                let task = row.as_ref().ok().and_then(|row| row.task.clone()).unwrap_or_default();
                for example in intake.take(place, row)? {
                    rows.mixture.add(&task)?;
                    let summary = rows.tasks.entry(task.clone()).or_default();
                    summary.examples += 1;
                    summary.tokens += example.ids.len() as u64;
                    summary.targets += example.targets() as u64;
                    rows.hash.add(&example);
                    rows.examples.push(&example)?;
                }
                Ok(())
            });
            prepared.with_context(|| file.name.clone())?;
            let report = intake.finish().with_context(|| file.name.clone())?;
            rows.files.push((file, report));
        }
        Ok(rows)
    }

    /// Refuse weights, which say nothing where each row is seen once.
    pub fn unweighted(self, field: &str) -> Result<Self> {
        match self.files.iter().find(|(file, _)| file.weight != 1.0) {
            None => Ok(self),
            Some((file, _)) => {
                let why = format!("{} has a weight, which only training knows", file.name);
                Err(Error::config(field, why).into())
            }
        }
    }

    /// The groups of rows that make up an epoch.
    pub fn groups(&self, mix: Mix) -> Vec<Group> {
        self.mixture.groups(mix)
    }

    /// What a checkpoint knows these rows by: their tokens and, unless all are seen once an epoch, how often each is.
    pub fn content_hash(&self, mix: Mix) -> String {
        let groups = self.groups(mix);
        let mut hash = self.hash.clone();
        if groups.iter().any(|group| group.per_epoch != group.rows.len()) {
            for group in groups {
                let numbers = [group.rows.len(), group.per_epoch].map(|n| n as u64);
                hash.add_bytes(&numbers.map(u64::to_le_bytes).concat());
                hash.add_bytes(&group.rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>());
            }
        }
        hash.hex()
    }

    /// The sum of a number over the files.
    pub fn sum(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.files.iter().map(|(_, report)| of(report)).sum()
    }

    /// Tokens of the longest row, before truncation.
    pub fn longest(&self) -> usize {
        self.files.iter().map(|(_, report)| report.longest).max().unwrap_or(0)
    }

    /// The examples of each task, the largest first.
    pub fn tasks(&self, mix: Mix) -> Vec<TaskSummary> {
        let per_epoch = self.mixture.tasks(mix);
        let of = |(name, summary): (&String, &TaskSummary)| TaskSummary {
            name: name.clone(),
            per_epoch: per_epoch.get(name.as_str()).map_or(0, |n| *n as u64),
            ..summary.clone()
        };
        let mut tasks: Vec<TaskSummary> = self.tasks.iter().map(of).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.examples));
        tasks
    }

    /// What each file held, for a report.
    pub fn summaries(&self) -> Vec<FileSummary> {
        let of = |(file, report): &(DataFile, Report)| FileSummary {
            name: file.name.clone(),
            weight: file.weight,
            rows: report.rows as u64,
            kept: report.kept as u64,
            bad: report.bad as u64,
            overlong: report.overlong as u64,
            examples: report.examples as u64,
            tokens: report.tokens,
            targets: report.targets,
            longest: report.longest as u64,
        };
        self.files.iter().map(of).collect()
    }

    /// Whether any row is an instruction, which a style decides about.
    pub fn has_instructions(&self) -> bool {
        let shapes = |report: &Report| {
            [Shape::Alpaca, Shape::Dolly]
                .iter()
                .any(|shape| report.shapes.contains_key(shape))
        };
        self.files.iter().any(|(_, report)| shapes(report))
    }

    /// Say what each file held.
    pub fn describe(&self) -> Result<()> {
        for (file, report) in &self.files {
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
            let weight = match file.weight {
                1.0 => String::new(),
                weight => format!(", weight {weight}"),
            };
            line(&format!(
                "  {}: {} rows ({}), {} examples{weight}",
                file.name,
                report.rows,
                parts.join(", "),
                report.examples
            ))?;
        }
        Ok(())
    }

    /// Say how many examples of each task an epoch has, where rows have tasks.
    pub fn describe_tasks(&self, mix: Mix) -> Result<()> {
        let (named, mixed) = (self.mixture.tasks(Mix::Proportional), self.mixture.tasks(mix));
        if named.keys().all(|task| task.is_empty()) {
            return Ok(());
        }
        let mut tasks: Vec<_> = mixed.into_iter().collect();
        tasks.sort_by_key(|(task, n)| (std::cmp::Reverse(*n), *task));
        let count = tasks.len();
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
        for (file, report) in self.files.iter().filter(|(_, report)| report.bad > 0) {
            eprintln!(
                "warning: {}: {} of {} rows cannot be used and are left out:",
                file.name, report.bad, report.rows
            );
            for row in &report.bad_rows {
                eprintln!("  {row}");
            }
            if report.bad > report.bad_rows.len() {
                eprintln!("  and {} more", report.bad - report.bad_rows.len());
            }
        }
    }
}
