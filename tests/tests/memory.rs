//! What a run allocates: as much as was planned, no more as it goes on, and less where activations are recomputed, without
//! another bit in the result.

use crate::activations;
use crate::packing::{MODELS, batches, examples, gradients, methods, model, recomputing_trainer};
use wgpu_sft::gpu::{Family, Storage};
use wgpu_sft::model::Use;
use wgpu_sft::train::memory::{self, MemoryPlan};
use wgpu_sft::train::{LoraConfig, Recompute, Trainer};
use wgpu_sft::{Error, Result};
use wgpu_sft_tests::{GOLDEN, golden_model, gpu, state};

#[test]
fn recomputation_changes_no_bit() {
    for name in MODELS {
        let examples = examples(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        let total = examples.iter().map(|e| e.ids.len()).sum();
        // One micro-batch, then three of unlike sizes.
        let cuts: [&[&[usize]]; 2] = [&[&all], &[&all[..2], &all[2..7], &all[7..]]];
        for (method, adapter) in methods() {
            let [kept, again] = [Recompute::Off, Recompute::On].map(|recompute| {
                let mut trainer = recomputing_trainer(model(name, adapter.as_ref()), total, recompute);
                assert_eq!(trainer.recomputes(), recompute == Recompute::On);
                let gradients = cuts.map(|cut| gradients(&mut trainer, &batches(&examples, cut)));
                let steps = cuts.map(|cut| {
                    pollster::block_on(trainer.submit(&batches(&examples, cut))).expect("a step");
                    let metrics = pollster::block_on(trainer.metrics()).expect("metrics");
                    (metrics.loss_sum.to_bits(), metrics.grad_norm.to_bits())
                });
                (gradients, steps, state(&trainer))
            });
            assert!(kept == again, "{name}, {method}");
        }
    }
}

/// The bytes that a model takes, and then a trainer beside it.
fn allocated(name: &str, lora: Option<&LoraConfig>, capacity: u32, (recompute, stored): (bool, Storage)) -> (u64, u64) {
    let gpu = gpu();
    let keep = if lora.is_some() {
        Use::Frozen(None)
    } else {
        Use::Trained
    };
    let mut model = golden_model(&gpu, name, keep);
    if let Some(lora) = lora {
        model.add_adapter(&lora.adapter_config(None), 1).expect("an adapter");
    }
    let before = gpu.memory().live();
    let recompute = if recompute { Recompute::On } else { Recompute::Off };
    let trainer = activations::trainer(model, capacity as usize, stored, recompute);
    let after = gpu.memory().live();
    drop(trainer);
    assert_eq!(gpu.memory().live(), 0, "{name}: something is left");
    (before, after - before)
}

#[test]
fn what_is_planned_is_what_is_allocated() {
    let lora = |lora_dropout| LoraConfig {
        r: 6,
        lora_dropout,
        ..LoraConfig::default()
    };
    for name in GOLDEN {
        let gpu = gpu();
        let config = golden_model(&gpu, name, Use::Frozen(None)).config().clone();
        for lora in [None, Some(lora(0.0)), Some(lora(0.1))] {
            let lora = lora.as_ref();
            let plan = |capacity, (recompute, stored)| {
                let keep = if lora.is_some() {
                    Use::Frozen(None)
                } else {
                    Use::Trained
                };
                memory::plan(
                    &config,
                    keep,
                    [F32, stored],
                    lora,
                    (capacity, recompute),
                    (gpu.max_binding(), gpu.family()),
                )
                .expect("a plan")
            };
            let mut activations = Vec::new();
            use Storage::{Bf16, F16, F32};
            for how in [(false, F32), (false, Bf16), (true, F32), (true, F16)] {
                let [(weights, few), (_, many)] = [48, 1040].map(|capacity| allocated(name, lora, capacity, how));
                let [small, large] = [48, 1040].map(|capacity| plan(capacity, how));
                assert_eq!(weights, large.weights + large.adapter, "{name}: weights");
                assert_eq!(
                    many - few,
                    large.activations - small.activations,
                    "{name}, {how:?}: 992 tokens more"
                );
                // The parameters of dispatches, and numbers that are read back.
                let rest = many - (large.gradients + large.optimizer + large.activations);
                assert!(rest < 300_000, "{name}: {rest} bytes that no plan knows of");
                activations.push(large.activations);
            }
            let [all, halves, again, halves_again] = activations[..] else {
                panic!("{activations:?}")
            };
            assert!(all > halves && again > halves_again, "{name}: {activations:?}");
            assert!(all > again && halves > halves_again, "{name}: {activations:?}");
        }
    }
}

/// The shape of SmolLM2-135M with 512 tokens at once.
#[test]
fn a_model_of_135_million_weights_stays_small() {
    let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000,
        "tie_word_embeddings": true, "hidden_act": "silu"}"#;
    let config = wgpu_sft::model::ModelConfig::from_json(config).expect("a configuration");
    let lora = LoraConfig::default();
    let plan = |lora: Option<&LoraConfig>, recompute, stored| {
        let (keep, storage) = match lora {
            Some(_) => (Use::Frozen(Some(Storage::Bf16)), Storage::Bf16),
            None => (Use::Trained, Storage::F32),
        };
        let plan = memory::plan(
            &config,
            keep,
            [storage, stored],
            lora,
            (512, recompute),
            (128 << 20, Family::Register),
        )
        .expect("a plan");
        println!("{} MB: {plan:?}", plan.total() / 1_000_000);
        plan.total()
    };
    assert!(plan(Some(&lora), false, Storage::F32) < 900_000_000);
    assert!(plan(Some(&lora), false, Storage::Bf16) < 700_000_000);
    assert!(plan(Some(&lora), true, Storage::F32) < 600_000_000);
    assert!(plan(None, false, Storage::F32) < 2_700_000_000);
    assert!(plan(None, true, Storage::F32) < 2_400_000_000);
}

