//! Element types of safetensors and GGUF files, decoded to f32.
//!
//! The block types are ggml's: 32 consecutive elements of a row share an f16 scale, and in the `_1` types an f16
//! minimum. The layouts are those of `ggml-common.h`; the arithmetic is that of its `dequantize_row_*` functions.

use crate::gpu::Storage;
use crate::{Error, Result};
use half::{bf16, f16};

/// How a tensor's elements are stored. All are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// f16 scale, 32 × 4 bits, offset 8.
    Q4_0,
    /// f16 scale, f16 minimum, 32 × 4 bits.
    Q4_1,
    /// f16 scale, 32 fifth bits, 32 × 4 bits, offset 16.
    Q5_0,
    /// f16 scale, f16 minimum, 32 fifth bits, 32 × 4 bits.
    Q5_1,
    /// f16 scale, 32 × i8.
    Q8_0,
}

impl Dtype {
    /// Elements that are stored together: 1, or 32 for block types.
    pub fn block_len(self) -> usize {
        if self.is_quantized() { 32 } else { 1 }
    }

    /// Bytes of [`block_len`](Self::block_len) elements.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
        }
    }

    /// Whether elements come in blocks with a scale.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The name in files and messages: safetensors' spelling, or ggml's for block types.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The type that a setting names: f32, f16 or bf16, or PyTorch's names for them.
    ///
    /// # Errors
    /// [`Error::Config`] for any other name, blaming `field`.
    pub fn named(field: &str, name: &str) -> Result<Self> {
        match name {
            "f32" | "float32" => Ok(Self::F32),
            "f16" | "float16" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::Bf16),
            _ => Err(Error::config(field, format!("{name:?} is none of f32, f16, bf16"))),
        }
    }

    /// The way that it is stored on a device: quantised types as f32.
    pub fn storage(self) -> Storage {
        match self {
            Self::F16 => Storage::F16,
            Self::Bf16 => Storage::Bf16,
            _ => Storage::F32,
        }
    }

    /// `torch_dtype` in `config.json`; block types have none.
    pub fn torch_name(self) -> Option<&'static str> {
        match self {
            Self::F32 => Some("float32"),
            Self::F16 => Some("float16"),
            Self::Bf16 => Some("bfloat16"),
            _ => None,
        }
    }

    /// Bytes of `elements` elements.
    ///
    /// # Errors
    /// [`Error::Weights`] if they are not whole blocks or the size overflows.
    pub fn bytes_for(self, elements: usize) -> Result<usize> {
        let blocks = elements / self.block_len();
        if !elements.is_multiple_of(self.block_len()) {
            return Err(Error::weights(
                self.name(),
                format!("{elements} elements are not whole blocks of 32"),
            ));
        }
        blocks
            .checked_mul(self.block_bytes())
            .ok_or_else(|| Error::weights(self.name(), "size overflows"))
    }

    /// Appends the elements in `bytes` to `out`.
    ///
    /// # Errors
    /// [`Error::Weights`] if `bytes` are not whole blocks.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) -> Result<()> {
        if !bytes.len().is_multiple_of(self.block_bytes()) {
            let why = format!("{} bytes are not whole blocks of {}", bytes.len(), self.block_bytes());
            return Err(Error::weights(self.name(), why));
        }
        out.reserve(bytes.len() / self.block_bytes() * self.block_len());
        let blocks = bytes.chunks_exact(self.block_bytes());
        match self {
            Self::F32 => out.extend(blocks.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            Self::F16 => out.extend(blocks.map(|b| half_at(b, 0))),
            Self::Bf16 => out.extend(blocks.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
            Self::Q4_0 => blocks.for_each(|b| decode_nibbles(&b[2..], 0, |q| (q as f32 - 8.0) * half_at(b, 0), out)),
            Self::Q4_1 => {
                blocks.for_each(|b| decode_nibbles(&b[4..], 0, |q| q as f32 * half_at(b, 0) + half_at(b, 2), out));
            }
            Self::Q5_0 => {
                blocks.for_each(|b| decode_nibbles(&b[6..], fifth(b, 2), |q| (q as f32 - 16.0) * half_at(b, 0), out));
            }
            Self::Q5_1 => blocks.for_each(|b| {
                decode_nibbles(&b[8..], fifth(b, 4), |q| q as f32 * half_at(b, 0) + half_at(b, 2), out);
            }),
            Self::Q8_0 => blocks.for_each(|b| out.extend(b[2..].iter().map(|q| *q as i8 as f32 * half_at(b, 0)))),
        }
        Ok(())
    }

    /// Stores `values` in this type, rounded to nearest, ties to even.
    ///
    /// # Errors
    /// [`Error::Weights`] if a finite value overflows the type, or the type is a block type.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>> {
        let overflow = |v: f32| Error::weights(self.name(), format!("{v} is out of range"));
        let mut out = Vec::with_capacity(values.len() * self.block_bytes());
        for &v in values {
            match self {
                Self::F32 => out.extend(v.to_le_bytes()),
                Self::F16 => {
                    let h = f16::from_f32(v);
                    if h.is_infinite() && v.is_finite() {
                        return Err(overflow(v));
                    }
                    out.extend(h.to_le_bytes());
                }
                Self::Bf16 => {
                    let h = bf16::from_f32(v);
                    if h.is_infinite() && v.is_finite() {
                        return Err(overflow(v));
                    }
                    out.extend(h.to_le_bytes());
                }
                _ => return Err(Error::weights(self.name(), "cannot be written; F32, F16 and BF16 can")),
            }
        }
        Ok(out)
    }
}

/// The f16 at byte `at` of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 32 fifth bits at byte `at` of a block.
fn fifth(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Sixteen bytes hold elements 0..16 in their low nibbles and 16..32 in their high ones; bit `j` of `fifth` is
/// element `j`'s fifth bit.
fn decode_nibbles(nibbles: &[u8], fifth: u32, value: impl Fn(u32) -> f32, out: &mut Vec<f32>) {
    let low = nibbles.iter().map(|b| (b & 15) as u32);
    let high = nibbles.iter().map(|b| (b >> 4) as u32);
    out.extend(
        low.chain(high)
            .enumerate()
            .map(|(j, q)| value(q | ((fifth >> j & 1) << 4))),
    );
}
