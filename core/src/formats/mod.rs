//! Bytes in, bytes out: safetensors, GGUF, PEFT adapters, Hugging Face folders, TensorBoard's event files.

mod dtype;
mod folder;
mod gguf;
pub mod hf;
mod model_files;
pub mod peft;
pub mod safetensors;
mod tensors;
pub mod tfevents;

pub use dtype::Dtype;
pub use folder::Folder;
pub use gguf::{Begun, Gguf};
pub use model_files::{ModelFiles, ModelHash, Parts, SIDE_FILES};
pub use tensors::{TensorEntry, Tensors};

/// How a file of weights begins, and how long all of it is: its header can be checked without the rest.
#[derive(Debug, Clone, Copy)]
pub struct FileStart<'a> {
    /// The file's first bytes.
    pub bytes: &'a [u8],
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// A file that is there as a whole: mapped, or in memory.
impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for FileStart<'a> {
    fn from(file: &'a T) -> Self {
        let bytes = file.as_ref();
        Self {
            bytes,
            file_bytes: bytes.len() as u64,
        }
    }
}

/// Whether a name that a file holds can only be of a file beside it: no folder, no drive, nothing hidden.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}
