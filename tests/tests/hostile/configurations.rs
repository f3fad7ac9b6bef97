//! Settings and models drawn at random, most of them valid: a run either trains, in the memory that was planned, or is refused in words.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wgpu_sft::data::{Example, Intake, Preparation, Tally, for_each_row};
use wgpu_sft::formats::Dtype;
use wgpu_sft::formats::peft::TargetModules;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, ModelBuilder, ModelConfig, Use, init};
use wgpu_sft::random::{Stream, block};
use wgpu_sft::train::schedule::LrSchedulerType;
use wgpu_sft::train::{BaseModel, Course, LINEAR_MODULES, Settings};
use wgpu_sft::{Error, Result};
use wgpu_sft_tests::gpu;

/// Runs that train; `WGPU_SFT_CASES` sets another number.
const TRAINED: usize = 8;
/// What no plan knows of: parameters of dispatches, and numbers that are read back.
const UNPLANNED: u64 = 400_000;

/// Draws of one case.
struct Draw {
    case: u64,
    next: Cell<u64>,
}

impl Draw {
    fn word(&self) -> u64 {
        let [low, high, ..] = block(self.case, Stream::Sampling, 0, self.next.replace(self.next.get() + 1));
        u64::from(high) << 32 | u64::from(low)
    }

    fn below(&self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }

