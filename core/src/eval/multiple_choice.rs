//! Multiple choice by log-likelihood, as lm-evaluation-harness 0.4 scores it (`ConfigurableTask.process_results` in `lm_eval/api/task.py`).

use crate::{Error, Result};

/// Which choice a model picks, under three ways of comparing their log-likelihoods. Of equal choices the first is picked, as numpy's
/// `argmax` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The likeliest choice: the harness' `acc` asks whether it is the right one.
    pub likeliest: usize,
    /// The likeliest a character, that is, a Unicode code point: `acc_norm`.
    pub per_character: usize,
    /// The likeliest a byte of UTF-8: `acc_bytes`.
    pub per_byte: usize,
}

impl Picked {
    /// `acc`, `acc_norm` and `acc_bytes` of the item: 1 where the right choice is picked, else 0. Over a suite, each is a mean.
    pub fn scores(&self, right: usize) -> [f64; 3] {
        [self.likeliest, self.per_character, self.per_byte].map(|pick| f64::from(u8::from(pick == right)))
    }
}

/// What a model picks that gives each choice's tokens these summed log-likelihoods (natural logarithm). Lengths are those of the choices'
/// own texts, without the space or line that stands between them and the question.
///
/// # Errors
/// [`Error::Data`] for fewer than two choices, as many numbers as choices missing or left over, an empty choice, and a log-likelihood that
/// is not finite.
pub fn pick<S: AsRef<str>>(log_likelihoods: &[f64], choices: &[S]) -> Result<Picked> {
    if choices.len() < 2 || log_likelihoods.len() != choices.len() {
        let (n, m) = (log_likelihoods.len(), choices.len());
        return Err(Error::data(format!(
            "{n} log-likelihoods of {m} choices, of which there must be two"
        )));
    }
    for (i, (value, choice)) in log_likelihoods.iter().zip(choices).enumerate() {
        if choice.as_ref().is_empty() {
            return Err(Error::data(format!("choice {} is empty", i + 1)));
        }
        if !value.is_finite() {
            return Err(Error::data(format!("choice {} has the log-likelihood {value}", i + 1)));
        }
    }
    let best = |length: &dyn Fn(&str) -> usize| {
        let of = |i: usize| log_likelihoods[i] / length(choices[i].as_ref()) as f64;
        (1..choices.len()).fold(0, |best, i| if of(i) > of(best) { i } else { best })
    };
    Ok(Picked {
        likeliest: best(&|_| 1),
        per_character: best(&|text| text.chars().count()),
        per_byte: best(&str::len),
    })
}
