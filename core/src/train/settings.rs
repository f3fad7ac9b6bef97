//! Every setting of a training run by name: flags of the command line, keys of `train.toml`, fields of the browser's jobs.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::schedule::LrSchedulerType;
use super::{LoraConfig, Method, Recompute, TrainConfig};
use crate::data::{Mix, RowSettings};
use crate::formats::Dtype;
use crate::formats::peft::TargetModules;
use crate::{Error, Result};

/// Declares [`Settings`] and what must be done to each of its fields. `arg` is clap's, for programs that have a command line.
macro_rules! settings {
    ($($(#[doc = $doc:literal])* $(#[arg($($arg:tt)*)])? $(#[serde($($serde:tt)*)])? $field:ident: $kind:ty,)*) => {
        /// Every setting of a run, absent where it was not given.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "clap", derive(clap::Args))]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub struct Settings {
            $(
                $(#[doc = $doc])*
                $(#[cfg_attr(feature = "clap", arg($($arg)*))])?
                $(#[serde($($serde)*)])?
                pub $field: Option<$kind>,
            )*
        }

        impl Settings {
            /// These, and where absent those of `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }
        }
    };
}

settings! {
    /// Folder, .gguf file or Hub id of the model to tune
    #[arg(long, value_name = "MODEL", help_heading = "What")]
    model: String,
    /// Files of rows to train on: JSONL, JSON, CSV or Parquet, plain or gzip; -: standard input; FILE:2: each row twice an
    /// epoch, FILE:0.5: half of them
    #[arg(long, value_name = "FILE[:WEIGHT]", num_args = 1.., help_heading = "What")]
    #[serde(deserialize_with = "one_or_more")]
    data: Vec<String>,
    /// Files of rows to evaluate on
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "What")]
    #[serde(deserialize_with = "one_or_more")]
    eval_data: Vec<String>,
    /// Suite files to evaluate on, before the first step too: see `wgpu-sft eval`
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "What")]
    #[serde(deserialize_with = "one_or_more")]
    eval_suite: Vec<String>,
    /// Folder for checkpoints, metrics and the result
    #[arg(long, value_name = "DIR", help_heading = "What")]
    output_dir: std::path::PathBuf,

    /// Most tokens of a row [default: 1024, or the model's context if that is shorter]
    #[arg(long, value_name = "N", help_heading = "Rows")]
    max_length: usize,
    /// What to do with longer rows: error, drop, truncate or split (rows of text alone) [default: error]
    #[arg(long, value_name = "WHAT", help_heading = "Rows")]
    overlong: String,
    /// What conversations teach: the assistant's turns (assistant), the last of them (last), or everything (all) [default: assistant]
    #[arg(long, value_name = "WHICH", help_heading = "Rows")]
    train_on: String,
    /// Columns that are not named as fields are: prompt=question,completion=answer
    #[arg(long, value_name = "FIELD=COLUMN,...", help_heading = "Rows")]
    columns: String,
    /// The shape of the rows, where their keys fit several: alpaca, dolly, prompt-completion, prompt-completion-messages,
    /// messages, sharegpt, text, segments or tokens
    #[arg(long, value_name = "SHAPE", help_heading = "Rows")]
    shape: String,
    /// Instructions as Stanford's text (alpaca) or through the chat template (alpaca-chat) [default: alpaca-chat if the
    /// model has a template]
    #[arg(long, value_name = "STYLE", help_heading = "Rows")]
    alpaca_style: String,
    /// Leave rows out that cannot be used, and list the first ten
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Rows")]
    skip_bad_rows: bool,
    /// Shares of the tasks that rows name in an epoch: proportional, sqrt or balanced [default: proportional]
    #[arg(long, value_name = "MIX", help_heading = "Rows")]
    mix: String,

    /// Train an adapter (lora) or every weight (full) [default: lora]
    #[arg(long, value_name = "METHOD", help_heading = "Method")]
    method: String,
    /// Rank of the adapter [default: 16]
    #[arg(long, value_name = "R", help_heading = "Method")]
    lora_r: usize,
    /// The adapter is scaled by alpha / r [default: 32]
    #[arg(long, value_name = "ALPHA", help_heading = "Method")]
    lora_alpha: f64,
    /// Share of an adapted layer's inputs that is dropped [default: 0]
    #[arg(long, value_name = "P", help_heading = "Method")]
    lora_dropout: f64,
    /// all-linear, or some of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj [default: all-linear]
    #[arg(long, value_name = "NAMES", value_parser = parse_modules, help_heading = "Method")]
    lora_target_modules: TargetModules,

    /// Peak learning rate [default: 2e-4 for lora, 2e-5 for full]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Optimizer")]
    learning_rate: f64,
    /// linear, cosine, constant or constant_with_warmup [default: cosine]
    #[arg(long, value_name = "TYPE", help_heading = "Optimizer")]
    lr_scheduler_type: LrSchedulerType,
    /// Steps of warm-up, or below 1 their share of all steps [default: 0]
    #[arg(long, value_name = "N", help_heading = "Optimizer")]
    warmup_steps: f64,
    /// Weight decay of matrices; norms and biases never decay [default: 0]
    #[arg(long, value_name = "RATE", help_heading = "Optimizer")]
    weight_decay: f64,
    /// [default: 0.9]
    #[arg(long, value_name = "BETA", help_heading = "Optimizer")]
    adam_beta1: f64,
    /// [default: 0.999]
    #[arg(long, value_name = "BETA", help_heading = "Optimizer")]
    adam_beta2: f64,
    /// [default: 1e-8]
    #[arg(long, value_name = "EPSILON", help_heading = "Optimizer")]
    adam_epsilon: f64,
    /// Clip the gradient's norm to this; 0: never [default: 1]
    #[arg(long, value_name = "NORM", help_heading = "Optimizer")]
    max_grad_norm: f64,

    /// Examples per optimizer step [default: 8]
    #[arg(long, value_name = "N", help_heading = "Steps")]
    #[serde(alias = "per-device-train-batch-size")]
    batch_size: usize,
    /// Multiplies the batch size; memory is not affected by either [default: 1]
    #[arg(long, value_name = "N", help_heading = "Steps")]
    gradient_accumulation_steps: usize,
    /// Passes over the rows [default: 3]
    #[arg(long, value_name = "N", help_heading = "Steps")]
    num_train_epochs: f64,
    /// Optimizer steps; overrides the epochs
    #[arg(long, value_name = "N", help_heading = "Steps")]
    max_steps: u64,
    /// What order, dropout and fresh adapters are drawn from [default: 42]
    #[arg(long, value_name = "N", help_heading = "Steps")]
    seed: u64,
    /// Take the rows in the file's order
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Steps")]
    no_shuffle: bool,

    /// Steps between log lines [default: 10]
    #[arg(long, value_name = "N", help_heading = "Output")]
    logging_steps: u64,
    /// Steps between evaluations [default: one at the end]
    #[arg(long, value_name = "N", help_heading = "Output")]
    eval_steps: u64,
    /// Keep the weights of the best evaluation, not the last step's; each best one gets a checkpoint
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Output")]
    load_best_model_at_end: bool,
    /// What the best is told by: eval_loss, or eval_SUITE_MEASURE [default: the first there is]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    metric_for_best_model: String,
    /// Stop after so many evaluations in a row without a gain [default: never]
    #[arg(long, value_name = "N", help_heading = "Output")]
    early_stopping_patience: u32,
    /// How much a gain must be [default: 0]
    #[arg(long, value_name = "X", help_heading = "Output")]
    early_stopping_threshold: f64,
    /// Steps between checkpoints; one is always made at the end [default: 500]
    #[arg(long, value_name = "N", help_heading = "Output")]
    save_steps: u64,
    /// Type of a full model's weights: f32, f16 or bf16 [default: the source's; f16 if it is quantised]
    #[arg(long, value_name = "DTYPE", help_heading = "Output")]
    save_dtype: String,
    /// What else to write the log for: none, tensorboard (event files in the output folder) or all [default: none]
    #[arg(long, value_name = "TOOL", help_heading = "Output")]
    report_to: String,
    /// No progress, only errors
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Output")]
    quiet: bool,

    /// Adapter to use: its number in `wgpu-sft devices`, or a part of its name [default: the fastest]
    #[arg(long, value_name = "DEVICE", help_heading = "Device")]
    device: String,
    /// Kernel family instead of the one that suits the adapter: tiled, subgroup, register or cooperative
    #[arg(long, value_name = "FAMILY", help_heading = "Device")]
    kernels: String,
    /// Keep the run-time checks that are left out of shaders (bounds, loops): slower, for hunting bugs
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Device")]
    checked: bool,
    /// Store frozen weights as f32, f16 or bf16 [default: as the file does; f32 if it is quantised]
    #[arg(long, value_name = "DTYPE", help_heading = "Device")]
    dtype: String,
    /// Tokens computed at once [default: what the step needs and memory allows]
    #[arg(long, value_name = "N", help_heading = "Device")]
    micro_batch_tokens: u32,
    /// Most memory to use on the device, such as 6GiB: activations are recomputed, then micro-batches made smaller
    /// [default: what the device gives]
    #[arg(long, value_name = "SIZE", help_heading = "Device")]
    memory_limit: String,
    /// Compute activations twice instead of keeping them: auto, off or on; auto: where memory is short [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Device")]
    recompute: String,
    /// Keep activations for the backward pass as f32, bf16 or f16; arithmetic and gradients stay f32 [default: f32]
    #[arg(long, value_name = "DTYPE", help_heading = "Device")]
    activations: String,
}

