//! A model on disk: a Hugging Face folder, a GGUF file, or the cached folder of a Hub id.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memmap2::Mmap;
use pollster::block_on;
use serde_json::Value;
use wgpu_sft::data::{ChatTemplate, Preparation, RowSettings, Tokenizer, TokenizerConfig, terminators};
use wgpu_sft::formats::safetensors::{self, Index};
use wgpu_sft::formats::{Dtype, Gguf, Tensors, peft};
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, ModelBuilder, ModelConfig, Use};
use wgpu_sft::train::BaseModel;

use crate::model_folder::Parts;
use crate::progress::Progress;
use crate::rows::Rows;

/// The files beside the weights, that a model saved from this one has too.
pub const SIDE_FILES: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// A model on disk, its weights mapped.
pub struct ModelFiles {
    /// As the user named it.
    pub name: String,
    /// The folder or file it is read from.
    pub path: PathBuf,
    /// Its shape.
    pub config: ModelConfig,
    /// `config.json`, if there is one.
    pub config_json: Option<String>,
    /// `generation_config.json`, if there is one.
    pub generation_config: Option<String>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// The files of the tokenizer: name and contents.
    pub tokenizer_files: Vec<(String, Vec<u8>)>,
    tensors: Tensors,
    weights: Vec<Mmap>,
}

