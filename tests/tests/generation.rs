//! Many answers at once are those of one at a time, whatever the slots and the neighbours; how answers end; what is refused.

use crate::packing;
use wgpu_sft::Error;
use wgpu_sft::gpu::{Counts, Of, PlanBuilder, Rows, Scalars, Tensor};
use wgpu_sft::model::{BatchGenerator, Generator, Model, Sampling, Use};
use wgpu_sft::ops::attention::{self, Shape};
use wgpu_sft::random::{Stream, below, block, normals};
use wgpu_sft_tests::{GOLDEN, golden_model, gpu};

const CONTEXT: u32 = 48;

/// So many prompts of 1 to 41 tokens.
fn prompts(model: &Model, count: u32) -> Vec<Vec<u32>> {
    let draw = |lane: u32, n: u32| below(3, Stream::Init, lane, 0, n);
    let vocabulary = model.config().vocab_size as u32;
    let prompt = |i: u32| -> Vec<u32> {
        let len = [1, 41, 2][i as usize % 3].max(draw(i, 42)).min(41);
        (0..len).map(|t| draw(1000 + 100 * i + t, vocabulary)).collect()
    };
    (0..count).map(prompt).collect()
}

fn batch(model: &Model, slots: u32) -> BatchGenerator {
    pollster::block_on(BatchGenerator::new(model, slots, CONTEXT)).expect("a generator")
}

/// Generate, told each answer once, as it is returned.
fn generate(
    batch: &mut BatchGenerator,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    max_new_tokens: u32,
    terminators: &[u32],
) -> Vec<Vec<u32>> {
    let mut told = vec![None; prompts.len()];
    let tell = |number: usize, answer: &[u32]| {
        assert!(told[number].replace(answer.to_vec()).is_none(), "answer {number} twice");
        true
    };
    let answers = batch.generate(prompts, sampling, max_new_tokens, terminators, tell);
    let answers = pollster::block_on(answers).expect("answers");
    let told: Vec<_> = told.into_iter().map(|answer| answer.expect("told")).collect();
    assert_eq!(answers, told);
    answers
}

/// One at a time, each from nothing.
fn alone(
    model: &Model,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    max_new_tokens: u32,
    terminators: &[u32],
) -> Vec<Vec<u32>> {
    let mut generator = pollster::block_on(Generator::new(model, CONTEXT)).expect("a generator");
    let mut one = |prompt: &Vec<u32>| {
        generator.reset();
        let answer = generator.generate(prompt, sampling, max_new_tokens, terminators, |_| true);
        pollster::block_on(answer).expect("an answer")
    };
    prompts.iter().map(&mut one).collect()
}

fn sampled() -> Sampling {
    Sampling {
        temperature: 1.5,
        top_k: 200,
        top_p: 0.99,
        ..Sampling::default()
    }
}

