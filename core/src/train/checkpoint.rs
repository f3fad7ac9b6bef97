//! What a checkpoint knows of its run: enough to go on with bit-identical weights, and to refuse what would not.
//!
//! The learning rate, the order of the rows, their packing and dropout are functions of (seed, step), so that a checkpoint is the trained
//! tensors, their moments and this.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Method, TrainConfig};
use crate::formats::safetensors::TensorSpec;
use crate::formats::{Dtype, is_plain_name, peft};
use crate::model::ModelConfig;
use crate::ops::matmul::{Class, Tile};
use crate::{Error, Result};

/// The version of `state.json` written here; others are refused.
pub const SCHEMA: u32 = 1;

/// The file of a checkpoint that says what it is of; written last.
pub const STATE: &str = "state.json";
/// The file of a checkpoint that holds AdamW's moments, `NAME.exp_avg` and `NAME.exp_avg_sq`.
pub const OPTIMIZER: &str = "optimizer.safetensors";

/// The name of the file that holds what a method trains: PEFT's, or transformers'.
pub fn weights_file(method: Method) -> &'static str {
    match method {
        Method::Lora => "adapter_model.safetensors",
        Method::Full => "model.safetensors",
    }
}

/// The tensors of the two files of a checkpoint: [`weights_file`] and [`OPTIMIZER`], all f32, as [`Trainer::state`](super::Trainer::state)
/// tells them.
///
/// # Errors
/// [`Error::Config`] for modules to adapt that the model does not have.
pub fn tensors(config: &TrainConfig, model: &ModelConfig) -> Result<[Vec<TensorSpec>; 2]> {
    let trained = match config.method {
        Method::Full => model.tensors(),
        Method::Lora => peft::tensors(&config.lora.adapter_config(None), model)?,
    };
    let spec = |name: String, shape: &[usize]| TensorSpec {
        name,
        dtype: Dtype::F32,
        shape: shape.to_vec(),
    };
    let weights = trained.iter().map(|(name, shape)| spec(name.clone(), shape)).collect();
    let moments = trained
        .iter()
        .flat_map(|(name, shape)| ["exp_avg", "exp_avg_sq"].map(|moment| spec(format!("{name}.{moment}"), shape)))
        .collect();
    Ok([weights, moments])
}

/// Everything that decides what a run computes. Hashes are of contents, never of paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The settings, every default written out.
    pub config: TrainConfig,
    /// Optimizer steps of the whole run: what the learning rate's schedule ends at.
    pub total_steps: u64,
    /// Hash of the tokenised rows, see [`Dataset::content_hash`](crate::data::Dataset::content_hash).
    pub data: String,
    /// Hash of the tokenizer and the chat template; none where the model has no tokenizer.
    pub tokenizer: Option<String>,
    /// Hash of the model's configuration and, for LoRA, of its weights.
    pub model: String,
    /// How frozen weights are stored.
    pub dtype: String,
    /// Tokens in a micro-batch: how a step is cut decides the order of its sums.
    pub micro_batch_tokens: u32,
    /// The kernel family.
    pub kernels: String,
}

impl Identity {
    /// Every field that differs, as `field: the checkpoint's, now this`.
    fn differences(&self, now: &Self) -> Result<Vec<String>> {
        let (then, now) = (flat(self)?, flat(now)?);
        let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
        let all = then.keys().chain(now.keys().filter(|field| !then.contains_key(*field)));
        let differs = all.filter(|field| then.get(*field) != now.get(*field));
        Ok(differs
            .map(|field| match field.as_str() {
                "data" => "the rows".to_owned(),
                "tokenizer" => "the tokenizer or chat template".to_owned(),
                "model" => "the model".to_owned(),
                _ => {
                    format!(
                        "{field} (it was {}, now {})",
                        show(then.get(field)),
                        show(now.get(field))
                    )
                }
            })
            .collect())
    }
}

/// The leaves of an identity by field name, without what the settings have no use for.
fn flat(identity: &Identity) -> Result<BTreeMap<String, Value>> {
    let damaged = |e: serde_json::Error| Error::checkpoint(e.to_string());
    let text = serde_json::to_string(identity).map_err(damaged)?;
    let mut fields: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(damaged)?;
    if let Some(Value::Object(config)) = fields.remove("config") {
        for (field, value) in config {
            match value {
                Value::Object(lora) => fields.extend(lora.into_iter().map(|(name, value)| {
                    let name = if name.starts_with("lora") {
                        name
                    } else {
                        format!("lora_{name}")
                    };
                    (name, value)
                })),
                other => {
                    fields.insert(field, other);
                }
            }
        }
    }
    // Only `total_steps` counts: epochs and max_steps are two ways to say it.
    fields.remove("num_train_epochs");
    fields.remove("max_steps");
    // It changes no number.
    fields.remove("recompute");
    Ok(fields)
}

