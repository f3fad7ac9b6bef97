//! A model's files: their headers are read when it is opened, its weights where they are needed, one piece at a time.

use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::formats::safetensors::{self, Index};
use wgpu_sft::formats::{Begun, Dtype, FileStart, Gguf, ModelFiles, SIDE_FILES, TensorEntry, peft};
use wgpu_sft::gpu::{Gpu, Storage};
use wgpu_sft::model::{Model, ModelBuilder, Use};
use wgpu_sft::train::Settings;

use crate::error::{Fault, Result, Within};
use crate::io::{PIECE, Reader, pieces};

/// Bytes by which a file of weights is looked at first: most headers of safetensors fit.
const FIRST: u64 = 256 << 10;

/// Bytes that are uploaded before the device is waited for: what the browser holds of them in the meantime.
const UPLOAD: u64 = 64 << 20;

/// A model's files.
#[wasm_bindgen]
pub struct Source {
    files: Rc<ModelFiles>,
    /// Those of weights, in the order in which tensors name them.
    weights: Vec<Reader>,
    /// Bytes of all files that are used.
    file_bytes: u64,
}

#[wasm_bindgen]
impl Source {
    /// Read the headers of a model: the files of a Hugging Face folder (`config.json`, `tokenizer.json`, …, `*.safetensors`; others
    /// are ignored), or one `.gguf`. Errors: what is missing, malformed or not supported.
    pub async fn open(name: String, files: Vec<Reader>) -> Result<Source> {
        let has = |wanted: &str| files.iter().any(|file| file.name() == wanted);
        if has("config.json") {
            return Self::folder(name, &files).await;
        }
        let is_gguf = |file: &&Reader| file.name().to_lowercase().ends_with(".gguf");
        let ggufs: Vec<&Reader> = files.iter().filter(is_gguf).collect();
        let why = match (&ggufs[..], &files[..]) {
            ([file], _) => return Self::gguf(name, file).await,
            ([_, ..], _) => "is missing, and there is more than one .gguf file: give one of them",
            _ if has("adapter_config.json") => "is missing: this is an adapter; open its base model first",
            _ => "is missing: not a model in Hugging Face's format, nor a .gguf file",
        };
        Err(Error::config("config.json", why).into())
    }

    /// What the headers say, as JSON.
    #[wasm_bindgen(getter)]
    pub fn about(&self) -> String {
        let (files, config) = (&self.files, &self.files.config);
        let parameters = |(_, shape): (String, Vec<usize>)| shape.iter().map(|n| *n as u64).product::<u64>();
        json!({
            "name": files.name,
            "model_type": config.family.model_type(),
            "parameters": config.tensors().into_iter().map(parameters).sum::<u64>(),
            "context": config.max_position_embeddings,
            "vocab_size": config.vocab_size,
            "layers": config.num_hidden_layers,
            "hidden_size": config.hidden_size,
            "dtype": files.dtype().name(),
            "file_bytes": self.file_bytes,
            "tokenizer": files.tokenizer.is_some(),
            "template": files.template.is_some(),
        })
        .to_string()
    }

    /// Hash of the configuration and, if they are asked for, of the weights, every byte of which is read then: as checkpoints have it.
    #[wasm_bindgen(js_name = modelHash)]
    pub async fn model_hash(&self, weights: bool) -> Result<String> {
        let mut hash = self.files.hash();
        let mut buffer = Vec::new();
        for file in self.weights.iter().filter(|_| weights) {
            for (start, end) in pieces(0, file.size()?) {
                file.read_into(start, end, &mut buffer).await?;
                hash.update(&buffer);
            }
        }
        Ok(hash.finish())
    }
}

impl Source {
    async fn folder(name: String, files: &[Reader]) -> Result<Source> {
        let find = |wanted: &str| files.iter().find(|file| file.name() == wanted);
        let index = match (find("model.safetensors"), find("model.safetensors.index.json")) {
            (None, Some(file)) => {
                let text = String::from_utf8(file.read_all().await?);
                let text = text.map_err(|_| Error::weights(file.name(), "is not UTF-8"))?;
                Some(Index::parse(&text)?)
            }
            _ => None,
        };
        let shards = match &index {
            Some(index) => index.shards.clone(),
            None => vec!["model.safetensors".to_owned()],
        };
        let (mut weights, mut starts, mut file_bytes) = (Vec::new(), Vec::new(), 0);
        for shard in &shards {
            let missing = || Error::weights(shard, "is missing");
            let file = find(shard).ok_or_else(missing)?;
            starts.push(header(file).await?);
            file_bytes += file.size()?;
            weights.push(file.clone());
        }
        let starts: Vec<FileStart> = starts
            .iter()
            .map(|(bytes, file_bytes)| FileStart {
                bytes,
                file_bytes: *file_bytes,
            })
            .collect();
        let tensors = safetensors::tensors(&starts, index.as_ref())?;
        let mut small = Vec::new();
        for file in ["config.json"].into_iter().chain(SIDE_FILES) {
            if let Some(reader) = find(file) {
                small.push((file.to_owned(), reader.read_all().await?));
                file_bytes += reader.size()?;
            }
        }
        let files = ModelFiles::folder(&name, small, tensors)?;
        files.check_tensors()?;
        Ok(Self {
            files: Rc::new(files),
            weights,
            file_bytes,
        })
    }