/// Whether a name could be a Hub id: `owner/name` or `name`.
pub fn looks_like_id(name: &str) -> bool {
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
        let Some(config_json) = read_text(&folder.join("config.json"))? else {
            if folder.join("adapter_config.json").exists() {
                bail!("holds an adapter: give it as --adapter, and its base as --model");
            }
            bail!("has no config.json: not a model in Hugging Face's format");
        };
        let config = ModelConfig::from_json(&config_json).context("config.json")?;
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
        let mut tokenizer_files = Vec::new();
        for file in SIDE_FILES.into_iter().filter(|file| *file != "generation_config.json") {
            if let Some(bytes) = read(&folder.join(file))? {
                tokenizer_files.push((file.to_owned(), bytes));
            }
        }
        let mut files = Self {
            name: name.to_owned(),
            path: folder.to_owned(),
            config,
            config_json: Some(config_json),
            generation_config: read_text(&folder.join("generation_config.json"))?,
            tokenizer: None,
            template: None,
            tokenizer_files,
            tensors,
            weights,
        };
        files.read_tokenizer()?;
        Ok(files)
    }

    fn gguf(name: &str, file: &Path) -> Result<Self> {
        let weights = map(file)?;
        if !weights.starts_with(b"GGUF") {
            bail!("is not a GGUF file; a model is a folder, a .gguf file or a Hub id");
        }
        let gguf = Gguf::parse(&weights)?;
        let mut files = Self {
            name: name.to_owned(),
            path: file.to_owned(),
            config: gguf.config()?,
            config_json: None,
            generation_config: None,
            tokenizer: None,
            template: None,
            tokenizer_files: vec![
                (
                    "tokenizer.json".to_owned(),
                    gguf.tokenizer_json()?.to_string().into_bytes(),
                ),
                (
                    "tokenizer_config.json".to_owned(),
                    format!("{:#}\n", gguf.tokenizer_config()?).into_bytes(),
                ),
            ],
            tensors: gguf.tensors()?,
            weights: vec![weights],
        };
        files.read_tokenizer()?;
        Ok(files)
    }

    /// Tokenizer and template, from the files of the tokenizer.
    fn read_tokenizer(&mut self) -> Result<()> {
        let file = |name: &str| {
            self.tokenizer_files
                .iter()
                .find(|(file, _)| file == name)
                .map(|(_, bytes)| bytes)
        };
        let config = match file("tokenizer_config.json") {
            Some(bytes) => TokenizerConfig::from_json(bytes)?,
            None => TokenizerConfig::default(),
        };
        // A template in a file of its own is the newer spelling, and wins, as in transformers.
        let source = match file("chat_template.jinja") {
            Some(bytes) => Some(String::from_utf8(bytes.clone()).context("chat_template.jinja")?),
            None => config.chat_template.clone(),
        };
        // No clock: a template that prints the date would make tomorrow's rows other than today's.
        self.template = source
            .map(|source| ChatTemplate::new(&source, &config, None))
            .transpose()?;
        self.tokenizer = file("tokenizer.json")
            .map(|json| Tokenizer::from_json(json, config))
            .transpose()?;
        Ok(())
    }

    /// The type that most of the weights are stored in.
    pub fn dtype(&self) -> Dtype {
        let largest = self.tensors.entries.iter().max_by_key(|entry| entry.elements());
        largest.map_or(Dtype::F32, |entry| entry.dtype)
    }

    /// The type a model made from this one is saved in: the source's, f16 where that is quantised, unless a flag says.
    pub fn save_dtype(&self, flag: Option<&str>) -> Result<Dtype> {
        match flag {
            Some(name) => Ok(Dtype::named("save_dtype", name)?),
            None if self.dtype().is_quantized() => Ok(Dtype::F16),
            None => Ok(self.dtype()),
        }
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
        self.tensors
            .for_model(&self.config)
            .with_context(|| self.name.clone())?;
        Ok(())
    }

    /// Every token that ends an answer.
    pub fn terminators(&self) -> Result<Vec<u32>> {
        let mut ids = self.config.eos_token_ids.clone();
        if let Some(text) = &self.generation_config {
            let root: Value = serde_json::from_str(text).context("generation_config.json")?;
            let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            match &root["eos_token_id"] {
                Value::Array(list) => ids.extend(list.iter().filter_map(id)),
                one => ids.extend(id(one)),
            }
        }
        match &self.tokenizer {
            Some(tokenizer) => Ok(terminators(tokenizer, self.template.as_ref(), &ids)?),
            None => Ok(ids),
        }
    }

    /// What rows are tokenised with for this model.
    pub fn preparation(&self) -> Preparation<'_> {
        Preparation {
            tokenizer: self.tokenizer.as_ref(),
            template: self.template.as_ref(),
            vocab_size: self.config.vocab_size,
            ..Preparation::default()
        }
    }

    /// Read files of rows.
    pub fn rows(&self, files: &[String], args: &RowSettings, quiet: bool) -> Result<Rows> {
        let with = args.preparation(self.config.max_position_embeddings, self.preparation())?;
        Rows::read(files, &args.reading()?, &with, quiet)
    }

    /// What a model made from this one has beside its weights.
    pub fn parts(&self) -> Result<Parts<'_>> {
        Ok(Parts {
            config: &self.config,
            config_json: self.config_json.as_deref(),
            generation_config: self.generation_config.as_deref(),
            tokenizer_files: &self.tokenizer_files,
            terminators: self.terminators()?,
        })
    }

    /// Hash of the tokenizer and the template, where there is a tokenizer.
    pub fn tokenizer_hash(&self) -> Option<String> {
        let (_, json) = self.tokenizer_files.iter().find(|(name, _)| name == "tokenizer.json")?;
        let mut hash = blake3::Hasher::new();
        hash.update(json);
        hash.update(&[0]);
        hash.update(
            self.template
                .as_ref()
                .map_or("", |template| template.source())
                .as_bytes(),
        );
        Some(hash.finalize().to_hex().to_string())
    }

    /// Hash of the configuration, and of the weights if they are part of what is computed.
    pub fn model_hash(&self, weights: bool) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(self.config.to_json("").to_string().as_bytes());
        for file in self.weights.iter().filter(|_| weights) {
            hash.update(file);
        }
        hash.finalize().to_hex().to_string()
    }

    /// What a run has to know of it; its weights are hashed if they stay as they are.
    pub fn base(&self, frozen: bool) -> BaseModel<'_> {
        BaseModel {
            name: &self.name,
            config: &self.config,
            dtype: self.dtype(),
            tokenizer: self.tokenizer_hash(),
            hash: self.model_hash(frozen),
        }
    }

    /// Read an adapter for this model.
    pub fn adapter(&self, folder: &Path) -> Result<Adapter> {
        let file = folder.join("adapter_config.json");
        let named = || folder.display().to_string();
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
