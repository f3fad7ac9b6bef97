//! Times greedy generation of many prompts together against one at a time: `generation_speed [PROMPTS [NEW_TOKENS [FILE.gguf]]]`. Without a
//! file, of a small model with random weights. On Linux also the processor's time, which is what counts on CPU adapters that others use too.

use std::time::Instant;

use wgpu_sft::formats::{Dtype, Gguf};
use wgpu_sft::model::{BatchGenerator, Generator, Model, ModelBuilder, ModelConfig, Sampling, Use, init};
use wgpu_sft::random::{Stream, below};
use wgpu_sft_tests::{gpu, model};

fn small() -> Model {
    let config = r#"{"model_type": "llama", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "eos_token_id": 2, "initializer_range": 0.05}"#;
    let config = ModelConfig::from_json(config).expect("a configuration");
    let mut builder = ModelBuilder::new(&gpu(), &config, Use::Frozen(None)).expect("a model that fits");
    for (name, shape, numbers) in init::weights(&config, 0) {
        let bytes = Dtype::F32.encode(&numbers).expect("f32");
        builder.put(&name, Dtype::F32, &shape, &bytes).expect("a good tensor");
    }
    pollster::block_on(builder.finish()).expect("a whole model")
}

fn large(path: &str) -> Model {
    let file = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let gguf = Gguf::parse(&file).expect("a GGUF file");
    let (config, tensors) = (gguf.config().expect("a model"), gguf.tensors().expect("tensors"));
    model(&gpu(), &config, &tensors, &file, Use::Frozen(None))
}

/// Of this process; 0 where nothing tells.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let times = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise: u32| {
        arguments
            .next()
            .map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (count, new) = (number(32), number(32));
    let model = arguments.next().map_or_else(small, |path| large(&path));
    let vocabulary = model.config().vocab_size as u32;
    // 10 to 50 tokens, as short questions have with their template.
    let prompt = |i: u32| -> Vec<u32> {
        let draw = |t: u32, n: u32| below(1, Stream::Init, i, u64::from(t), n);
        (0..10 + draw(0, 41)).map(|t| draw(1 + t, vocabulary)).collect()
    };
    let prompts: Vec<_> = (0..count).map(prompt).collect();
    let context = 50 + new;
    let greedy = Sampling::default();
    let rates = |tokens: usize, (start, busy): (Instant, f64)| {
        [start.elapsed().as_secs_f64(), processor_seconds() - busy].map(|seconds| tokens as f64 / seconds)
    };
    let now = || (Instant::now(), processor_seconds());

    let mut generator = pollster::block_on(Generator::new(&model, context)).expect("a generator");
    let mut one = |prompt: &[u32], new| {
        generator.reset();
        pollster::block_on(generator.generate(prompt, &greedy, new, &[], |_| true)).expect("an answer")
    };
    one(&prompts[0], 2); // compiles
    let some = &prompts[..prompts.len().min(4)];
    let start = now();
    let alone: Vec<_> = some.iter().map(|prompt| one(prompt, new)).collect();
    let slow = rates(some.len() * new as usize, start);
    println!(
        "one at a time: {:.1} tokens/s, {:.1} a processor's second",
        slow[0], slow[1]
    );
    for slots in [1, 4, 8, 16, 32, 64].into_iter().filter(|&slots| slots <= count) {
        let mut batch = pollster::block_on(BatchGenerator::new(&model, slots, context)).expect("a generator");
        let mut run = |prompts: &[Vec<u32>], new| {
            pollster::block_on(batch.generate(prompts, &greedy, new, &[], |_, _| true)).expect("answers")
        };
        run(&prompts[..slots as usize], 2);
        let part = &prompts[..prompts.len().min(slots.max(4) as usize)];
        let start = now();
        let answers = run(part, new);
        let fast = rates(part.len() * new as usize, start);
        assert_eq!(answers[..alone.len()], alone, "answers differ");
        let [wall, busy] = [0, 1].map(|i| fast[i] / slow[i]);
        println!(
            "{slots:3} slots: {:.1} tokens/s, {wall:.2} times; {:.1} a processor's second, {busy:.2} times",
            fast[0], fast[1]
        );
    }
}
