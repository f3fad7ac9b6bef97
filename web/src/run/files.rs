//! A run's folder: the layout of a native run's. A checkpoint is there once its `state.json` is, which is written last and removed first.

use std::collections::BTreeMap;

use wgpu_sft::Error;
use wgpu_sft::eval::Comparison;
use wgpu_sft::formats::safetensors::{self, TensorSpec};
use wgpu_sft::formats::{Dtype, FileStart, TensorEntry, Tensors, hf};
use wgpu_sft::report::{Log, Outcome, Report, Run as Record, samples};
use wgpu_sft::train::checkpoint::{
    self, Device as SavedDevice, Digesting, FileDigest, OPTIMIZER, SCHEMA, STATE, State, weights_file,
};
use wgpu_sft::train::{Method, Trainer, journal};

use super::{Active, clock};
use crate::error::{Fault, Result, Within};
use crate::io::{Folder, Reader, pieces};
use crate::source::header;
use crate::tensor_file::TensorFile;

const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";
const RUN: &str = "run.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const CONFIG: &str = "config.json";
/// What the suites said, by step.
pub const EVALUATIONS: &str = "evaluations";
/// Before and after.
pub const COMPARISON: &str = "compare.json";

/// A checkpoint that is complete.
pub struct Checkpoint {
    path: String,
    /// Its `state.json`.
    pub state: State,
}

/// The step of a path in a folder named `checkpoint-N`.
fn step_of(path: &str) -> Option<u64> {
    path.split('/').next()?.strip_prefix("checkpoint-")?.parse().ok()
}

/// Steps that have a folder of a checkpoint, complete or not.
async fn folders(folder: &Folder) -> Result<Vec<u64>> {
    let mut steps: Vec<u64> = folder.list().await?.iter().filter_map(|path| step_of(path)).collect();
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
}

/// The steps of complete checkpoints, the newest last.
pub async fn checkpoints(folder: &Folder) -> Result<Vec<u64>> {
    let mut complete = Vec::new();
    for step in folders(folder).await? {
        if matches!(Checkpoint::open(folder, step).await, Ok(Some(_))) {
            complete.push(step);
        }
    }
    Ok(complete)
}

/// The newest checkpoint that is complete; none where none was ever completed. One that was, and is damaged or of another version, is
/// an error where there is no other: a run must not begin anew over it.
pub async fn newest(folder: &Folder) -> Result<Option<Checkpoint>> {
    let mut damaged = None;
    for step in folders(folder).await?.into_iter().rev() {
        match Checkpoint::open(folder, step).await {
            Ok(Some(checkpoint)) => return Ok(Some(checkpoint)),
            Ok(None) => {}
            Err(fault) => damaged = damaged.or(Some(fault)),
        }
    }
    damaged.map_or(Ok(None), Err)
}

/// Refuse a folder that holds a run.
pub async fn refuse_run(folder: &Folder) -> Result<()> {
    let held = |path: &String| step_of(path).is_some() || [METRICS, RUN].contains(&path.as_str());
    match folder.list().await?.iter().find(|path| held(path)) {
        None => Ok(()),
        Some(path) => {
            let why = format!("the folder holds a run already ({path}): go on with that, or take another name");
            Err(Error::config("output_dir", why).into())
        }
    }
}

/// What the folder says that the run is.
pub async fn record(folder: &Folder) -> Option<Record> {
    let text = text(folder, RUN).await.ok()??;
    Record::from_json(&text).ok()
}

async fn text(folder: &Folder, path: &str) -> Result<Option<String>> {
    let bytes = folder.read(path).await?;
    let text = bytes.map(String::from_utf8).transpose();
    Ok(text.map_err(|_| Error::data(format!("{path} is not UTF-8")))?)
}

/// Make a folder ready to go on after `step` steps: what came later goes. Gives the lines of the logs up to then.
pub async fn go_on(folder: &Folder, step: u64, evaluated: bool) -> Result<(String, String)> {
    for path in folder.list().await? {
        let made = path.strip_prefix(EVALUATIONS).map(|rest| {
            let step = rest.strip_prefix("/step-").and_then(|rest| rest.strip_suffix(".json"));
            step.and_then(|step| step.parse::<u64>().ok())
        });
        let stale = match made {
            Some(made) => made.is_none_or(|made| made > step || made == step && !evaluated),
            None => path == COMPARISON || (step_of(&path).is_some_and(|other| other > step) && path.ends_with(STATE)),
        };
        if stale {
            folder.remove(&path).await?;
        }
    }
    for later in folders(folder).await?.into_iter().filter(|other| *other > step) {
        folder.remove(&format!("checkpoint-{later}")).await?;
    }
    let log = async |name| {
        let text = text(folder, name).await?.unwrap_or_default();
        Ok::<_, Fault>(journal::cut_back(&text, step, evaluated))
    };
    Ok((log(METRICS).await?, log(SAMPLES).await?))
}

