//! The settings of a training run, with the names and meanings of transformers' `TrainingArguments` and PEFT's `LoraConfig`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::schedule::{LrSchedulerType, warmup_steps};
use crate::data::{Group, Order};
use crate::formats::peft::{AdapterConfig, TargetModules};
use crate::gpu::Storage;
use crate::{Error, Result};

/// What is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Two small matrices beside each adapted linear layer; the model itself stays as it is.
    #[default]
    Lora,
    /// Every weight of the model.
    Full,
}

impl Method {
    /// The learning rate where none is set: 2e-4 for LoRA, 2e-5 for all weights.
    pub fn default_learning_rate(self) -> f64 {
        match self {
            Self::Lora => 2e-4,
            Self::Full => 2e-5,
        }
    }
}

/// Which weights decay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecayOn {
    /// Matrices, LoRA's included; never norms or biases (transformers' `get_decay_parameter_names`).
    #[default]
    Matrices,
    /// Every trained tensor, as `torch.optim.AdamW(model.parameters())` does.
    All,
}

/// Whether the backward pass computes a block's activations once more instead of keeping them. It changes no bit of a run's
/// result, only its memory and its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Where memory is refused otherwise.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always.
    On,
}

impl std::str::FromStr for Recompute {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            _ => Err(Error::config("recompute", format!("{s:?} is not one of auto, off, on"))),
        }
    }
}

/// The linear layers of a block, by the names that PEFT matches.
pub const LINEAR_MODULES: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// A fresh adapter, with PEFT's fields: `y += lora_alpha / r · B·A·dropout(x)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// The adapter is scaled by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Share of an adapted layer's inputs that is dropped in training, in [0, 1).
    pub lora_dropout: f64,
    /// `"all-linear"`, or a list out of [`LINEAR_MODULES`].
    pub target_modules: TargetModules,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::AllLinear,
        }
    }
}

impl LoraConfig {
    /// Check every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, prefixed by `lora_` as on the command line.
    pub fn validate(&self) -> Result<()> {
        if !(1..=1 << 14).contains(&self.r) {
            return Err(Error::config("lora_r", format!("{} is not in 1..=16384", self.r)));
        }
        if !self.lora_alpha.is_finite() {
            return Err(Error::config(
                "lora_alpha",
                format!("{} is not a number", self.lora_alpha),
            ));
        }
        share("lora_dropout", self.lora_dropout)?;
        let TargetModules::Names(names) = &self.target_modules else {
            return Ok(());
        };
        let refuse = |why: String| Err(Error::config("lora_target_modules", why));
        if names.is_empty() {
            return refuse("names no module".to_owned());
        }
        match names.iter().find(|name| !LINEAR_MODULES.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) if name == "lm_head" || name == "embed_tokens" => refuse(format!(
                "{name}: the head and the embedding (one tensor in a tied model) cannot be adapted"
            )),
            Some(name) => refuse(format!("{name:?} is none of all-linear, {}", LINEAR_MODULES.join(", "))),
        }
    }

    /// What `adapter_config.json` says of this adapter.
    pub fn adapter_config(&self, base_model_name_or_path: Option<String>) -> AdapterConfig {
        AdapterConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: self.target_modules.clone(),
            use_rslora: false,
            base_model_name_or_path,
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str("all-linear"),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"all-linear\" or a list of module names")]
        enum Spelling {
            One(String),
            Many(Vec<String>),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Many(names) => Ok(Self::Names(names)),
            Spelling::One(name) if name == "all-linear" => Ok(Self::AllLinear),
            Spelling::One(name) => Err(de::Error::custom(format!(
                "target_modules: {name:?} is neither \"all-linear\" nor a list of module names"
            ))),
        }
    }
}

/// Everything that decides what a run computes, given its rows and its model; and how it trades time for memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// What is trained.
    pub method: Method,
    /// The adapter, for [`Method::Lora`].
    pub lora: LoraConfig,
    /// Peak learning rate; none: [`Method::default_learning_rate`].
    pub learning_rate: Option<f64>,
    /// How the learning rate moves.
    pub lr_scheduler_type: LrSchedulerType,
    /// Warm-up: a whole number of steps, or a ratio below 1 of all steps, rounded up.
    pub warmup_steps: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Which weights it is for.
    pub weight_decay_on: WeightDecayOn,
    /// AdamW's β₁.
    pub adam_beta1: f64,
    /// AdamW's β₂.
    pub adam_beta2: f64,
    /// AdamW's ε.
    pub adam_epsilon: f64,
    /// Gradients are multiplied by min(1, `max_grad_norm` ÷ (norm + 1e-6)); 0: never.
    pub max_grad_norm: f64,
    /// Examples per optimizer step, before `gradient_accumulation_steps`.
    #[serde(alias = "per_device_train_batch_size")]
    pub batch_size: usize,
    /// Multiplies `batch_size`: how a step is cut into micro-batches is decided by memory alone.
    pub gradient_accumulation_steps: usize,
    /// Passes over the rows; may be fractional.
    pub num_train_epochs: f64,
    /// Optimizer steps; set, it overrides `num_train_epochs`.
    pub max_steps: Option<u64>,
    /// What the order of rows, dropout and a fresh adapter are drawn from.
    pub seed: u64,
    /// Order the rows anew each epoch; off: the file's order.
    pub shuffle: bool,
    /// Whether activations are computed twice.
    pub recompute: Recompute,
    /// How activations are stored that are kept for the backward pass (`"f32"`, `"bf16"` or `"f16"`). Arithmetic, sums, the
    /// residual stream and gradients are f32 whatever this is. In f16, what is beyond 65,504 becomes infinite: the run diverges.
    #[serde(with = "storage_name")]
    pub activations: Storage,
}

