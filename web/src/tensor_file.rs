//! Writing a safetensors file whose tensors arrive one at a time, in any order, and each in pieces.

use std::collections::HashMap;

use wgpu_sft::Error;
use wgpu_sft::formats::safetensors::{Layout, TensorSpec};

use crate::error::Result;
use crate::io::Writer;

/// A file being written.
pub(crate) struct TensorFile {
    writer: Writer,
    /// What is still to come of each tensor: from where to where in the file.
    missing: HashMap<String, (u64, u64)>,
}

impl TensorFile {
    /// Start a file of these tensors.
    pub fn create(writer: Writer, tensors: &[TensorSpec]) -> Result<Self> {
        let layout = Layout::new(tensors, None)?;
        writer.write(&layout.header, 0)?;
        let ranges = layout.offsets().into_iter().zip(&layout.lengths);
        let ranges = ranges.map(|(start, length)| (start, start + *length as u64));
        Ok(Self {
            writer,
            missing: tensors.iter().map(|tensor| tensor.name.clone()).zip(ranges).collect(),
        })
    }

    /// Write the next bytes of a tensor.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let no_place = |why: &str| Error::weights(name, why);
        let (at, end) = self
            .missing
            .get_mut(name)
            .ok_or_else(|| no_place("has no place in the file"))?;
        let next = *at + bytes.len() as u64;
        if next > *end {
            return Err(no_place("has more bytes than its place in the file").into());
        }
        self.writer.write(bytes, *at)?;
        *at = next;
        Ok(())
    }

    /// End the file: it is lasting when this returns.
    pub fn finish(self) -> Result<()> {
        let short = self.missing.iter().filter(|(_, (at, end))| at < end);
        if let Some(name) = short.map(|(name, _)| name).min() {
            return Err(Error::weights(name, "was not written to its end").into());
        }
        self.writer.close()
    }
}