    fn of<T: Clone>(&self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// One of these, or that nothing is said.
    fn maybe<T: Clone>(&self, all: &[T]) -> Option<T> {
        (self.below(2) == 0).then(|| self.of(all))
    }
}

fn model_json(draw: &Draw) -> Value {
    let heads = draw.of(&[1, 2, 3, 4, 6]);
    let family = draw.of(&["llama", "mistral", "qwen2", "qwen3"]);
    let mut json = json!({
        "model_type": family,
        "vocab_size": draw.of(&[5, 17, 64, 301]),
        // The last of each is refused.
        "hidden_size": draw.of(&[4, 8, 12, 20, 36, 64, 72, 10]),
        "intermediate_size": draw.of(&[4, 8, 20, 44, 64, 132, 6]),
        "num_hidden_layers": draw.of(&[1, 1, 2, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": draw.of(&[1, heads, heads, 1, 4]),
        "head_dim": draw.of(&[8, 16, 24, 32, 40, 64, 128, 256, 12]),
        "max_position_embeddings": draw.of(&[16, 64, 512]),
        "rms_norm_eps": draw.of(&[1e-6, 1e-5, 0.1]),
        "tie_word_embeddings": draw.below(2) == 0,
        "initializer_range": draw.of(&[0.0, 0.02, 0.2]),
        "rope_theta": draw.of(&[100.0, 10_000.0, 1e6]),
        "bos_token_id": null, "eos_token_id": null, "sliding_window": null,
    });
    if family == "llama" || family == "qwen3" {
        json["attention_bias"] = (draw.below(2) == 0).into();
    }
    if draw.below(4) == 0 {
        json["rope_scaling"] = json!({"rope_type": "linear", "factor": draw.of(&[0.5, 4.0])});
    }
    json
}

fn settings(draw: &Draw) -> Settings {
    let text = |all: &[&str]| draw.maybe(all).map(str::to_owned);
    let method = draw.of(&["lora", "full"]);
    Settings {
        method: Some(method.to_owned()),
        max_length: draw.maybe(&[8, 12, 16, 1000]),
        overlong: Some(draw.of(&["drop", "truncate", "split", "error"]).to_owned()),
        lora_r: draw.maybe(&[1, 3, 4, 6, 17, 64, 0]),
        lora_alpha: draw.maybe(&[-1.0, 0.0, 8.0, 32.5]),
        lora_dropout: draw.maybe(&[0.0, 0.1, 0.9, 1.0]),
        lora_target_modules: draw.maybe(&[
            TargetModules::AllLinear,
            TargetModules::Names(vec![draw.of(&LINEAR_MODULES).to_owned()]),
            TargetModules::Names(
                [draw.of(&LINEAR_MODULES), draw.of(&LINEAR_MODULES)]
                    .map(str::to_owned)
                    .to_vec(),
            ),
        ]),
        learning_rate: draw.maybe(&[0.0, 1e-5, 1e-3, -1.0]),
        lr_scheduler_type: draw.maybe(&LrSchedulerType::ALL),
        warmup_steps: draw.maybe(&[0.0, 0.5, 1.0, 7.0, 1.5]),
        weight_decay: draw.maybe(&[0.0, 0.1]),
        adam_beta1: draw.maybe(&[0.0, 0.5, 0.9]),
        adam_beta2: draw.maybe(&[0.0, 0.5, 0.999]),
        adam_epsilon: draw.maybe(&[1e-8, 1e-4, 0.0]),
        max_grad_norm: draw.maybe(&[0.0, 1e-3, 1.0]),
        batch_size: draw.maybe(&[1, 2, 5, 1000]),
        gradient_accumulation_steps: draw.maybe(&[1, 3, 1 << 40]),
        num_train_epochs: draw.maybe(&[0.1, 1.0, 2.5]),
        max_steps: draw.maybe(&[1, 2, 3]),
        seed: draw.maybe(&[0, 7, u64::MAX]),
        no_shuffle: draw.maybe(&[true, false]),
        dtype: (method == "lora").then(|| text(&["f32", "f16", "bf16"])).flatten(),
        micro_batch_tokens: draw.maybe(&[8, 16, 31, 64, 500]),
        memory_limit: text(&["1GB", "1GB", "3MB", "1kB"]),
        recompute: text(&["auto", "on", "off"]),
        activations: text(&["f32", "bf16", "f16"]),
        mix: text(&["proportional", "sqrt", "balanced"]),
        ..Settings::default()
    }
}

/// Rows of tokens of all kinds of lengths, some of which are learnt and some of which belong to a task.
fn rows(draw: &Draw, vocab: usize) -> String {
    let row = |_| {
        let length = draw.of(&[2, 3, 7, 11, 16, 23]);
        let ids: Vec<usize> = (0..length).map(|_| draw.below(vocab)).collect();
        let labels = ids
            .iter()
            .enumerate()
            .map(|(i, id)| if i == 1 || draw.below(2) == 0 { *id as i64 } else { -100 });
        let labels: Vec<i64> = labels.collect();
        json!({"input_ids": ids, "labels": labels, "task": draw.of(&["a", "b", ""])}).to_string() + "\n"
    };
    (0..draw.of(&[1, 2, 6, 9])).map(row).collect()
}

fn put_on(gpu: &Gpu, config: &ModelConfig, (usage, dtype): (Use, Dtype)) -> Result<Model> {
    let mut builder = ModelBuilder::new(gpu, config, usage)?;
    for (name, shape, numbers) in init::weights(config, 1) {
        builder.put(&name, dtype, &shape, &dtype.encode(&numbers)?)?;
    }
    pollster::block_on(builder.finish())
}

/// Trains two steps, or all there are. How many it were.
fn train(gpu: &Gpu, draw: &Draw) -> Result<u64> {
    let config = ModelConfig::from_json(&model_json(draw).to_string())?;
    let settings = settings(draw);
    settings.train_config()?;
    let for_model = Preparation {
        vocab_size: config.vocab_size,
        ..Preparation::default()
    };
    let with = settings.rows().preparation(config.max_position_embeddings, for_model)?;
    let (mut examples, mut tally, mut intake): (Vec<Example>, _, _) = (vec![], Tally::new(&with), Intake::new(&with)?);
    tally.begin_file(1.0)?;
    for_each_row(
        rows(draw, config.vocab_size).as_bytes(),
        &settings.rows().reading()?,
        |place, row| {
            let row = row.and_then(|row| with.prepare(place, row));
            let task = row.as_ref().ok().and_then(|row| row.task.clone()).unwrap_or_default();
            for example in intake.take(place, row)? {
                tally.add(&task, &example)?;
                examples.push(example);
            }
            Ok(())
        },
    )?;
    tally.end_file("rows".to_owned(), 1.0, intake.finish()?);
    let stored = draw.of(&[Dtype::F32, Dtype::Bf16, Dtype::F16]);
    let base = BaseModel {
        name: "drawn",
        config: &config,
        dtype: stored,
        tokenizer: None,
        hash: String::new(),
    };
    let mut course = Course::new(&settings, &base, (&tally, &examples[..]), 0, gpu, None)?;
    course.check_bindings(gpu)?;
    let before = gpu.memory().live();
    let model = put_on(gpu, &config, (course.usage, stored))?;
    assert_eq!(
        gpu.memory().live() - before,
        course.memory.weights,
        "the model's weights"
    );
    let mut trainer = pollster::block_on(course.trainer(model))?;
    let steps = course.total.min(2);
    for step in 0..steps {
        let batches = course.batches(&examples, step)?;
        assert!(
            batches.iter().all(|batch| batch.tokens.len() <= course.capacity()),
            "a micro-batch is too long"
        );
        pollster::block_on(trainer.submit(&batches))?;
        let metrics = pollster::block_on(trainer.metrics())?;
        assert!(
            metrics.loss().is_finite() && metrics.grad_norm.is_finite(),
            "step {}: {metrics:?}",
            step + 1
        );
    }
    let used = gpu.memory().live() - before;
    let planned = course.memory.total();
    assert!(
        trainer.recomputes() == course.memory.recompute,
        "planned with another recomputation"
    );
    assert!(
        (planned..planned + UNPLANNED).contains(&used),
        "{used} bytes are used, {planned} were planned"
    );
    Ok(steps)
}

#[test]
fn runs_train_or_are_refused() {
    let wanted = std::env::var("WGPU_SFT_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(TRAINED);
    let gpu = gpu();
    let (mut trained, mut refused) = (0, 0);
    for case in 0.. {
        let draw = || Draw {
            case,
            next: Cell::new(0),
        };
        let begun = Instant::now();
        let told = || {
            format!("case {case}: {} {:?}", model_json(&draw()), {
                let draw = draw();
                model_json(&draw);
                settings(&draw)
            })
        };
        match catch_unwind(AssertUnwindSafe(|| train(&gpu, &draw()))) {
            Ok(Ok(steps)) => trained += usize::from(steps > 0),
            Ok(Err(Error::Config { field, why })) => {
                assert!(!field.is_empty() && !why.is_empty(), "{}", told());
                refused += 1;
            }
            Ok(Err(Error::TooLarge { .. } | Error::Data { .. })) => refused += 1,
            Ok(Err(error)) => panic!("{error}: {}", told()),
            Err(_) => panic!("{}", told()),
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", told());
        assert_eq!(gpu.memory().live(), 0, "something is left: {}", told());
        if trained >= wanted {
            break;
        }
    }
    println!("{trained} runs trained, {refused} were refused");
    assert!(refused > 0, "nothing was refused");
}
