//! `bench`: its arithmetic against sums by hand, and what it reports.

use wgpu_sft::bench::Job;
use wgpu_sft::gpu::{Gpu, GpuOptions, Storage};
use wgpu_sft::model::ModelConfig;
use wgpu_sft::train::work::step_flops;
use wgpu_sft::train::{LoraConfig, Method};

fn config() -> ModelConfig {
    let json = r#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 100, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": false}"#;
    ModelConfig::from_json(json).expect("a configuration")
}

/// Multiplications of a block's layers for one token: q, k and v, o, gate and up, down.
const BLOCK: [u64; 4] = [32 * (32 + 16 + 16), 32 * 32, 32 * 96, 48 * 32];

/// Attention's: two products forward, four backward, over the pairs that are seen.
const ATTENTION: u64 = 6 * 2 * (10 * 11 / 2) * 32 * 2;

#[test]
fn a_steps_operations_are_those_counted_by_hand() {
    let blocks: u64 = 2 * BLOCK.iter().sum::<u64>();
    let full = 2 * 3 * (10 * blocks + 9 * 32 * 100) + ATTENTION;
    assert_eq!(step_flops(&config(), None, 10, 9).expect("a count"), full);

    // The first block's q, k and v have no gradient to pass on; rank 3 beside every layer, with three products each of A
    // and of B, of which the first block's q, k and v lack one of A's.
    let lora = LoraConfig {
        r: 3,
        ..LoraConfig::default()
    };
    let base = 2 * (2 * (10 * blocks + 9 * 32 * 100) - 10 * BLOCK[0]);
    let [a, b] = [3 * (3 * 32 + 32 + 2 * 32 + 48), 3 * (32 + 16 + 16 + 32 + 48 + 48 + 32)];
    let adapter = 2 * 10 * (3 * 2 * (a + b) - 3 * 3 * 32);
    let counted = step_flops(&config(), Some(&lora), 10, 9).expect("a count");
    assert_eq!(counted, base + adapter + ATTENTION);
}

#[test]
fn the_report_says_what_was_done() {
    let options = GpuOptions {
        profile: true,
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::request(&options)).expect("an adapter");
    let job = Job {
        config: config(),
        method: Method::Lora,
        lora: LoraConfig::default(),
        frozen: Storage::Bf16,
        activations: Storage::F32,
        tokens: 24,
        steps: 2,
    };
    let model = pollster::block_on(job.random_model(&gpu)).expect("a model");
    let clock = std::time::Instant::now();
    let run = job.run(model, || clock.elapsed().as_secs_f64());
    let (report, timings) = pollster::block_on(run).expect("a report");
    assert_eq!(report.allocations_after_first_step, 0);
    assert_eq!(report.dispatches, timings.len() as u64);
    // Micro-batch, update, reading back.
    assert!(report.submits >= 3);
    assert!(report.peak_memory_bytes >= gpu.memory().live());
    assert!(report.first_step_seconds > 0.0 && report.copy_bytes_per_second > 0.0);
    let ratio = report.step_flops as f64 / report.step_seconds / report.matmul_flops;
    assert!((report.ratio / ratio - 1.0).abs() < 1e-12 && report.ratio > 0.0);
    for (timing, next) in timings.iter().zip(&timings[1..]) {
        assert!(timing.end >= timing.begin && next.begin >= timing.begin, "{timing:?}");
    }
    let products = timings.iter().filter(|t| t.label.starts_with("matmul") && t.flops > 0);
    assert!(products.count() > 20);
}
