//! One process at a time in an output folder: an advisory lock on a file there, gone with whoever held it, however it ended.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::log_file::leads_to;
use crate::progress::warn;

/// The file that is locked. It holds the number of the process, where others can read that, and is removed at the end.
const NAME: &str = "run.lock";

/// How often another process may come between opening the file and locking it.
const TRIES: u32 = 100;

/// A folder that is kept from other processes.
pub struct Lock {
    /// None while it is being let go of.
    file: Option<File>,
    path: PathBuf,
}

impl Lock {
    /// Keep other processes out of a folder.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        for _ in 0..TRIES {
            let mut file = open(&path).with_context(|| path.display().to_string())?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = fs::read_to_string(&path).unwrap_or_default();
                    let holder = match holder.trim().parse::<u32>() {
                        Ok(number) => format!("another process ({number}, if it is on this machine)"),
                        Err(_) => "another process".to_owned(),
                    };
                    bail!(
                        "{}: {holder} is working in it: wait for its end, or choose another folder",
                        folder.display()
                    );
                }
                Err(TryLockError::Error(error)) => warn(&format!(
                    "{} cannot be locked ({error}): see to it that no other process works in that folder",
                    path.display()
                )),
            }
            // Whoever had it may have removed the file before it was locked here: then it keeps nobody out.
            if leads_to(&path, &file) {
                // Of use to readers alone.
                let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                return Ok(Self { file: Some(file), path });
            }
        }
        bail!("{}: is another file each time it is opened", path.display());
    }

    /// Whether it still keeps others out: the folder, or the file, may have been removed.
    pub fn holds(&self) -> bool {
        self.file.as_ref().is_some_and(|file| leads_to(&self.path, file))
    }
}

/// Where files that are open can be removed, [`leads_to`] tells whether one was; on Windows it is forbidden.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const READ: u32 = 1;
        const WRITE: u32 = 2;
        options.share_mode(READ | WRITE);
    }
    options.open(path)
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.holds() {
            return;
        }
        // On Unix it goes while it is locked, so that it is nobody else's. On Windows one that others have open does not go.
        if cfg!(windows) {
            self.file = None;
        }
        let _ = fs::remove_file(&self.path);
    }
}