/// Bytes of a size such as `6GiB`, `500MB` or `1000000`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1u64 << 30,
        _ => return None,
    };
    let bytes = digits.parse::<f64>().ok()? * unit as f64;
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(feature = "clap")]
fn parse_modules(text: &str) -> std::result::Result<TargetModules, String> {
    Ok(match text {
        "all-linear" => TargetModules::AllLinear,
        names => TargetModules::Names(names.split(',').map(|name| name.trim().to_owned()).collect()),
    })
}

/// Names of files: one, or a list.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the name of a file, or a list of names")]
    enum Names {
        One(String),
        More(Vec<String>),
    }
    Ok(Some(match Names::deserialize(from)? {
        Names::One(name) => vec![name],
        Names::More(names) => names,
    }))
}

impl Settings {
    /// How rows are read.
    pub fn rows(&self) -> RowSettings {
        RowSettings {
            max_length: self.max_length,
            overlong: self.overlong.clone(),
            train_on: self.train_on.clone(),
            columns: self.columns.clone(),
            shape: self.shape.clone(),
            alpaca_style: self.alpaca_style.clone(),
            skip_bad_rows: self.skip_bad_rows.unwrap_or(false),
            // Tasks matter to shares alone.
            guess_tasks: !matches!(self.mix(), Ok(Mix::Proportional)),
        }
    }

