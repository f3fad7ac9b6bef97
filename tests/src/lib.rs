//! Helpers shared by the tests.

pub mod made_rows;

use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgpu_sft::data::{Example, IGNORE, MicroBatch};
use wgpu_sft::formats::{Dtype, Tensors, safetensors as weights};
use wgpu_sft::gpu::{Gpu, GpuOptions};
use wgpu_sft::model::{Model, ModelBuilder, ModelConfig, Use};
use wgpu_sft::train::schedule::LrSchedulerType;
use wgpu_sft::train::{Method, TrainConfig, Trainer, WeightDecayOn};

/// The recorded models of `tests/fixtures/golden/` with weights of every family: whatever is true of one is tested of all.
pub const GOLDEN: [&str; 4] = ["llama_tied_gqa", "qwen2_bias", "qwen3_qknorm", "granite_multipliers"];

/// A file or folder under `tests/fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The fixture's bytes.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fixture parsed as JSON.
pub fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).expect("JSON")
}

/// The adapter at hand, with the kernel family that `WGPU_SFT_TEST_KERNELS` names, or its own.
pub fn gpu() -> Gpu {
    let family = std::env::var("WGPU_SFT_TEST_KERNELS")
        .ok()
        .map(|name| name.parse().expect("a kernel family"));
    let options = GpuOptions {
        family,
        ..GpuOptions::default()
    };
    pollster::block_on(Gpu::request(&options)).expect("an adapter")
}

/// A golden folder's model.
pub fn golden_model(gpu: &Gpu, name: &str, keep: Use) -> Model {
    let folder = format!("golden/{name}");
    let config = std::fs::read_to_string(fixture(&format!("{folder}/config.json"))).expect("config.json");
    let config = ModelConfig::from_json(&config).expect("a valid config.json");
    let file = bytes(&format!("{folder}/model.safetensors"));
    let tensors = weights::tensors(&[&file], None).expect("a valid model.safetensors");
    model(gpu, &config, &tensors, &file, keep)
}

/// A model whose tensors lie in `file`.
pub fn model(gpu: &Gpu, config: &ModelConfig, tensors: &Tensors, file: &[u8], keep: Use) -> Model {
    let mut builder = ModelBuilder::new(gpu, config, keep).expect("a model that fits");
    for entry in tensors.for_model(config).expect("the model's tensors") {
        let bytes = entry.read(file).expect("the tensor's bytes");
        assert!(
            builder
                .put(&entry.name, entry.dtype, &entry.shape, &bytes)
                .expect("a good tensor")
        );
    }
    pollster::block_on(builder.finish()).expect("a whole model")
}

/// Full training with an optimizer as the goldens record it, its learning rate constant at `rate`.
pub fn recorded_optimizer(optimizer: &Value, rate: f64) -> TrainConfig {
    TrainConfig {
        method: Method::Full,
        learning_rate: Some(rate),
        lr_scheduler_type: LrSchedulerType::Constant,
        weight_decay: number(&optimizer["weight_decay"]),
        weight_decay_on: if optimizer["decay"] == "all" {
            WeightDecayOn::All
        } else {
            WeightDecayOn::Matrices
        },
        adam_beta1: number(&optimizer["betas"][0]),
        adam_beta2: number(&optimizer["betas"][1]),
        adam_epsilon: number(&optimizer["eps"]),
        max_grad_norm: number(&optimizer["clip"]),
        ..TrainConfig::default()
    }
}

/// A number of a JSON file.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// Everything that [`Trainer::restore`] needs, by name.
pub fn state(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let mut state = BTreeMap::new();
    let take = |name: &str, _: &[usize], numbers: Vec<f32>| {
        assert!(state.insert(name.to_owned(), numbers).is_none(), "{name} twice");
        Ok(())
    };
    pollster::block_on(trainer.state(take)).expect("a state");
    state
}

/// Panics unless the two differ by at most `relative` of what is wanted.
pub fn close(what: &str, got: f64, want: f64, relative: f64) {
    assert!(
        (got - want).abs() <= relative * want.abs(),
        "{what}: {got}, wanted {want}: off by {:.2e}",
        (got - want).abs() / want.abs()
    );
}

/// A tensor's numbers as f32.
pub fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut numbers = Vec::new();
    Dtype::F32.decode(view.data(), &mut numbers).expect("f32");
    numbers
}

/// A tensor's numbers as i32, and its shape.
pub fn integers(file: &SafeTensors, name: &str) -> (Vec<i32>, Vec<usize>) {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let numbers = view
        .data()
        .chunks(4)
        .map(|b| i32::from_le_bytes(b.try_into().expect("four bytes")))
        .collect();
    (numbers, view.shape().to_vec())
}

/// One document of a recorded batch.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its tokens and labels.
    pub example: Example,
    /// Its row in the batch and its first place in that row.
    pub at: (usize, usize),
}

/// The documents of `<prefix>.{input_ids,labels,segment_ids}`, padding (segment 0) left out.
pub fn documents(file: &SafeTensors, prefix: &str) -> Vec<Document> {
    let read = |name: &str| integers(file, &format!("{prefix}.{name}"));
    let (ids, shape) = read("input_ids");
    let (labels, _) = read("labels");
    let (segments, _) = read("segment_ids");
    let mut documents: Vec<Document> = Vec::new();
    for row in 0..shape[0] {
        let mut last = 0;
        for t in 0..shape[1] {
            let i = row * shape[1] + t;
            if segments[i] == 0 {
                assert_eq!(labels[i], IGNORE, "padding is never a target");
                continue;
            }
            if t == 0 || segments[i] != last {
                documents.push(Document {
                    example: Example::default(),
                    at: (row, t),
                });
                // Nothing predicts a row's first token, whatever its label.
                assert!(
                    t == 0 || labels[i] == IGNORE,
                    "a document's first token is never a target"
                );
            }
            last = segments[i];
            let document = documents.last_mut().expect("just pushed");
            document.example.ids.push(ids[i] as u32);
            document.example.labels.push(labels[i]);
        }
    }
    documents
}

/// All documents in one micro-batch.
pub fn one_batch(documents: &[Document]) -> MicroBatch {
    let mut batch = MicroBatch::default();
    for (i, document) in documents.iter().enumerate() {
        batch.push(i as u32, &document.example);
    }
    batch
}

/// Largest absolute difference, NaN if there is one.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mut largest = 0.0f64;
    for (a, b) in a.iter().zip(b) {
        let d = (f64::from(*a) - f64::from(*b)).abs();
        if d.is_nan() {
            return f64::NAN;
        }
        largest = largest.max(d);
    }
    largest
}
