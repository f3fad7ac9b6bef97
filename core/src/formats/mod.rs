//! Bytes in, bytes out: safetensors, GGUF, PEFT adapters, Hugging Face folders.

mod dtype;
mod gguf;
pub mod hf;
pub mod peft;
pub mod safetensors;
mod tensors;

pub use dtype::Dtype;
pub use gguf::Gguf;
pub use tensors::{TensorEntry, Tensors};