impl Checkpoint {
    /// The checkpoint after so many steps; none where its making was not finished.
    async fn open(folder: &Folder, step: u64) -> Result<Option<Self>> {
        let path = format!("checkpoint-{step}");
        let Some(text) = folder
            .read(&format!("{path}/{STATE}"))
            .await?
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let state = State::from_json(&text).within(&path)?;
        let checkpoint = Self { path, state };
        for (name, digest) in &checkpoint.state.files {
            let bytes = checkpoint.file(folder, name).await?.size()?;
            if bytes != digest.bytes {
                let why = format!("{name} is damaged: {bytes} bytes, {} were written", digest.bytes);
                return Err(Error::checkpoint(why)).within(&checkpoint.path);
            }
        }
        Ok(Some(checkpoint))
    }

    async fn file(&self, folder: &Folder, name: &str) -> Result<Reader> {
        let path = format!("{}/{name}", self.path);
        let missing = || Error::checkpoint(format!("{path} is missing"));
        Ok(folder.open(&path).await?.ok_or_else(missing)?)
    }

    /// A file of it, which must be as it was written.
    async fn checked(&self, folder: &Folder, name: &str) -> Result<Reader> {
        let file = self.file(folder, name).await?;
        self.state
            .check_digest(name, &digest(&file).await?)
            .within(&self.path)?;
        Ok(file)
    }

    /// Put its tensors back, one at a time.
    pub async fn restore(&self, folder: &Folder, trainer: &mut Trainer) -> Result<()> {
        let weights = weights_file(self.state.identity.config.method);
        let files = [
            self.checked(folder, weights).await?,
            self.checked(folder, OPTIMIZER).await?,
        ];
        let mut tensors = Vec::new();
        for file in &files {
            tensors.push(tensors_of(file).await?);
        }
        for name in trainer.state_names() {
            let found = tensors
                .iter()
                .zip(&files)
                .find_map(|(tensors, file)| Some((tensors.get(&name).ok()?, file)));
            let missing = || Error::checkpoint(format!("{name} is missing"));
            let (entry, file) = found.ok_or_else(missing)?;
            trainer
                .restore_tensor(&name, &decode(file, entry).await?)
                .within(&self.path)?;
        }
        trainer.restored(self.state.step);
        Ok(())
    }
}

/// Where the tensors of a safetensors file lie.
async fn tensors_of(file: &Reader) -> Result<Tensors> {
    let (bytes, file_bytes) = header(file).await?;
    let start = FileStart {
        bytes: &bytes,
        file_bytes,
    };
    safetensors::tensors(&[start], None).within(&file.name())
}

async fn decode(file: &Reader, entry: &TensorEntry) -> Result<Vec<f32>> {
    let bytes = file.read(entry.range.start, entry.range.end).await?;
    let mut numbers = Vec::new();
    entry.dtype.decode(&bytes, &mut numbers)?;
    Ok(numbers)
}

async fn digest(file: &Reader) -> Result<FileDigest> {
    let (mut digest, mut buffer) = (Digesting::default(), Vec::new());
    for (start, end) in pieces(0, file.size()?) {
        file.read_into(start, end, &mut buffer).await?;
        digest.update(&buffer);
    }
    Ok(digest.finish())
}

impl Active {
    /// Make a checkpoint after the steps done; earlier ones go, but for the best evaluation's.
    pub async fn save(&mut self) -> Result<()> {
        let (step, folder) = (self.finished, self.folder.clone());
        let path = format!("checkpoint-{step}");
        let mut state = State {
            schema: SCHEMA,
            step,
            epoch: self.course.epoch(step),
            identity: self.course.identity.clone(),
            counters: self.counters.clone(),
            device: SavedDevice::from(self.gpu.info()),
            tiles: self.gpu.tiles().into_iter().collect(),
            files: BTreeMap::new(),
        };
        // After an evaluation, the tensors of this step may be there already.
        let there = match self.saved == Some(step) {
            true => Checkpoint::open(&folder, step).await?,
            false => None,
        };
        match there {
            Some(checkpoint) => state.files = checkpoint.state.files,
            None => {
                folder.remove(&format!("{path}/{STATE}")).await?;
                folder.remove(&path).await?;
                self.write_tensors(&path).await?;
                for file in folder.list().await? {
                    if let Some(name) = file.strip_prefix(&path).and_then(|rest| rest.strip_prefix('/')) {
                        let missing = || Error::checkpoint(format!("{file} is missing"));
                        let written = folder.open(&file).await?.ok_or_else(missing)?;
                        state.files.insert(name.to_owned(), digest(&written).await?);
                    }
                }
            }
        }
        folder
            .write(&format!("{path}/{STATE}"), state.to_json()?.as_bytes())
            .await?;
        self.saved = Some(step);
        self.must_save = false;
        let best = self.counters.best.as_ref().map(|best| best.step);
        for other in folders(&folder)
            .await?
            .into_iter()
            .filter(|other| *other != step && Some(*other) != best)
        {
            folder.remove(&format!("checkpoint-{other}/{STATE}")).await?;
            folder.remove(&format!("checkpoint-{other}")).await?;
        }
        self.write_logs().await?;
        self.close_session(Outcome::Interrupted);
        self.write_report(None).await
    }