/// A storage by its name in settings.
mod storage_name {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Storage, de};

    const NAMES: [(Storage, &str); 3] = [(Storage::F32, "f32"), (Storage::Bf16, "bf16"), (Storage::F16, "f16")];

    pub fn serialize<S: Serializer>(storage: &Storage, serializer: S) -> Result<S::Ok, S::Error> {
        NAMES
            .iter()
            .find(|(s, _)| s == storage)
            .map(|(_, name)| name)
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Storage, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = NAMES.iter().find(|(_, n)| *n == name);
        found
            .map(|(storage, _)| *storage)
            .ok_or_else(|| de::Error::custom(format!("activations: {name:?} is none of f32, bf16, f16")))
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: Method::default(),
            lora: LoraConfig::default(),
            learning_rate: None,
            lr_scheduler_type: LrSchedulerType::Cosine,
            warmup_steps: 0.0,
            weight_decay: 0.0,
            weight_decay_on: WeightDecayOn::default(),
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            num_train_epochs: 3.0,
            max_steps: None,
            seed: 42,
            shuffle: true,
            recompute: Recompute::default(),
            activations: Storage::default(),
        }
    }
}

impl TrainConfig {
    /// Check every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate())?;
        warmup_steps(self.warmup_steps, 1)?;
        not_negative("weight_decay", self.weight_decay)?;
        share("adam_beta1", self.adam_beta1)?;
        share("adam_beta2", self.adam_beta2)?;
        not_negative("adam_epsilon", self.adam_epsilon)?;
        if (self.adam_epsilon as f32) < f32::MIN_POSITIVE {
            let why = format!(
                "{} is too small: a weight without a gradient would become 0 ÷ 0",
                self.adam_epsilon
            );
            return Err(Error::config("adam_epsilon", why));
        }
        not_negative("max_grad_norm", self.max_grad_norm)?;
        for (field, value) in [
            ("batch_size", self.batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
        ] {
            if value == 0 {
                return Err(Error::config(field, "must be at least 1"));
            }
        }
        if self.max_steps == Some(0) {
            return Err(Error::config("max_steps", "must be at least 1"));
        }
        if !(self.num_train_epochs.is_finite() && self.num_train_epochs > 0.0) {
            let why = format!("{} is not a positive number", self.num_train_epochs);
            return Err(Error::config("num_train_epochs", why));
        }
        match self.method {
            Method::Lora => self.lora.validate(),
            Method::Full => Ok(()),
        }
    }

    /// The peak learning rate: as set, or the method's.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(self.method.default_learning_rate())
    }

    /// The same run with everything that has two spellings in one of them, and without what changes no number, so that equal
    /// runs compare equal.
    pub fn canonical(&self) -> Self {
        Self {
            learning_rate: Some(self.learning_rate()),
            batch_size: self.examples_per_step(),
            gradient_accumulation_steps: 1,
            lora: match self.method {
                Method::Lora => self.lora.clone(),
                Method::Full => LoraConfig::default(),
            },
            recompute: Recompute::default(),
            ..self.clone()
        }
    }

    /// Examples per optimizer step.
    pub fn examples_per_step(&self) -> usize {
        self.batch_size.saturating_mul(self.gradient_accumulation_steps)
    }

    /// The order of a data set of `rows` rows, and the optimizer steps of the whole run.
    ///
    /// # Errors
    /// As [`Order::new`] and [`Order::total_steps`].
    pub fn order(&self, rows: usize) -> Result<(Order, u64)> {
        self.counted(Order::new(self.seed, self.shuffle, rows, self.examples_per_step())?)
    }

    /// As [`order`](Self::order), of groups of rows that are not all seen equally often.
    ///
    /// # Errors
    /// As [`Order::of_groups`] and [`Order::total_steps`].
    pub fn order_of_groups(&self, groups: Vec<Group>) -> Result<(Order, u64)> {
        let batch_size = self.examples_per_step();
        self.counted(Order::of_groups(self.seed, self.shuffle, groups, batch_size)?)
    }

    fn counted(&self, order: Order) -> Result<(Order, u64)> {
        let total = match self.max_steps {
            Some(steps) => steps,
            None => order.total_steps(self.num_train_epochs)?,
        };
        Ok((order, total))
    }
}

fn not_negative(field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::config(field, format!("{value} is not a number from 0 up")))
}

fn share(field: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, format!("{value} is not at least 0 and below 1")))
}
