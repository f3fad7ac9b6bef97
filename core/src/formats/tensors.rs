//! Where the tensors of a checkpoint lie in its files, under their Hugging Face names.

use super::Dtype;
use crate::model::ModelConfig;
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// One tensor of a checkpoint: where its bytes lie and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its Hugging Face name.
    pub name: String,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Its shape, rows first.
    pub shape: Vec<usize>,
    /// Which of the checkpoint's files holds it.
    pub file: usize,
    /// Its bytes in that file.
    pub range: Range<u64>,
    /// The number of heads whose rows llama.cpp's converter interleaved, for the q and k projections of Llama models.
    pub unpermute: Option<usize>,
}

impl TensorEntry {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor's stored bytes, rows in Hugging Face order, given the whole file that holds it.
    ///
    /// # Errors
    /// [`Error::Weights`] if the file ends before the tensor does, or its size does not fit its shape.
    pub fn read<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let range = usize::try_from(self.range.start)
            .ok()
            .zip(usize::try_from(self.range.end).ok());
        let bytes = range.and_then(|(start, end)| file.get(start..end)).ok_or_else(|| {
            let why = format!(
                "bytes {}..{} are outside a file of {} bytes",
                self.range.start,
                self.range.end,
                file.len()
            );
            Error::weights(&self.name, why)
        })?;
        self.arrange(bytes)
    }

    /// As [`read`](Self::read), given only the bytes in [`range`](Self::range) (a browser reads a file piecewise).
    ///
    /// # Errors
    /// [`Error::Weights`] if there are more or fewer bytes than the shape needs.
    pub fn arrange<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let want = checked_elements(&self.name, &self.shape).and_then(|n| self.dtype.bytes_for(n))?;
        if bytes.len() != want {
            let why = format!(
                "{} bytes, shape {:?} of {} needs {want}",
                bytes.len(),
                self.shape,
                self.dtype.name()
            );
            return Err(Error::weights(&self.name, why));
        }
        // Rows of nothing are in order.
        let Some(heads) = self.unpermute.filter(|_| !bytes.is_empty()) else {
            return Ok(Cow::Borrowed(bytes));
        };
        let rows = self.shape.first().copied().unwrap_or(0);
        if heads == 0 || rows % (2 * heads) != 0 {
            return Err(Error::weights(
                &self.name,
                format!("{rows} rows are not pairs in {heads} heads"),
            ));
        }
        // The converter turns a head's rows [half][pair] into [pair][half]: its own row 2j + p is ours at p·size/2 + j.
        let (row_bytes, half) = (bytes.len() / rows, rows / heads / 2);
        let mut out = Vec::with_capacity(bytes.len());
        for head in bytes.chunks_exact(row_bytes * half * 2) {
            for part in 0..2 {
                for pair in 0..half {
                    let at = (2 * pair + part) * row_bytes;
                    out.extend_from_slice(&head[at..at + row_bytes]);
                }
            }
        }
        Ok(Cow::Owned(out))
    }

    /// Where in the file the tensor's rows lie, in pieces of an even number of rows and at most `most` bytes, unless two rows are
    /// more: all of it where rows have to be put in order, and for a vector.
    pub fn pieces(&self, most: u64) -> Vec<Range<u64>> {
        let (Range { start, end }, rows) = (self.range.clone(), self.shape.first().map_or(0, |rows| *rows as u64));
        if self.unpermute.is_some() || self.shape.len() != 2 || rows == 0 {
            return vec![self.range.clone()];
        }
        let row = (end - start) / rows;
        let step = (most / row.max(1) / 2 * 2).max(2) * row.max(1);
        let piece = |at: u64| at..end.min(at.saturating_add(step));
        (start..end)
            .step_by(usize::try_from(step).unwrap_or(usize::MAX))
            .map(piece)
            .collect()
    }

    /// The tensor's elements as f32, given the whole file that holds it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn decode(&self, file: &[u8]) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        self.dtype.decode(&self.read(file)?, &mut out)?;
        Ok(out)
    }
}

/// The elements of a shape, or an error naming the tensor.
pub(super) fn checked_elements(name: &str, shape: &[usize]) -> Result<usize> {
    let product = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    product.ok_or_else(|| Error::weights(name, format!("shape {shape:?} overflows")))
}

/// The tensors of one checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensors {
    /// Those that can be read.
    pub entries: Vec<TensorEntry>,
    /// Name and type of those stored in a type that is not supported. They matter only if they are needed.
    pub unsupported: Vec<(String, String)>,
}

impl Tensors {
    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is none, or its type is not supported.
    pub fn get(&self, name: &str) -> Result<&TensorEntry> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        match self.unsupported.iter().find(|(other, _)| other == name) {
            Some((_, dtype)) => Error::weights(name, format!("stored as {dtype}, which is not supported")),
            None => Error::weights(name, "missing from the checkpoint"),
        }
    }

    /// The tensors that a model needs, in the order of [`ModelConfig::tensors`].
    ///
    /// # Errors
    /// [`Error::Weights`] for one that is missing or has another shape, and for one that the model has no use for (a
    /// bias that the configuration does not mention, say): leaving it out would change the result.
    pub fn for_model(&self, config: &ModelConfig) -> Result<Vec<&TensorEntry>> {
        let mut left: HashMap<&str, &TensorEntry> = HashMap::with_capacity(self.entries.len());
        for entry in &self.entries {
            if left.insert(&entry.name, entry).is_some() {
                return Err(Error::weights(&entry.name, "stored twice"));
            }
        }
        let mut needed = Vec::with_capacity(left.len());
        for (name, shape) in config.tensors() {
            let entry = left.remove(name.as_str()).ok_or_else(|| self.missing(&name))?;
            if entry.shape != shape {
                return Err(Error::weights(
                    name,
                    format!("shape {:?}, the model's is {shape:?}", entry.shape),
                ));
            }
            needed.push(entry);
        }
        // A tied head may be stored all the same, and old checkpoints store the rotary frequencies.
        let harmless = |name: &str| name == "lm_head.weight" || name.ends_with(".rotary_emb.inv_freq");
        let mut extra: Vec<&str> = left
            .into_keys()
            .chain(self.unsupported.iter().map(|(name, _)| name.as_str()))
            .collect();
        extra.retain(|name| !harmless(name));
        extra.sort_unstable();
        match extra.first() {
            Some(name) => Err(Error::weights(*name, "the model as configured has no such tensor")),
            None => Ok(needed),
        }
    }
}
