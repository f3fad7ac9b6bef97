//! Tokenised rows, wherever they are kept, and the bytes that they are kept as outside of memory.

use super::{Example, IGNORE};
use crate::{Error, Result};

/// Tokenised rows by number: in memory, or read from where the caller put them.
pub trait Examples {
    /// How many there are.
    fn count(&self) -> usize;

    /// Tokens of one, which is told without reading it.
    fn tokens(&self, number: usize) -> usize;

    /// One of them.
    ///
    /// # Errors
    /// [`Error::Data`] when it cannot be read.
    fn example(&self, number: usize) -> Result<Example>;
}

impl<T: AsRef<[Example]> + ?Sized> Examples for T {
    fn count(&self) -> usize {
        self.as_ref().len()
    }

    fn tokens(&self, number: usize) -> usize {
        self.as_ref()[number].ids.len()
    }

    fn example(&self, number: usize) -> Result<Example> {
        Ok(self.as_ref()[number].clone())
    }
}

/// A BLAKE3 hash of examples' ids and labels in order: what a checkpoint knows its data by.
#[derive(Debug, Clone, Default)]
pub struct ContentHash {
    hash: blake3::Hasher,
    bytes: Vec<u8>,
}

impl ContentHash {
    /// Go on with another example.
    pub fn add(&mut self, example: &Example) {
        self.bytes.clear();
        self.bytes.extend((example.ids.len() as u64).to_le_bytes());
        self.bytes.extend(example.ids.iter().flat_map(|id| id.to_le_bytes()));
        self.bytes
            .extend(example.labels.iter().flat_map(|label| label.to_le_bytes()));
        self.hash.update(&self.bytes);
    }

    /// Go on with something else that decides which rows are learnt when.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// The hash so far, in hexadecimal.
    pub fn hex(&self) -> String {
        self.hash.finalize().to_hex().to_string()
    }
}

/// Labels that are the tokens' own ids in some runs, and [`IGNORE`] between them.
const RUNS: u8 = 0;
/// Labels one by one.
const LABELS: u8 = 1;

impl Example {
    /// Append the example as bytes: how its labels are told, the ids (2 bytes each up to a vocabulary of 65,536, else 4), the labels.
    /// Everything is little-endian.
    pub fn encode(&self, vocab_size: usize, out: &mut Vec<u8>) {
        let own = |at: usize| self.labels[at] != IGNORE && self.labels[at] == self.ids[at] as i32;
        let simple = (0..self.ids.len()).all(|at| self.labels[at] == IGNORE || own(at));
        out.push(if simple { RUNS } else { LABELS });
        match vocab_size <= 1 << 16 {
            true => out.extend(self.ids.iter().flat_map(|id| (*id as u16).to_le_bytes())),
            false => out.extend(self.ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        if !simple {
            out.extend(self.labels.iter().flat_map(|label| label.to_le_bytes()));
            return;
        }
        // Where supervision begins and ends, in turn.
        let edges = (0..=self.ids.len()).filter(|&at| {
            let before = at > 0 && own(at - 1);
            before != (at < self.ids.len() && own(at))
        });
        out.extend(edges.flat_map(|at| (at as u32).to_le_bytes()));
    }

    /// Take an example of `tokens` tokens back from the bytes that [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that it did not make.
    pub fn decode(bytes: &[u8], tokens: usize, vocab_size: usize) -> Result<Self> {
        let damaged = || Error::data("the tokenised rows are damaged");
        let (kind, rest) = bytes.split_first().ok_or_else(damaged)?;
        let width = if vocab_size <= 1 << 16 { 2 } else { 4 };
        let ids = tokens.checked_mul(width).ok_or_else(damaged)?;
        let (ids, rest) = rest.split_at_checked(ids).ok_or_else(damaged)?;
        let ids: Vec<u32> = match width {
            2 => ids
                .as_chunks()
                .0
                .iter()
                .map(|id| u16::from_le_bytes(*id).into())
                .collect(),
            _ => ids.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect(),
        };
        let (words, []) = rest.as_chunks::<4>() else {
            return Err(damaged());
        };
        let labels = match *kind {
            LABELS => words.iter().map(|word| i32::from_le_bytes(*word)).collect(),
            RUNS => {
                let mut labels = vec![IGNORE; tokens];
                let (runs, []) = words.as_chunks::<2>() else {
                    return Err(damaged());
                };
                for run in runs {
                    let [start, end] = run.map(|word| u32::from_le_bytes(word) as usize);
                    let run = labels.get_mut(start..end).ok_or_else(damaged)?;
                    for (label, id) in run.iter_mut().zip(&ids[start..end]) {
                        *label = *id as i32;
                    }
                }
                labels
            }
            _ => return Err(damaged()),
        };
        match labels.len() == tokens {
            true => Ok(Self { ids, labels }),
            false => Err(damaged()),
        }
    }
}
