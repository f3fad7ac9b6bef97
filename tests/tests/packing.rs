//! What must not matter does not: how a step is packed and cut, what its neighbours are, where a run was interrupted. And
//! what an adapter computes: its gradients by finite differences, its sum with the base model.

use safetensors::SafeTensors;
use std::collections::BTreeMap;
use wgpu_sft::data::{Example, IGNORE, MicroBatch, micro_batches};
use wgpu_sft::eval::Evaluator;
use wgpu_sft::formats::Dtype;
use wgpu_sft::formats::peft::{AdapterConfig, LoraPair, TargetModules};
use wgpu_sft::model::{Model, ModelBuilder, Use};
use wgpu_sft::random::{Stream, block, uniform};
use wgpu_sft::train::{Recompute, TrainConfig, Trainer};
use wgpu_sft_tests::{bytes, close, documents, golden_model, gpu, largest_difference, state};

pub const MODELS: [&str; 3] = ["llama_tied_gqa", "qwen3_qknorm", "granite_multipliers"];

/// Every document of a golden folder's three batches.
pub fn examples(name: &str) -> Vec<Example> {
    let file = bytes(&format!("golden/{name}/fixture.safetensors"));
    let file = SafeTensors::deserialize(&file).expect("safetensors");
    (0..3)
        .flat_map(|i| documents(&file, &format!("batch{i}")))
        .map(|document| document.example)
        .collect()
}

/// Examples by number, in groups: a micro-batch each.
pub fn batches(examples: &[Example], groups: &[&[usize]]) -> Vec<MicroBatch> {
    let batch = |group: &&[usize]| {
        let mut batch = MicroBatch::default();
        for &number in *group {
            batch.push(number as u32, &examples[number]);
        }
        batch
    };
    groups.iter().map(batch).collect()
}

/// Of a rank that is no multiple of 4.
fn everywhere(lora_dropout: f64) -> AdapterConfig {
    AdapterConfig {
        r: 3,
        lora_alpha: 4.5,
        lora_dropout,
        target_modules: TargetModules::AllLinear,
        use_rslora: false,
        base_model_name_or_path: None,
    }
}

/// On one of three modules of a fused layer, and on a layer of its own.
fn somewhere(lora_dropout: f64) -> AdapterConfig {
    AdapterConfig {
        r: 6,
        target_modules: TargetModules::Names(vec!["q_proj".into(), "down_proj".into()]),
        use_rslora: true,
        ..everywhere(lora_dropout)
    }
}

/// Numbers in ±`bound`.
fn random(lane: u32, n: usize, bound: f32) -> Vec<f32> {
    let words = (0..n.div_ceil(4) as u64).flat_map(|i| block(7, Stream::Init, lane, i));
    words.take(n).map(|word| (2.0 * uniform(word) - 1.0) * bound).collect()
}

/// The golden model with an adapter whose every number is drawn, or to be trained whole.
pub fn model(name: &str, adapter: Option<&AdapterConfig>) -> Model {
    let Some(adapter) = adapter else {
        return golden_model(&gpu(), name, Use::Trained);
    };
    let mut model = golden_model(&gpu(), name, Use::Frozen(None));
    let mut pairs = BTreeMap::new();
    for (lane, module) in adapter
        .modules(model.config())
        .expect("modules")
        .into_iter()
        .enumerate()
    {
        let lane = 2 * lane as u32;
        let pair = LoraPair {
            a: random(lane, adapter.r * module.in_features, 0.3),
            b: random(lane + 1, module.out_features * adapter.r, 0.2),
        };
        pairs.insert(module.path, pair);
    }
    model.load_adapter(adapter, &pairs).expect("a good adapter");
    model
}

fn trainer(model: Model, capacity: usize) -> Trainer {
    recomputing_trainer(model, capacity, Recompute::Off)
}

pub fn recomputing_trainer(model: Model, capacity: usize, recompute: Recompute) -> Trainer {
    let config = TrainConfig {
        recompute,
        learning_rate: Some(2e-3),
        warmup_steps: 2.0,
        weight_decay: 0.1,
        ..TrainConfig::default()
    };
    pollster::block_on(Trainer::new(model, &config, 6, capacity as u32)).expect("a trainer")
}

