//! `eval`: a model on rows or on suites.

mod suites;
mod table;

use std::path::Path;

use anyhow::Result;
use pollster::block_on;
use serde_json::json;
use wgpu_sft::Error;
use wgpu_sft::eval::Evaluator;
use wgpu_sft::formats::Dtype;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, Use};

use crate::args::{EvalArgs, ModelArgs};
use crate::model_files::ModelFiles;
use crate::progress::line;
use crate::{Outcome, devices, interrupt, pipeline_cache};

pub use suites::{SuiteArgs, Suites};
pub use table::comparison;

/// A model to be used, not trained: on the device, its adapter in place.
pub fn load(args: &ModelArgs, source: &ModelFiles, gpu: &Gpu, quiet: bool) -> Result<Model> {
    load_with(args.dtype.as_deref(), args.adapter.as_deref(), source, gpu, quiet)
}

/// As [`load`], weights in `dtype`.
pub fn load_with(
    dtype: Option<&str>,
    adapter: Option<&Path>,
    source: &ModelFiles,
    gpu: &Gpu,
    quiet: bool,
) -> Result<Model> {
    let stored = dtype.map(|name| Dtype::named("dtype", name)).transpose()?;
    let adapter = adapter.map(|folder| source.adapter(folder)).transpose()?;
    let mut model = source.load(gpu, Use::Frozen(stored.map(Dtype::storage)), quiet)?;
    if let Some(adapter) = adapter {
        model.load_adapter(&adapter.config, &adapter.pairs)?;
    }
    Ok(model)
}

/// Evaluate.
pub fn run(args: EvalArgs) -> Result<Outcome> {
    if args.suites.are_asked_for() {
        return on_suites(args);
    }
    for (field, given) in [
        ("output", args.output.is_some()),
        ("limit", args.suites.limit.is_some()),
        ("max_new_tokens", args.suites.max_new_tokens.is_some()),
    ] {
        if given {
            return Err(Error::config(field, "needs --suite or --measure").into());
        }
    }
    let source = ModelFiles::open(&args.model.model, args.json)?;
    let rows = source
        .rows(&args.suites.data, &args.rows, args.json)?
        .unweighted("data")?;
    rows.warn_of_bad_rows();
    let gpu = devices::open(&args.device)?;
    let model = load(&args.model, &source, &gpu, args.json)?;
    let mut evaluator = block_on(Evaluator::new(&model, rows.examples.longest().max(512)))?;
    pipeline_cache::write(&gpu);
    let result = block_on(evaluator.run(&rows.examples))?;
    if args.json {
        let json = json!({
            "loss": result.loss(),
            "perplexity": result.perplexity(),
            "token_accuracy": result.token_accuracy(),
            "targets": result.targets,
            "rows": result.rows,
        });
        line(&json.to_string())?;
    } else {
        line(&format!(
            "loss {:.4}  perplexity {:.3}  token accuracy {:.1} %  ({} targets in {} rows)",
            result.loss(),
            result.perplexity(),
            100.0 * result.token_accuracy(),
            result.targets,
            result.rows
        ))?;
        let overlong = rows.tally.sum(|report| report.overlong as u64);
        if overlong > 0 {
            line(&format!(
                "{overlong} rows were too long: --overlong says what became of them"
            ))?;
        }
    }
    Ok(Outcome::Fine)
}

/// Evaluate on suites.
fn on_suites(args: EvalArgs) -> Result<Outcome> {
    let source = ModelFiles::open(&args.model.model, args.json)?;
    let suites = Suites::read(&args.suites, &source, &args.rows)?;
    let gpu = devices::open(&args.device)?;
    let model = load(&args.model, &source, &gpu, args.json)?;
    interrupt::catch("stopping")?;
    let Some(results) = suites.run(&model, &source, args.json)? else {
        return Ok(Outcome::Interrupted);
    };
    if let Some(path) = &args.output {
        crate::tensor_file::replace(path, serde_json::to_string_pretty(&results)?.as_bytes())?;
    }
    match args.json {
        true => line(&table::results_json(&results).to_string())?,
        false => table::results(&results, args.samples)?,
    }
    Ok(Outcome::Fine)
}