#[test]
fn a_limit_chooses_recomputation_and_then_smaller_micro_batches() {
    // 100 bytes, and 10 a token, or 4 with recomputation.
    let plan = |capacity: u32, recompute: bool| -> Result<MemoryPlan> {
        Ok(MemoryPlan {
            capacity,
            recompute,
            stored: Storage::F32,
            weights: 100,
            adapter: 0,
            gradients: 0,
            optimizer: 0,
            activations: u64::from(capacity) * if recompute { 4 } else { 10 },
            largest_binding: 0,
            largest: "",
        })
    };
    let fit =
        |limit, recompute| memory::fit(limit, recompute, (64, 20), plan).map(|plan| (plan.capacity, plan.recompute));
    use Recompute::{Auto, Off, On};
    for (limit, recompute, want) in [
        (None, Auto, (64, false)),
        (None, Off, (64, false)),
        (None, On, (64, true)),
        (Some(740), Auto, (64, false)),
        (Some(740), On, (64, true)),
        (Some(739), Auto, (64, true)),
        (Some(739), Off, (32, false)),
        (Some(355), Auto, (32, true)),
        (Some(180), Auto, (20, true)),
        (Some(300), Off, (20, false)),
    ] {
        assert_eq!(fit(limit, recompute), Ok(want), "{limit:?} {recompute:?}");
    }
    for (limit, recompute, wanted) in [(179, Auto, 180), (299, Off, 300), (179, On, 180)] {
        let error = fit(Some(limit), recompute).expect_err("too little");
        assert!(
            matches!(error, Error::TooLarge { need, have, .. } if (need, have) == (wanted, limit)),
            "{error}"
        );
        assert!(error.to_string().contains("--memory-limit"), "{error}");
    }
}

#[test]
fn buffers_are_flat_over_300_steps() {
    let name = MODELS[0];
    let examples = examples(name);
    let all: Vec<usize> = (0..examples.len()).collect();
    let step = batches(&examples, &[&all[..3], &all[3..6], &all[6..]]);
    let mut trainer: Trainer = recomputing_trainer(model(name, None), 128, Recompute::Off);
    let gpu = trainer.model().gpu().clone();
    let mut after = Vec::new();
    for i in 0..300 {
        pollster::block_on(trainer.submit(&step)).expect("a step");
        if i > 0 {
            pollster::block_on(trainer.metrics()).expect("metrics");
        }
        if i == 0 || i == 99 || i == 299 {
            let memory = gpu.memory();
            after.push((memory.live(), memory.peak(), memory.allocations()));
        }
    }
    assert!(after.iter().all(|counts| *counts == after[0]), "{after:?}");
}
