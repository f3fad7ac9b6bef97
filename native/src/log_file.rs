//! Files that a run adds to until its end, and that others may remove meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress::warn;
use crate::tensor_file::replace;

/// Whether a path leads to this open file.
pub fn leads_to(path: &Path, file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |file: &std::fs::Metadata| (file.dev(), file.ino());
        matches!((path.metadata(), file.metadata()), (Ok(a), Ok(b)) if place(&a) == place(&b))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.is_file()
    }
}

/// A file that grows.
pub struct LogFile {
    file: File,
    path: PathBuf,
}

impl LogFile {
    /// Open a file to add to, or make it.
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = open(&path).with_context(|| path.display().to_string())?;
        Ok(Self { file, path })
    }

    /// Add to it, in one call: a crash leaves all of the bytes or their beginning. A file that was removed is made again.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if !leads_to(&self.path, &self.file) {
            self.reopen()?;
        }
        self.file
            .write_all(bytes)
            .with_context(|| self.path.display().to_string())
    }

    /// Make what was added lasting.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| self.path.display().to_string())
    }

    /// A file that is gone comes back with all that was in it; one that was put in its place is added to.
    fn reopen(&mut self) -> Result<()> {
        let name = self.path.display();
        match self.path.metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let mut text = Vec::new();
                let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut text));
                match read {
                    Ok(_) => warn(&format!("{name} was removed: it is written again")),
                    Err(e) => warn(&format!("{name} was removed, and what was in it is gone: {e}")),
                }
                replace(&self.path, &text)?;
            }
            _ => warn(&format!("{name} was replaced: the other file is added to")),
        }
        self.file = open(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path)
}