    /// How tasks share an epoch.
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no [`Mix`].
    pub fn mix(&self) -> Result<Mix> {
        Ok(self.mix.as_deref().map(str::parse).transpose()?.unwrap_or_default())
    }

    /// The settings of a TOML file. Keys may be spelled with `-` or `_`.
    ///
    /// # Errors
    /// [`Error::Config`] for text that is not TOML, an unknown key and one that is there twice.
    pub fn from_toml(text: &str) -> Result<Self> {
        // Several lines, the last of them the reason.
        let bad = |e: toml::de::Error| Error::config("settings", e.to_string().trim_end().to_owned());
        let table: toml::Table = toml::from_str(text).map_err(bad)?;
        let mut renamed = toml::Table::new();
        for (key, value) in table {
            let name = key.replace('_', "-");
            if renamed.insert(name, value).is_some() {
                return Err(Error::config(key, "is there twice"));
            }
        }
        renamed.try_into().map_err(bad)
    }

    /// What the library is told.
    ///
    /// # Errors
    /// [`Error::Config`] naming a setting that has no such value.
    pub fn train_config(&self) -> Result<TrainConfig> {
        let default = TrainConfig::default();
        let method = match self.method.as_deref() {
            None => default.method,
            Some("lora") => Method::Lora,
            Some("full") => Method::Full,
            Some(other) => return Err(Error::config("method", format!("{other:?} is neither lora nor full"))),
        };
        let config = TrainConfig {
            method,
            lora: LoraConfig {
                r: self.lora_r.unwrap_or(default.lora.r),
                lora_alpha: self.lora_alpha.unwrap_or(default.lora.lora_alpha),
                lora_dropout: self.lora_dropout.unwrap_or(default.lora.lora_dropout),
                target_modules: self.lora_target_modules.clone().unwrap_or(default.lora.target_modules),
            },
            learning_rate: Some(self.learning_rate.unwrap_or(method.default_learning_rate())),
            lr_scheduler_type: self.lr_scheduler_type.unwrap_or(default.lr_scheduler_type),
            warmup_steps: self.warmup_steps.unwrap_or(default.warmup_steps),
            weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
            weight_decay_on: default.weight_decay_on,
            adam_beta1: self.adam_beta1.unwrap_or(default.adam_beta1),
            adam_beta2: self.adam_beta2.unwrap_or(default.adam_beta2),
            adam_epsilon: self.adam_epsilon.unwrap_or(default.adam_epsilon),
            max_grad_norm: self.max_grad_norm.unwrap_or(default.max_grad_norm),
            batch_size: self.batch_size.unwrap_or(default.batch_size),
            gradient_accumulation_steps: self
                .gradient_accumulation_steps
                .unwrap_or(default.gradient_accumulation_steps),
            num_train_epochs: self.num_train_epochs.unwrap_or(default.num_train_epochs),
            max_steps: self.max_steps,
            seed: self.seed.unwrap_or(default.seed),
            shuffle: !self.no_shuffle.unwrap_or(!default.shuffle),
            recompute: self.recompute()?,
            activations: self.activations.as_deref().map_or(Ok(default.activations), |name| {
                Ok::<_, Error>(Dtype::named("activations", name)?.storage())
            })?,
        };
        if method == Method::Full && self.dtype.is_some() {
            return Err(Error::config("dtype", "weights that are trained are always f32"));
        }
        if method == Method::Lora && self.save_dtype.is_some() {
            return Err(Error::config("save_dtype", "an adapter is always saved in f32"));
        }
        self.memory_limit()?;
        self.tensorboard()?;
        config.validate()?;
        for (field, value) in [
            ("logging_steps", self.logging_steps),
            ("eval_steps", self.eval_steps),
            ("save_steps", self.save_steps),
        ] {
            if value == Some(0) {
                return Err(Error::config(field, "must be at least 1"));
            }
        }
        Ok(config)
    }

