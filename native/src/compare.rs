//! `compare`: two models on the same suites.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use wgpu_sft::data::RowSettings;
use wgpu_sft::eval::{Comparison, SuiteResult};
use wgpu_sft::gpu::Gpu;

use crate::args::DeviceArgs;
use crate::eval::{self, SuiteArgs, Suites};
use crate::model_files::ModelFiles;
use crate::progress::{line, tell, warn};
use crate::tensor_file::replace;
use crate::{Outcome, devices, interrupt};

/// When a comparison fails.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailIf {
    /// A suite is worse by its first measure: the interval of the difference lies on the wrong side of 0
    Worse,
    /// A suite other than a forgetting set is not better, or any is worse
    NotBetter,
}

#[derive(Args)]
pub struct CompareArgs {
    /// Folder, .gguf file or Hub id of the tuned model, or of the model that was tuned if --adapter is given; a checkpoint
    /// of full training is such a folder
    #[arg(long, value_name = "MODEL")]
    pub model: String,

    /// Folder of the tuned adapter; a checkpoint is such a folder
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// The model to compare with [default: --model without its adapter]
    #[arg(long, value_name = "MODEL")]
    pub base_model: Option<String>,

    /// An adapter for the model to compare with
    #[arg(long, value_name = "DIR")]
    pub base_adapter: Option<PathBuf>,

    #[command(flatten)]
    pub suites: SuiteArgs,

    /// Exit with code 1 if tuning did not do what it should
    #[arg(long, value_name = "WHEN")]
    pub fail_if: Option<FailIf>,

    /// Show so many items of each suite side by side
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub samples: usize,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Write a page of it
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Store weights as f32, f16 or bf16 [default: as the file does; f32 if it is quantised]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,

    #[command(flatten)]
    pub device: DeviceArgs,

    #[command(flatten)]
    pub rows: RowSettings,
}

/// Items of each suite that a page shows.
const ON_PAGE: usize = 12;

/// One of the two.
struct Side<'a> {
    name: String,
    source: &'a ModelFiles,
    adapter: Option<&'a PathBuf>,
}

impl Side<'_> {
    fn results(&self, args: &CompareArgs, gpu: &Gpu) -> Result<Option<Vec<SuiteResult>>> {
        // Each model has its own tokenizer and template.
        let suites = Suites::read(&args.suites, self.source, &args.rows)?;
        let adapter = self.adapter.map(PathBuf::as_path);
        let model = eval::load_with(args.dtype.as_deref(), adapter, self.source, gpu, args.json)?;
        suites.run(&model, self.source, args.json)
    }
}

/// What a model with an adapter is called.
fn named(model: &str, adapter: Option<&PathBuf>) -> String {
    match adapter {
        Some(adapter) => format!("{model} + {}", adapter.display()),
        None => model.to_owned(),
    }
}

/// Compare.
pub fn run(args: CompareArgs) -> Result<Outcome> {
    if !args.suites.are_asked_for() {
        bail!("compare needs --suite, or --measure beside --data");
    }
    if args.suites.data.iter().any(|file| file == "-") {
        bail!("-: standard input cannot be read twice; write it to a file first");
    }
    let tuned = ModelFiles::open(&args.model, args.json)?;
    let other = args
        .base_model
        .as_ref()
        .map(|model| ModelFiles::open(model, args.json))
        .transpose()?;
    let base = Side {
        name: named(
            args.base_model.as_ref().unwrap_or(&args.model),
            args.base_adapter.as_ref(),
        ),
        source: other.as_ref().unwrap_or(&tuned),
        adapter: args.base_adapter.as_ref(),
    };
    let tuned = Side {
        name: named(&args.model, args.adapter.as_ref()),
        source: &tuned,
        adapter: args.adapter.as_ref(),
    };
    if base.name == tuned.name {
        warn("both are the same model: give --adapter, --base-model or --base-adapter");
    }
    let gpu = devices::open(&args.device)?;
    interrupt::catch("stopping")?;
    let (Some(before), Some(after)) = (base.results(&args, &gpu)?, tuned.results(&args, &gpu)?) else {
        return Ok(Outcome::Interrupted);
    };
    let shown = if args.html.is_some() || args.json {
        ON_PAGE.max(args.samples)
    } else {
        args.samples
    };
    let comparison = Comparison::new((&base.name, &before), (&tuned.name, &after), shown)?;
    if let Some(path) = &args.html {
        replace(path, comparison.to_html().as_bytes())?;
    }
    match args.json {
        true => line(&serde_json::to_string(&comparison)?)?,
        false => eval::comparison(&comparison, args.samples)?,
    }
    for suite in comparison
        .suites
        .iter()
        .filter(|suite| suite.decides && args.fail_if.is_some())
    {
        if suite.measure.is_share() && suite.all.units() < 6 {
            warn(&format!("suite {:?} has too few items to decide anything", suite.name));
        }
    }
    let failed = match args.fail_if {
        None => None,
        Some(FailIf::Worse) => comparison.is_worse().then_some("a suite is worse"),
        Some(FailIf::NotBetter) => (!comparison.is_better()).then_some("not every suite is better, or one is worse"),
    };
    match failed {
        None => Ok(Outcome::Fine),
        Some(why) => {
            tell(&format!("failed: {why}"));
            Ok(Outcome::No)
        }
    }
}
