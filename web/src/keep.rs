//! What is kept of a run: merged models, comparisons, reports.

use std::collections::BTreeMap;

use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::eval::{Comparison, SideBySide, SuiteComparison, SuiteResult};
use wgpu_sft::formats::hf;
use wgpu_sft::formats::safetensors::TensorSpec;
use wgpu_sft::report::{Log, Report, Run, samples};

use crate::error::{Result, Within};
use crate::io::{Folder, PIECE, Reader};
use crate::source::Source;
use crate::tensor_file::TensorFile;

/// Largest weight file, in bytes: what 32 bits address, so that a browser can open the model again.
const SHARD_BYTES: u64 = 2_000_000_000;

/// Write what `wgpu-sft merge` writes: base + scale · B · A, computed in f32 and cast to `dtype` (the base's, or f16 where that is
/// quantised), a piece of a tensor at a time. `adapter` is `adapter_config.json` and `adapter_model.safetensors`. `on_progress` is
/// told the bytes that are written, of all. Errors: files that do not fit each other, what readers and writers throw.
#[wasm_bindgen(js_name = exportMerged)]
pub async fn export_merged(
    source: &Source,
    adapter: Vec<Reader>,
    dtype: Option<String>,
    folder: Folder,
    #[wasm_bindgen(unchecked_param_type = "(done: number, total: number) => void")] on_progress: Function,
) -> Result<()> {
    let files = source.files().clone();
    let adapter = source.adapter(&adapter).await?;
    let dtype = files.save_dtype(dtype.as_deref())?;
    let scale = adapter.config.scale() as f32;
    for (name, bytes) in files.parts()?.files(dtype)? {
        folder.write(&name, &bytes).await?;
    }
    let entries = files.tensors.for_model(&files.config)?;
    let spec = |(name, shape)| TensorSpec { name, dtype, shape };
    let specs: Vec<TensorSpec> = files.config.tensors().into_iter().map(spec).collect();
    let bytes_of =
        |spec: &TensorSpec| spec.shape.iter().map(|n| *n as u64).product::<u64>() * dtype.block_bytes() as u64;
    let sizes: Vec<u64> = specs.iter().map(bytes_of).collect();
    let (total, shards) = (sizes.iter().sum::<u64>(), hf::shards(&sizes, SHARD_BYTES));
    let (mut done, mut weight_map, mut numbers) = (0u64, BTreeMap::new(), Vec::new());
    for (number, shard) in shards.iter().enumerate() {
        let name = hf::shard_name(number, shards.len());
        let mut file = TensorFile::create(folder.create(&name).await?, &specs[shard.clone()])?;
        for (spec, entry) in specs[shard.clone()].iter().zip(&entries[shard.clone()]) {
            let module = spec.name.strip_suffix(".weight");
            let pair = module.and_then(|module| adapter.pairs.get(module));
            let mut first = 0;
            for piece in entry.pieces(PIECE) {
                source.decoded(entry, (piece.start, piece.end), &mut numbers).await?;
                if let Some(pair) = pair {
                    pair.add_to_rows(&mut numbers, first, adapter.config.r, scale);
                }
                first += numbers.len() / spec.shape.get(1).copied().unwrap_or(1).max(1);
                let bytes = dtype.encode(&numbers).within(&spec.name)?;
                file.put(&spec.name, &bytes)?;
                done += bytes.len() as u64;
                on_progress.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into())?;
            }
            weight_map.insert(spec.name.clone(), name.clone());
        }
        file.finish()?;
    }
    if shards.len() > 1 {
        let index = hf::index_json(&weight_map, total);
        folder.write("model.safetensors.index.json", index.as_bytes()).await?;
    }
    Ok(())
}

/// `report.html` of a run: of the texts of its `run.json`, `metrics.jsonl`, `samples.jsonl` and `compare.json`. Errors: a text that is
/// none of these.
#[wasm_bindgen(js_name = reportHtml)]
pub fn report_html(
    run: &str,
    metrics: &str,
    samples_text: Option<String>,
    comparison: Option<String>,
) -> Result<String> {
    let comparison = comparison.map(|text| serde_json::from_str(&text));
    let comparison = comparison
        .transpose()
        .map_err(|e| Error::data(format!("compare.json: {e}")))?;
    let report = Report {
        run: Run::from_json(run)?,
        log: Log::parse(metrics)?,
        samples: samples(&samples_text.unwrap_or_default())?,
        comparison,
    };
    Ok(report.to_html())
}

/// Two models' results on the same suites, as JSON: `compare.json`, with `examples` items of each suite side by side, and beside
/// each suite's and item's numbers a `verdict` in words. Errors: results of other suites or items.
#[wasm_bindgen]
pub fn compare(
    base_name: &str,
    base_results: &str,
    tuned_name: &str,
    tuned_results: &str,
    examples: usize,
) -> Result<String> {
    let read = |which: &str, text: &str| {
        let results: std::result::Result<Vec<SuiteResult>, _> = serde_json::from_str(text);
        results.map_err(|e| Error::data(format!("the results of {which}: {e}")))
    };
    let (base, tuned) = (read(base_name, base_results)?, read(tuned_name, tuned_results)?);
    let comparison = Comparison::new((base_name, &base), (tuned_name, &tuned), examples)?;
    Ok(with_verdicts(&comparison)?.to_string())
}

/// A comparison's JSON, with what its numbers say in words.
pub(crate) fn with_verdicts(comparison: &Comparison) -> Result<Value> {
    let mut json = serde_json::to_value(comparison)?;
    for (suite, json) in comparison.suites.iter().zip(list(&mut json["suites"])) {
        json["verdict"] = json!(suite.all.words(suite.measure));
        for (item, json) in suite.examples.iter().zip(list(&mut json["examples"])) {
            json["verdict"] = json!(of_item(suite, item));
        }
    }
    Ok(json)
}

fn list(json: &mut Value) -> impl Iterator<Item = &mut Value> {
    json.as_array_mut().into_iter().flatten()
}

/// Which of two answers is better by a suite's measure, where one item has one.
fn of_item(suite: &SuiteComparison, item: &SideBySide) -> Option<&'static str> {
    let more = item.tuned_score.partial_cmp(&item.base_score)?;
    Some(match (more.is_gt(), more.is_lt()) {
        (false, false) => "same",
        (more, _) if more == suite.higher_is_better => "better",
        _ => "worse",
    })
}
