//! `bench`: optimizer steps on made-up tokens, timed, against what the adapter can do.

mod ops;
mod roofs;

use std::time::{Duration, Instant};

use anyhow::Result;
use pollster::block_on;
use serde_json::json;
use wgpu_sft::Error;
use wgpu_sft::data::{Example, MicroBatch};
use wgpu_sft::gpu::{Gpu, GpuOptions, Storage};
use wgpu_sft::model::{Model, ModelBuilder, ModelConfig, Use, init};
use wgpu_sft::train::{LoraConfig, Method, TrainConfig, Trainer, work};

use crate::args::BenchArgs;
use crate::model_files::{ModelFiles, parse_dtype, storage};
use crate::progress::{bytes, line};
use crate::{Outcome, devices};

/// What is benchmarked.
struct Job {
    name: String,
    config: ModelConfig,
    source: Option<ModelFiles>,
    train: TrainConfig,
    /// How frozen matrices are stored.
    frozen: Storage,
    tokens: u32,
}

impl Job {
    fn new(args: &BenchArgs) -> Result<Self> {
        let method = match args.method.as_str() {
            "lora" => Method::Lora,
            "full" => Method::Full,
            other => return Err(Error::config("method", format!("{other:?} is neither lora nor full")).into()),
        };
        if method == Method::Full && args.dtype.is_some() {
            return Err(Error::config("dtype", "weights that are trained are always f32").into());
        }
        if args.tokens < 2 {
            return Err(Error::config("tokens", "a row needs at least 2").into());
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
        let train = TrainConfig {
            method,
            lora: LoraConfig {
                r: args.lora_r,
                ..LoraConfig::default()
            },
            ..TrainConfig::default()
        };
        Ok(Self {
            name: args.model.clone().unwrap_or_else(|| "random weights".to_owned()),
            config,
            source,
            train,
            frozen: storage(parse_dtype("dtype", args.dtype.as_deref().unwrap_or("bf16"))?),
            tokens: args.tokens,
        })
    }

    fn lora(&self) -> Option<&LoraConfig> {
        (self.train.method == Method::Lora).then_some(&self.train.lora)
    }

    fn model(&self, gpu: &Gpu, quiet: bool) -> Result<Model> {
        let usage = match self.train.method {
            Method::Lora => Use::Frozen(Some(self.frozen)),
            Method::Full => Use::Trained,
        };
        let mut model = match &self.source {
            Some(source) => source.load(gpu, usage, quiet)?,
            None => {
                let mut builder = ModelBuilder::new(gpu, &self.config, usage)?;
                for (name, shape, numbers) in init::weights(&self.config, 0) {
                    builder.put(
                        &name,
                        wgpu_sft::formats::Dtype::F32,
                        &shape,
                        bytemuck::cast_slice(&numbers),
                    )?;
                }
                block_on(builder.finish())?
            }
        };
        if let Some(lora) = self.lora() {
            model.add_adapter(&lora.adapter_config(None), 0)?;
        }
        Ok(model)
    }

    /// One row, every token supervised.
    fn batch(&self) -> MicroBatch {
        let vocabulary = self.config.vocab_size as u64;
        let ids: Vec<u32> = (0..u64::from(self.tokens))
            .map(|i| (i * 7919 % vocabulary) as u32)
            .collect();
        let labels = ids.iter().map(|&id| id as i32).collect();
        let mut batch = MicroBatch::default();
        batch.push(0, &Example { ids, labels });
        batch
    }
}

/// What the steps showed.
struct Measured {
    first: Duration,
    steady: Duration,
    peak: u64,
    dispatches: u64,
    submits: u64,
    allocations: u64,
}

/// The steps, as `train` takes them: one is submitted while the one before runs.
fn measure(gpu: &Gpu, trainer: &mut Trainer, batch: &[MicroBatch], steps: u32, begun: Instant) -> Result<Measured> {
    trainer.submit(batch)?;
    block_on(trainer.metrics())?;
    let first = begun.elapsed();
    let (allocations, work) = (gpu.memory().allocations(), gpu.submitted().clone());
    let (dispatches, submits) = (work.dispatches(), work.submits());
    let mut times = Vec::new();
    let mut last = Instant::now();
    for step in 0..steps {
        if step == 0 {
            trainer.submit(batch)?;
        }
        if step + 1 < steps {
            trainer.submit(batch)?;
        }
        block_on(trainer.metrics())?;
        times.push(last.elapsed());
        last = Instant::now();
    }
    times.sort();
    Ok(Measured {
        first,
        steady: times[times.len() / 2],
        peak: gpu.memory().peak(),
        dispatches: (work.dispatches() - dispatches) / u64::from(steps),
        submits: (work.submits() - submits) / u64::from(steps),
        allocations: gpu.memory().allocations() - allocations,
    })
}

/// Benchmark.
pub fn run(args: BenchArgs) -> Result<Outcome> {
    let job = Job::new(&args)?;
    let gpu = devices::open_with(
        &args.device,
        GpuOptions {
            profile: args.ops || args.trace.is_some(),
            ..GpuOptions::default()
        },
    )?;
    let say = |text: String| if args.json { Ok(()) } else { line(&text) };
    say(format!("device: {}", devices::describe(&gpu)))?;
    let parameters: usize = job
        .config
        .tensors()
        .iter()
        .map(|(_, s)| s.iter().product::<usize>())
        .sum();
    say(format!(
        "model: {}, {:.1} M parameters; {}, {} tokens a step",
        job.name,
        parameters as f64 / 1e6,
        args.method,
        job.tokens
    ))?;
    let model = job.model(&gpu, args.json)?;
    let batch = [job.batch()];
    let targets = batch[0].targets.len() as u32;
    // Making the plans compiles the shaders: the first step pays for it.
    let begun = Instant::now();
    let mut trainer = block_on(Trainer::new(model, &job.train, u64::from(args.steps) + 3, job.tokens))?;
    let measured = measure(&gpu, &mut trainer, &batch, args.steps.max(1), begun)?;
    let timings = if args.ops || args.trace.is_some() {
        block_on(trainer.profile(&batch))?
    } else {
        Vec::new()
    };
    drop(trainer);
    let matmul = roofs::matmul(&gpu, &job, targets)?;
    let step_flops = work::step_flops(&job.config, job.lora(), job.tokens, targets)?;
    let seconds = measured.steady.as_secs_f64();
    let flops = step_flops as f64 / seconds;
    let ratio = flops / matmul.flops;
    let copy = roofs::copy(&gpu)?;
    if args.json {
        let mut report = json!({
            "device": gpu.info().name,
            "backend": gpu.info().backend.to_string(),
            "kernels": gpu.family().to_string(),
            "model": job.name,
            "method": args.method,
            "tokens": job.tokens,
            "tokens_per_second": f64::from(job.tokens) / seconds,
            "step_seconds": seconds,
            "first_step_seconds": measured.first.as_secs_f64(),
            "step_flops": step_flops,
            "matmul_flops": matmul.flops,
            "matmul_shape": matmul.name,
            "copy_bytes_per_second": copy,
            "ratio": ratio,
            "peak_memory_bytes": measured.peak,
            "dispatches": measured.dispatches,
            "submits": measured.submits,
            "allocations_after_first_step": measured.allocations,
        });
        if args.ops {
            report["ops"] = ops::json(&timings, matmul.flops, copy);
        }
        line(&report.to_string())?;
    } else {
        line(&format!(
            "step: {seconds:.3} s, {:.1} tokens/s; the first, with the shaders' compilation: {:.3} s",
            f64::from(job.tokens) / seconds,
            measured.first.as_secs_f64()
        ))?;
        line(&format!(
            "arithmetic: {:.2} GFLOP a step, {:.2} GFLOP/s; the best product ({}) reaches {:.2}: ratio {ratio:.2}",
            step_flops as f64 / 1e9,
            flops / 1e9,
            matmul.name,
            matmul.flops / 1e9,
        ))?;
        line(&format!(
            "memory: {} at most; {} allocations after the first step",
            bytes(measured.peak),
            measured.allocations
        ))?;
        line(&format!(
            "{} dispatches in {} submits a step; copying reaches {:.1} GB/s",
            measured.dispatches,
            measured.submits,
            copy / 1e9
        ))?;
        if args.ops {
            ops::print(&timings, matmul.flops, copy)?;
        }
    }
    if let Some(file) = &args.trace {
        ops::write_trace(file, &timings, gpu.info())?;
    }
    Ok(Outcome::Fine)
}
