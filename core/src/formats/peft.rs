//! LoRA adapters as PEFT stores them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Meaning of the fields: `LoraConfig` of Hugging Face PEFT. Names: `base_model.model.<module>.lora_A.weight` `[r, in]`
//! and `.lora_B.weight` `[out, r]`; the layer adds `scale · B·A·x`.

use super::safetensors::{self, TensorSpec};
use super::{Dtype, TensorEntry, hf};
use crate::model::ModelConfig;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Which linear layers are adapted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// All of every block: neither the head nor the embedding.
    AllLinear,
    /// Those whose path is one of these, or ends in a dot and one of these.
    Names(Vec<String>),
}

/// What an adapter is, from `adapter_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// Rank.
    pub r: usize,
    /// The adapter is scaled by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Share of an adapted layer's inputs that is dropped in training.
    pub lora_dropout: f64,
    /// Which layers.
    pub target_modules: TargetModules,
    /// Scale by `lora_alpha / √r` instead.
    pub use_rslora: bool,
    /// The base model's Hub id or folder.
    pub base_model_name_or_path: Option<String>,
}

/// Fields that say nothing about the result of an adapter as stored here.
const HARMLESS: [&str; 19] = [
    "peft_type",
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "r",
    "target_modules",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "init_lora_weights",
    "bias",
    "megatron_core",
    "qalora_group_size",
    "ensure_weight_tying",
    "eva_config",
    "runtime_config",
];

impl AdapterConfig {
    /// Reads `adapter_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is missing, malformed or not supported. A field that is not known here is
    /// refused unless it is null, false, zero or empty: it could change what the adapter computes.
    pub fn from_json(text: &str) -> Result<Self> {
        let root: Value =
            serde_json::from_str(text).map_err(|e| Error::config("adapter_config.json", e.to_string()))?;
        let Value::Object(root) = root else {
            return Err(Error::config("adapter_config.json", "not a JSON object"));
        };
        let get = |field: &str| root.get(field).filter(|value| !value.is_null());
        let wrong =
            |field: &str, want: &str, got: &Value| Error::config(field, format!("expected {want}, found {got}"));
        match get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            other => return Err(wrong("peft_type", "\"LORA\"", other.unwrap_or(&Value::Null))),
        }
        if let Some(bias) = get("bias").filter(|bias| *bias != "none") {
            return Err(wrong("bias", "\"none\"", bias));
        }
        // Other initialisations change the base weights, which are not in the adapter.
        let plain =
            |init: &&Value| init.is_boolean() || matches!(init.as_str(), Some("gaussian" | "eva" | "orthogonal"));
        if let Some(init) = get("init_lora_weights").filter(|init| !plain(init)) {
            return Err(Error::config("init_lora_weights", format!("{init} is not supported")));
        }
        let neutral = |value: &Value| match value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(n) => n.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
        };
        if let Some((field, value)) = root
            .iter()
            .find(|(f, v)| !HARMLESS.contains(&f.as_str()) && !neutral(v))
        {
            return Err(Error::config(field, format!("{value} is not supported")));
        }
        let number = |field: &str, default: f64| match get(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| wrong(field, "a number", value)),
        };
        let target_modules = match get("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => TargetModules::AllLinear,
            Some(Value::Array(names)) if !names.is_empty() && names.iter().all(Value::is_string) => {
                TargetModules::Names(
                    names
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect(),
                )
            }
            Some(Value::String(pattern)) => {
                let why = format!("{pattern:?} is a regular expression: not supported; list the modules' names");
                return Err(Error::config("target_modules", why));
            }
            other => {
                return Err(wrong(
                    "target_modules",
                    "a list of names",
                    other.unwrap_or(&Value::Null),
                ));
            }
        };
        Self {
            r: match get("r") {
                None => 8,
                Some(r) => r
                    .as_u64()
                    .and_then(|r| usize::try_from(r).ok())
                    .ok_or_else(|| wrong("r", "a rank", r))?,
            },
            lora_alpha: number("lora_alpha", 8.0)?,
            lora_dropout: number("lora_dropout", 0.0)?,
            target_modules,
            use_rslora: match get("use_rslora") {
                None => false,
                Some(flag) => flag
                    .as_bool()
                    .ok_or_else(|| wrong("use_rslora", "true or false", flag))?,
            },
            base_model_name_or_path: get("base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
        }
        .validated()
    }

    /// The settings, once each is in range. Use it on settings that come from elsewhere than a file.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is not.
    pub fn validated(self) -> Result<Self> {
        if !(1..=1 << 14).contains(&self.r) {
            return Err(Error::config("r", format!("{} is not in 1..=16384", self.r)));
        }
        if !self.lora_alpha.is_finite() {
            return Err(Error::config(
                "lora_alpha",
                format!("{} is not a finite number", self.lora_alpha),
            ));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(Error::config(
                "lora_dropout",
                format!("{} is not in 0..1", self.lora_dropout),
            ));
        }
        Ok(self)
    }

    /// What `B·A·x` is multiplied by.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// The adapted layers of a model, in its order.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that no layer has, and for the head and the embedding.
    pub fn modules(&self, model: &ModelConfig) -> Result<Vec<LinearModule>> {
        let all = LinearModule::all(model);
        let TargetModules::Names(names) = &self.target_modules else {
            return Ok(all);
        };
        let is = |path: &str, name: &str| {
            path.strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        // A list may name a module as often as it likes, and a model has thousands.
        let mut names: Vec<&String> = names.iter().collect();
        names.sort_unstable();
        names.dedup();
        let known: HashSet<&str> = all.iter().flat_map(|module| endings(&module.path)).collect();
        for name in &names {
            if is("lm_head", name) || is("model.embed_tokens", name) {
                let tied = if model.tie_word_embeddings {
                    ", and they are one tensor here"
                } else {
                    ""
                };
                let why = format!("{name}: adapters on the head or the embedding are not supported{tied}");
                return Err(Error::config("target_modules", why));
            }
            if !known.contains(name.as_str()) {
                return Err(Error::config(
                    "target_modules",
                    format!("the model has no linear layer {name:?}"),
                ));
            }
        }
        Ok(all
            .into_iter()
            .filter(|module| {
                endings(&module.path).any(|name| names.binary_search_by(|other| other.as_str().cmp(name)).is_ok())
            })
            .collect())
    }

    /// The text of `adapter_config.json`, `target_modules` listed by name as PEFT itself does.
    pub fn to_json(&self) -> String {
        let names = match &self.target_modules {
            TargetModules::Names(names) => names.clone(),
            TargetModules::AllLinear => LINEARS
                .map(|name| name.rsplit('.').next().unwrap_or(name).to_owned())
                .to_vec(),
        };
        hf::pretty(&json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": whole(self.lora_alpha),
            "lora_dropout": self.lora_dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": {},
            "revision": null,
            "target_modules": names,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.use_rslora,
        }))
    }
}

