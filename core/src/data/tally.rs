//! What is known of the rows of several files, beside the examples that they became.

use std::collections::BTreeMap;

use super::{AlpacaStyle, ContentHash, Example, Group, Mix, Mixture, Preparation, Report, Shape};
use crate::Result;
use crate::report::{FileSummary, TaskSummary};

/// A file of rows that has been read.
#[derive(Debug, Clone)]
pub struct TalliedFile {
    /// Its name.
    pub name: String,
    /// How often an epoch has each of its rows.
    pub weight: f64,
    /// What it held.
    pub report: Report,
}

/// What several files of rows held. The examples themselves are kept by whoever adds them here: in memory, or in a file.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The files so far.
    pub files: Vec<TalliedFile>,
    /// How instructions became tokens.
    pub alpaca_style: AlpacaStyle,
    /// What the examples of each task are, which has no name for rows that name none.
    tasks: BTreeMap<String, TaskSummary>,
    mixture: Mixture,
    hash: ContentHash,
}

impl Tally {
    /// Of no file yet.
    pub fn new(with: &Preparation) -> Self {
        Self {
            files: Vec::new(),
            alpaca_style: with.alpaca_style(),
            tasks: BTreeMap::new(),
            mixture: Mixture::default(),
            hash: ContentHash::default(),
        }
    }

    /// The examples that follow are of another file, each row of which is seen `weight` times an epoch.
    ///
    /// # Errors
    /// As [`Mixture::begin_file`].
    pub fn begin_file(&mut self, weight: f64) -> Result<()> {
        self.mixture.begin_file(weight)
    }

    /// The next example, of a task that may have no name.
    ///
    /// # Errors
    /// As [`Mixture::add`].
    pub fn add(&mut self, task: &str, example: &Example) -> Result<()> {
        self.mixture.add(task)?;
        let summary = self.tasks.entry(task.to_owned()).or_default();
        summary.examples += 1;
        summary.tokens += example.ids.len() as u64;
        summary.targets += example.targets() as u64;
        self.hash.add(example);
        Ok(())
    }

    /// The last file is read.
    pub fn end_file(&mut self, name: String, weight: f64, report: Report) {
        self.files.push(TalliedFile { name, weight, report });
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
        self.files.iter().map(|file| of(&file.report)).sum()
    }

    /// Tokens of the longest row, before truncation.
    pub fn longest(&self) -> usize {
        self.files.iter().map(|file| file.report.longest).max().unwrap_or(0)
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
        let of = |TalliedFile { name, weight, report }: &TalliedFile| FileSummary {
            name: name.clone(),
            weight: *weight,
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
        self.files.iter().any(|file| shapes(&file.report))
    }

    /// How many examples of each task an epoch has.
    pub fn tasks_per_epoch(&self, mix: Mix) -> BTreeMap<&str, usize> {
        self.mixture.tasks(mix)
    }
}
