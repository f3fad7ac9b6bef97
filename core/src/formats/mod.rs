//! Bytes in, bytes out: safetensors, GGUF, PEFT adapters, Hugging Face folders, TensorBoard's event files.

mod dtype;
mod gguf;
pub mod hf;
pub mod peft;
pub mod safetensors;
mod tensors;
pub mod tfevents;

pub use dtype::Dtype;
pub use gguf::Gguf;
pub use tensors::{TensorEntry, Tensors};