/// What a path is known by: all of it, and what follows each dot.
fn endings(path: &str) -> impl Iterator<Item = &str> {
    let behind_dots = path.match_indices('.').map(|(at, _)| &path[at + 1..]);
    std::iter::once(path).chain(behind_dots)
}

/// PEFT declares `lora_alpha` an integer: 32, not 32.0.
fn whole(x: f64) -> Value {
    // No integer is -0.
    let is_integer = x.fract() == 0.0 && x.to_bits() != (-0.0f64).to_bits();
    if is_integer && x.abs() < 1e15 {
        json!(x as i64)
    } else {
        json!(x)
    }
}

/// The linear layers of a block, in transformers' order.
const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// A linear layer that can be adapted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearModule {
    /// Its path: its weight's name without `.weight`.
    pub path: String,
    /// Columns of its weight.
    pub in_features: usize,
    /// Rows of its weight.
    pub out_features: usize,
}

impl LinearModule {
    /// Those of every block of a model, in its order.
    pub fn all(model: &ModelConfig) -> Vec<Self> {
        let linear = |(name, shape): (String, Vec<usize>)| {
            let path = name
                .strip_suffix(".weight")
                .filter(|path| LINEARS.iter().any(|linear| path.ends_with(linear)))?;
            Some(Self {
                path: path.to_owned(),
                in_features: shape[1],
                out_features: shape[0],
            })
        };
        model.tensors().into_iter().filter_map(linear).collect()
    }
}

/// The two matrices of one adapted layer, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// `[r, in_features]`.
    pub a: Vec<f32>,
    /// `[out_features, r]`.
    pub b: Vec<f32>,
}

