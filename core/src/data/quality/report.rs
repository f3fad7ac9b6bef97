//! What was found, as numbers and examples. Its JSON is stable: fields are added, never renamed, within a `version`.

use serde::{Deserialize, Serialize};

use super::code::{Code, Severity};
use super::terms;

/// Most bars of a histogram, the last one open-ended.
const BARS: usize = 24;

/// What was found in all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// 1.
    pub version: u32,
    /// Rows of all files, unreadable ones included.
    pub rows: usize,
    /// The files in the order they were checked.
    pub sources: Vec<SourceReport>,
    /// Rows of each shape, most first.
    pub shapes: Vec<Count>,
    /// Rows of each task, most first.
    pub tasks: Vec<TaskCount>,
    /// How long rows are; nothing where there are none.
    pub length: Option<Length>,
    /// Rows whose answer (or question, if that is longer) is in each language; `unknown` where it is too short to tell.
    pub languages: Vec<Count>,
    /// The Jaccard similarity from which on rows are near duplicates.
    pub similarity: f64,
    /// How held-out and training rows overlap, where there are held-out files.
    pub overlap: Option<Overlap>,
    /// Rows with flagged terms, by category. A screen: see [`Code::FlaggedTerm`].
    pub flagged_terms: Vec<Count>,
    /// Rows that mention demographic terms. Counts of words, which say nothing about how people are spoken of.
    pub representation: Vec<Group>,
    /// Everything found, errors first.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Rows of each task, held out or not; how many of all were guessed, and with what mean confidence (0 to 1).
    pub fn task_counts(&self) -> (Vec<Count>, usize, f64) {
        let count = |task: &TaskCount| Count {
            name: task.name.clone(),
            rows: task.rows + task.held_out,
        };
        let guessed: usize = self.tasks.iter().map(|task| task.guessed).sum();
        let sure = |task: &TaskCount| task.confidence * task.guessed as f64;
        let sure = self.tasks.iter().map(sure).sum::<f64>() / guessed.max(1) as f64;
        (self.tasks.iter().map(count).collect(), guessed, sure)
    }

    /// The version of the JSON's fields.
    pub const VERSION: u32 = 1;

    /// Whether there is a finding of severity `error`.
    pub fn is_serious(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The finding with this code, if there is one.
    pub fn finding(&self, code: Code) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.code == code)
    }
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// As it was named.
    pub name: String,
    /// Whether it is held out from training.
    pub held_out: bool,
    /// Its rows.
    pub rows: usize,
}

/// Rows that have something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What they have.
    pub name: String,
    /// How many there are.
    pub rows: usize,
}

impl Count {
    /// Most first, then by name.
    pub(super) fn sorted<'a>(counts: impl Iterator<Item = (&'a str, usize)>) -> Vec<Self> {
        let mut counts: Vec<Self> = counts
            .map(|(name, rows)| Self {
                name: name.to_owned(),
                rows,
            })
            .collect();
        counts.sort_by(|a, b| (b.rows, &a.name).cmp(&(a.rows, &b.name)));
        counts
    }
}

/// Rows of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskCount {
    /// The task: one of the ten that are guessed, or the rows' own word where it is none of them.
    pub name: String,
    /// Training rows.
    pub rows: usize,
    /// Held-out rows.
    pub held_out: usize,
    /// Rows of both whose task is a guess.
    pub guessed: usize,
    /// Mean confidence of the guesses, 0 to 1.
    pub confidence: f64,
}

/// How long rows are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// `tokens`, or `words` where no tokenizer was given.
    pub unit: String,
    /// Of all rows together.
    pub total: u64,
    /// Half of the rows are at most this long.
    pub median: u32,
    /// Nine in ten rows are at most this long.
    pub p90: u32,
    /// 99 in 100 rows are at most this long.
    pub p99: u32,
    /// The longest row.
    pub longest: u32,
    /// The limit, where there is one.
    pub limit: Option<usize>,
    /// Rows beyond it.
    pub over: usize,
    /// Rows by length, bars of equal width but for the last, which has all that are longer.
    pub histogram: Vec<Bin>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The shortest length in it.
    pub from: u32,
    /// The longest.
    pub to: u32,
    /// Rows.
    pub rows: usize,
}

