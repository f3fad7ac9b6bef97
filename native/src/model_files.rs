//! A model on disk: a Hugging Face folder, a GGUF file, or the cached folder of a Hub id.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memmap2::Mmap;
use pollster::block_on;
use wgpu_sft::data::RowSettings;
use wgpu_sft::formats::safetensors::{self, Index};
use wgpu_sft::formats::{self, Gguf, SIDE_FILES, peft};
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, ModelBuilder, Use};
use wgpu_sft::train::BaseModel;

use crate::progress::Progress;
use crate::rows::Rows;

/// A model on disk, its weights mapped.
pub struct ModelFiles {
    /// The folder or file it is read from.
    pub path: PathBuf,
    files: formats::ModelFiles,
    weights: Vec<Mmap>,
}

/// What its files say.
impl Deref for ModelFiles {
    type Target = formats::ModelFiles;

    fn deref(&self) -> &Self::Target {
        &self.files
    }
}

/// Whether a name could be a Hub id: `owner/name` or `name`. What ends as files do, or lies in a folder that is here, is a path.
pub fn looks_like_id(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_file = [".gguf", ".safetensors", ".json", ".jsonl"]
        .iter()
        .any(|end| lower.ends_with(end));
    let is_in_folder = name
        .split_once('/')
        .is_some_and(|(folder, _)| Path::new(folder).is_dir());
    if is_file || is_in_folder {
        return false;
    }
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

/// Map a file into memory.
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    #[expect(unsafe_code, reason = "memmap2 offers no safe way")]
    // SAFETY: the file is only read, as bytes that are checked wherever they are used. What remains is another program that changes or
    // shortens it meanwhile: wrong weights or a signal, as for every program that maps its models.
    let map = unsafe { Mmap::map(&file) };
    map.with_context(|| path.display().to_string())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

fn read_text(path: &Path) -> Result<Option<String>> {
    let bytes = read(path)?;
    bytes
        .map(|bytes| String::from_utf8(bytes).with_context(|| path.display().to_string()))
        .transpose()
}

impl ModelFiles {
    /// Find and check a model. Its weights are mapped, not read.
    pub fn open(name: &str, quiet: bool) -> Result<Self> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::folder(name, path).with_context(|| name.to_owned());
        }
        if path.is_file() {
            return Self::gguf(name, path).with_context(|| name.to_owned());
        }
        if !looks_like_id(name) {
            bail!("{name}: no such file or folder");
        }
        #[cfg(feature = "hub")]
        {
            let folder = crate::hub::fetch(name, quiet)?;
            Self::folder(name, &folder).with_context(|| name.to_owned())
        }
        #[cfg(not(feature = "hub"))]
        {
            let _ = quiet;
            bail!("{name}: no such file or folder, and this program was built without the Hub's client");
        }
    }

    fn folder(name: &str, folder: &Path) -> Result<Self> {
        let Some(config) = read(&folder.join("config.json"))? else {
            if folder.join("adapter_config.json").exists() {
                bail!("holds an adapter: give it as --adapter, and its base as --model");
            }
            bail!("has no config.json: not a model in Hugging Face's format");
        };
        let index_file = folder.join("model.safetensors.index.json");
        let index = match folder.join("model.safetensors").exists() {
            true => None,
            false => read_text(&index_file)?.map(|text| Index::parse(&text)).transpose()?,
        };
        let shards = match &index {
            Some(index) => index.shards.clone(),
            None => vec!["model.safetensors".to_owned()],
        };
        let weights: Vec<Mmap> = shards
            .iter()
            .map(|shard| map(&folder.join(shard)))
            .collect::<Result<_>>()?;
        let views: Vec<&[u8]> = weights.iter().map(|map| &map[..]).collect();
        let tensors = safetensors::tensors(&views, index.as_ref())?;
        let mut files = vec![("config.json".to_owned(), config)];
        for file in SIDE_FILES {
            files.extend(read(&folder.join(file))?.map(|bytes| (file.to_owned(), bytes)));
        }
        Ok(Self {
            path: folder.to_owned(),
            files: formats::ModelFiles::folder(name, files, tensors)?,
            weights,
        })
    }

    fn gguf(name: &str, file: &Path) -> Result<Self> {
        let weights = map(file)?;
        if !weights.starts_with(b"GGUF") {
            bail!("is not a GGUF file; a model is a folder, a .gguf file or a Hub id");
        }
        Ok(Self {
            path: file.to_owned(),
            files: formats::ModelFiles::gguf(name, &Gguf::parse(&weights)?)?,
            weights: vec![weights],
        })
    }

    /// Put the weights on a device.
    pub fn load(&self, gpu: &Gpu, usage: Use, quiet: bool) -> Result<Model> {
        let entries = self
            .tensors
            .for_model(&self.config)
            .with_context(|| self.name.clone())?;
        let total = entries.iter().map(|entry| entry.range.end - entry.range.start).sum();
        let progress = Progress::bytes(quiet, total, "loading");
        let mut builder = ModelBuilder::new(gpu, &self.config, usage)?;
        for entry in entries {
            let bytes = entry.read(&self.weights[entry.file])?;
            builder
                .put(&entry.name, entry.dtype, &entry.shape, &bytes)
                .with_context(|| self.name.clone())?;
            progress.advance(bytes.len() as u64, None);
        }
        Ok(block_on(builder.finish())?)
    }

    /// Let go of the weights' files, which count as this process's memory once they have been read.
    pub fn forget_weights(&mut self) {
        self.weights.clear();
    }

    /// One weight as f32.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.tensors.get(name)?;
        Ok(entry.decode(&self.weights[entry.file])?)
    }

    /// Check that the weights are those the configuration asks for.
    pub fn check_tensors(&self) -> Result<()> {
        self.files.check_tensors().with_context(|| self.name.clone())
    }

    /// Read files of rows.
    pub fn rows(&self, files: &[String], args: &RowSettings, quiet: bool) -> Result<Rows> {
        let with = args.preparation(self.config.max_position_embeddings, self.preparation())?;
        Rows::read(files, &args.reading()?, &with, quiet)
    }

    /// Hash of the configuration, and of the weights if they are part of what is computed.
    pub fn model_hash(&self, weights: bool) -> String {
        let mut hash = self.files.hash();
        for file in self.weights.iter().filter(|_| weights) {
            hash.update(file);
        }
        hash.finish()
    }

    /// What a run has to know of it; its weights are hashed if they stay as they are.
    pub fn base(&self, frozen: bool) -> BaseModel<'_> {
        BaseModel::new(&self.files, self.model_hash(frozen))
    }

    /// Read an adapter for this model.
    pub fn adapter(&self, folder: &Path) -> Result<Adapter> {
        let file = folder.join("adapter_config.json");
        let named = || folder.display().to_string();
        if !folder.exists() {
            bail!("{}: no such folder", named());
        }
        let config =
            read_text(&file)?.with_context(|| format!("{}: not an adapter: no adapter_config.json", named()))?;
        let config = peft::AdapterConfig::from_json(&config).with_context(named)?;
        let weights = map(&folder.join("adapter_model.safetensors"))?;
        let pairs = peft::read(&weights, &config, &self.config).with_context(named)?;
        Ok(Adapter { config, pairs })
    }
}

/// A LoRA adapter on disk.
pub struct Adapter {
    /// `adapter_config.json`.
    pub config: peft::AdapterConfig,
    /// Its matrices by module.
    pub pairs: std::collections::BTreeMap<String, peft::LoraPair>,
}