impl LoraPair {
    /// Adds `scale · B·A` to a layer's weight `[out, in]`, in f32.
    pub fn add_to(&self, weight: &mut [f32], r: usize, scale: f32) {
        self.add_to_rows(weight, 0, r, scale);
    }

    /// The same, to rows of the weight from row `first` on.
    pub fn add_to_rows(&self, rows: &mut [f32], first: usize, r: usize, scale: f32) {
        let columns = self.a.len() / r;
        let mut delta = vec![0.0f32; columns];
        for (row, b) in rows.chunks_exact_mut(columns).zip(self.b.chunks_exact(r).skip(first)) {
            delta.fill(0.0);
            for (b, a) in b.iter().zip(self.a.chunks_exact(columns)) {
                delta.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut()
                .zip(&delta)
                .for_each(|(weight, delta)| *weight += scale * delta);
        }
    }
}

fn names(path: &str) -> [String; 2] {
    ["A", "B"].map(|which| format!("base_model.model.{path}.lora_{which}.weight"))
}

/// The tensors of `adapter_model.safetensors` with their shapes, in the model's order.
///
/// # Errors
/// [`Error::Config`] as [`AdapterConfig::modules`].
pub fn tensors(config: &AdapterConfig, model: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>> {
    let shapes = |module: &LinearModule| [vec![config.r, module.in_features], vec![module.out_features, config.r]];
    let modules = config.modules(model)?;
    Ok(modules
        .iter()
        .flat_map(|module| names(&module.path).into_iter().zip(shapes(module)))
        .collect())
}

/// Reads `adapter_model.safetensors`: module path → matrices, for exactly the modules that `config` names.
///
/// # Errors
/// [`Error::Weights`] for a tensor that is missing, unexpected, of the wrong shape or not finite; [`Error::Config`] as
/// [`AdapterConfig::modules`].
pub fn read(file: &[u8], config: &AdapterConfig, model: &ModelConfig) -> Result<BTreeMap<String, LoraPair>> {
    let tensors = safetensors::tensors(&[file], None)?;
    let mut pairs = BTreeMap::new();
    let mut expected = HashSet::new();
    let by_name: HashMap<&str, &TensorEntry> = tensors.entries.iter().map(|entry| (&*entry.name, entry)).collect();
    for module in config.modules(model)? {
        let shapes = [[config.r, module.in_features], [module.out_features, config.r]];
        let mut matrices = Vec::with_capacity(2);
        for (name, shape) in names(&module.path).into_iter().zip(shapes) {
            let entry = match by_name.get(name.as_str()) {
                Some(entry) => entry,
                None => tensors.get(&name)?,
            };
            if entry.shape != shape {
                return Err(Error::weights(
                    name,
                    format!("shape {:?}, expected {shape:?}", entry.shape),
                ));
            }
            let values = entry.decode(file)?;
            if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
                return Err(Error::weights(name, format!("holds {bad}")));
            }
            matrices.push(values);
            expected.insert(name);
        }
        if let (Some(b), Some(a)) = (matrices.pop(), matrices.pop()) {
            pairs.insert(module.path, LoraPair { a, b });
        }
    }
    let stored = tensors
        .entries
        .iter()
        .map(|entry| &entry.name)
        .chain(tensors.unsupported.iter().map(|(name, _)| name));
    match stored.filter(|name| !expected.contains(*name)).min() {
        Some(name) => Err(Error::weights(name, "adapter_config.json does not name this module")),
        None => Ok(pairs),
    }
}

/// The bytes of `adapter_model.safetensors` (f32), which PEFT loads as they are.
///
/// # Errors
/// [`Error::Weights`] for a module without matrices or with matrices of the wrong size.
pub fn write(pairs: &BTreeMap<String, LoraPair>, config: &AdapterConfig, model: &ModelConfig) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for module in config.modules(model)? {
        let pair = pairs
            .get(&module.path)
            .ok_or_else(|| Error::weights(&module.path, "has no adapter"))?;
        let shapes = [vec![config.r, module.in_features], vec![module.out_features, config.r]];
        for ((name, shape), values) in names(&module.path).into_iter().zip(shapes).zip([&pair.a, &pair.b]) {
            let spec = TensorSpec {
                name,
                dtype: Dtype::F32,
                shape,
            };
            tensors.push((spec, Dtype::F32.encode(values)?));
        }
    }
    safetensors::serialize(&tensors, None)
}
