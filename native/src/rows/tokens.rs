//! Tokenised rows outside of memory: 16 bytes a row stay in it.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;
use wgpu_sft::data::{Example, Examples};
use wgpu_sft::{Error, Result};

/// Bytes of tokens that stay in memory: a file is made once there are more.
const IN_MEMORY: usize = 8 << 20;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Examples in a temporary file that goes away with the program.
pub struct TokenFile {
    vocab_size: usize,
    /// Where each example begins in the file.
    offsets: Vec<u64>,
    /// Tokens of each.
    lengths: Vec<u32>,
    /// Bytes of the file with what is in `buffer`.
    size: u64,
    buffer: RefCell<Vec<u8>>,
    file: RefCell<SpooledTempFile>,
}

impl TokenFile {
    /// For ids below `vocab_size`.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            vocab_size,
            offsets: Vec::new(),
            lengths: Vec::new(),
            size: 0,
            buffer: RefCell::default(),
            file: RefCell::new(SpooledTempFile::new(IN_MEMORY)),
        }
    }

    /// Go on with another example.
    pub fn push(&mut self, example: &Example) -> Result<()> {
        let length = u32::try_from(example.ids.len()).map_err(|_| Error::data("has more than 2^32 - 1 tokens"))?;
        let buffer = self.buffer.get_mut();
        let before = buffer.len();
        example.encode(self.vocab_size, buffer);
        self.offsets.push(self.size);
        self.lengths.push(length);
        self.size += (buffer.len() - before) as u64;
        if buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Write what has been gathered.
    fn write(&self) -> Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.is_empty() {
            return Ok(());
        }
        let mut file = self.file.borrow_mut();
        let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&buffer));
        buffer.clear();
        written.map_err(|e| {
            let folder = std::env::temp_dir();
            Error::data(format!(
                "writing tokens to a temporary file in {}: {e}",
                folder.display()
            ))
        })
    }

    /// Tokens of the longest example.
    pub fn longest(&self) -> u32 {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}

impl Examples for TokenFile {
    fn count(&self) -> usize {
        self.offsets.len()
    }

    fn tokens(&self, number: usize) -> usize {
        self.lengths[number] as usize
    }

    fn example(&self, number: usize) -> Result<Example> {
        self.write()?;
        let end = self.offsets.get(number + 1).copied().unwrap_or(self.size);
        let mut bytes = vec![0; (end - self.offsets[number]) as usize];
        let mut file = self.file.borrow_mut();
        let read = file
            .seek(SeekFrom::Start(self.offsets[number]))
            .and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| Error::data(format!("reading tokens back from a temporary file: {e}")))?;
        Example::decode(&bytes, self.tokens(number), self.vocab_size)
    }
}
