//! Writing what transformers and PEFT load as they are.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use wgpu_sft::formats::safetensors::TensorSpec;
use wgpu_sft::formats::{Dtype, Parts, hf};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::tensor_file::{TensorFile, place, replace, sync_folder, temporary};

/// Largest weight file, in bytes: transformers' own default.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Write a full model whose weights are `tensor(name)`, asked for in the order of [`ModelConfig::tensors`] and saved in `dtype`.
pub fn write(
    folder: &Path,
    source: &Parts,
    dtype: Dtype,
    quiet: bool,
    mut tensor: impl FnMut(&str) -> Result<Vec<f32>>,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    write_parts(folder, source, dtype)?;
    let spec = |(name, shape)| TensorSpec { name, dtype, shape };
    let specs: Vec<TensorSpec> = source.config.tensors().into_iter().map(spec).collect();
    let sizes: Vec<u64> = specs.iter().map(|spec| bytes_of(spec, dtype)).collect();
    let shards = hf::shards(&sizes, SHARD_BYTES);
    let progress = Progress::bytes(quiet, sizes.iter().sum(), "writing");
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = hf::shard_name(number, shards.len());
        let path = folder.join(&name);
        let temporary = temporary(&path);
        let mut fill = || {
            let mut file = TensorFile::create(temporary.clone(), &specs[shard.clone()])?;
            for spec in &specs[shard.clone()] {
                let bytes = dtype.encode(&tensor(&spec.name)?).with_context(|| spec.name.clone())?;
                file.put(&spec.name, &bytes)?;
                progress.advance(bytes.len() as u64, None);
                weight_map.insert(spec.name.clone(), name.clone());
            }
            file.finish()?;
            place(&temporary, &path)
        };
        fill().inspect_err(|_| {
            // Where the disk is full, it is in the way.
            let _ = std::fs::remove_file(&temporary);
        })?;
    }
    if shards.len() > 1 {
        let index = hf::index_json(&weight_map, sizes.iter().sum());
        replace(&folder.join("model.safetensors.index.json"), index.as_bytes())?;
    }
    sync_folder(folder)
}

/// Write what a model's folder holds beside its weights, which are saved in `dtype`.
pub fn write_parts(folder: &Path, source: &Parts, dtype: Dtype) -> Result<()> {
    for (name, bytes) in source.files(dtype)? {
        replace(&folder.join(name), &bytes)?;
    }
    Ok(())
}

fn bytes_of(spec: &TensorSpec, dtype: Dtype) -> u64 {
    (spec.shape.iter().product::<usize>() * dtype.block_bytes()) as u64
}

/// Make a folder for a model, and keep other processes out of it.
pub fn claim(folder: &Path) -> Result<Lock> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let lock = Lock::take(folder)?;
    refuse_existing(folder)?;
    Ok(lock)
}

/// Refuse to write a model over another one.
pub fn refuse_existing(folder: &Path) -> Result<()> {
    for name in [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "adapter_config.json",
    ] {
        if folder.join(name).exists() {
            anyhow::bail!("{}: holds a {name} already; choose another folder", folder.display());
        }
    }
    Ok(())
}
