//! Each kind of error, provoked from outside, with what it must name.

use crate::config::fixture_text;
use std::collections::BTreeMap;
use wgpu_sft::data::{ChatTemplate, Example, IGNORE, MicroBatch, Reading, Row, TokenizerConfig, for_each_row};
use wgpu_sft::formats::{Dtype, safetensors};
use wgpu_sft::gpu::{Counts, Family, Gpu, GpuOptions, Grid, Kernel, PlanBuilder, Rows, Scalars};
use wgpu_sft::model::{Generator, Model, ModelBuilder, ModelConfig, Use, init};
use wgpu_sft::train::schedule::LrSchedulerType;
use wgpu_sft::train::{TrainConfig, Trainer, memory};
use wgpu_sft::{Error, Result};

/// What a person reads: no line breaks in front, no `Debug` text, every part given.
fn says<T>(result: Result<T>, parts: &[&str]) -> Error {
    let error = result.err().expect("an error");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    error
}

fn gpu() -> Gpu {
    pollster::block_on(Gpu::request(&GpuOptions::default())).expect("an adapter")
}

fn tiny() -> ModelConfig {
    ModelConfig::from_json(&fixture_text("golden/llama_tied_gqa/config.json")).unwrap()
}

fn fresh_model() -> Model {
    let config = tiny();
    let mut builder = ModelBuilder::new(&gpu(), &config, Use::Trained).unwrap();
    for (name, shape, numbers) in init::weights(&config, 1) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(builder.put(&name, Dtype::F32, &shape, &bytes).unwrap(), "{name}");
    }
    pollster::block_on(builder.finish()).unwrap()
}

/// Trains every weight of a fresh model, at this constant rate, with micro-batches of at most 8 tokens.
fn trainer(learning_rate: f64) -> Trainer {
    let config = TrainConfig {
        learning_rate: Some(learning_rate),
        lr_scheduler_type: LrSchedulerType::Constant,
        ..TrainConfig::default()
    };
    pollster::block_on(Trainer::new(fresh_model(), &config, 10, 8)).unwrap()
}

/// One row with these labels.
fn batch(labels: &[i32]) -> MicroBatch {
    let ids = (3..).take(labels.len()).collect();
    let mut batch = MicroBatch::default();
    batch.push(
        0,
        &Example {
            ids,
            labels: labels.into(),
        },
    );
    batch
}

/// The names and numbers of everything trained.
fn state(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    pollster::block_on(trainer.state(|name, _, numbers| {
        all.push((name.to_owned(), numbers));
        Ok(())
    }))
    .unwrap();
    all
}

#[test]
fn data_names_the_line() {
    let file = b"{\"prompt\": \"a\", \"completion\": \"b\"}\n\n{\"prompt\": \"a\"";
    let error = says(
        for_each_row(file, &Reading::default(), |_, row| row.map(drop)),
        &["line 3: "],
    );
    assert!(matches!(error, Error::Data { line: Some(3), .. }), "{error:?}");
    let alone = says(
        Row::from_json(&serde_json::json!({"texts": "a"}), &Reading::default()),
        &[],
    );
    assert!(matches!(alone, Error::Data { line: None, .. }), "{alone:?}");
    assert!(!alone.to_string().contains("line"), "{alone}");
}

#[test]
fn template_says_what_is_wrong() {
    let source = "{% for message in messages %}\n{{ message.content }}";
    let error = says(
        ChatTemplate::new(source, &TokenizerConfig::default(), None),
        &["chat template: "],
    );
    assert!(matches!(error, Error::Template { .. }), "{error:?}");
}

#[test]
fn config_names_the_field() {
    let text = fixture_text("golden/llama_tied_gqa/config.json");
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["num_attention_heads"] = "four".into();
    let error = says(
        ModelConfig::from_json(&json.to_string()),
        &["num_attention_heads: ", "four"],
    );
    assert!(
        matches!(&error, Error::Config { field, .. } if field == "num_attention_heads"),
        "{error:?}"
    );
    let error = says("fast".parse::<Family>(), &["kernels: ", "\"fast\"", "tiled"]);
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
}

#[test]
fn weights_name_the_tensor() {
    let file = safetensors::serialize(&[], None).unwrap();
    let empty = safetensors::tensors(&[&file], None).unwrap();
    let error = says(empty.for_model(&tiny()), &["model."]);
    assert!(
        matches!(&error, Error::Weights { name, .. } if name.starts_with("model.")),
        "{error:?}"
    );
    let error = says(safetensors::tensors(&[b"not safetensors"], None), &[]);
    assert!(matches!(error, Error::Weights { .. }), "{error:?}");
}

#[test]
fn gpu_names_the_adapters_there_are() {
    let there = gpu().info().name.clone();
    for device in ["no such adapter", "4000000000"] {
        let options = GpuOptions {
            device: Some(device.into()),
            ..GpuOptions::default()
        };
        let error = says(
            pollster::block_on(Gpu::request(&options)),
            &["GPU, choosing an adapter: ", device, &there],
        );
        assert!(matches!(error, Error::Gpu { .. }), "{error:?}");
    }
}

