//! Writing a safetensors file whose tensors arrive one at a time, in any order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use wgpu_sft::formats::safetensors::{Layout, TensorSpec};

/// A file being written.
pub struct TensorFile {
    file: File,
    path: PathBuf,
    /// What is still to come: where, and how many bytes.
    missing: HashMap<String, (u64, usize)>,
}

impl TensorFile {
    /// Start a file of these tensors.
    pub fn create(path: PathBuf, tensors: &[TensorSpec]) -> Result<Self> {
        let layout = Layout::new(tensors, None)?;
        let places = layout.offsets().into_iter().zip(layout.lengths);
        let missing = tensors.iter().map(|spec| spec.name.clone()).zip(places).collect();
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        file.write_all(&layout.header)
            .with_context(|| path.display().to_string())?;
        Ok(Self { file, path, missing })
    }

    /// Whether this file has a tensor of that name, yet to come.
    pub fn wants(&self, name: &str) -> bool {
        self.missing.contains_key(name)
    }

    /// Write a tensor.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (at, length) = self
            .missing
            .remove(name)
            .with_context(|| format!("{name} has no place in the file"))?;
        ensure!(
            bytes.len() == length,
            "{name}: {} bytes, {length} expected",
            bytes.len()
        );
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)
        };
        write(&mut self.file).with_context(|| self.path.display().to_string())
    }

    /// End the file; it is on the disk when this returns.
    pub fn finish(self) -> Result<()> {
        if let Some(name) = self.missing.keys().min() {
            bail!("{name} was not written");
        }
        self.file.sync_all().with_context(|| self.path.display().to_string())
    }
}

/// Write a file, on the disk when this returns.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| path.display().to_string())
}

/// Put a file in place of another, so that either the old or the new one is there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let placed = write_synced(&temporary, bytes).and_then(|()| place(&temporary, path));
    if placed.is_err() {
        // Where the disk is full, it is in the way.
        let _ = std::fs::remove_file(&temporary);
    }
    placed
}

/// Give a file that is complete its name.
pub fn place(temporary: &Path, path: &Path) -> Result<()> {
    std::fs::rename(temporary, path).with_context(|| path.display().to_string())
}

/// What a file is called while it is being written: another name in each process, so that two of them do not write one file.
pub fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension(format!("{}.tmp", std::process::id()))
}

/// The name that a file with such a name was to get.
pub fn without_temporary(name: &str) -> Option<&str> {
    let (name, process) = name.strip_suffix(".tmp")?.rsplit_once('.')?;
    process.parse::<u32>().is_ok().then_some(name)
}

/// Make the names in a folder lasting.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows has no such call: there a rename is lasting by itself.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())?;
    let _ = folder;
    Ok(())
}