    /// Bytes that a run may use on the device.
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no size.
    pub fn memory_limit(&self) -> Result<Option<u64>> {
        let parse = |text: &String| {
            let why = || format!("{text:?} is not a size such as 6GiB, 500MB or 1000000");
            parse_size(text).ok_or_else(|| Error::config("memory_limit", why()))
        };
        self.memory_limit.as_ref().map(parse).transpose()
    }

    /// Whether the log is written for TensorBoard, too.
    ///
    /// # Errors
    /// [`Error::Config`] for another name than `none`, `tensorboard` and `all`.
    pub fn tensorboard(&self) -> Result<bool> {
        match self.report_to.as_deref() {
            None | Some("none") => Ok(false),
            Some("tensorboard" | "all") => Ok(true),
            Some(other) => {
                let why = format!("{other:?} is none of none, tensorboard, all");
                Err(Error::config("report_to", why))
            }
        }
    }

    /// When activations are computed twice.
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no [`Recompute`].
    pub fn recompute(&self) -> Result<Recompute> {
        self.recompute.as_deref().unwrap_or("auto").parse()
    }

    /// Steps between log lines.
    pub fn logging_steps(&self) -> u64 {
        self.logging_steps.unwrap_or(10)
    }

    /// Steps between checkpoints.
    pub fn save_steps(&self) -> u64 {
        self.save_steps.unwrap_or(500)
    }

    /// As TOML, every default written out: fit for `--config`.
    ///
    /// # Errors
    /// As [`Settings::train_config`].
    pub fn to_toml(&self) -> Result<String> {
        let config = self.train_config()?;
        let filled = Self {
            overlong: Some(self.overlong.clone().unwrap_or_else(|| "error".to_owned())),
            train_on: Some(self.train_on.clone().unwrap_or_else(|| "assistant".to_owned())),
            skip_bad_rows: Some(self.skip_bad_rows.unwrap_or(false)),
            mix: Some(self.mix.clone().unwrap_or_else(|| "proportional".to_owned())),
            method: Some(if config.method == Method::Full { "full" } else { "lora" }.to_owned()),
            lora_r: Some(config.lora.r),
            lora_alpha: Some(config.lora.lora_alpha),
            lora_dropout: Some(config.lora.lora_dropout),
            lora_target_modules: Some(config.lora.target_modules),
            learning_rate: config.learning_rate,
            lr_scheduler_type: Some(config.lr_scheduler_type),
            warmup_steps: Some(config.warmup_steps),
            weight_decay: Some(config.weight_decay),
            adam_beta1: Some(config.adam_beta1),
            adam_beta2: Some(config.adam_beta2),
            adam_epsilon: Some(config.adam_epsilon),
            max_grad_norm: Some(config.max_grad_norm),
            batch_size: Some(config.batch_size),
            gradient_accumulation_steps: Some(config.gradient_accumulation_steps),
            num_train_epochs: Some(config.num_train_epochs),
            seed: Some(config.seed),
            no_shuffle: Some(!config.shuffle),
            logging_steps: Some(self.logging_steps()),
            save_steps: Some(self.save_steps()),
            report_to: Some(self.report_to.clone().unwrap_or_else(|| "none".to_owned())),
            recompute: Some(self.recompute.clone().unwrap_or_else(|| "auto".to_owned())),
            activations: Some(self.activations.clone().unwrap_or_else(|| "f32".to_owned())),
            quiet: Some(self.quiet.unwrap_or(false)),
            checked: Some(self.checked.unwrap_or(false)),
            ..self.clone()
        };
        toml::to_string(&filled).map_err(|e| Error::config("settings", e.to_string()))
    }

    /// As [`Settings::to_toml`], by name.
    ///
    /// # Errors
    /// As [`Settings::train_config`].
    pub fn filled(&self) -> Result<Map<String, Value>> {
        toml::from_str(&self.to_toml()?).map_err(|e| Error::config("settings", e.to_string()))
    }
}