    /// The trained tensors and their moments, and what makes the folder an adapter or a model that others load.
    async fn write_tensors(&self, path: &str) -> Result<()> {
        let config = &self.course.config;
        match config.method {
            Method::Full => {
                for (name, bytes) in self.model.parts()?.files(Dtype::F32)? {
                    self.folder.write(&format!("{path}/{name}"), &bytes).await?;
                }
            }
            Method::Lora => {
                let adapter = config.lora.adapter_config(Some(self.model.name.clone()));
                let path = format!("{path}/{ADAPTER_CONFIG}");
                self.folder.write(&path, adapter.to_json().as_bytes()).await?;
            }
        }
        let specs = checkpoint::tensors(config, &self.model.config)?;
        let mut files = Vec::new();
        for (name, specs) in [weights_file(config.method), OPTIMIZER].into_iter().zip(&specs) {
            let writer = self.folder.create(&format!("{path}/{name}")).await?;
            files.push(TensorFile::create(writer, specs)?);
        }
        let mut failure = None;
        let written = self
            .trainer
            .state(|name, _, values| {
                let moment = name.ends_with(".exp_avg") || name.ends_with(".exp_avg_sq");
                let put = |bytes: Vec<u8>| files[usize::from(moment)].put(name, &bytes);
                Dtype::F32
                    .encode(&values)
                    .map_err(Fault::from)
                    .and_then(put)
                    .map_err(|fault| {
                        failure = Some(fault);
                        Error::checkpoint("a tensor could not be written")
                    })
            })
            .await;
        match (failure, written) {
            (Some(failure), _) => return Err(failure),
            (None, written) => written?,
        }
        files.into_iter().try_for_each(TensorFile::finish)
    }

    /// Write what was trained, as PEFT or transformers load it, from the checkpoint after `step` steps.
    pub async fn write_result(&self, step: u64) -> Result<()> {
        let missing = || Error::checkpoint(format!("checkpoint-{step} is missing"));
        let last = Checkpoint::open(&self.folder, step).await?.ok_or_else(missing)?;
        let method = self.course.config.method;
        let weights = last.checked(&self.folder, weights_file(method)).await?;
        if method == Method::Lora {
            copy(&weights, &self.folder, weights_file(method)).await?;
            let config = last.checked(&self.folder, ADAPTER_CONFIG).await?;
            return copy(&config, &self.folder, ADAPTER_CONFIG).await;
        }
        let dtype = self.model.save_dtype(self.settings.save_dtype.as_deref())?;
        // A folder without it is no model: it goes first and comes last.
        self.folder.remove(CONFIG).await?;
        let parts = self.model.parts()?.files(dtype)?;
        for (name, bytes) in parts.iter().filter(|(name, _)| name != CONFIG) {
            self.folder.write(name, bytes).await?;
        }
        let spec = |(name, shape)| TensorSpec { name, dtype, shape };
        let specs: Vec<TensorSpec> = self.model.config.tensors().into_iter().map(spec).collect();
        let tensors = tensors_of(&weights).await?;
        let mut file = TensorFile::create(self.folder.create(&hf::shard_name(0, 1)).await?, &specs)?;
        for spec in &specs {
            let numbers = decode(&weights, tensors.get(&spec.name)?).await?;
            file.put(&spec.name, &dtype.encode(&numbers).within(&spec.name)?)?;
        }
        file.finish()?;
        for (name, bytes) in parts.iter().filter(|(name, _)| name == CONFIG) {
            self.folder.write(name, bytes).await?;
        }
        Ok(())
    }

    /// Write the logs so far.
    pub async fn write_logs(&self) -> Result<()> {
        self.folder.write(METRICS, self.metrics.as_bytes()).await?;
        if !self.samples.is_empty() {
            self.folder.write(SAMPLES, self.samples.as_bytes()).await?;
        }
        self.folder.write(RUN, self.record.to_json()?.as_bytes()).await
    }

    /// Note how the session stands, in case that nothing follows.
    pub fn close_session(&mut self, outcome: Outcome) {
        let peak = self.gpu.memory().peak();
        if let Some(session) = self.record.sessions.last_mut() {
            session.ended = Some(clock());
            session.to_step = Some(self.finished);
            session.outcome = outcome;
            session.peak_memory = Some(peak);
        }
    }

    /// Write `run.json`, `report.html` and `curves.svg`.
    pub async fn write_report(&self, comparison: Option<&Comparison>) -> Result<()> {
        self.folder.write(RUN, self.record.to_json()?.as_bytes()).await?;
        let report = Report {
            run: self.record.clone(),
            log: Log::parse(&self.metrics)?,
            samples: samples(&self.samples)?,
            comparison: comparison.cloned(),
        };
        self.folder.write("report.html", report.to_html().as_bytes()).await?;
        self.folder.write("curves.svg", report.curves().as_bytes()).await
    }
}

/// Copy a file.
async fn copy(from: &Reader, folder: &Folder, path: &str) -> Result<()> {
    let to = folder.create(path).await?;
    let mut buffer = Vec::new();
    for (start, end) in pieces(0, from.size()?) {
        from.read_into(start, end, &mut buffer).await?;
        to.write(&buffer, start)?;
    }
    to.close()
}