/// The adapter a checkpoint was made on. Another one gives other roundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The adapter's name.
    pub name: String,
    /// Its driver and the driver's version.
    pub driver: String,
    /// Vulkan, Metal, DX12 or WebGPU.
    pub backend: String,
}

impl From<&wgpu::AdapterInfo> for Device {
    fn from(info: &wgpu::AdapterInfo) -> Self {
        Self {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: info.backend.to_string(),
        }
    }
}

/// What is counted over a run, for its log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Supervised targets so far.
    pub targets: u64,
    /// Tokens so far.
    pub tokens: u64,
    /// Sum of the losses since the last line of the log.
    pub loss_sum: f64,
    /// Targets since the last line of the log.
    pub loss_targets: u64,
    /// The step after which was last evaluated.
    #[serde(default)]
    pub evaluated: Option<u64>,
    /// The best evaluation so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// Evaluations since the last one that gained enough, for early stopping.
    #[serde(default)]
    pub evaluations_without_gain: u32,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Optimizer steps before it.
    pub step: u64,
    /// The number that decides, by its name in `metrics.jsonl`.
    pub metric: String,
    /// What it came to.
    pub value: f64,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub blake3: String,
}

/// `state.json` of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Optimizer steps done: the cursor into the order of rows, too.
    pub step: u64,
    /// Passes over the rows done.
    pub epoch: f64,
    /// What the result depends on.
    pub identity: Identity,
    /// What is counted.
    pub counters: Counters,
    /// Where it was made.
    pub device: Device,
    /// How products were cut there; it changes no number.
    #[serde(default)]
    pub tiles: Vec<(Class, Tile)>,
    /// The checkpoint's other files by name.
    pub files: BTreeMap<String, FileDigest>,
}

impl State {
    /// The text of `state.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a number has no JSON form.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::checkpoint(e.to_string()))?;
        text.push('\n');
        Ok(text)
    }

    /// Reads `state.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is damaged or of another version.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let damaged = |e: serde_json::Error| Error::checkpoint(format!("state.json is damaged: {e}"));
        let root: Value = serde_json::from_slice(text).map_err(damaged)?;
        match root.get("schema").and_then(Value::as_u64) {
            Some(version) if version == u64::from(SCHEMA) => {}
            Some(version) => {
                let why = format!("state.json is of version {version}, this program reads version {SCHEMA}");
                return Err(Error::checkpoint(why));
            }
            None => return Err(Error::checkpoint("state.json has no schema")),
        }
        let state: Self = serde_json::from_value(root).map_err(damaged)?;
        if let Some(name) = state.files.keys().find(|name| !is_plain_name(name)) {
            let why = format!("state.json is damaged: {name:?} is not a plain file name");
            return Err(Error::checkpoint(why));
        }
        if state.step > state.identity.total_steps {
            let (step, total) = (state.step, state.identity.total_steps);
            return Err(Error::checkpoint(format!(
                "state.json is damaged: step {step} of {total}"
            )));
        }
        Ok(state)
    }

    /// Whether a run as `now` may go on from here.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] saying everything that differs and would alter the result.
    pub fn check(&self, now: &Identity) -> Result<()> {
        let differences = self.identity.differences(now)?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::checkpoint(format!(
            "this run is not the one that was saved: {} differ{}",
            differences.join(", "),
            if differences.len() == 1 { "s" } else { "" }
        )))
    }

    /// Whether `bytes` are those of the file `name` when the checkpoint was made.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file.
    pub fn check_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.check_digest(name, &FileDigest::of(bytes))
    }

    /// [`State::check_file`] for those who have the digest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file.
    pub fn check_digest(&self, name: &str, digest: &FileDigest) -> Result<()> {
        match self.files.get(name) {
            None => Err(Error::checkpoint(format!("state.json does not name {name}"))),
            Some(written) if written == digest => Ok(()),
            Some(_) => Err(Error::checkpoint(format!(
                "{name} is damaged: it is not as it was written"
            ))),
        }
    }
}

impl FileDigest {
    /// Of a file's contents.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Digesting::default();
        digest.update(bytes);
        digest.finish()
    }
}

/// A file's digest in the making, for those who have it by pieces.
#[derive(Debug, Clone, Default)]
pub struct Digesting {
    bytes: u64,
    hash: blake3::Hasher,
}

impl Digesting {
    /// Go on with the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// The digest.
    pub fn finish(&self) -> FileDigest {
        FileDigest {
            bytes: self.bytes,
            blake3: self.hash.finalize().to_hex().to_string(),
        }
    }
}
