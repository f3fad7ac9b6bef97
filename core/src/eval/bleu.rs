//! BLEU as sacreBLEU 2.6 computes it.
//!
//! Papineni et al., "BLEU: a method for automatic evaluation of machine translation" (ACL 2002); M. Post, "A call for clarity in reporting
//! BLEU scores" (WMT 2018). Words up to four in a row, sacreBLEU's default smoothing `exp`.

use std::collections::HashMap;
use std::ops::{Add, AddAssign};
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::text::split;
use crate::data::python::is_space;

/// The longest n-grams.
const ORDER: usize = 4;
/// The version of sacreBLEU that scores agree with; its signatures end with it.
pub(crate) const VERSION: &str = "2.6.0";

/// How a text is split into words, by sacreBLEU's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tokenize {
    /// That of mteval-v13a, for languages in Latin letters; sacreBLEU's default.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// At white space: for texts that have been split before.
    #[serde(rename = "none")]
    None,
    /// Characters: for languages without spaces.
    #[serde(rename = "char")]
    Char,
    /// That of mteval-v14's international option: punctuation and symbols of all scripts are words.
    #[serde(rename = "intl")]
    Intl,
}

impl Tokenize {
    fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::None => "none",
            Self::Char => "char",
            Self::Intl => "intl",
        }
    }
}

/// How BLEU is computed: sacreBLEU's settings, its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BleuConfig {
    /// The words.
    pub tokenize: Tokenize,
    /// Compare without regard to case.
    pub lowercase: bool,
    /// Leave out orders of n-grams for which the prediction is too short: for scores of single sentences.
    pub effective_order: bool,
}

impl BleuConfig {
    /// sacreBLEU's signature of a score with this many references an item; `None` where it varies.
    pub fn signature(&self, references: Option<usize>) -> String {
        let references = references.map_or("var".to_string(), |n| n.to_string());
        let case = if self.lowercase { "lc" } else { "mixed" };
        let effective = if self.effective_order { "yes" } else { "no" };
        let tokenize = self.tokenize.name();
        format!("nrefs:{references}|case:{case}|eff:{effective}|tok:{tokenize}|smooth:exp|version:{VERSION}")
    }

    fn words(&self, text: &str) -> Vec<String> {
        let lower = if self.lowercase {
            text.to_lowercase()
        } else {
            text.to_string()
        };
        let text = lower.trim_end_matches(is_space);
        let spaced = match self.tokenize {
            Tokenize::V13a => v13a(text),
            Tokenize::None => text.to_string(),
            Tokenize::Char => text.chars().flat_map(|c| [c, ' ']).collect(),
            Tokenize::Intl => replace_all(INTL.as_slice(), text.to_string()),
        };
        split(&spaced).map(str::to_string).collect()
    }
}

/// Patterns, and what replaces them, one after another.
type Rules<const N: usize> = LazyLock<[(Regex, &'static str); N]>;

fn rules<const N: usize>(rules: [(&str, &'static str); N]) -> [(Regex, &'static str); N] {
    rules.map(|(pattern, replacement)| (Regex::new(pattern).expect("a valid pattern"), replacement))
}

static V13A: Rules<4> = LazyLock::new(|| {
    rules([
        (r"([{-~\[-` -&(-+:-@/])", " $1 "),
        // Full stops and commas are words, but not within numbers.
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        // So are dashes after digits.
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

static INTL: Rules<3> = LazyLock::new(|| {
    rules([
        // Punctuation is a word, but not within numbers.
        (r"(\P{N})(\p{P})", "$1 $2 "),
        (r"(\p{P})(\P{N})", " $1 $2"),
        (r"(\p{S})", " $1 "),
    ])
});

fn replace_all(rules: &[(Regex, &str)], text: String) -> String {
    let replace = |text: String, (pattern, with): &(Regex, &str)| pattern.replace_all(&text, *with).into_owned();
    rules.iter().fold(text, replace)
}

fn v13a(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let entities = [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];
    let text = entities
        .iter()
        .fold(text, |text, (entity, character)| text.replace(entity, character));
    replace_all(V13A.as_slice(), format!(" {text} "))
}

/// What BLEU needs to know of an item, or of many: sums of them give the score of a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BleuStats {
    /// Words of the predictions.
    pub predicted: u64,
    /// Words of the references, of each item the one nearest in length.
    pub wanted: u64,
    /// N-grams of the predictions that references have, too, for n = 1 to 4; each at most as often as a reference has it.
    pub correct: [u64; ORDER],
    /// N-grams of the predictions.
    pub total: [u64; ORDER],
}

impl BleuStats {
    /// Of one prediction. Without references it is compared with an empty one.
    pub fn of(prediction: &str, references: &[String], config: &BleuConfig) -> Self {
        let prediction = config.words(prediction);
        let references: Vec<_> = references.iter().map(|r| config.words(r)).collect();
        let mut stats = Self {
            predicted: prediction.len() as u64,
            ..Self::default()
        };
        let lengths = references.iter().map(|r| r.len() as u64);
        stats.wanted = lengths.min_by_key(|n| (n.abs_diff(stats.predicted), *n)).unwrap_or(0);
        for n in 1..=ORDER {
            let mut most: HashMap<&[String], u64> = HashMap::new();
            for reference in &references {
                for (ngram, count) in counts(reference, n) {
                    let most = most.entry(ngram).or_default();
                    *most = count.max(*most);
                }
            }
            for (ngram, count) in counts(&prediction, n) {
                stats.total[n - 1] += count;
                stats.correct[n - 1] += most.get(ngram).map_or(0, |most| count.min(*most));
            }
        }
        stats
    }

    /// BLEU, in 0..=100: of one item, or of the corpus whose items have been added up. sacreBLEU advises `effective_order` for one item.
    pub fn score(&self, config: &BleuConfig) -> f64 {
        if self.correct.iter().all(|count| *count == 0) {
            return 0.0;
        }
        let (mut logs, mut order, mut smooth) = (0.0, 0, 1.0);
        for (correct, total) in self.correct.iter().zip(&self.total) {
            if *total == 0 {
                break;
            }
            // An order without a match counts half a match, the next one a quarter.
            let correct = if *correct == 0 {
                smooth *= 2.0;
                1.0 / smooth
            } else {
                *correct as f64
            };
            logs += (100.0 * correct / *total as f64).ln();
            order += 1;
        }
        if order < ORDER && !config.effective_order {
            return 0.0;
        }
        let brevity = (1.0 - self.wanted as f64 / self.predicted as f64).min(0.0);
        (brevity + logs / order as f64).exp()
    }
}

impl BleuStats {
    /// As numbers that are added up.
    pub fn to_sums(self) -> Vec<f64> {
        let counts = [self.predicted, self.wanted]
            .into_iter()
            .chain(self.correct)
            .chain(self.total);
        counts.map(|count| count as f64).collect()
    }

    /// From what [`to_sums`](Self::to_sums) gave, added up.
    pub fn from_sums(sums: &[f64]) -> Self {
        let at = |i: usize| sums.get(i).map_or(0, |sum| *sum as u64);
        Self {
            predicted: at(0),
            wanted: at(1),
            correct: std::array::from_fn(|n| at(2 + n)),
            total: std::array::from_fn(|n| at(2 + ORDER + n)),
        }
    }
}

fn counts(words: &[String], n: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    for ngram in words.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

impl AddAssign for BleuStats {
    fn add_assign(&mut self, other: Self) {
        self.predicted += other.predicted;
        self.wanted += other.wanted;
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
    }
}

impl Add for BleuStats {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}