    async fn gguf(name: String, file: &Reader) -> Result<Source> {
        let file_bytes = file.size()?;
        let mut bytes = Vec::new();
        let mut wanted = (4 * FIRST).min(file_bytes);
        let mut gguf = loop {
            extend(file, &mut bytes, wanted).await?;
            let start = FileStart {
                bytes: &bytes,
                file_bytes,
            };
            match Gguf::begin(start).within(&file.name())? {
                Begun::Header(gguf) => break gguf,
                Begun::More(more) => wanted = more,
            }
        };
        if let Some(range) = gguf.missing() {
            gguf.complete(&file.read(range.start, range.end).await?)?;
        }
        let files = ModelFiles::gguf(&name, &gguf).within(&file.name())?;
        files.check_tensors()?;
        Ok(Self {
            files: Rc::new(files),
            weights: vec![file.clone()],
            file_bytes,
        })
    }

    /// What the files say.
    pub(crate) fn files(&self) -> &Rc<ModelFiles> {
        &self.files
    }

    /// Fill in what settings leave to the model here: the frozen weights of a quantised one are kept in bf16.
    pub(crate) fn complete(&self, settings: &mut Settings) {
        let frozen = settings.method.as_deref() != Some("full");
        if frozen && settings.dtype.is_none() && self.files.dtype().is_quantized() {
            settings.dtype = Some("bf16".to_owned());
        }
    }

    /// How frozen weights are kept: as `dtype` says or, where it says nothing, as the files have them; bf16 where those are
    /// quantised, as f32 would take twice the memory for nothing that they hold.
    pub(crate) fn frozen(&self, dtype: Option<&str>) -> Result<Use> {
        Ok(Use::Frozen(match dtype {
            Some(name) => Some(Dtype::named("dtype", name)?.storage()),
            None if self.files.dtype().is_quantized() => Some(Storage::Bf16),
            None => None,
        }))
    }

    /// Put the weights on a device. `progress` is told the bytes that are read of all; its error ends it.
    pub(crate) async fn load(
        &self,
        gpu: &Gpu,
        usage: Use,
        mut progress: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<Model> {
        let entries = self.files.tensors.for_model(&self.files.config)?;
        let total = entries.iter().map(|entry| entry.range.end - entry.range.start).sum();
        let mut builder = ModelBuilder::new(gpu, &self.files.config, usage)?;
        let (mut done, mut uploaded, mut buffer) = (0, 0, Vec::new());
        progress(0, total)?;
        for entry in entries {
            let mut start = 0;
            for piece in entry.pieces(PIECE) {
                self.weights[entry.file]
                    .read_into(piece.start, piece.end, &mut buffer)
                    .await?;
                let bytes = match entry.unpermute {
                    Some(_) => entry.arrange(&buffer)?,
                    None => buffer[..].into(),
                };
                builder.put_piece(&entry.name, entry.dtype, &entry.shape, start, &bytes)?;
                start += bytes.len();
                done += bytes.len() as u64;
                uploaded += bytes.len() as u64;
                progress(done, total)?;
                if uploaded >= UPLOAD {
                    uploaded = 0;
                    gpu.finish().await?;
                }
            }
        }
        Ok(builder.finish().await?)
    }

    /// Some bytes of a weight, as f32.
    pub(crate) async fn decoded(&self, entry: &TensorEntry, piece: (u64, u64), out: &mut Vec<f32>) -> Result<()> {
        let bytes = self.weights[entry.file].read(piece.0, piece.1).await?;
        out.clear();
        let bytes = match entry.unpermute {
            Some(_) => entry.arrange(&bytes)?,
            None => bytes[..].into(),
        };
        Ok(entry.dtype.decode(&bytes, out)?)
    }

    /// Read an adapter for this model: `adapter_config.json` and `adapter_model.safetensors`.
    pub(crate) async fn adapter(&self, files: &[Reader]) -> Result<Adapter> {
        let find = |wanted: &str| {
            let file = files.iter().find(|file| file.name() == wanted);
            file.ok_or_else(|| Fault::from(Error::config(wanted, "is missing: not an adapter")))
        };
        let config = String::from_utf8(find("adapter_config.json")?.read_all().await?);
        let config = config.map_err(|_| Error::config("adapter_config.json", "is not UTF-8"))?;
        let config = peft::AdapterConfig::from_json(&config).within("adapter_config.json")?;
        let weights = find("adapter_model.safetensors")?.read_all().await?;
        let pairs = peft::read(&weights, &config, &self.files.config).within("adapter_model.safetensors")?;
        Ok(Adapter { config, pairs })
    }
}

/// A LoRA adapter.
pub(crate) struct Adapter {
    /// `adapter_config.json`.
    pub config: peft::AdapterConfig,
    /// Its matrices by module.
    pub pairs: std::collections::BTreeMap<String, peft::LoraPair>,
}

/// Read on until `bytes` holds so many of a file.
async fn extend(file: &Reader, bytes: &mut Vec<u8>, wanted: u64) -> Result<()> {
    let here = bytes.len() as u64;
    if wanted > here {
        bytes.extend(file.read(here, wanted).await?);
    }
    Ok(())
}

/// The first bytes of a safetensors file, its header among them, and how long the file is.
pub(crate) async fn header(file: &Reader) -> Result<(Vec<u8>, u64)> {
    let (name, file_bytes) = (file.name(), file.size()?);
    let mut bytes = file.read(0, FIRST.min(file_bytes)).await?;
    let start = FileStart {
        bytes: &bytes,
        file_bytes,
    };
    let wanted = safetensors::header_bytes(start).within(&name)?;
    extend(file, &mut bytes, wanted).await?;
    Ok((bytes, file_bytes))
}
