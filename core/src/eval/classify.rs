//! Classification: which label an answer names, accuracy and F1.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::{Error, Result};

/// Words of a label or an answer. In scripts that put no spaces between words, every character is one.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    let unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}";
    Regex::new(&format!(r"[{unspaced}]|[[\p{{L}}\p{{N}}\p{{M}}_]--[{unspaced}]]+")).expect("a valid pattern")
});

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    WORDS.find_iter(&lower).map(|word| word.as_str().to_string()).collect()
}

/// The labels of a classification task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    words: Vec<Vec<String>>,
}

impl Labels {
    /// These labels, numbered in their order.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two, one without a letter or digit, or two that differ only in case or punctuation.
    pub fn new<S: AsRef<str>>(labels: &[S]) -> Result<Self> {
        let of: Vec<_> = labels.iter().map(|label| words(label.as_ref())).collect();
        if of.len() < 2 {
            return Err(Error::config("labels", "a classification needs at least two"));
        }
        let mut seen = HashSet::new();
        for (label, words) in labels.iter().zip(&of) {
            let label = label.as_ref();
            if words.is_empty() {
                return Err(Error::config("labels", format!("{label:?} has no letter and no digit")));
            }
            if !seen.insert(words) {
                return Err(Error::config(
                    "labels",
                    format!("{label:?} is there twice, but for case and punctuation"),
                ));
            }
        }
        Ok(Self { words: of })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.words.len()
    }

    /// The label that an answer gives: the one it equals but for case, spaces and punctuation; else the only one that it names, as whole
    /// words in their order. A label within a longer one that is named there does not count: "not toxic" names "not toxic", and "toxic" not.
    /// `None` where it names none, or more than one.
    pub fn find(&self, answer: &str) -> Option<usize> {
        let answer = words(answer);
        let mut rest = &answer[..];
        let mut named = None;
        while !rest.is_empty() {
            let here = |i: &usize| rest.starts_with(&self.words[*i]);
            let longest = (0..self.count()).filter(here).max_by_key(|i| self.words[*i].len());
            if let Some(label) = longest {
                if named.is_some_and(|other| other != label) {
                    return None;
                }
                named = Some(label);
            }
            rest = &rest[longest.map_or(1, |label| self.words[label].len())..];
        }
        named
    }
}

/// Precision, recall and F1 of a label; of an average, the means of these over labels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LabelScores {
    /// Of the answers that give the label, the share for which it is right; 0 where none gives it.
    pub precision: f64,
    /// Of the items that have the label, the share whose answer gives it; 0 where none has it.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where both are.
    pub f1: f64,
    /// Items that have the label.
    pub support: u64,
}

/// How often items that have one label were given another, or none.
///
/// Numbers agree with scikit-learn's `precision_recall_fscore_support` with `zero_division=0` over the labels that occur: an answer that
/// gives no label is a miss of the label that is right, and not a label of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    labels: usize,
    /// `[labels, labels + 1]`: rows are what is right, columns what was given; the last column is none.
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet, with this many labels.
    pub fn new(labels: usize) -> Self {
        Self {
            labels,
            counts: vec![0; labels * (labels + 1)],
        }
    }

    /// Count an item.
    ///
    /// # Panics
    /// When there is no such label.
    pub fn add(&mut self, right: usize, given: Option<usize>) {
        let given = given.unwrap_or(self.labels);
        assert!(
            right < self.labels && given <= self.labels,
            "labels are numbered from 0"
        );
        self.counts[right * (self.labels + 1) + given] += 1;
    }

    /// Items that have the label `right` and were given the label `given`, or none.
    pub fn count(&self, right: usize, given: Option<usize>) -> u64 {
        self.counts[right * (self.labels + 1) + given.unwrap_or(self.labels)]
    }

    /// Share of the items whose answer is right; NaN without items.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.labels).map(|i| self.count(i, Some(i))).sum();
        right as f64 / self.counts.iter().sum::<u64>() as f64
    }

    /// Precision, recall and F1 of one label.
    pub fn label(&self, label: usize) -> LabelScores {
        let hits = self.count(label, Some(label));
        let support: u64 = self.counts[label * (self.labels + 1)..][..=self.labels].iter().sum();
        let given: u64 = (0..self.labels).map(|right| self.count(right, Some(label))).sum();
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        LabelScores {
            precision: share(hits, given),
            recall: share(hits, support),
            f1: share(2 * hits, given + support),
            support,
        }
    }

    /// Unweighted means over the labels that occur, as the right one or as an answer.
    pub fn macro_average(&self) -> LabelScores {
        self.average(|_| 1.0)
    }

    /// Means over labels, each weighted with the number of items that have it.
    pub fn weighted_average(&self) -> LabelScores {
        self.average(|scores| scores.support as f64)
    }

    /// F1 of [`macro_average`](Self::macro_average).
    pub fn macro_f1(&self) -> f64 {
        self.macro_average().f1
    }

    fn average(&self, weight: impl Fn(&LabelScores) -> f64) -> LabelScores {
        let occurs = |label: &usize| (0..self.labels).any(|i| self.count(i, Some(*label)) > 0);
        let scores = (0..self.labels).map(|label| (label, self.label(label)));
        let scores: Vec<_> = scores
            .filter(|(label, scores)| scores.support > 0 || occurs(label))
            .map(|(_, scores)| scores)
            .collect();
        let total: f64 = scores.iter().map(&weight).sum();
        let mean = |of: fn(&LabelScores) -> f64| scores.iter().map(|s| weight(s) * of(s)).sum::<f64>() / total;
        LabelScores {
            precision: mean(|s| s.precision),
            recall: mean(|s| s.recall),
            f1: mean(|s| s.f1),
            support: scores.iter().map(|s| s.support).sum(),
        }
    }
}
