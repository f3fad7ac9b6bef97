//! Generation of many sequences at once.

use super::Sampling;
use super::cached::{Cached, New, Stretch};
use crate::Result;
use crate::model::Model;

/// Continues many prompts together. Each has a slot: its place in a cache of keys and values. A step carries one token of every
/// answer that is being written; where answers end, the next prompts are read, several at a time.
///
/// An answer depends on its own prompt, the seed and its number alone, whatever the slots and the others.
pub struct BatchGenerator {
    cached: Cached,
}

/// A prompt that has a slot.
struct Live {
    /// The prompt's number.
    number: usize,
    /// Tokens of the prompt that were read.
    read: usize,
    answer: Vec<u32>,
}

impl BatchGenerator {
    /// For sequences of at most `context` tokens, prompts included, `slots` of them at once, or as many as a binding of the device
    /// holds: [`slots`](Self::slots) tells. Answers do not depend on how many.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) or [`Error::Gpu`](crate::Error::Gpu) when the cache of one sequence or a
    /// buffer does not fit.
    pub async fn new(model: &Model, slots: u32, context: u32) -> Result<Self> {
        let cached = Cached::new(model, slots, context).await?;
        Ok(Self { cached })
    }

    /// Bytes that [`new`](Self::new) allocates beside the model, but for 256 for each dispatch of its plans.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) as there.
    pub fn bytes(model: &Model, slots: u32, context: u32) -> Result<u64> {
        Cached::bytes(model, slots, context)
    }

    /// Sequences at once.
    pub fn slots(&self) -> u32 {
        self.cached.slots()
    }

    /// Tokens of a sequence, prompt included, at most.
    pub fn context(&self) -> u32 {
        self.cached.context()
    }

    /// Continue every prompt until one of `terminators` (which is not returned), `max_new_tokens`, or the context is full. Tells
    /// each answer as it ends, by its prompt's number; `false` stops all of them. The answers are in the order of the prompts; those
    /// that were stopped are as far as they came.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for a prompt that is empty, too long or holds an unknown token, before any is read;
    /// [`Error::Config`](crate::Error::Config) as [`Sampling::validate`]; [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        max_new_tokens: u32,
        terminators: &[u32],
        mut on_done: impl FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>> {
        sampling.validate()?;
        for (number, prompt) in prompts.iter().enumerate() {
            self.cached.check(&format!("prompt {number}"), prompt)?;
        }
        let mut answers = vec![Vec::new(); prompts.len()];
        if max_new_tokens == 0 {
            // Each has ended; the first that is told `false` stops the telling.
            let _ = (0..prompts.len()).all(|number| on_done(number, &[]));
            return Ok(answers);
        }
        let mut slots: Vec<Option<Live>> = (0..self.slots()).map(|_| None).collect();
        let mut waiting = 0..prompts.len();
        'all: loop {
            admit(&mut slots, &mut waiting);
            let (new, stretches) = self.stretches(prompts, &slots);
            if stretches.is_empty() {
                break;
            }
            self.cached.read(new, &stretches).await?;
            let read: Vec<_> = stretches
                .iter()
                .map(|s| (s.slot as usize, s.tokens.len(), s.wanted))
                .collect();
            let mut draws = Vec::new();
            for &(slot, n, wanted) in &read {
                let live = slots[slot].as_mut().expect("a stretch is of a slot's prompt");
                if new == New::Prompt {
                    live.read += n;
                }
                if wanted {
                    draws.push((live.number as u32, live.answer.len() as u64));
                }
            }
            if draws.is_empty() {
                continue;
            }
            let picked = self.cached.picked(sampling, &draws).await?;
            let wanting = read.iter().filter(|(.., wanted)| *wanted);
            for (&(slot, ..), token) in wanting.zip(picked) {
                let live = slots[slot].as_mut().expect("a stretch is of a slot's prompt");
                let ended = terminators.contains(&token) || {
                    live.answer.push(token);
                    let full = prompts[live.number].len() + live.answer.len() > self.context() as usize;
                    full || live.answer.len() == max_new_tokens as usize
                };
                if let Some(live) = slots[slot].take_if(|_| ended) {
                    let go_on = on_done(live.number, &live.answer);
                    answers[live.number] = live.answer;
                    if !go_on {
                        break 'all;
                    }
                }
            }
        }
        for live in slots.into_iter().flatten() {
            answers[live.number] = live.answer;
        }
        Ok(answers)
    }

    /// What is read next: of the prompts that are not read to their ends as much as a pass has room for, or else a token of every
    /// answer.
    fn stretches<'a>(&self, prompts: &'a [Vec<u32>], slots: &'a [Option<Live>]) -> (New, Vec<Stretch<'a>>) {
        let live = || (0..).zip(slots).filter_map(|(slot, live)| Some((slot, live.as_ref()?)));
        let mut room = self.cached.capacity() as usize;
        let mut stretches = Vec::new();
        for (slot, live) in live() {
            let rest = &prompts[live.number][live.read..];
            let take = rest.len().min(room);
            if take > 0 {
                stretches.push(Stretch {
                    slot,
                    start: live.read as u32,
                    tokens: &rest[..take],
                    wanted: take == rest.len(),
                });
                room -= take;
            }
        }
        if !stretches.is_empty() {
            return (New::Prompt, stretches);
        }
        let last = |(slot, live): (u32, &'a Live)| Stretch {
            slot,
            start: (prompts[live.number].len() + live.answer.len()) as u32 - 1,
            tokens: &live.answer[live.answer.len() - 1..],
            wanted: true,
        };
        (New::Next, live().map(last).collect())
    }
}

/// Give free slots to waiting prompts: when there are as many as wait, when a quarter is free or nothing else is to do, for a pass
/// over few rows takes little less time than one over many.
fn admit(slots: &mut [Option<Live>], waiting: &mut std::ops::Range<usize>) {
    let free = slots.iter().filter(|slot| slot.is_none()).count();
    if free < waiting.len().min(slots.len().div_ceil(4)) {
        return;
    }
    for (slot, number) in slots.iter_mut().filter(|slot| slot.is_none()).zip(waiting) {
        *slot = Some(Live {
            number,
            read: 0,
            answer: Vec::new(),
        });
    }
}
