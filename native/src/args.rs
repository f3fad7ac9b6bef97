//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use wgpu_sft::data::RowSettings;
use wgpu_sft::model::ModelConfig;
use wgpu_sft::train::Settings;

use crate::compare::CompareArgs;
use crate::data::DataCommand;
use crate::eval::SuiteArgs;
use crate::manual::{CompletionsArgs, ManArgs};

/// Instruction-tune small language models on any GPU.
#[derive(Parser)]
#[command(name = "wgpu-sft", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Tune a model on rows of messages, prompts and completions, or tokens
    #[command(args_override_self = true)]
    Train(Box<TrainArgs>),
    /// Make a model with random weights from a config.json
    Init(InitArgs),
    /// Evaluate a model on rows: losses, or the measures of suites
    Eval(EvalArgs),
    /// Compare two models on the same suites: what tuning changed
    Compare(Box<CompareArgs>),
    /// Answer one prompt
    Generate(GenerateArgs),
    /// Talk to a model
    Chat(ChatArgs),
    /// Fold an adapter into its base model
    Merge(MergeArgs),
    /// Write the report of a run again, from what its folder holds
    Report(ReportArgs),
    /// List adapters: their features, their limits, the kernels chosen for them
    Devices,
    /// Check every kernel against its reference on this device; exit code 1 if one is wrong
    Check(CheckArgs),
    /// Train, kill the run again and again, resume it, and compare every bit with a run that was left alone; exit code 1 if one differs
    #[command(args_override_self = true)]
    VerifyResume(Box<VerifyResumeArgs>),
    /// Check, clean and split rows
    #[command(subcommand)]
    Data(DataCommand),
    /// Time optimizer steps on made-up tokens, and say what share of the adapter's best they reach
    Bench(BenchArgs),
    /// Print what makes a shell complete these commands and their flags
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

#[derive(ClapArgs)]
pub struct TrainArgs {
    #[command(flatten)]
    pub settings: Settings,

    /// Read settings from a TOML file with the same keys; flags win
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,

    /// Print all settings as TOML, defaults included, and stop
    #[arg(long, help_heading = "Run")]
    pub print_config: bool,

    /// Show rows, steps, packing, memory and an estimate of the time; write nothing
    #[arg(long, help_heading = "Run")]
    pub dry_run: bool,

    /// Go on from a checkpoint [default: the newest complete one in the output folder]
    #[arg(long, value_name = "DIR", num_args = 0..=1, help_heading = "Run")]
    #[expect(clippy::option_option, reason = "absent, present, present with a value")]
    pub resume: Option<Option<PathBuf>>,

    /// Remove the run that the output folder holds
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    pub overwrite_output_dir: bool,
}

/// Where to compute.
#[derive(ClapArgs, Clone, Default)]
pub struct DeviceArgs {
    /// Adapter to use: its number in `wgpu-sft devices`, or a part of its name [default: the fastest]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// Kernel family instead of the one that suits the adapter: tiled, subgroup, register or cooperative
    #[arg(long, value_name = "FAMILY")]
    pub kernels: Option<String>,

    /// Keep the run-time checks that the library leaves out of its shaders (bounds, loops): slower, for hunting bugs
    #[arg(long)]
    pub checked: bool,
}

/// Which model.
#[derive(ClapArgs, Clone)]
pub struct ModelArgs {
    /// Folder, .gguf file or Hub id of the model
    #[arg(long, value_name = "MODEL")]
    pub model: String,

    /// Folder of a LoRA adapter for it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Store weights as f32, f16 or bf16 [default: as the file does; f32 if it is quantised]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,
}

#[derive(ClapArgs)]
pub struct InitArgs {
    /// The config.json of the model to make
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Folder to write the model to
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,

    /// Model whose tokenizer and chat template to copy
    #[arg(long, value_name = "MODEL")]
    pub tokenizer: Option<String>,

    /// What the weights are drawn from
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,

    /// Type of the weights: f32, f16 or bf16
    #[arg(long, value_name = "DTYPE", default_value = "f32")]
    pub save_dtype: String,
}

#[derive(ClapArgs)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub suites: SuiteArgs,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Show so many answers of each suite
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub samples: usize,

    /// Write every item with its answer and scores as JSON
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub device: DeviceArgs,

    #[command(flatten)]
    pub rows: RowSettings,
}

/// How tokens are chosen.
#[derive(ClapArgs, Clone)]
pub struct SamplingArgs {
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_new_tokens: u32,

    /// Randomness; 0: always the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,

    /// Choose among the K likeliest tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,

