//! The assembled model against numbers recorded from PyTorch and transformers in f64 (tests/fixtures/golden/README.md).

use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use wgpu_sft::data::MicroBatch;
use wgpu_sft::model::{Generator, Use};
use wgpu_sft::train::Trainer;
use wgpu_sft_tests::{
    GOLDEN, bytes, close, documents, fixture, floats, golden_model, gpu, json, largest_difference, one_batch,
};
use wgpu_sft_tests::{recorded_optimizer, state};

/// What a tensor may differ by: ten times what an all-f32 PyTorch run differs by, or eight units in the last place of its
/// largest number.
fn tolerance(recorded: f64, numbers: &[f32]) -> f64 {
    let largest = numbers.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    (10.0 * recorded).max(8.0 * 2f64.powi(-23) * f64::from(largest))
}

struct Golden {
    name: &'static str,
    json: serde_json::Value,
    file: Vec<u8>,
}

impl Golden {
    fn new(name: &'static str) -> Self {
        let folder = format!("golden/{name}");
        Self {
            name,
            json: json(&format!("{folder}/fixture.json")),
            file: bytes(&format!("{folder}/fixture.safetensors")),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.file).expect("safetensors")
    }

    fn batch(&self, i: usize) -> MicroBatch {
        one_batch(&documents(&self.tensors(), &format!("batch{i}")))
    }

    /// A trainer with the recorded optimizer, its learning rate constant at `rate`.
    fn trainer(&self, rate: f64) -> Trainer {
        let model = golden_model(&gpu(), self.name, Use::Trained);
        let config = recorded_optimizer(&self.json["optimizer"], rate);
        pollster::block_on(Trainer::new(model, &config, 3, 100)).expect("a trainer")
    }
}

#[test]
fn every_recorded_model_is_tested() {
    let recorded: BTreeSet<String> = std::fs::read_dir(fixture("golden"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("fixture.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(recorded, GOLDEN.map(String::from).into());
}

#[test]
fn logits() {
    for name in GOLDEN {
        let golden = Golden::new(name);
        let model = golden_model(&gpu(), name, Use::Frozen(None));
        let tensors = golden.tensors();
        let mut generator = pollster::block_on(Generator::new(&model, 64)).expect("a generator");
        let vocabulary = model.config().vocab_size;
        for i in 0..2 {
            let recorded = floats(&tensors, &format!("batch{i}.logits"));
            let row_len = tensors.tensor(&format!("batch{i}.logits")).expect("logits").shape()[1];
            let allowed = tolerance(
                golden.json["batches"][i]["f32_logits"].as_f64().expect("a number"),
                &recorded,
            );
            for document in documents(&tensors, &format!("batch{i}")) {
                generator.reset();
                for t in 0..document.example.ids.len() {
                    // The first half token by token through the cache, the rest each from nothing.
                    if t > document.example.ids.len() / 2 {
                        generator.reset();
                    }
                    let got = pollster::block_on(generator.logits_after(&document.example.ids[..=t])).expect("logits");
                    let at = (document.at.0 * row_len + document.at.1 + t) * vocabulary;
                    let difference = largest_difference(&got, &recorded[at..at + vocabulary]);
                    assert!(
                        difference <= allowed,
                        "{name} batch {i} {:?}+{t}: {difference:.2e} > {allowed:.2e}",
                        document.at
                    );
                }
            }
        }
    }
}

#[test]
fn losses_and_every_gradient() {
    for name in GOLDEN {
        let golden = Golden::new(name);
        let mut trainer = golden.trainer(0.0);
        for i in 0..2 {
            let recorded = &golden.json["batches"][i];
            let batch = golden.batch(i);
            assert_eq!(
                batch.targets.len() as u64,
                recorded["targets"].as_u64().expect("a count"),
                "{name} batch {i}"
            );
            let sums = pollster::block_on(trainer.accumulate(&[batch])).expect("gradients");
            close(
                &format!("{name} batch {i} loss"),
                sums.loss(),
                recorded["loss"].as_f64().expect("a number"),
                2e-6,
            );
            let f32_error = recorded["f32_grad"].as_f64().expect("a number");
            for (parameter, _) in trainer.model().config().tensors() {
                let want = floats(&golden.tensors(), &format!("batch{i}.grad.{parameter}"));
                let got = pollster::block_on(trainer.gradient(&parameter)).expect("a gradient");
                let (difference, allowed) = (largest_difference(&got, &want), tolerance(f32_error, &want));
                println!("{name} batch {i} {parameter}: {difference:.2e} of {allowed:.2e}");
                assert!(
                    difference <= allowed,
                    "{name} batch {i} {parameter}: {difference:.2e} > {allowed:.2e}"
                );
            }
        }
    }
}

#[test]
fn three_micro_batches_are_one_step() {
    for name in GOLDEN {
        let golden = Golden::new(name);
        let mut trainer = golden.trainer(0.0);
        let batches: Vec<MicroBatch> = (0..3).map(|i| golden.batch(i)).collect();
        pollster::block_on(trainer.submit(&batches)).expect("a step");
        let step = pollster::block_on(trainer.metrics()).expect("metrics");
        let recorded = &golden.json["accumulated_3_microbatches"];
        assert_eq!(step.targets, recorded["targets"].as_u64().expect("a count"));
        close(name, step.loss(), recorded["loss"].as_f64().expect("a number"), 2e-6);
        close(
            name,
            step.grad_norm,
            recorded["grad_norm"].as_f64().expect("a number"),
            1e-5,
        );
    }
}

#[test]
fn three_adamw_steps() {
    for name in GOLDEN {
        let golden = Golden::new(name);
        let rates: Vec<f64> = golden.json["optimizer"]["lrs"]
            .as_array()
            .expect("rates")
            .iter()
            .map(|v| v.as_f64().expect("a rate"))
            .collect();
        // The recorded rates follow no schedule: a trainer for each, the state handed from one to the next.
        let mut kept = BTreeMap::new();
        for (i, rate) in rates.iter().enumerate() {
            let mut trainer = golden.trainer(*rate);
            if i > 0 {
                let find = |name: &str| Ok(kept.remove(name).expect("handed on"));
                trainer.restore(i as u64, find).expect("a state");
            }
            pollster::block_on(trainer.submit(&[golden.batch(i)])).expect("a step");
            let step = pollster::block_on(trainer.metrics()).expect("metrics");
            let recorded = &golden.json["trajectory"][i];
            close(
                &format!("{name} step {i} loss"),
                step.loss(),
                recorded["loss"].as_f64().expect("a number"),
                5e-6,
            );
            close(
                &format!("{name} step {i} norm"),
                step.grad_norm,
                recorded["grad_norm"].as_f64().expect("a number"),
                2e-5,
            );
            assert_eq!(step.learning_rate, *rate);
            kept = state(&trainer);
        }
        for (parameter, error) in golden.json["f32_param_after"].as_object().expect("errors") {
            let want = floats(&golden.tensors(), &format!("adamw.param.{parameter}"));
            let got = &kept[parameter];
            let allowed = tolerance(error.as_f64().expect("a number"), &want);
            let difference = largest_difference(got, &want);
            println!("{name} {parameter}: {difference:.2e} of {allowed:.2e}");
            assert!(
                difference <= allowed,
                "{name} {parameter}: {difference:.2e} > {allowed:.2e}"
            );
        }
    }
}
