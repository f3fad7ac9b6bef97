//! The flags of `data`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use wgpu_sft::data::Preparation;

use crate::model_files::ModelFiles;

#[derive(Subcommand)]
pub enum DataCommand {
    /// Look for flaws in rows; exit code 1 if there are serious ones
    Check(DataCheckArgs),
    /// Show rows as tokens, those that a model would learn marked
    Preview(DataPreviewArgs),
    /// Write the rows without serious flaws and repeats to one file, the others with reasons to another
    Clean(DataCleanArgs),
    /// Write rows to train on to one file, rows to hold out to another
    Split(DataSplitArgs),
}

/// Which rows.
#[derive(ClapArgs, Clone)]
pub struct FilesArgs {
    /// Rows: JSONL, JSON, CSV or Parquet, plain or gzip
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,

    /// Columns that are not named as fields are: prompt=question,completion=answer
    #[arg(long, value_name = "FIELD=COLUMN,...")]
    pub columns: Option<String>,

    /// The shape of the rows, where their keys fit several: alpaca, dolly, prompt-completion,
    /// prompt-completion-messages, messages, sharegpt, text, segments or tokens
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<String>,
}

/// What would be learnt from them.
#[derive(ClapArgs, Clone, Default)]
pub struct LearnArgs {
    /// Whose tokenizer and chat template make tokens of the rows
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Instructions as Stanford's text (alpaca) or through the chat template (alpaca-chat) [default: alpaca-chat if
    /// the model has a template]
    #[arg(long, value_name = "STYLE", requires = "model")]
    pub alpaca_style: Option<String>,

    /// What conversations teach: the assistant's turns (assistant), the last of them (last), or everything (all)
    /// [default: assistant]
    #[arg(long, value_name = "WHICH", requires = "model")]
    pub train_on: Option<String>,
}

impl LearnArgs {
    /// The model's files, if there is one.
    pub fn model(&self, quiet: bool) -> Result<Option<ModelFiles>> {
        self.model
            .as_deref()
            .map(|name| ModelFiles::open(name, quiet))
            .transpose()
    }

    /// How a model's rows are prepared, of any length.
    pub fn preparation<'a>(&self, model: &'a ModelFiles) -> Result<Preparation<'a>> {
        Ok(Preparation {
            tokenizer: model.tokenizer.as_ref(),
            template: model.template.as_ref(),
            vocab_size: model.config.vocab_size,
            alpaca_style: self.alpaca_style.as_deref().map(str::parse).transpose()?,
            train_on: self
                .train_on
                .as_deref()
                .map(str::parse)
                .transpose()?
                .unwrap_or_default(),
            ..Preparation::default()
        })
    }
}

/// When to write in colours.
#[derive(ValueEnum, Clone, Copy)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never: what is learnt stands in ⟦ ⟧
    Never,
}

#[derive(ClapArgs)]
pub struct DataPreviewArgs {
    #[command(flatten)]
    pub rows: FilesArgs,

    #[command(flatten)]
    pub learn: LearnArgs,

    /// How many rows of each file
    #[arg(long = "rows", value_name = "N", default_value_t = 3)]
    pub count: usize,

    /// The first row: its line, or in a JSON array its number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub from: usize,

    /// Show token ids too
    #[arg(long)]
    pub ids: bool,

    /// When to write in colours
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: ColorChoice,

    /// Print JSON: each row's tokens with their ids and whether they are learnt
    #[arg(long, conflicts_with = "html")]
    pub json: bool,

    /// Write a page that needs no network instead
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub struct DataCheckArgs {
    #[command(flatten)]
    pub rows: FilesArgs,

    /// Held-out rows, which training rows must not repeat
    #[arg(long, value_name = "FILE")]
    pub eval_data: Vec<String>,

    #[command(flatten)]
    pub learn: LearnArgs,

    /// Most tokens of a row, or words without --model [default: 1024 with --model, or its context if that is shorter]
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Write a page with charts, which needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub struct DataCleanArgs {
    #[command(flatten)]
    pub rows: FilesArgs,

    /// File for the rows that are kept, each line as it was
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// File for the rows that are dropped, each with reasons, file and line
    #[arg(long, value_name = "FILE")]
    pub dropped: PathBuf,

    /// Findings to drop rows for [default: every error, exact-duplicate, near-duplicate]
    #[arg(long, value_name = "CODE,...")]
    pub drop: Option<String>,

    /// Held-out rows, which are not to be in training
    #[arg(long, value_name = "FILE")]
    pub eval_data: Vec<String>,

    #[command(flatten)]
    pub learn: LearnArgs,

    /// Most tokens of a row, or words without --model; longer ones are dropped
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,

    /// Replace files that exist
    #[arg(long)]
    pub overwrite: bool,
}

/// What stays together when rows are split.
#[derive(ValueEnum, Clone, Copy)]
pub enum SplitKind {
    /// Nothing: every task gives its share of rows
    Row,
    /// Rows of one task: whole tasks are held out
    Task,
    /// Rows that are nearly the same
    Cluster,
}

#[derive(ClapArgs)]
pub struct DataSplitArgs {
    #[command(flatten)]
    pub rows: FilesArgs,

    /// File for the rows to train on
    #[arg(long, value_name = "FILE")]
    pub train: PathBuf,

    /// File for the rows that are held out
    #[arg(long, value_name = "FILE")]
    pub eval: PathBuf,

    /// What stays together
    #[arg(long, value_name = "WHAT", value_enum, default_value = "row")]
    pub by: SplitKind,

    /// Share of the rows to hold out
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub eval_fraction: f64,

    /// Number of rows to hold out instead
    #[arg(long, value_name = "N", conflicts_with = "eval_fraction")]
    pub eval_rows: Option<usize>,

    /// Tasks to hold out, with --by task [default: drawn until there are enough rows]
    #[arg(long, value_name = "TASK,...", value_delimiter = ',')]
    pub tasks: Vec<String>,

    /// What the choice is drawn from; the same rows and seed give the same split, whatever the order of files and lines
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,

    /// Replace files that exist
    #[arg(long)]
    pub overwrite: bool,
}
