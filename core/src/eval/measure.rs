//! What an evaluation can measure, each by its field's usual name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::bleu::{BleuConfig, BleuStats};
use super::chrf::{ChrfConfig, ChrfStats};
use super::classify::macro_f1;
use crate::{Error, Result};

/// A number that says how well a model does on some items.
///
/// Every measure adds up: an item has a *tally*, a few sums, and the measure of many items is a function of the sum of their tallies
/// ([`Measure::of`]). So a mean weighs items, a loss weighs tokens, BLEU pools n-grams; and drawing items anew, as the bootstrap does, is
/// adding other tallies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Mean −log p of the supervised targets: of all tokens, not of items.
    Loss,
    /// e^loss.
    Perplexity,
    /// Share of targets that are the model's likeliest token.
    TokenAccuracy,
    /// Share of answers that equal a reference after SQuAD's normalisation.
    ExactMatch,
    /// Mean F1 of the answer's and the nearest reference's words (SQuAD).
    F1,
    /// Mean F-measure of shared words (rouge-score, with the stemmer), best reference.
    Rouge1,
    /// Mean F-measure of shared pairs of words.
    Rouge2,
    /// Mean F-measure of the longest common subsequence of words.
    RougeL,
    /// As [`RougeL`](Self::RougeL), line by line.
    RougeLsum,
    /// Corpus BLEU, 0 to 100 (sacreBLEU).
    Bleu,
    /// Corpus chrF2, 0 to 100 (sacreBLEU).
    Chrf,
    /// Corpus chrF2++, 0 to 100 (sacreBLEU).
    ChrfPlusPlus,
    /// Share of answers that name the reference's label.
    Accuracy,
    /// F1 of each label, averaged over the labels (scikit-learn's macro average).
    MacroF1,
    /// Of questions asked in several wordings: how often two wordings get the same answer.
    Agreement,
    /// Of questions asked in several wordings: the share that is answered correctly in every one.
    WorstCase,
    /// Share of prompts all of whose instructions are followed (IFEval).
    PromptStrict,
    /// Share of instructions that are followed (IFEval).
    InstStrict,
    /// As [`PromptStrict`](Self::PromptStrict), the answer relaxed.
    PromptLoose,
    /// As [`InstStrict`](Self::InstStrict), the answer relaxed.
    InstLoose,
    /// Multiple choice: the likeliest choice is the right one (lm-evaluation-harness).
    Acc,
    /// The likeliest by log-likelihood per character.
    AccNorm,
    /// The likeliest by log-likelihood per byte.
    AccBytes,
}

