//! How sure a measure is: standard errors, 95 % intervals, paired comparisons.
//!
//! Items are what is drawn at random: an interval says how far the number could be off because these items were asked and not others of
//! their kind. It says nothing about other seeds of the training, or other wordings of a prompt.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random::{Stream, block};

/// The normal distribution's quantile at 0.975.
const Z: f64 = 1.959_963_984_540_054;

/// A number, its standard error, and a 95 % interval. What cannot be told, as the spread of a single item, is NaN, which JSON has as `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The measure on the items at hand.
    #[serde(with = "nullable")]
    pub value: f64,
    /// Its standard error.
    #[serde(with = "nullable")]
    pub stderr: f64,
    /// Lower end of the interval.
    #[serde(with = "nullable")]
    pub low: f64,
    /// Upper end of the interval.
    #[serde(with = "nullable")]
    pub high: f64,
}

pub(super) mod nullable {
    use super::*;

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}

/// Mean of independent items.
///
/// The standard error is the sample standard deviation (divisor n − 1) over √n, as lm-evaluation-harness has it (`mean_stderr` in
/// `lm_eval/api/metrics.py`). The interval is Student's, mean ± t·stderr with n − 1 degrees of freedom; where every item is 0 or 1, as of an
/// accuracy, it is Wilson's ("Probable inference, the law of succession, and statistical inference", JASA 1927), which stays within 0..=1 and
/// does not shrink to a point where all items are right, or all wrong.
///
/// Of one item, only a 0 or 1 has an interval, and none has a standard error; without items all is NaN.
pub fn mean(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let stderr = deviation(values) / n.sqrt();
    let [low, high] = if !values.is_empty() && values.iter().all(|x| *x == 0.0 || *x == 1.0) {
        wilson(value, n)
    } else {
        let reach = student(values.len().saturating_sub(1)) * stderr;
        [value - reach, value + reach]
    };
    Estimate {
        value,
        stderr,
        low,
        high,
    }
}

/// Sample standard deviation, divisor n − 1; NaN of fewer than two values. Exactly 0 of equal values.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let Some(first) = values.first().filter(|_| values.len() > 1) else {
        return f64::NAN;
    };
    // Around the first value, so that the mean's rounding makes no spread.
    let shift = values.iter().map(|x| x - first).sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - first - shift).powi(2)).sum();
    (squares / (n - 1.0)).sqrt()
}

/// Wilson's 95 % interval of a share of `n` items.
fn wilson(share: f64, n: f64) -> [f64; 2] {
    let center = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [center - reach, center + reach].map(|end| (end / (1.0 + Z * Z / n)).clamp(0.0, 1.0))
}

/// Student's quantile at 0.975 with this many degrees of freedom; NaN for none.
fn student(freedom: usize) -> f64 {
    let v = freedom as f64;
    if freedom == 0 {
        return f64::NAN;
    }
    if freedom >= 100 {
        // Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5; the next term is below 2e-8.
        let odd = |coefficients: &[f64]| coefficients.iter().fold(0.0, |sum, c| sum * Z * Z + c) * Z;
        return Z
            + odd(&[1.0, 1.0]) / (4.0 * v)
            + odd(&[5.0, 16.0, 3.0]) / (96.0 * v.powi(2))
            + odd(&[3.0, 19.0, 17.0, -15.0]) / (384.0 * v.powi(3));
    }
    let (mut low, mut high) = (Z, 13.0); // 12.7 with one degree of freedom
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        *(if within(middle, freedom) < 0.95 {
            &mut low
        } else {
            &mut high
        }) = middle;
    }
    (low + high) / 2.0
}

/// Probability that Student's variable lies within ±t. Abramowitz and Stegun, 26.7.3 and 26.7.4.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = freedom % 2;
    // Terms of cos^odd, cos^(odd + 2), … up to cos^(freedom - 2).
    let (mut term, mut sum) = (if odd == 1 { cos } else { 1.0 }, 0.0);
    for k in (odd..freedom.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= cos * cos * (k + 1) as f64 / (k + 2) as f64;
    }
    match odd {
        1 => (angle + sin * sum) * std::f64::consts::FRAC_2_PI,
        _ => sin * sum,
    }
}

/// Any statistic of independent items, with the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993): the
/// statistic of `resamples` draws of as many items, with replacement; the standard error is the standard deviation of these, the interval
/// goes from their 2.5 % to their 97.5 % quantile, interpolated as numpy's `quantile` does.
///
/// The statistic is given numbers of items, from 0, and is a mean, a ratio of sums, a corpus BLEU, a macro-F1; of a difference of two
/// systems on the same items it makes a paired comparison. Which items are drawn depends on (seed, items) alone. Each draw is a word of the
/// generator scaled to the range, which favours no item by more than items / 2³².
///
/// With fewer than two items or resamples, or where the statistic of a draw is not finite, standard error and interval are NaN.
pub fn bootstrap(items: u32, statistic: impl Fn(&[u32]) -> f64, resamples: u32, seed: u64) -> Estimate {
    let mut drawn: Vec<u32> = (0..items).collect();
    let value = if items == 0 { f64::NAN } else { statistic(&drawn) };
    let unknown = Estimate {
        value,
        stderr: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
    };
    if items < 2 || resamples < 2 {
        return unknown;
    }
    let mut found = Vec::with_capacity(resamples as usize);
    for resample in 0..resamples {
        draw(seed, resample, &mut drawn);
        found.push(statistic(&drawn));
    }
    if found.iter().any(|x| !x.is_finite()) {
        return unknown;
    }
    found.sort_unstable_by(f64::total_cmp);
    Estimate {
        value,
        stderr: deviation(&found),
        low: quantile(&found, 0.025),
        high: quantile(&found, 0.975),
    }
}

/// Fill with items drawn with replacement, out of as many as there is room for.
fn draw(seed: u64, resample: u32, drawn: &mut [u32]) {
    let items = drawn.len() as u64;
    for (i, four) in drawn.chunks_mut(4).enumerate() {
        let words = block(seed, Stream::Bootstrap, resample, i as u64);
        for (item, word) in four.iter_mut().zip(words) {
            *item = ((u64::from(word) * items) >> 32) as u32;
        }
    }
}

/// Of sorted numbers, as numpy's `quantile` interpolates.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let below = sorted[place as usize];
    let above = sorted[(place as usize + 1).min(sorted.len() - 1)];
    below + (above - below) * place.fract()
}