/// The mean loss of a step, and every gradient.
pub fn gradients(trainer: &mut Trainer, batches: &[MicroBatch]) -> (f64, BTreeMap<String, Vec<f32>>) {
    let sums = pollster::block_on(trainer.accumulate(batches)).expect("gradients");
    let names: Vec<String> = state(trainer).into_keys().filter(|n| !n.contains(".exp_avg")).collect();
    let read = |name: String| {
        let gradient = pollster::block_on(trainer.gradient(&name)).expect("a gradient");
        (name, gradient)
    };
    (sums.loss(), names.into_iter().map(read).collect())
}

fn largest(numbers: &[f32]) -> f64 {
    numbers.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m))
}

/// Full training, and adapters with and without dropout.
pub fn methods() -> [(&'static str, Option<AdapterConfig>); 4] {
    [
        ("full", None),
        ("LoRA", Some(everywhere(0.0))),
        ("LoRA with dropout", Some(everywhere(0.3))),
        ("LoRA with dropout on some modules", Some(somewhere(0.3))),
    ]
}

#[test]
fn packing_does_not_change_a_step() {
    for name in MODELS {
        let examples = examples(name);
        let n = examples.len();
        let total: usize = examples.iter().map(|e| e.ids.len()).sum();
        let all: Vec<usize> = (0..n).collect();
        let reversed: Vec<usize> = (0..n).rev().collect();
        let alone: Vec<&[usize]> = all.chunks(1).collect();
        let rows: Vec<u32> = (0..n as u32).rev().collect();
        for (method, adapter) in methods() {
            let mut trainer = trainer(model(name, adapter.as_ref()), total);
            let (loss, want) = gradients(&mut trainer, &batches(&examples, &alone));
            let ways = [
                ("one micro-batch", batches(&examples, &[&all])),
                ("the other way round", batches(&examples, &[&reversed])),
                ("two", batches(&examples, &[&all[..n / 3], &all[n / 3..]])),
                (
                    "three, shuffled",
                    batches(&examples, &[&[4, 1, 7], &[9, 0, 2, 8], &[6, 3, 5]]),
                ),
                ("best fit", micro_batches(&examples, &rows, 50).expect("they fit")),
            ];
            for (way, batches) in ways {
                assert_eq!(batches.iter().map(|b| b.tokens.len()).sum::<usize>(), total);
                let (got_loss, got) = gradients(&mut trainer, &batches);
                let what = format!("{name}, {method}, {way}");
                close(&what, got_loss, loss, 1e-5);
                for (parameter, want) in &want {
                    let (difference, size) = (largest_difference(&got[parameter], want), largest(want));
                    assert!(size > 0.0, "{what}: no gradient in {parameter}");
                    assert!(
                        difference <= 1e-5 * size,
                        "{what}, {parameter}: {difference:.2e} of {size:.2e}"
                    );
                }
            }
        }
    }
}

/// Each example's own loss and gradient: among others without a target, and alone.
#[test]
fn an_example_is_among_others_what_it_is_alone() {
    for name in MODELS {
        let examples = examples(name);
        let total: usize = examples.iter().map(|e| e.ids.len()).sum();
        let all: Vec<usize> = (0..examples.len()).collect();
        for (method, adapter) in methods() {
            let mut trainer = trainer(model(name, adapter.as_ref()), total);
            for i in 0..examples.len() {
                let mut others = examples.clone();
                for other in (0..examples.len()).filter(|&other| other != i) {
                    others[other].labels.fill(IGNORE);
                }
                let (want_loss, want) = gradients(&mut trainer, &batches(&examples, &[&[i]]));
                let (got_loss, got) = gradients(&mut trainer, &batches(&others, &[&all]));
                let what = format!("{name}, {method}, example {i}");
                close(&what, got_loss, want_loss, 1e-5);
                for (parameter, want) in &want {
                    let (difference, size) = (largest_difference(&got[parameter], want), largest(want));
                    assert!(
                        difference <= 1e-5 * size,
                        "{what}, {parameter}: {difference:.2e} of {size:.2e}"
                    );
                }
            }
        }
    }
}

#[test]
fn token_rows_are_those_of_whole_tiles() {
    let examples = examples(MODELS[0]);
    let mut trainer = trainer(model(MODELS[0], None), 300);
    for tokens in [1, 50, 127, 128, 129, 300] {
        let rows = trainer.token_rows(tokens) as usize;
        assert!((tokens..tokens + 128).contains(&rows), "{tokens} tokens in {rows} rows");
    }
    let batches = batches(&examples, &[&[0, 1, 2], &[3, 4]]);
    pollster::block_on(trainer.submit(&batches)).expect("a step");
    let metrics = pollster::block_on(trainer.metrics()).expect("metrics");
    let rows: u64 = batches.iter().map(|batch| trainer.token_rows(batch.tokens.len())).sum();
    assert_eq!(metrics.token_rows, rows);
    let tokens: u64 = batches.iter().map(|batch| batch.tokens.len() as u64).sum();
    assert_eq!(metrics.tokens, tokens);
    assert!(metrics.token_rows >= metrics.tokens);
}

#[test]
fn dropout_is_of_the_example() {
    // The test above must not pass because dropout does nothing, or is the same everywhere.
    let examples = examples(MODELS[0]);
    let loss = |adapter: &AdapterConfig, numbers: [u32; 2]| {
        let mut batch = MicroBatch::default();
        for number in numbers {
            batch.push(number, &examples[0]);
        }
        gradients(&mut trainer(model(MODELS[0], Some(adapter)), 64), &[batch]).0
    };
    let (plain, dropped) = (everywhere(0.0), everywhere(0.3));
    assert_eq!(loss(&plain, [0, 1]), loss(&plain, [2, 3]));
    assert_eq!(loss(&dropped, [0, 1]), loss(&dropped, [0, 1]));
    assert_ne!(loss(&dropped, [0, 1]), loss(&dropped, [2, 3]));
    assert_ne!(loss(&dropped, [0, 1]), loss(&plain, [0, 1]));
}

#[test]
fn unused_capacity_changes_no_bit() {
    for name in MODELS {
        let examples = examples(name);
        let total: usize = examples.iter().map(|e| e.ids.len()).sum();
        let all: Vec<usize> = (0..examples.len()).collect();
        let batch = batches(&examples, &[&all]);
        for (method, adapter) in methods() {
            let run = |capacity| gradients(&mut trainer(model(name, adapter.as_ref()), capacity), &batch);
            let (want, got) = (run(total), run(5 * total + 3));
            assert_eq!(got, want, "{name}, {method}");
        }
    }
}

#[test]
fn a_segment_does_not_see_its_neighbours() {
    for name in MODELS {
        // Only the second of three is a target; then the others become other tokens.
        let mut examples = examples(name)[2..5].to_vec();
        for i in [0, 2] {
            examples[i].labels.fill(IGNORE);
        }
        let mut others = examples.clone();
        for i in [0, 2] {
            others[i].ids.iter_mut().for_each(|id| *id = (*id + 11) % 97);
        }
        assert_ne!(examples, others);
        for (method, adapter) in methods() {
            let mut trainer = trainer(model(name, adapter.as_ref()), 128);
            let want = gradients(&mut trainer, &batches(&examples, &[&[0, 1, 2]]));
            let got = gradients(&mut trainer, &batches(&others, &[&[0, 1, 2]]));
            assert_eq!(got, want, "{name}, {method}");
        }
        let mut evaluator = pollster::block_on(Evaluator::new(&model(name, None), 128)).expect("an evaluator");
        let mut loss = |examples: &[Example]| pollster::block_on(evaluator.run(examples)).expect("a loss");
        assert_eq!(loss(&examples), loss(&others), "{name}");
    }
}

/// Along each matrix's gradient, and in its largest entry. In f32: a wrong scale or a transposition shows, rounding does not.
#[test]
fn adapter_gradients_are_finite_differences() {
    for name in MODELS {
        let examples = examples(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        let batch = batches(&examples, &[&all]);
        for adapter in [everywhere(0.3), somewhere(0.0)] {
            let mut trainer = trainer(model(name, Some(&adapter)), 256);
            let start = state(&trainer);
            let (_, gradients) = gradients(&mut trainer, &batch);
            assert_eq!(
                gradients.len(),
                2 * adapter.modules(trainer.model().config()).expect("modules").len()
            );
            for (matrix, gradient) in &gradients {
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let steepest: Vec<f32> = gradient.iter().map(|&g| (f64::from(g) / norm) as f32).collect();
                let peak = gradient.iter().position(|g| f64::from(g.abs()) == largest(gradient));
                let peak = peak.expect("a largest entry");
                let mut entry = vec![0.0; gradient.len()];
                entry[peak] = 1.0;
                for (direction, want) in [(steepest, norm), (entry, f64::from(gradient[peak]))] {
                    let mut loss = |h: f32| {
                        let moved = |name: &str| {
                            let mut numbers = start[name].clone();
                            if name == matrix {
                                numbers.iter_mut().zip(&direction).for_each(|(v, d)| *v += h * d);
                            }
                            Ok(numbers)
                        };
                        trainer.restore(0, moved).expect("a state");
                        pollster::block_on(trainer.accumulate(&batch)).expect("a loss").loss()
                    };
                    const H: f32 = 0.02;
                    let got = (loss(H) - loss(-H)) / (2.0 * f64::from(H));
                    close(&format!("{name}, rank {}, {matrix}", adapter.r), got, want, 1e-2);
                }
            }
        }
    }
}

#[test]
fn a_merged_adapter_is_the_same_model() {
    for name in MODELS {
        let examples = examples(name);
        let loss = |model: &Model| {
            let mut evaluator = pollster::block_on(Evaluator::new(model, 64)).expect("an evaluator");
            pollster::block_on(evaluator.run(&examples)).expect("a loss").loss()
        };
        let base = loss(&golden_model(&gpu(), name, Use::Frozen(None)));
        for adapter in [everywhere(0.3), somewhere(0.3)] {
            let adapted = model(name, Some(&adapter));
            let config = adapted.config();
            let mut builder = ModelBuilder::new(&gpu(), config, Use::Frozen(None)).expect("a small model");
            for (tensor, shape) in config.tensors() {
                let numbers = pollster::block_on(adapted.merged_tensor(&tensor)).expect("a tensor");
                let bytes = Dtype::F32.encode(&numbers).expect("f32");
                assert!(builder.put(&tensor, Dtype::F32, &shape, &bytes).expect("a good tensor"));
            }
            let merged = pollster::block_on(builder.finish()).expect("a whole model");
            let (with_adapter, merged) = (loss(&adapted), loss(&merged));
            assert!((with_adapter - base).abs() > 1e-3 * base, "the adapter does nothing");
            close(name, merged, with_adapter, 1e-5);
        }
    }
}

#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    for name in MODELS {
        let examples = examples(name);
        // Another two examples in each of the six steps, in a micro-batch each.
        let step = |i: usize| {
            let [a, b] = [2 * i, 2 * i + 1].map(|k| k % examples.len());
            batches(&examples, &[&[a], &[b]])
        };
        let train = |trainer: &mut Trainer, steps: std::ops::Range<usize>| {
            for i in steps {
                pollster::block_on(trainer.submit(&step(i))).expect("a step");
                let metrics = pollster::block_on(trainer.metrics()).expect("metrics");
                assert_eq!(metrics.step, i as u64 + 1);
            }
        };
        for (method, adapter) in methods() {
            let mut whole = trainer(model(name, adapter.as_ref()), 64);
            let start = state(&whole);
            train(&mut whole, 0..6);
            let mut first = trainer(model(name, adapter.as_ref()), 64);
            train(&mut first, 0..3);
            let saved = state(&first);
            drop(first);
            let mut second = trainer(model(name, adapter.as_ref()), 64);
            // What it has before must not matter.
            second
                .restore(0, |name| Ok(vec![0.5; saved[name].len()]))
                .expect("a state");
            second.restore(3, |name| Ok(saved[name].clone())).expect("a state");
            train(&mut second, 3..6);
            let (got, want) = (state(&second), state(&whole));
            assert!(got.keys().eq(want.keys()));
            for (tensor, want) in &want {
                assert_ne!(*want, start[tensor], "{name}, {method}: {tensor} was not trained");
                assert_ne!(*want, saved[tensor], "{name}, {method}: {tensor} was not trained on");
                let bits = |numbers: &[f32]| numbers.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert!(bits(&got[tensor]) == bits(want), "{name}, {method}: {tensor} differs");
            }
        }
    }
}
