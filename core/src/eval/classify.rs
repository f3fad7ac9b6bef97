//! Classification: which label an answer names, and F1 over labels.

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

    /// What an item counts for, `[3 · labels]`: of each label in turn, whether it is rightly named, named, and wanted.
    ///
    /// # Panics
    /// When there is no such label.
    pub fn tally(&self, named: Option<usize>, wanted: Option<usize>) -> Vec<f64> {
        let mut tally = vec![0.0; 3 * self.count()];
        let right = named.filter(|_| named == wanted);
        for (column, label) in [right, named, wanted].into_iter().enumerate() {
            if let Some(label) = label {
                tally[3 * label + column] = 1.0;
            }
        }
        tally
    }
}

/// F1 of each label, averaged over the labels that are named or wanted: scikit-learn's `f1_score` with `average="macro"` and
/// `zero_division=0` over these. An answer that names no label is a miss of the one that is wanted, and no label of its own.
/// NaN where nothing was counted.
///
/// Takes a sum of [`Labels::tally`].
pub fn macro_f1(tally: &[f64]) -> f64 {
    let (labels, _) = tally.as_chunks::<3>();
    let f1: Vec<f64> = labels
        .iter()
        .filter(|[_, named, wanted]| named + wanted > 0.0)
        .map(|[right, named, wanted]| 2.0 * right / (named + wanted))
        .collect();
    f1.iter().sum::<f64>() / f1.len() as f64
}