#[test]
fn greedy_answers_are_those_of_one_at_a_time() {
    let adapted = packing::methods()
        .into_iter()
        .find_map(|(_, adapter)| adapter)
        .expect("an adapter");
    let mut models: Vec<_> = GOLDEN
        .map(|name| (name, golden_model(&gpu(), name, Use::Frozen(None))))
        .into();
    models.push(("an adapter", packing::model(GOLDEN[0], Some(&adapted))));
    for (name, model) in &models {
        let prompts = prompts(model, 23);
        let greedy = Sampling::default();
        let free = alone(model, &prompts, &greedy, 30, &[]);
        // Terminators that end some of the answers, one at its first token.
        let terminators = [free[3][0], free[5][4], free[8][2]];
        let want = alone(model, &prompts, &greedy, 30, &terminators);
        assert!(
            want[3].is_empty() && want.iter().any(|answer| answer.len() > 10),
            "{want:?}"
        );
        // 41 tokens of prompt leave room for 7 in the context, and one more comes after the last of them.
        assert!(
            free.iter()
                .zip(&prompts)
                .all(|(a, p)| a.len() == (49 - p.len()).min(30))
        );
        for (slots, terminators, want) in [(2, &terminators[..], &want), (7, &terminators, &want), (40, &[], &free)] {
            let mut batch = batch(model, slots);
            assert_eq!(batch.slots(), slots);
            assert_eq!(
                generate(&mut batch, &prompts, &greedy, 30, terminators),
                *want,
                "{name}, {slots} slots"
            );
        }
        // In another order.
        let mut reversed = prompts.clone();
        reversed.reverse();
        let mut got = generate(&mut batch(model, 5), &reversed, &greedy, 30, &terminators);
        got.reverse();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn sampled_answers_are_of_the_prompt_the_seed_and_the_number() {
    let model = golden_model(&gpu(), GOLDEN[2], Use::Frozen(None));
    let mut prompts = prompts(&model, 11);
    prompts[4] = prompts[0].clone();
    let want = generate(&mut batch(&model, 1), &prompts, &sampled(), 12, &[]);
    assert_ne!(want[0], want[4], "the number has no part in it");
    assert_eq!(want[0], alone(&model, &prompts[..1], &sampled(), 12, &[])[0]);
    let other = Sampling { seed: 7, ..sampled() };
    assert_ne!(want, generate(&mut batch(&model, 4), &prompts, &other, 12, &[]));
    for slots in [2, 4, 16] {
        let mut batch = batch(&model, slots);
        assert_eq!(
            generate(&mut batch, &prompts, &sampled(), 12, &[]),
            want,
            "{slots} slots"
        );
        // Other neighbours, in number and length.
        let mut others = prompts.clone();
        others.truncate(7);
        for i in [0, 1, 3, 5] {
            others[i] = vec![9; 1 + 5 * i];
        }
        let got = generate(&mut batch, &others, &sampled(), 12, &[]);
        for i in [2, 4, 6] {
            assert_eq!(got[i], want[i], "{slots} slots, answer {i}");
        }
    }
}

#[test]
fn how_answers_end() {
    let model = golden_model(&gpu(), GOLDEN[0], Use::Frozen(None));
    let prompts = prompts(&model, 6);
    let greedy = Sampling::default();
    let mut batch = batch(&model, 2);
    let want = generate(&mut batch, &prompts, &greedy, 3, &[]);
    assert!(want.iter().all(|answer| answer.len() == 3));
    assert_eq!(
        generate(&mut batch, &prompts, &greedy, 0, &[]),
        vec![Vec::<u32>::new(); 6]
    );
    let first: Vec<_> = want.iter().map(|answer| answer[..1].to_vec()).collect();
    assert_eq!(generate(&mut batch, &prompts, &greedy, 1, &[]), first);
    // A full context has room for the token after it.
    let full = vec![vec![5; CONTEXT as usize], vec![5; CONTEXT as usize - 1]];
    let answers = generate(&mut batch, &full, &greedy, 9, &[]);
    assert_eq!([answers[0].len(), answers[1].len()], [1, 2]);
    assert_eq!(answers, alone(&model, &full, &greedy, 9, &[]));
    assert_eq!(generate(&mut batch, &[], &greedy, 9, &[]), Vec::<Vec<u32>>::new());

    // The second answer that ends stops all: a prompt of each slot, one begun beside it, the rest not.
    let mut told = Vec::new();
    let stop = |number: usize, answer: &[u32]| {
        told.push((number, answer.to_vec()));
        told.len() < 2
    };
    let terminators = [want[1][1]];
    let answers = batch.generate(&prompts, &greedy, 3, &terminators, stop);
    let answers = pollster::block_on(answers).expect("answers");
    assert_eq!(told.len(), 2);
    for (number, answer) in &told {
        assert_eq!(answers[*number], *answer);
    }
    for (number, answer) in answers.iter().enumerate() {
        assert!(want[number].starts_with(answer), "{number}: {answer:?}");
    }
    assert!(answers[4].is_empty() && answers[5].is_empty());
    let mut calls = 0;
    let none = batch.generate(&prompts, &greedy, 0, &[], |_, _| {
        calls += 1;
        false
    });
    assert_eq!(pollster::block_on(none).expect("answers").len(), 6);
    assert_eq!(calls, 1);
    // What was left in the slots is forgotten.
    assert_eq!(generate(&mut batch, &prompts, &greedy, 3, &[]), want);
}

#[test]
fn prompts_that_are_refused() {
    let model = golden_model(&gpu(), GOLDEN[0], Use::Frozen(None));
    let mut batch = batch(&model, 2);
    let mut refused = |prompt: Vec<u32>, sampling: Sampling| {
        let (prompts, mut told) = ([vec![1], prompt], 0);
        let answers = batch.generate(&prompts, &sampling, 2, &[], |_, _| {
            told += 1;
            true
        });
        let error = pollster::block_on(answers).expect_err("a refusal");
        assert_eq!(told, 0, "a prompt was answered before another was refused");
        error
    };
    for (prompt, says) in [
        (vec![], "prompt 1 is empty"),
        (vec![1; 49], "prompt 1 has 49 tokens, the context is 48"),
        (vec![3, 320], "prompt 1: token 320 is not in the vocabulary of 320"),
    ] {
        let error = refused(prompt, Sampling::default());
        assert!(
            matches!(&error, Error::Data { .. }) && error.to_string().contains(says),
            "{error}"
        );
    }
    let hot = Sampling {
        temperature: f32::NAN,
        ..Sampling::default()
    };
    assert!(matches!(refused(vec![1], hot), Error::Config { field, .. } if field == "temperature"));
    let greedy = Sampling::default();
    let mut generator = pollster::block_on(Generator::new(&model, 4)).expect("a generator");
    for (prompt, says) in [
        (vec![], "the prompt is empty"),
        (vec![1; 5], "has 5 tokens, the context is 4"),
    ] {
        let answer = generator.generate(&prompt, &greedy, 0, &[], |_| true);
        let error = pollster::block_on(answer).expect_err("a refusal");
        assert!(error.to_string().contains(says), "{error}");
    }
    for context in [0, u32::MAX] {
        let error = pollster::block_on(BatchGenerator::new(&model, 4, context))
            .err()
            .expect("a refusal");
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn memory_is_known_before_and_flat() {
    let gpu = gpu();
    let model = golden_model(&gpu, GOLDEN[0], Use::Frozen(None));
    let before = gpu.memory().live();
    for slots in [1, 5, 64] {
        let mut batch = batch(&model, slots);
        let (got, planned) = (
            gpu.memory().live() - before,
            BatchGenerator::bytes(&model, slots, CONTEXT).expect("fits"),
        );
        // The parameters of dispatches.
        assert!(
            (planned..planned + 100_000).contains(&got),
            "{slots} slots: {got}, planned {planned}"
        );
        let prompts = prompts(&model, 9);
        for sampling in [Sampling::default(), sampled()] {
            let made = gpu.memory().allocations();
            generate(&mut batch, &prompts, &sampling, 5, &[]);
            assert_eq!(gpu.memory().allocations(), made, "{slots} slots");
        }
    }
    assert_eq!(gpu.memory().live(), before);
    // No more slots than a binding holds caches for, nor rows of logits than 64 MiB.
    let bytes = |slots, context| BatchGenerator::bytes(&model, slots, context).expect("fits");
    let context = (gpu.max_binding() / 128 / 3) as u32;
    assert_eq!(bytes(u32::MAX, context), bytes(3, context));
    assert_ne!(bytes(3, context), bytes(2, context));
    assert_eq!(bytes(u32::MAX, 1), bytes((16 << 20) / 320 / 16 * 16, 1));
}

/// The kernel for queries with keys of their own, against the one whose queries share theirs.
#[test]
fn a_query_alone_has_the_bits_that_it_has_among_others() {
    let gpu = gpu();
    // (query heads, key heads, head size): groups of 3, 1, and more than a workgroup has room for.
    for (heads, kv_heads, size) in [(9, 3, 64), (4, 4, 24), (12, 1, 8), (2, 1, 128)] {
        let (n, before) = (45u32, 70u32);
        let numbers = |lane: u32, n: u32| -> Tensor {
            let words = (0..u64::from(n.div_ceil(4))).flat_map(|i| normals(block(5, Stream::Init, lane, i)));
            gpu.upload("numbers", &words.map(|v| v as f32).take(n as usize).collect::<Vec<_>>())
        };
        // New tokens after `before` of a sequence that begins at row 64 of a cache.
        let width = kv_heads * size;
        let (q, cache) = (numbers(0, n * heads * size), numbers(1, (64 + before + n) * 2 * width));
        let keys: Vec<u32> = (0..n).flat_map(|i| [64, 64 + before + i + 1]).collect();
        let range = gpu.upload_u32("ranges", &keys);
        let shape = Shape {
            q: (heads * size, 0),
            k: (2 * width, 0),
            v: (2 * width, width),
            ..Shape::fused(heads, kv_heads, size)
        };
        let results = || (numbers(2, n * heads * size), numbers(3, 2 * n * heads));
        let (together, alone) = (results(), results());
        let mut plan = PlanBuilder::new(&gpu, "attention");
        let (tokens, operands) = (Rows::of(Of::Tokens), (&q, &cache, &cache));
        attention::forward(
            &mut plan,
            tokens,
            &shape,
            operands,
            &range,
            (&together.0, &together.1),
            200,
        );
        attention::forward_alone(
            &mut plan,
            tokens,
            &shape,
            operands,
            &range,
            (&alone.0, &alone.1),
            (n, 200),
        );
        let counts = Counts {
            tokens: n,
            ..Counts::default()
        };
        pollster::block_on(plan.finish())
            .expect("a plan")
            .run(&counts, &Scalars::default());
        for (together, alone) in [(&together.0, &alone.0), (&together.1, &alone.1)] {
            let [together, alone] = [together, alone].map(|t| pollster::block_on(gpu.read_bytes(t)).expect("numbers"));
            assert!(together == alone, "{heads}:{kv_heads} x {size}");
        }
    }
}
