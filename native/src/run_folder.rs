//! The output folder of a run: its log, and checkpoints that are there whole or not at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wgpu_sft::Error;
use wgpu_sft::formats::SIDE_FILES;
use wgpu_sft::train::checkpoint::{FileDigest, STATE, State};
use wgpu_sft::train::journal;

use crate::lock::Lock;
use crate::log_file::LogFile;
use crate::model_files::map;
use crate::progress::warn;
use crate::report::Events;
use crate::tensor_file::{sync_folder, without_temporary, write_synced};

/// The log.
pub const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";
/// A checkpoint that is being written, or that is being removed.
pub const UNFINISHED: &str = ".unfinished-";

const EVALUATIONS: &str = "evaluations";
const COMPARISON: &str = "compare.json";

/// What a run leaves in its folder beside checkpoints.
const RESULTS: [&str; 11] = [
    METRICS,
    SAMPLES,
    EVALUATIONS,
    "run.json",
    "report.html",
    "curves.svg",
    COMPARISON,
    "adapter_config.json",
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
];

/// The output folder of a run.
pub struct RunFolder {
    folder: PathBuf,
    /// None before it is claimed.
    lock: RefCell<Option<Lock>>,
}

impl RunFolder {
    /// The folder, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            lock: RefCell::default(),
        }
    }

    /// Make the folder if it is not there, and keep other processes out of it from now on. Whatever writes to it calls this before, as
    /// somebody may have removed it meanwhile.
    pub fn claim(&self) -> Result<()> {
        let mut lock = self.lock.borrow_mut();
        if lock.as_ref().is_some_and(Lock::holds) {
            return Ok(());
        }
        if self.folder.is_file() {
            bail!("{}: is a file", self.folder.display());
        }
        if lock.take().is_some() && !self.folder.exists() {
            let name = self.folder.display();
            warn(&format!(
                "{name} was removed: it is made again, without the checkpoints that were in it"
            ));
        }
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        *lock = Some(Lock::take(&self.folder)?);
        self.mend()
    }

    /// Give a checkpoint its name back that a process lost when it was about to put a newer one of the same step in its place.
    fn mend(&self) -> Result<()> {
        for old in self.leftovers()? {
            let name = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let step = name.strip_prefix(UNFINISHED).and_then(|name| name.strip_suffix("-old"));
            let Some(step) = step.and_then(|step| step.parse().ok()) else {
                continue;
            };
            let path = self.checkpoint_path(step);
            if !path.exists() {
                fs::rename(&old, &path).with_context(|| old.display().to_string())?;
            }
        }
        Ok(())
    }

    fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoint-{step}"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Everything in the folder that a run has left there.
    fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e).with_context(|| self.folder.display().to_string()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| self.folder.display().to_string())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if RESULTS.contains(&name.as_str())
                || is_shard(&name)
                || Events::is_ours(&name)
                || step_of(&name).is_some()
                || is_unfinished(&name)
            {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// Refuse a folder that holds a run.
    pub fn refuse_run(&self) -> Result<()> {
        if self.folder.is_file() {
            bail!("{}: is a file", self.folder.display());
        }
        if self.leftovers()?.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: holds a run already; go on with --resume, replace it with --overwrite-output-dir, or choose another folder",
            self.folder.display()
        );
    }

    /// Make the folder. Of what an earlier run has left in it, `anew` removes all; otherwise there must be none.
    pub fn start(&self, anew: bool) -> Result<()> {
        self.claim()?;
        if !anew {
            self.refuse_run()?;
        }
        for path in self.leftovers()? {
            remove(&path)?;
        }
        Ok(())
    }

    /// Open a folder to go on in it: what was not finished goes, and so do checkpoints of steps past `step`, which are about to be made
    /// again, and the logs' lines past it.
    pub fn go_on(&self, step: u64, evaluated: bool) -> Result<()> {
        self.claim()?;
        for path in self.leftovers()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_unfinished(&name) || step_of(&name).is_some_and(|other| other > step) {
                remove(&path)?;
            }
        }
        // What it compares may not come about again.
        match fs::remove_file(self.folder.join(COMPARISON)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| self.folder.display().to_string());
            }
            _ => {}
        }
        for entry in fs::read_dir(self.folder.join(EVALUATIONS)).into_iter().flatten() {
            let path = entry.with_context(|| self.folder.display().to_string())?.path();
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let made = stem.and_then(|stem| stem.strip_prefix("step-")?.parse::<u64>().ok());
            if made.is_none_or(|made| made > step || made == step && !evaluated) {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        for log in [METRICS, SAMPLES].map(|name| self.folder.join(name)) {
            let text = match fs::read_to_string(&log) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e).with_context(|| log.display().to_string()),
            };
            crate::tensor_file::replace(&log, journal::cut_back(&text, step, evaluated).as_bytes())?;
        }
        Ok(())
    }

    /// Add lines to `samples.jsonl`.
    pub fn samples(&self, lines: &str) -> Result<()> {
        LogFile::open(self.folder.join(SAMPLES))?.append(lines.as_bytes())
    }

    /// The checkpoint after a step.
    pub fn checkpoint(&self, step: u64) -> Result<Checkpoint> {
        Checkpoint::open(&self.checkpoint_path(step))
    }

    /// The newest checkpoint that is complete.
    pub fn newest(&self) -> Result<Checkpoint> {
        let steps = |path: &PathBuf| step_of(&path.file_name()?.to_string_lossy());
        let mut all: Vec<(u64, PathBuf)> = self
            .leftovers()?
            .into_iter()
            .filter_map(|path| Some((steps(&path)?, path)))
            .collect();
        all.sort();
        let mut damaged = None;
        for (_, path) in all.into_iter().rev() {
            match Checkpoint::open(&path) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(e) => damaged = damaged.or(Some(e)),
            }
        }
        match damaged {
            Some(error) => Err(error.context("no checkpoint is complete")),
            None => bail!("{}: has no checkpoint to resume from", self.folder.display()),
        }
    }

    /// Make `checkpoint-N`: `write` fills a folder of another name, which gets its own when all of it is on the disk.
    pub fn save(&self, state: &State, write: impl Fn(&Path) -> Result<()>) -> Result<Checkpoint> {
        self.claim()?;
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", state.step));
        let saved = self.save_by(state.clone(), &unfinished, &write);
        if saved.is_ok() {
            return saved;
        }
        // Where the disk is full, it is in the way.
        let _ = fs::remove_dir_all(&unfinished);
        if self.lock.borrow().as_ref().is_some_and(Lock::holds) {
            return saved;
        }
        // Somebody has removed the folder meanwhile.
        self.claim()?;
        self.save_by(state.clone(), &unfinished, &write)
    }

    fn save_by(&self, mut state: State, unfinished: &Path, write: &impl Fn(&Path) -> Result<()>) -> Result<Checkpoint> {
        let path = self.checkpoint_path(state.step);
        let old = self.folder.join(format!("{UNFINISHED}{}-old", state.step));
        let named = || unfinished.display().to_string();
        if unfinished.exists() {
            fs::remove_dir_all(unfinished).with_context(named)?;
        }
        fs::create_dir(unfinished).with_context(named)?;
        write(unfinished)?;
        state.files = BTreeMap::new();
        for entry in fs::read_dir(unfinished).with_context(named)? {
            let entry = entry.with_context(named)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            state.files.insert(name, FileDigest::of(&map(&entry.path())?));
        }
        write_synced(&unfinished.join(STATE), state.to_json()?.as_bytes())?;
        sync_folder(unfinished)?;
        if path.exists() {
            fs::rename(&path, &old).with_context(|| path.display().to_string())?;
        }
        fs::rename(unfinished, &path).with_context(|| path.display().to_string())?;
        sync_folder(&self.folder)?;
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
        }
        Ok(Checkpoint { path, state })
    }

    /// The log, to be added to after `done` steps; for TensorBoard, too, if that is wanted.
    pub fn metrics(&self, done: u64, tensorboard: bool) -> Result<Metrics> {
        let path = self.folder.join(METRICS);
        Ok(Metrics {
            file: LogFile::open(path)?,
            events: tensorboard.then(|| Events::create(&self.folder, done)).transpose()?,
        })
    }
}

