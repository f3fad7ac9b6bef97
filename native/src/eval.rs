//! `eval`: loss, perplexity and token accuracy on rows.

use anyhow::Result;
use pollster::block_on;
use serde_json::json;
use wgpu_sft::eval::Evaluator;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, Use};

use crate::args::{EvalArgs, ModelArgs};
use crate::model_files::{ModelFiles, parse_dtype, storage};
use crate::progress::line;
use crate::{Outcome, devices, pipeline_cache};

/// A model to be used, not trained: on the device, its adapter in place.
pub fn load(args: &ModelArgs, source: &ModelFiles, gpu: &Gpu, quiet: bool) -> Result<Model> {
    let stored = args
        .dtype
        .as_deref()
        .map(|name| parse_dtype("dtype", name))
        .transpose()?;
    let adapter = args
        .adapter
        .as_deref()
        .map(|folder| source.adapter(folder))
        .transpose()?;
    let mut model = source.load(gpu, Use::Frozen(stored.map(storage)), quiet)?;
    if let Some(adapter) = adapter {
        model.load_adapter(&adapter.config, &adapter.pairs)?;
    }
    Ok(model)
}

/// Evaluate.
pub fn run(args: EvalArgs) -> Result<Outcome> {
    let source = ModelFiles::open(&args.model.model, args.json)?;
    let rows = source.rows(&args.data, &args.rows, args.json)?;
    rows.warn_of_bad_rows();
    let gpu = devices::open(&args.device)?;
    let model = load(&args.model, &source, &gpu, args.json)?;
    let evaluator = block_on(Evaluator::new(&model, rows.examples.longest().max(512)))?;
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
        let overlong = rows.sum(|report| report.overlong as u64);
        if overlong > 0 {
            line(&format!(
                "{overlong} rows were too long: --overlong says what became of them"
            ))?;
        }
    }
    Ok(Outcome::Fine)
}