/// What must be computed for a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Needs {
    /// The losses of a row's own targets.
    Targets,
    /// The model's answer.
    Answer,
    /// The log-likelihood of each choice.
    Choices,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 23] = [
        Self::Loss,
        Self::Perplexity,
        Self::TokenAccuracy,
        Self::ExactMatch,
        Self::F1,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::RougeLsum,
        Self::Bleu,
        Self::Chrf,
        Self::ChrfPlusPlus,
        Self::Accuracy,
        Self::MacroF1,
        Self::Agreement,
        Self::WorstCase,
        Self::PromptStrict,
        Self::InstStrict,
        Self::PromptLoose,
        Self::InstLoose,
        Self::Acc,
        Self::AccNorm,
        Self::AccBytes,
    ];

    /// Its name, as suites, `metrics.jsonl` and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Perplexity => "perplexity",
            Self::TokenAccuracy => "token_accuracy",
            Self::ExactMatch => "exact_match",
            Self::F1 => "f1",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::RougeLsum => "rougeLsum",
            Self::Bleu => "bleu",
            Self::Chrf => "chrf",
            Self::ChrfPlusPlus => "chrf++",
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro_f1",
            Self::Agreement => "agreement",
            Self::WorstCase => "worst_case",
            Self::PromptStrict => "prompt_level_strict_acc",
            Self::InstStrict => "inst_level_strict_acc",
            Self::PromptLoose => "prompt_level_loose_acc",
            Self::InstLoose => "inst_level_loose_acc",
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
        }
    }

    /// The measures that a name in a suite stands for: its own, or the several of `ifeval` and `consistency`.
    ///
    /// # Errors
    /// [`Error::Config`] with the names there are.
    pub fn named(name: &str) -> Result<Vec<Self>> {
        match name {
            "ifeval" => Ok(vec![
                Self::PromptStrict,
                Self::InstStrict,
                Self::PromptLoose,
                Self::InstLoose,
            ]),
            "consistency" => Ok(vec![Self::Agreement, Self::WorstCase]),
            name => Ok(vec![name.parse()?]),
        }
    }

    /// What must be computed for it.
    pub fn needs(self) -> Needs {
        match self {
            Self::Loss | Self::Perplexity | Self::TokenAccuracy => Needs::Targets,
            Self::Acc | Self::AccNorm | Self::AccBytes => Needs::Choices,
            _ => Needs::Answer,
        }
    }

    /// Whether more is better.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::Loss | Self::Perplexity)
    }

    /// Whether it is a share, best shown in per cent.
    pub fn is_share(self) -> bool {
        !matches!(
            self,
            Self::Loss | Self::Perplexity | Self::Bleu | Self::Chrf | Self::ChrfPlusPlus
        )
    }

    /// A value of it as people read it: shares in per cent.
    pub fn show(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => "-".to_owned(),
            _ if self.is_share() => format!("{:.1} %", 100.0 * value),
            Self::Loss => format!("{value:.4}"),
            _ => format!("{value:.2}"),
        }
    }

    /// A difference of two values: with its sign.
    pub fn show_change(self, value: f64) -> String {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}", self.show(value))
    }

    /// Whether it looks at instructions to be verified.
    pub fn is_ifeval(self) -> bool {
        matches!(
            self,
            Self::PromptStrict | Self::InstStrict | Self::PromptLoose | Self::InstLoose
        )
    }

    /// Whether it looks at several wordings of one question.
    pub fn is_consistency(self) -> bool {
        matches!(self, Self::Agreement | Self::WorstCase)
    }

    /// The number that summed tallies make; NaN where nothing was tallied.
    pub fn of(self, tally: &[f64]) -> f64 {
        match self {
            Self::Perplexity => ratio(tally).exp(),
            Self::Bleu => BleuStats::from_sums(tally).score(&BleuConfig::default()),
            Self::Chrf | Self::ChrfPlusPlus => ChrfStats::from_sums(tally).score(),
            Self::MacroF1 => macro_f1(tally),
            _ => ratio(tally),
        }
    }

    /// The number of one unit alone: as [`of`](Self::of), but for BLEU, of which a single answer has only as many orders as it has words
    /// (sacreBLEU's `effective_order`).
    pub fn of_unit(self, tally: &[f64]) -> f64 {
        let config = BleuConfig {
            effective_order: true,
            ..BleuConfig::default()
        };
        match self {
            Self::Bleu => BleuStats::from_sums(tally).score(&config),
            _ => self.of(tally),
        }
    }

    /// sacreBLEU's settings, for the chrFs.
    pub(super) fn chrf(self) -> ChrfConfig {
        ChrfConfig {
            words: self == Self::ChrfPlusPlus,
            ..ChrfConfig::default()
        }
    }

    /// sacreBLEU's signature of it, where it has one, for items of so many references; `None`: it varies.
    pub fn signature(self, references: Option<usize>) -> Option<String> {
        match self {
            Self::Bleu => Some(BleuConfig::default().signature(references)),
            Self::Chrf | Self::ChrfPlusPlus => Some(self.chrf().signature(references)),
            _ => None,
        }
    }
}

/// A sum of scores by how many there are.
fn ratio(tally: &[f64]) -> f64 {
    match tally {
        [sum, count, ..] => sum / count,
        _ => f64::NAN,
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        // People write ROUGE-L, macro-F1 and chrF.
        let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
        Self::ALL
            .into_iter()
            .find(|measure| plain(measure.name()) == plain(name))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                Error::config("measure", format!("{name:?} is none of {names}, ifeval, consistency"))
            })
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
