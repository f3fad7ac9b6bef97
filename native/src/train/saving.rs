//! A checkpoint's tensors, and the result of a run.

use std::path::Path;

use anyhow::{Context, Result};
use pollster::block_on;
use wgpu_sft::Error;
use wgpu_sft::formats::{Dtype, safetensors};
use wgpu_sft::train::checkpoint::{self, Counters, Device, OPTIMIZER, SCHEMA, State, weights_file};
use wgpu_sft::train::{Method, Trainer};

use super::Job;
use crate::model_folder;
use crate::run_folder::Checkpoint;
use crate::tensor_file::{TensorFile, replace, sync_folder, write_synced};

const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Save everything after `step` steps.
pub fn save(job: &Job, trainer: &Trainer, step: u64, counters: &Counters) -> Result<Checkpoint> {
    let state = State {
        schema: SCHEMA,
        step,
        epoch: job.course.epoch(step),
        identity: job.course.identity.clone(),
        counters: counters.clone(),
        device: Device::from(job.gpu.info()),
        tiles: job.gpu.tiles().into_iter().collect(),
        files: Default::default(),
    };
    job.folder.save(&state, |folder| write(job, trainer, folder))
}

/// Write the trained tensors and their moments, one at a time, and what makes the folder an adapter or a model that others load.
fn write(job: &Job, trainer: &Trainer, folder: &Path) -> Result<()> {
    let config = &job.course.config;
    match config.method {
        Method::Full => model_folder::write_parts(folder, &job.source.parts()?, Dtype::F32)?,
        Method::Lora => {
            let adapter = config.lora.adapter_config(Some(job.source.name.clone()));
            write_synced(&folder.join(ADAPTER_CONFIG), adapter.to_json().as_bytes())?;
        }
    }
    let [weights, moments] = checkpoint::tensors(config, &job.source.config)?;
    let mut weights = TensorFile::create(folder.join(weights_file(config.method)), &weights)?;
    let mut moments = TensorFile::create(folder.join(OPTIMIZER), &moments)?;
    let mut failure = None;
    let written = block_on(trainer.state(|name, _, values| {
        let file = if weights.wants(name) {
            &mut weights
        } else {
            &mut moments
        };
        let put = Dtype::F32
            .encode(&values)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| file.put(name, &bytes));
        put.map_err(|error| {
            let why = error.to_string();
            failure = Some(error);
            Error::checkpoint(why)
        })
    }));
    match (failure, written) {
        (Some(failure), _) => return Err(failure),
        (None, written) => written?,
    }
    weights.finish()?;
    moments.finish()
}

/// Put a checkpoint's tensors back.
pub fn restore(checkpoint: &Checkpoint, trainer: &mut Trainer) -> Result<()> {
    let weights = weights_file(checkpoint.state.identity.config.method);
    let files = [checkpoint.file(weights)?, checkpoint.file(OPTIMIZER)?];
    let views = [&files[0][..], &files[1][..]];
    let tensors = safetensors::tensors(&views, None).with_context(|| checkpoint.path.display().to_string())?;
    trainer
        .restore(checkpoint.state.step, |name| {
            let entry = tensors.get(name)?;
            entry.decode(views[entry.file])
        })
        .with_context(|| checkpoint.path.display().to_string())
}

/// Write what was trained, as PEFT or transformers load it, from the last checkpoint.
pub fn finish(job: &Job, last: &Checkpoint) -> Result<()> {
    job.folder.claim()?;
    let folder = job.folder.path();
    let weights = weights_file(job.course.config.method);
    match job.course.config.method {
        Method::Lora => {
            for name in [weights, ADAPTER_CONFIG] {
                replace(&folder.join(name), &last.file(name)?)?;
            }
            sync_folder(folder)
        }
        Method::Full => {
            let file = last.file(weights)?;
            let tensors = safetensors::tensors(&[&file], None)?;
            let dtype = job.source.save_dtype(job.settings.save_dtype.as_deref())?;
            model_folder::write(folder, &job.source.parts()?, dtype, job.quiet(), |name| {
                Ok(tensors.get(name)?.decode(&file)?)
            })
        }
    }
}