impl Length {
    pub(super) fn of(mut lengths: Vec<u32>, in_tokens: bool, limit: Option<usize>) -> Option<Self> {
        lengths.sort_unstable();
        let longest = *lengths.last()?;
        let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share).ceil() as usize];
        // Bars reach to where nearly all rows are, and to the limit if it is near: 1, 2 or 5 times a power of ten wide.
        let p99 = at(0.99);
        let reach = match limit {
            Some(limit) if (limit as u64) < 2 * u64::from(p99) => p99.max(limit as u32),
            _ => p99,
        };
        let needed = (reach / (BARS as u32 - 1)).max(1);
        let widths = (0..10).flat_map(|power| [1u32, 2, 5].map(|n| n.saturating_mul(10u32.pow(power))));
        let width = widths.into_iter().find(|&width| width >= needed).unwrap_or(u32::MAX);
        let bars = (reach / width + 2).min(longest / width + 1) as usize;
        let mut histogram: Vec<Bin> = (0..bars as u32)
            .map(|bar| Bin {
                from: bar * width,
                to: bar * width + (width - 1),
                rows: 0,
            })
            .collect();
        for &length in &lengths {
            histogram[((length / width) as usize).min(bars - 1)].rows += 1;
        }
        if let Some(last) = histogram.last_mut() {
            last.to = last.to.max(longest);
        }
        Some(Self {
            unit: if in_tokens { "tokens" } else { "words" }.to_owned(),
            total: lengths.iter().map(|&length| u64::from(length)).sum(),
            median: at(0.5),
            p90: at(0.9),
            p99,
            longest,
            limit,
            over: limit.map_or(0, |limit| {
                lengths.iter().filter(|&&length| length as usize > limit).count()
            }),
            histogram,
        })
    }
}

/// How held-out and training rows overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Rows of the held-out files.
    pub held_out_rows: usize,
    /// Training rows that are a held-out row, or ask its question.
    pub duplicates: usize,
    /// Training rows in one cluster with a held-out row.
    pub near_duplicates: usize,
    /// Held-out rows long enough to measure overlap by word sequences: eight words and more.
    pub measured_rows: usize,
    /// Held-out rows half of whose sequences of 13 words (8 in short rows) are in training rows.
    pub overlapping_rows: usize,
    /// The mean share of such sequences over measured rows.
    pub mean_share: f64,
}

/// A demographic group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Rows that mention each part of it.
    pub buckets: Vec<Count>,
}

/// Groups of which at least one bucket was found; `rows` is by line of the list.
pub(super) fn representation(rows: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for ((group, bucket), &rows) in terms::demographic_buckets().zip(rows) {
        if groups.last().is_none_or(|last| last.name != group) {
            groups.push(Group {
                name: group.to_owned(),
                buckets: Vec::new(),
            });
        }
        let buckets = &mut groups.last_mut().expect("just pushed").buckets;
        buckets.push(Count {
            name: bucket.to_owned(),
            rows,
        });
    }
    groups.retain(|group| group.buckets.iter().any(|bucket| bucket.rows > 0));
    groups
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What such rows are.
    pub title: String,
    /// How many there are.
    pub count: usize,
    /// Their share of all rows, 0 to 1.
    pub share: f64,
    /// The first of them.
    pub examples: Vec<Example>,
    /// What to do.
    pub advice: String,
}

/// Where a row is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its file.
    pub file: String,
    /// Its line (in a JSON array: its number), from 1.
    pub line: usize,
}

/// A row with a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// The row that it repeats or contradicts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub like: Option<Place>,
    /// What to look at: personal data and flagged terms are masked.
    pub snippet: String,
}
