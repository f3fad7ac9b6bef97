//! How the next token is drawn.

use crate::random::{Stream, block, uniform};
use crate::{Error, Result};

/// How the next token is drawn. The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0: the likeliest token, always.
    pub temperature: f32,
    /// Only so many of the likeliest tokens; 0: all.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability; 1: all.
    pub top_p: f32,
    /// Only tokens at least so likely as this share of the likeliest; 0: all.
    pub min_p: f32,
    /// What the draws come from.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 42,
        }
    }
}

impl Sampling {
    /// Whether the likeliest token is always the next.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Check every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config(
                "temperature",
                format!("{} is not a number from 0 up", self.temperature),
            ));
        }
        for (field, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(field, format!("{value} is not between 0 and 1")));
            }
        }
        Ok(())
    }

    /// The next token, draw number `draw` of sequence number `sequence`: the filters in transformers' order (temperature, top-k,
    /// top-p, min-p), then one uniform number.
    pub fn pick(&self, logits: &[f32], sequence: u32, draw: u64) -> u32 {
        let likeliest = || (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        if self.is_greedy() {
            return likeliest() as u32;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        let likelier = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        let top_k = self.top_k as usize;
        if (1..order.len()).contains(&top_k) {
            order.select_nth_unstable_by(top_k, likelier);
            order.truncate(top_k);
        }
        order.sort_unstable_by(likelier);
        let peak = f64::from(logits[order[0]]);
        let weigh = |order: &[usize]| -> Vec<f64> {
            let weights: Vec<f64> = order
                .iter()
                .map(|&i| ((f64::from(logits[i]) - peak) / f64::from(self.temperature)).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        };
        let mut weights = weigh(&order);
        if self.top_p < 1.0 {
            let mut before = 0.0;
            let keep = weights.iter().take_while(|w| {
                let kept = before < f64::from(self.top_p);
                before += **w;
                kept
            });
            order.truncate(keep.count().max(1));
            weights = weigh(&order);
        }
        let floor = f64::from(self.min_p) * weights[0];
        order.truncate(weights.iter().take_while(|&&w| w >= floor).count().max(1));
        weights = weigh(&order);
        let mut rest = f64::from(uniform(block(self.seed, Stream::Sampling, sequence, draw)[0]));
        for (&i, w) in order.iter().zip(&weights) {
            rest -= w;
            if rest < 0.0 {
                return i as u32;
            }
        }
        order[order.len() - 1] as u32
    }
}
