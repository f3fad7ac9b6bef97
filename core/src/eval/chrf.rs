//! chrF and chrF++ as sacreBLEU 2.6 computes them.
//!
//! M. Popović, "chrF: character n-gram F-score for automatic MT evaluation" (WMT 2015); "chrF++: words helping character n-grams" (WMT 2017).
//! Characters, white space left out, up to six in a row; for chrF++ words up to two in a row beside them. Recall counts for four times as
//! much as precision (β = 2).

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::bleu::VERSION;
use super::text::{is_punctuation, split};
use crate::data::python::is_space;

/// The longest n-grams of characters.
const CHARACTERS: usize = 6;
/// The longest n-grams of words, in chrF++.
const WORDS: usize = 2;
const BETA_SQUARED: f64 = 4.0;

/// How chrF is computed: sacreBLEU's settings, its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChrfConfig {
    /// Compare words, too: chrF++.
    pub words: bool,
    /// Compare without regard to case.
    pub lowercase: bool,
}

impl ChrfConfig {
    /// sacreBLEU's name: `chrF2` or `chrF2++`.
    pub fn name(&self) -> &'static str {
        if self.words { "chrF2++" } else { "chrF2" }
    }

    /// sacreBLEU's signature of a score with this many references an item; `None` where it varies.
    pub fn signature(&self, references: Option<usize>) -> String {
        let references = references.map_or("var".to_string(), |n| n.to_string());
        let case = if self.lowercase { "lc" } else { "mixed" };
        let words = if self.words { WORDS } else { 0 };
        format!("nrefs:{references}|case:{case}|eff:yes|nc:{CHARACTERS}|nw:{words}|space:no|version:{VERSION}")
    }
}

/// How many n-grams of one order there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Matches {
    predicted: u64,
    wanted: u64,
    shared: u64,
}

/// What chrF needs to know of an item, or of many: sums of them give the score of a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrfStats {
    /// Orders of characters, then of words.
    orders: [Matches; CHARACTERS + WORDS],
}

impl ChrfStats {
    /// Of one prediction, against the reference that gives the best score. Without references it is compared with an empty one.
    pub fn of(prediction: &str, references: &[String], config: &ChrfConfig) -> Self {
        let prediction = Text::new(prediction, config);
        let each = references
            .iter()
            .map(|reference| prediction.against(&Text::new(reference, config)));
        each.reduce(|best, stats| if stats.score() > best.score() { stats } else { best })
            .unwrap_or_default()
    }

    /// chrF, in 0..=100: precision and recall, averaged over the orders that prediction and reference are long enough for.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in self
            .orders
            .iter()
            .filter(|order| order.predicted > 0 && order.wanted > 0)
        {
            precision += order.shared as f64 / order.predicted as f64;
            recall += order.shared as f64 / order.wanted as f64;
            orders += 1.0;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    }
}

impl ChrfStats {
    /// As numbers that are added up.
    pub fn to_sums(self) -> Vec<f64> {
        let counts = self
            .orders
            .iter()
            .flat_map(|order| [order.predicted, order.wanted, order.shared]);
        counts.map(|count| count as f64).collect()
    }

    /// From what [`to_sums`](Self::to_sums) gave, added up.
    pub fn from_sums(sums: &[f64]) -> Self {
        let at = |i: usize| sums.get(i).map_or(0, |sum| *sum as u64);
        Self {
            orders: std::array::from_fn(|n| Matches {
                predicted: at(3 * n),
                wanted: at(3 * n + 1),
                shared: at(3 * n + 2),
            }),
        }
    }
}

/// A text in the pieces that are compared.
struct Text {
    characters: Vec<char>,
    words: Vec<String>,
}

impl Text {
    fn new(text: &str, config: &ChrfConfig) -> Self {
        let text = if config.lowercase {
            text.to_lowercase()
        } else {
            text.to_string()
        };
        Self {
            characters: text.chars().filter(|c| !is_space(*c)).collect(),
            words: if config.words {
                split(&text).flat_map(apart).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn against(&self, reference: &Self) -> ChrfStats {
        let mut stats = ChrfStats::default();
        for n in 1..=CHARACTERS {
            stats.orders[n - 1] = matches(&self.characters, &reference.characters, n);
        }
        for n in 1..=WORDS {
            stats.orders[CHARACTERS + n - 1] = matches(&self.words, &reference.words, n);
        }
        stats
    }
}

/// A word without the punctuation mark at its end, or else at its beginning, and that mark.
fn apart(word: &str) -> Vec<String> {
    let mut characters = word.chars();
    let (first, last) = (characters.next(), characters.next_back());
    let cut = match (first, last) {
        (_, Some(last)) if is_punctuation(last) => word.len() - 1,
        (Some(first), Some(_)) if is_punctuation(first) => 1,
        _ => return vec![word.to_string()],
    };
    let (left, right) = word.split_at(cut);
    vec![left.to_string(), right.to_string()]
}

fn matches<T: Hash + Eq>(prediction: &[T], reference: &[T], n: usize) -> Matches {
    let (predicted, wanted) = (counts(prediction, n), counts(reference, n));
    let shared = predicted
        .iter()
        .map(|(ngram, count)| wanted.get(ngram).map_or(0, |most| *count.min(most)));
    Matches {
        // N-grams of an order that the reference is too short for are no mistakes.
        predicted: if wanted.is_empty() { 0 } else { predicted.values().sum() },
        wanted: wanted.values().sum(),
        shared: shared.sum(),
    }
}

fn counts<T: Hash + Eq>(items: &[T], n: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for ngram in items.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

impl AddAssign for ChrfStats {
    fn add_assign(&mut self, other: Self) {
        for (order, more) in self.orders.iter_mut().zip(other.orders) {
            order.predicted += more.predicted;
            order.wanted += more.wanted;
            order.shared += more.shared;
        }
    }
}

impl Add for ChrfStats {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}
