//! The output folder of a run: its log, and checkpoints that are there whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wgpu_sft::Error;
use wgpu_sft::train::checkpoint::{FileDigest, STATE, State};
use wgpu_sft::train::journal;

use crate::model_files::map;
use crate::report::Events;
use crate::tensor_file::{sync_folder, write_synced};

const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";
/// A checkpoint that is being written, or that is being removed.
const UNFINISHED: &str = ".unfinished-";

const EVALUATIONS: &str = "evaluations";
const COMPARISON: &str = "compare.json";

/// What a run leaves in its folder beside checkpoints.
const RESULTS: [&str; 10] = [
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
];

/// The output folder of a run.
pub struct RunFolder {
    folder: PathBuf,
}

impl RunFolder {
    /// The folder, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
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
            let shard = name.starts_with("model-") && name.ends_with(".safetensors");
            if RESULTS.contains(&name.as_str())
                || shard
                || name == "model.safetensors.index.json"
                || Events::is_ours(&name)
                || step_of(&name).is_some()
                || name.starts_with(UNFINISHED)
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

    /// Make the folder, removing what an earlier run has left in it.
    pub fn start(&self) -> Result<()> {
        for path in self.leftovers()? {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| path.display().to_string())?;
        }
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())
    }

    /// Open a folder to go on in it: what was not finished goes, and so do checkpoints of steps past `step`, which are about to be made
    /// again, and the logs' lines past it.
    pub fn go_on(&self, step: u64, evaluated: bool) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        for path in self.leftovers()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) || step_of(&name).is_some_and(|other| other > step) {
                fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
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
        let path = self.folder.join(SAMPLES);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        written.with_context(|| path.display().to_string())
    }

    /// The checkpoint after a step.
    pub fn checkpoint(&self, step: u64) -> Result<Checkpoint> {
        Checkpoint::open(&self.folder.join(format!("checkpoint-{step}")))
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
    pub fn save(&self, mut state: State, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.folder.join(format!("checkpoint-{}", state.step));
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", state.step));
        let old = self.folder.join(format!("{UNFINISHED}{}-old", state.step));
        let named = || unfinished.display().to_string();
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).with_context(named)?;
        }
        fs::create_dir_all(&unfinished).with_context(named)?;
        write(&unfinished)?;
        state.files = BTreeMap::new();
        for entry in fs::read_dir(&unfinished).with_context(named)? {
            let entry = entry.with_context(named)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            state.files.insert(name, FileDigest::of(&map(&entry.path())?));
        }
        write_synced(&unfinished.join(STATE), state.to_json()?.as_bytes())?;
        sync_folder(&unfinished)?;
        if path.exists() {
            fs::rename(&path, &old).with_context(|| path.display().to_string())?;
        }
        fs::rename(&unfinished, &path).with_context(|| path.display().to_string())?;
        sync_folder(&self.folder)?;
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
        }
        Ok(path)
    }

    /// The log, to be added to after `done` steps; for TensorBoard, too, if that is wanted.
    pub fn metrics(&self, done: u64, tensorboard: bool) -> Result<Metrics> {
        let path = self.folder.join(METRICS);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Metrics {
            file: file.with_context(|| path.display().to_string())?,
            path,
            events: tensorboard.then(|| Events::create(&self.folder, done)).transpose()?,
        })
    }
}

/// The step of a folder named `checkpoint-N`.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

/// `metrics.jsonl`.
pub struct Metrics {
    file: File,
    path: PathBuf,
    events: Option<Events>,
}

impl Metrics {
    /// Add a line.
    pub fn write(&mut self, json: &Value) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.write(json)?;
        }
        // One call a line: a crash leaves whole lines, or one without its end.
        self.file
            .write_all(format!("{json}\n").as_bytes())
            .with_context(|| self.path.display().to_string())
    }

    /// Make the lines so far lasting.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| self.path.display().to_string())
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