#[test]
fn gpu_names_the_plan_whose_shader_fails() {
    let gpu = gpu();
    let mut plan = PlanBuilder::new(&gpu, "doomed");
    let source = "@group(0) @binding(1) var<uniform> rows: u32;\n@compute @workgroup_size(1)\nfn main() { let x: f32 = rows; }\n";
    plan.dispatch(
        &Kernel::new("broken", source, &[]),
        &(),
        Rows::fixed(1),
        Grid::Fixed([1; 3]),
        &[],
        0,
    );
    let error = says(
        pollster::block_on(plan.finish()),
        &["GPU, building the plan \"doomed\": "],
    );
    assert!(matches!(error, Error::Gpu { .. }), "{error:?}");
    // The device is none the worse for it.
    let tensor = gpu.upload("fine", &[1.0, 2.0]);
    let mut plan = PlanBuilder::new(&gpu, "fine");
    plan.clear(&tensor);
    let plan = pollster::block_on(plan.finish()).unwrap();
    plan.run(&Counts::default(), &Scalars::default());
    assert_eq!(pollster::block_on(gpu.read(&tensor)).unwrap(), [0.0, 0.0]);
}

#[test]
fn too_large_says_what_needs_how_much_and_what_to_change() {
    let model = fresh_model();
    let have = model.gpu().max_binding().to_string();
    let context = u32::MAX;
    let error = says(
        pollster::block_on(Generator::new(&model, context)),
        &["4294967295 tokens needs ", &have, "use a shorter context"],
    );
    assert!(
        matches!(error, Error::TooLarge { need, have, .. } if need > have),
        "{error:?}"
    );
    // A row of 1,000 tokens on an adapter whose bindings hold 4,096 bytes.
    let error = says(
        memory::capacity(&tiny(), None, 1000, 2000, 2000, 4096),
        &["for a row of 1000 tokens needs ", "4096 are available", "--max-length"],
    );
    assert!(matches!(error, Error::TooLarge { have: 4096, .. }), "{error:?}");
}

#[test]
fn busy_when_two_steps_are_in_flight() {
    let mut trainer = trainer(1e-3);
    let step = [batch(&[IGNORE, 4, 5])];
    pollster::block_on(trainer.submit(&step)).unwrap();
    pollster::block_on(trainer.submit(&step)).unwrap();
    assert_eq!(pollster::block_on(trainer.submit(&step)), Err(Error::Busy));
    assert_eq!(trainer.step(), 2, "what was refused was not done");
    assert_eq!(pollster::block_on(trainer.metrics()).unwrap().step, 1);
    pollster::block_on(trainer.submit(&step)).unwrap();
    for step in [2, 3] {
        assert_eq!(pollster::block_on(trainer.metrics()).unwrap().step, step);
    }
    let error = says(pollster::block_on(trainer.metrics()), &["no step is in flight"]);
    assert!(matches!(error, Error::Gpu { .. }), "{error:?}");
}

#[test]
fn data_names_the_step_without_a_target() {
    let mut trainer = trainer(1e-3);
    pollster::block_on(trainer.submit(&[batch(&[IGNORE, 4])])).unwrap();
    let error = says(
        pollster::block_on(trainer.submit(&[batch(&[3, IGNORE])])),
        &["step 2 has no target"],
    );
    assert!(matches!(error, Error::Data { .. }), "{error:?}");
    let error = says(pollster::block_on(trainer.submit(&[])), &["step 2 has no target"]);
    assert!(matches!(error, Error::Data { .. }), "{error:?}");
    says(pollster::block_on(trainer.submit(&[batch(&[4; 9])])), &["9", "8"]);
    assert_eq!(trainer.step(), 1);
}

#[test]
fn diverged_names_the_step_and_leaves_the_weights_before_it() {
    let step = [batch(&[IGNORE, 4, 5, 6])];
    // The first step's gradient is fine and its update ruins the weights: the second step's loss is not finite.
    let mut trainer = trainer(1e30);
    pollster::block_on(trainer.submit(&step)).unwrap();
    assert!(pollster::block_on(trainer.metrics()).unwrap().loss().is_finite());
    let before = state(&trainer);
    // Two more are under way before anybody can know.
    pollster::block_on(trainer.submit(&step)).unwrap();
    pollster::block_on(trainer.submit(&step)).unwrap();
    for _ in 0..2 {
        let error = says(pollster::block_on(trainer.metrics()), &["step 2: ", "not finite"]);
        assert!(matches!(error, Error::Diverged { step: 2, .. }), "{error:?}");
    }
    assert!(state(&trainer) == before, "a diverged step changed weights or moments");
    let error = says(pollster::block_on(trainer.submit(&step)), &["step 2: "]);
    assert!(matches!(error, Error::Diverged { step: 2, .. }), "{error:?}");
}

