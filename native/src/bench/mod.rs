//! `bench`: optimizer steps on made-up tokens, timed, against what the adapter can do.

mod ops;

use std::time::Instant;

use anyhow::{Context, Result};
use pollster::block_on;
use wgpu_sft::Error;
use wgpu_sft::bench::{Job, Report};
use wgpu_sft::formats::Dtype;
use wgpu_sft::gpu::GpuOptions;
use wgpu_sft::train::{LoraConfig, Method};

use crate::args::BenchArgs;
use crate::model_files::ModelFiles;
use crate::progress::{bytes, line};
use crate::{Outcome, devices, pipeline_cache};

/// Benchmark.
pub fn run(args: BenchArgs) -> Result<Outcome> {
    let method = match args.method.as_str() {
        "lora" => Method::Lora,
        "full" => Method::Full,
        other => return Err(Error::config("method", format!("{other:?} is neither lora nor full")).into()),
    };
    if method == Method::Full && args.dtype.is_some() {
        return Err(Error::config("dtype", "weights that are trained are always f32").into());
    }
    let source = args
        .model
        .as_deref()
        .map(|name| ModelFiles::open(name, args.json))
        .transpose()?;
    let config = match &source {
        Some(source) => {
            source.check_tensors()?;
            source.config.clone()
        }
        None => args.shape.config()?,
    };
    let lora = LoraConfig {
        r: args.lora_r,
        ..LoraConfig::default()
    };
    lora.validate()?;
    let job = Job {
        config,
        method,
        lora,
        frozen: Dtype::named("dtype", args.dtype.as_deref().unwrap_or("bf16"))?.storage(),
        activations: Dtype::named("activations", &args.activations)?.storage(),
        tokens: args.tokens,
        steps: args.steps,
    };
    let timed = args.ops || args.trace.is_some();
    let options = GpuOptions {
        profile: timed,
        ..GpuOptions::default()
    };
    let gpu = devices::open_with(&args.device, options)?;
    if timed && !gpu.can_profile() {
        return Err(Error::gpu("timing dispatches", "the adapter has no timestamps").into());
    }
    if !args.json {
        let parameters: usize = job
            .config
            .tensors()
            .iter()
            .map(|(_, s)| s.iter().product::<usize>())
            .sum();
        line(&format!("device: {}", devices::describe(&gpu)))?;
        line(&format!(
            "model: {}, {:.1} M parameters; {}, {} tokens a step",
            args.model.as_deref().unwrap_or("random weights"),
            parameters as f64 / 1e6,
            args.method,
            job.tokens
        ))?;
    }
    let model = match &source {
        Some(source) => source.load(&gpu, job.usage(), args.json)?,
        None => block_on(job.random_model(&gpu))?,
    };
    let begun = Instant::now();
    pipeline_cache::read_tiles(&gpu);
    let (report, timings) = block_on(job.run(model, || begun.elapsed().as_secs_f64()))?;
    pipeline_cache::write(&gpu);
    pipeline_cache::write_tiles(&gpu);
    let roofs = (report.matmul_flops, report.copy_bytes_per_second);
    if args.json {
        let mut json = serde_json::to_value(&report).context("report")?;
        if args.ops {
            json["ops"] = ops::json(&timings, roofs);
        }
        line(&json.to_string())?;
    } else {
        print(&report)?;
        if args.ops {
            ops::print(&timings, roofs)?;
        }
    }
    if let Some(file) = &args.trace {
        ops::write_trace(file, &timings, gpu.info())?;
    }
    Ok(Outcome::Fine)
}

fn print(report: &Report) -> Result<()> {
    line(&format!(
        "step: {:.3} s, {:.1} tokens/s; the first, with the shaders' compilation: {:.3} s",
        report.step_seconds, report.tokens_per_second, report.first_step_seconds
    ))?;
    line(&format!(
        "arithmetic: {:.2} GFLOP a step, {:.2} GFLOP/s; the best product ({}) reaches {:.2}: ratio {:.2}",
        report.step_flops as f64 / 1e9,
        report.step_flops as f64 / report.step_seconds / 1e9,
        report.matmul_shape,
        report.matmul_flops / 1e9,
        report.ratio,
    ))?;
    line(&format!(
        "memory: {} at most; {} allocations after the first step",
        bytes(report.peak_memory_bytes),
        report.allocations_after_first_step
    ))?;
    line(&format!(
        "{} dispatches in {} submits a step; copying reaches {:.1} GB/s",
        report.dispatches,
        report.submits,
        report.copy_bytes_per_second / 1e9
    ))
}
