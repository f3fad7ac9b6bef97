//! A range of a buffer and how its numbers are stored.

use super::plan::PER_BYTE;
use super::{Gpu, Memory, pace};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How numbers are stored. Arithmetic is in f32 whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Storage {
    /// IEEE single precision (also used for `u32` data).
    #[default]
    F32,
    /// bfloat16, two to a u32, the first in the low half.
    Bf16,
    /// IEEE half precision, two to a u32, the first in the low half.
    F16,
}

impl Storage {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A buffer that is destroyed and uncounted when its last tensor goes.
struct Allocation {
    buffer: wgpu::Buffer,
    memory: Memory,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.memory.remove(self.buffer.size());
        // A browser would wait for its garbage collector otherwise.
        self.buffer.destroy();
    }
}

/// A range of a buffer. Cheap to clone; clones are the same memory.
#[derive(Clone)]
pub struct Tensor {
    allocation: Arc<Allocation>,
    offset: u64,
    len: u64,
    storage: Storage,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {} at byte {})", self.storage, self.len, self.offset)
    }
}

impl Tensor {
    /// Numbers in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no number.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it spans, rounded up to whole 4-byte words.
    pub fn bytes(&self) -> u64 {
        (self.len * self.storage.bytes()).next_multiple_of(4)
    }

    /// How its numbers are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The buffer behind it.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.allocation.buffer
    }

    /// Where it begins in the buffer, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Numbers `start..start + len` of it. `start` must fall on a multiple of 256 bytes for a tensor that is bound.
    ///
    /// # Panics
    /// When they go beyond its end.
    pub fn slice(&self, start: u64, len: u64) -> Self {
        assert!(start + len <= self.len, "slice {start}+{len} of {}", self.len);
        Self {
            offset: self.offset + start * self.storage.bytes(),
            len,
            ..self.clone()
        }
    }

    /// Whether the two lie in one buffer.
    pub fn same_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.allocation, &other.allocation)
    }

    /// The range as a binding; its size is padded to 16 bytes, which the buffer always has.
    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = self.bytes().next_multiple_of(16).max(16);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: self.buffer(),
            offset: self.offset,
            size: wgpu::BufferSize::new(size),
        })
    }
}

impl Gpu {
    /// A new buffer of `len` numbers, zeros, that can be bound, copied from and written to.
    /// Check [`Gpu::max_buffer`] first; an allocation that fails shows in the enclosing [`Gpu::scope`].
    pub fn tensor(&self, label: &str, len: u64, storage: Storage) -> Tensor {
        use wgpu::BufferUsages as U;
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: (len * storage.bytes()).next_multiple_of(16).max(16),
            usage: U::STORAGE | U::COPY_SRC | U::COPY_DST,
            mapped_at_creation: false,
        });
        self.memory().add(buffer.size());
        let allocation = Arc::new(Allocation {
            buffer,
            memory: self.memory().clone(),
        });
        Tensor {
            allocation,
            offset: 0,
            len,
            storage,
        }
    }

    /// A new tensor that holds these numbers.
    pub fn upload(&self, label: &str, numbers: &[f32]) -> Tensor {
        let tensor = self.tensor(label, numbers.len() as u64, Storage::F32);
        self.write(&tensor, bytemuck::cast_slice(numbers));
        tensor
    }

    /// A new tensor that holds these integers.
    pub fn upload_u32(&self, label: &str, numbers: &[u32]) -> Tensor {
        let tensor = self.tensor(label, numbers.len() as u64, Storage::F32);
        self.write(&tensor, bytemuck::cast_slice(numbers));
        tensor
    }

    /// Overwrite the tensor's first bytes. A last odd half-word is padded with zero.
    pub fn write(&self, tensor: &Tensor, bytes: &[u8]) {
        self.write_at(tensor, 0, bytes);
    }

    fn write_at(&self, tensor: &Tensor, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        assert!(end <= tensor.bytes(), "{end} bytes into {tensor:?}");
        let (whole, at) = (bytes.len() & !3, tensor.offset() + start);
        if whole > 0 {
            self.queue().write_buffer(tensor.buffer(), at, &bytes[..whole]);
        }
        if whole < bytes.len() {
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue().write_buffer(tensor.buffer(), at + whole as u64, &word);
        }
    }

    /// Overwrite much of a tensor from byte `start` on, a multiple of 4. wgpu holds what is written in memory of its own
    /// until it is submitted, so that is done whenever it has become much.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when the device is lost.
    pub(crate) fn write_pieces(&self, tensor: &Tensor, start: u64, bytes: &[u8]) -> Result<()> {
        const PIECE: usize = 16 << 20;
        for (i, piece) in bytes.chunks(PIECE).enumerate() {
            self.write_at(tensor, start + (i * PIECE) as u64, piece);
            pace::spend(PER_BYTE * piece.len() as u64);
            let written = self.inner.written.fetch_add(piece.len(), Relaxed) + piece.len();
            if written >= PIECE {
                self.inner.written.store(0, Relaxed);
                self.queue().submit([]);
                self.submitted().add(0);
                self.wait("uploading", None)?;
            }
        }
        Ok(())
    }
}