    /// Choose among the likeliest tokens that make up this probability; 1: all
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,

    /// Choose among tokens at least this share as likely as the likeliest; 0: all
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f32,

    /// What random choices are drawn from
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

#[derive(ClapArgs)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// The prompt [default: standard input]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// System message
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,

    /// Continue the prompt as plain text, without the chat template
    #[arg(long)]
    pub raw: bool,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(ClapArgs)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// System message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Tokens of conversation to keep in memory [default: 2048, or the model's context if that is shorter]
    #[arg(long, value_name = "N")]
    pub context: Option<u32>,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(ClapArgs)]
pub struct MergeArgs {
    /// Folder, .gguf file or Hub id of the base model
    #[arg(long, value_name = "MODEL")]
    pub model: String,

    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,

    /// Folder to write the merged model to
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,

    /// Type of the weights: f32, f16 or bf16 [default: the base's; f16 if it is quantised]
    #[arg(long, value_name = "DTYPE")]
    pub save_dtype: Option<String>,
}

#[derive(ClapArgs)]
pub struct ReportArgs {
    /// The output folder of a run
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

#[derive(ClapArgs)]
pub struct CheckArgs {
    /// Only cases whose name contains this
    pub filter: Option<String>,

    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(ClapArgs)]
pub struct VerifyResumeArgs {
    #[command(flatten)]
    pub settings: Settings,

    /// Read settings from a TOML file with the same keys; flags win [default without a model: a small run of random weights]
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,

    /// How often to kill it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub kills: u32,

    /// Keep the folder with both runs
    #[arg(long, help_heading = "Run")]
    pub keep: bool,
}

#[derive(ClapArgs)]
pub struct BenchArgs {
    /// Folder, .gguf file or Hub id of a model [default: random weights in the shape below]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Train an adapter (lora) or every weight (full)
    #[arg(long, value_name = "METHOD", default_value = "lora")]
    pub method: String,

    /// Rank of the adapter, which is on all linear layers
    #[arg(long, value_name = "R", default_value_t = 16)]
    pub lora_r: usize,

    /// How weights that are not trained are stored: f32, f16 or bf16 [default: bf16]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,

    /// How activations are kept for the backward pass: f32, bf16 or f16
    #[arg(long, value_name = "DTYPE", default_value = "f32")]
    pub activations: String,

    /// Tokens of a step: one row, every token supervised
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub tokens: u32,

    /// Steps to time after the first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub steps: u32,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Time every dispatch of a step more, and list them
    #[arg(long)]
    pub ops: bool,

    /// Write those times as a trace that ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    pub device: DeviceArgs,

    // The last, as its heading is that of all flags after it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// The shape of a Llama; what is not given is as in SmolLM2-135M.
#[derive(ClapArgs)]
#[command(next_help_heading = "Shape")]
pub struct ShapeArgs {
    /// Width of the residual stream
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub hidden: Option<usize>,

    /// Transformer blocks
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub layers: Option<usize>,

    /// Query heads
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub heads: Option<usize>,

    /// Key and value heads [default: as many as query heads, where --heads is given]
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub kv_heads: Option<usize>,

    /// Width of the feed-forward layer
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub ffn: Option<usize>,

    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", conflicts_with = "model")]
    pub vocab: Option<usize>,

    /// Whether head and embedding are one matrix [default: false where any size is given]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", conflicts_with = "model")]
    pub tie_word_embeddings: Option<bool>,
}

impl ShapeArgs {
    /// The configuration of such a model.
    ///
    /// # Errors
    /// [`wgpu_sft::Error::Config`] for sizes that do not go together.
    pub fn config(&self) -> wgpu_sft::Result<ModelConfig> {
        let sizes = [
            self.hidden,
            self.layers,
            self.heads,
            self.kv_heads,
            self.ffn,
            self.vocab,
        ];
        let as_default = sizes.iter().all(Option::is_none);
        let heads = self.heads.unwrap_or(9);
        let config = serde_json::json!({
            "model_type": "llama",
            "hidden_size": self.hidden.unwrap_or(576),
            "num_hidden_layers": self.layers.unwrap_or(30),
            "num_attention_heads": heads,
            "num_key_value_heads": self.kv_heads.unwrap_or(if self.heads.is_some() { heads } else { 3 }),
            "intermediate_size": self.ffn.unwrap_or(1536),
            "vocab_size": self.vocab.unwrap_or(49152),
            "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": self.tie_word_embeddings.unwrap_or(as_default),
        });
        ModelConfig::from_json(&config.to_string())
    }
}
