//! The flags of `data`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum DataCommand {
    /// Look for flaws in rows; exit code 1 if there are serious ones
    Check(DataCheckArgs),
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

#[derive(ClapArgs)]
pub struct DataCheckArgs {
    #[command(flatten)]
    pub rows: FilesArgs,

    /// Held-out rows, which training rows must not repeat
    #[arg(long, value_name = "FILE")]
    pub eval_data: Vec<String>,

    /// Count tokens as this model would, and check what it would learn
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

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

    /// Count tokens as this model would, and check what it would learn
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

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