/// Whether a file has a part of a large model's weights.
fn is_shard(name: &str) -> bool {
    name.starts_with("model-") && name.ends_with(".safetensors")
}

/// Whether a file or folder was being written, by one of our processes.
fn is_unfinished(name: &str) -> bool {
    let is_ours = |of: &str| RESULTS.contains(&of) || is_shard(of) || SIDE_FILES.contains(&of) || of == "config.json";
    name.starts_with(UNFINISHED) || without_temporary(name).is_some_and(is_ours)
}

/// Remove a file, or a folder with all that is in it.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| path.display().to_string())
}

/// The step of a folder named `checkpoint-N`.
pub fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

/// `metrics.jsonl`.
pub struct Metrics {
    file: LogFile,
    events: Option<Events>,
}

impl Metrics {
    /// Add a line to the log in this folder.
    pub fn write(&mut self, folder: &RunFolder, json: &Value) -> Result<()> {
        folder.claim()?;
        if let Some(events) = &mut self.events {
            events.write(json)?;
        }
        self.file.append(format!("{json}\n").as_bytes())
    }

    /// Make the lines so far lasting.
    pub fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}

/// A complete checkpoint.
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Its `state.json`.
    pub state: State,
}

impl Checkpoint {
    /// Open a checkpoint; every file that its state names must be there in full.
    pub fn open(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let text = match fs::read(path.join(STATE)) {
            Ok(text) => text,
            Err(e) => return Err(e).with_context(|| format!("{}: not a checkpoint: {STATE}", named())),
        };
        let state = State::from_json(&text).with_context(named)?;
        for (name, digest) in &state.files {
            let bytes = fs::metadata(path.join(name))
                .with_context(|| format!("{}: {name}", named()))?
                .len();
            if bytes != digest.bytes {
                let why = format!("{name} is damaged: {bytes} bytes, {} were written", digest.bytes);
                return Err(Error::checkpoint(why)).with_context(named);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            state,
        })
    }

    /// Map a file, which must be as it was written.
    pub fn file(&self, name: &str) -> Result<memmap2::Mmap> {
        let bytes = map(&self.path.join(name))?;
        self.state
            .check_file(name, &bytes)
            .with_context(|| self.path.display().to_string())?;
        Ok(bytes)
    }
}