#[test]
fn a_restored_trainer_has_forgotten_the_steps_that_diverged() {
    let step = [batch(&[IGNORE, 4, 5, 6])];
    let mut trainer = trainer(1e30);
    let before: BTreeMap<_, _> = state(&trainer).into_iter().collect();
    // The third has diverged, too, and nobody has read that yet.
    for _ in 0..2 {
        pollster::block_on(trainer.submit(&step)).unwrap();
    }
    pollster::block_on(trainer.metrics()).unwrap();
    pollster::block_on(trainer.submit(&step)).unwrap();
    says(pollster::block_on(trainer.metrics()), &["step 2: "]);
    let numbers = |name: &str| Ok(before[name].clone());
    trainer.restore(0, numbers).unwrap();
    pollster::block_on(trainer.submit(&step)).unwrap();
    let metrics = pollster::block_on(trainer.metrics()).unwrap();
    assert!(metrics.step == 1 && metrics.loss().is_finite(), "{metrics:?}");
}

#[test]
fn a_state_that_is_put_back_in_part_is_trained_no_further() {
    let step = [batch(&[IGNORE, 4, 5, 6])];
    let mut trainer = trainer(1e-3);
    let before: BTreeMap<_, _> = state(&trainer).into_iter().collect();
    // What does not fit is not written.
    let (first, last) = (&trainer.state_names()[0], trainer.state_names().pop().unwrap());
    says(trainer.restore_tensor(first, &[0.0]), &[""]);
    pollster::block_on(trainer.submit(&step)).unwrap();
    pollster::block_on(trainer.metrics()).unwrap();
    let torn = |name: &str| match *name == last {
        true => Err(Error::weights(name, "is damaged")),
        false => Ok(before[name].clone()),
    };
    says(trainer.restore(0, torn), &["is damaged"]);
    let example = Example {
        ids: vec![3, 4],
        labels: vec![IGNORE, 4],
    };
    for refused in [
        pollster::block_on(trainer.submit(&step)).err(),
        pollster::block_on(trainer.profile(&step)).err(),
        pollster::block_on(trainer.evaluate(&[example][..])).err(),
    ] {
        let error = refused.expect("a refusal").to_string();
        assert!(error.contains("restore a state"), "{error}");
    }
    trainer.restore(0, |name| Ok(before[name].clone())).unwrap();
    pollster::block_on(trainer.submit(&step)).unwrap();
    assert_eq!(pollster::block_on(trainer.metrics()).unwrap().step, 1);
}

#[test]
fn data_names_a_micro_batch_that_contradicts_itself() {
    let mut trainer = trainer(1e-3);
    let fine = batch(&[IGNORE, 4, 5, 6]);
    // Kernels check nothing: each of these would read what is not there.
    let wrong: [fn(&mut MicroBatch); 9] = [
        |batch| batch.target_rows[2] = 4,
        |batch| batch.target_rows[1] = 0,
        |batch| _ = batch.targets.pop(),
        |batch| _ = batch.positions.pop(),
        |batch| batch.example.push(0),
        |batch| batch.segment_end[3] = 5,
        |batch| batch.segment_end[0] = 0,
        |batch| batch.segment_start[3] = 4,
        |batch| batch.segment_start[0] = 1,
    ];
    for (case, change) in wrong.iter().enumerate() {
        let mut batch = fine.clone();
        change(&mut batch);
        let error = pollster::block_on(trainer.submit(&[batch])).expect_err("a refusal");
        assert!(matches!(error, Error::Data { .. }), "{case}: {error:?}");
    }
    pollster::block_on(trainer.submit(&[fine])).unwrap();
}

#[test]
fn a_refused_step_leaves_no_trace() {
    let (fine, too_long) = (batch(&[IGNORE, 4, 5]), batch(&[4; 9]));
    let mut refused = trainer(1e-3);
    says(
        pollster::block_on(refused.submit(&[fine.clone(), too_long])),
        &["9", "8"],
    );
    let mut untouched = trainer(1e-3);
    let [got, want] = [&mut refused, &mut untouched].map(|trainer| {
        pollster::block_on(trainer.submit(std::slice::from_ref(&fine))).unwrap();
        (pollster::block_on(trainer.metrics()).unwrap(), state(trainer))
    });
    assert_eq!(got.0, want.0);
    assert!(got.1 == want.1, "weights or moments differ");
}

#[test]
fn a_scope_that_an_error_leaves_is_closed() {
    let gpu = gpu();
    drop(gpu.scope("nothing"));
    // As when an allocation in the middle is refused: what is left takes its guards with it, and the next scope is a scope again.
    let outer = gpu.scope("outer");
    drop(gpu.scope("inner"));
    pollster::block_on(outer.finish()).unwrap();
}

#[test]
fn an_adapter_that_is_refused_leaves_the_model_as_it_was() {
    let config = TrainConfig::default().lora.adapter_config(None);
    let refused = || {
        let mut model = fresh_model();
        says(
            model.load_adapter(&config, &BTreeMap::new()),
            &["has no matrices for it"],
        );
        assert!(model.adapter().is_none());
        model
    };
    refused().add_adapter(&config, 1).expect("there is none yet");
    let full = TrainConfig::default();
    let trainer = pollster::block_on(Trainer::new(refused(), &full, 1, 8)).expect("a model to train");
    assert_eq!(trainer.state_names(), self::trainer(1e-3).state_names());
}
