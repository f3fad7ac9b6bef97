//! Generation with a key-value cache, of one sequence or of many.

mod batch;
mod cached;
mod sampling;

pub use batch::BatchGenerator;
pub use sampling::Sampling;

use super::Model;
use crate::Result;
use cached::{Cached, New, Stretch};

/// Continues sequences, one at a time. Keeps its keys and values, so that a longer prompt that begins with the last one costs only
/// the rest. They are of the weights as these were: [`reset`](Self::reset) it after a step of training.
pub struct Generator {
    cached: Cached,
    /// What the cache holds.
    read: Vec<u32>,
}

impl Generator {
    /// For sequences of at most `context` tokens, prompt included.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) or [`Error::Gpu`](crate::Error::Gpu) when the cache or a buffer does not fit.
    pub async fn new(model: &Model, context: u32) -> Result<Self> {
        Ok(Self {
            cached: Cached::new(model, 1, context).await?,
            read: Vec::new(),
        })
    }

    /// Forget what was read, as when the model was trained since.
    pub fn reset(&mut self) {
        self.read.clear();
    }

    /// Continue `prompt` until one of `terminators` (which is not returned), `max_new_tokens`, or the context is full.
    /// Tells each token as it comes; `false` stops.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for a prompt that is empty, too long or holds an unknown token,
    /// [`Error::Config`](crate::Error::Config) as [`Sampling::validate`], [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        max_new_tokens: u32,
        terminators: &[u32],
        mut on_token: impl FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        sampling.validate()?;
        self.cached.check("the prompt", prompt)?;
        let mut sequence = prompt.to_vec();
        while sequence.len() - prompt.len() < max_new_tokens as usize {
            let new = if sequence.len() == prompt.len() {
                New::Prompt
            } else {
                New::Next
            };
            self.read(new, &sequence).await?;
            let draw = (0, (sequence.len() - prompt.len()) as u64);
            let token = self.cached.picked(sampling, &[draw]).await?[0];
            if terminators.contains(&token) {
                break;
            }
            sequence.push(token);
            if !on_token(token) || sequence.len() > self.cached.context() as usize {
                break;
            }
        }
        Ok(sequence.split_off(prompt.len()))
    }

    /// The logits of the token after a sequence, `[V]`, reading only what the cache does not hold.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when the sequence is empty, too long or holds an unknown token,
    /// [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn logits_after(&mut self, sequence: &[u32]) -> Result<Vec<f32>> {
        self.cached.check("the sequence", sequence)?;
        // Which token was picked is not known here.
        let one = self.shared(sequence) + 1 == sequence.len();
        self.read(if one { New::Next } else { New::Prompt }, sequence).await?;
        let vocabulary = self.cached.vocabulary();
        self.cached.logits(1, |logits| logits[..vocabulary].to_vec()).await
    }

    /// How much of a sequence need not be read again. The last token always is, for what comes after it.
    fn shared(&self, sequence: &[u32]) -> usize {
        let same = self.read.iter().zip(sequence).take_while(|(a, b)| a == b).count();
        same.min(sequence.len() - 1)
    }

    /// Read what of a sequence the cache does not hold.
    async fn read(&mut self, new: New, sequence: &[u32]) -> Result<()> {
        let mut done = self.shared(sequence);
        self.read.truncate(done);
        while done < sequence.len() {
            let take = (sequence.len() - done).min(self.cached.capacity() as usize);
            let stretch = Stretch {
                slot: 0,
                start: done as u32,
                tokens: &sequence[done..done + take],
                wanted: done + take == sequence.len(),
            };
            self.cached.read(new, &[stretch]).await?;
            done += take;
        }
        self.read.extend(&sequence[self.read.len()..]);
        Ok(())
    }
}
