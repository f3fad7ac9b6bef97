//! Losses of single examples and log-likelihoods of continuations, against logits recorded from PyTorch in f64.

use safetensors::SafeTensors;
use wgpu_sft::Error;
use wgpu_sft::data::{Example, IGNORE};
use wgpu_sft::eval::{EvalMetrics, Evaluator};
use wgpu_sft::model::{Generator, Sampling, Use};
use wgpu_sft_tests::{GOLDEN, bytes, close, documents, floats, golden_model, gpu};

/// A document, and for each of its tokens but the first its log-probability by the recorded logits and whether it is the likeliest.
struct Recorded {
    example: Example,
    tokens: Vec<(f64, bool)>,
}

fn recorded(name: &str) -> Vec<Recorded> {
    let file = bytes(&format!("golden/{name}/fixture.safetensors"));
    let file = SafeTensors::deserialize(&file).expect("safetensors");
    let mut all = Vec::new();
    for i in 0..2 {
        let shape = file
            .tensor(&format!("batch{i}.logits"))
            .expect("logits")
            .shape()
            .to_vec();
        let logits = floats(&file, &format!("batch{i}.logits"));
        for document in documents(&file, &format!("batch{i}")) {
            let ids = document.example.ids.clone();
            let log_p = |t: usize| {
                let row = (document.at.0 * shape[1] + document.at.1 + t - 1) * shape[2];
                let row: Vec<f64> = logits[row..row + shape[2]].iter().map(|&z| f64::from(z)).collect();
                let peak = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|z| (z - peak).exp()).sum();
                let wanted = row[ids[t] as usize];
                (wanted - peak - sum.ln(), wanted == peak)
            };
            all.push(Recorded {
                tokens: (1..ids.len()).map(log_p).collect(),
                example: document.example,
            });
        }
    }
    all
}

#[test]
fn losses_of_each_example() {
    for name in GOLDEN {
        let model = golden_model(&gpu(), name, Use::Frozen(None));
        let recorded = recorded(name);
        let mut examples: Vec<Example> = recorded.iter().map(|r| r.example.clone()).collect();
        // One without a target among them.
        examples[1].labels.fill(IGNORE);
        let longest = examples.iter().map(|e| e.ids.len()).max().expect("examples") as u32;
        for capacity in [longest, 200] {
            let mut evaluator = pollster::block_on(Evaluator::new(&model, capacity)).expect("an evaluator");
            let got = pollster::block_on(evaluator.per_example(&examples)).expect("losses");
            assert_eq!(got.len(), examples.len());
            let mut sum = EvalMetrics::default();
            for (number, (got, recorded)) in got.iter().zip(&recorded).enumerate() {
                let labels = examples[number].labels[1..].iter().zip(&recorded.tokens);
                let targets: Vec<_> = labels.filter(|(label, _)| **label != IGNORE).map(|(_, t)| t).collect();
                assert_eq!((got.rows, got.targets), (1, targets.len() as u64), "{name} {number}");
                let want: f64 = targets.iter().map(|(log_p, _)| -log_p).sum();
                close(&format!("{name} {number}"), got.loss_sum, want, 2e-6);
                let correct = targets.iter().filter(|(_, likeliest)| *likeliest).count();
                assert_eq!(got.correct, correct as f64, "{name} {number}");
                sum += *got;
            }
            assert_eq!(got[1].targets, 0);
            assert_eq!(sum, pollster::block_on(evaluator.run(&examples)).expect("a loss"));
        }
    }
}

#[test]
fn log_likelihoods_of_continuations() {
    for name in GOLDEN {
        let model = golden_model(&gpu(), name, Use::Frozen(None));
        let recorded = recorded(name);
        let long: Vec<_> = recorded.iter().filter(|r| r.example.ids.len() >= 4).collect();
        let mut pairs = Vec::new();
        let mut want = Vec::new();
        // Labels have no part in it, and a context's length none in a token's place.
        for (number, document) in long.iter().enumerate() {
            let at = 1 + number % (document.example.ids.len() - 1);
            let (context, continuation) = document.example.ids.split_at(at);
            pairs.push((context.to_vec(), continuation.to_vec()));
            want.push(document.tokens[at - 1..].iter().map(|(log_p, _)| log_p).sum::<f64>());
        }
        // What greedy decoding writes, and the same with another last token.
        let mut generator = pollster::block_on(Generator::new(&model, 40)).expect("a generator");
        let greedy = Sampling::default();
        for (context, _) in pairs.clone() {
            let context = context[..context.len().min(8)].to_vec();
            let answer = generator.generate(&context, &greedy, 5, &[], |_| true);
            let mut answer = pollster::block_on(answer).expect("an answer");
            pairs.push((context.clone(), answer.clone()));
            answer[4] = (answer[4] + 1) % model.config().vocab_size as u32;
            pairs.push((context, answer));
        }
        let mut evaluator = pollster::block_on(Evaluator::new(&model, 64)).expect("an evaluator");
        let got = pollster::block_on(evaluator.log_likelihoods(&pairs)).expect("log-likelihoods");
        assert_eq!(got.len(), pairs.len());
        for (i, want) in want.iter().enumerate() {
            close(&format!("{name} {i}"), got[i].log_likelihood, *want, 2e-6);
        }
        for pair in got[want.len()..].chunks(2) {
            assert_eq!([pair[0].greedy, pair[1].greedy], [true, false], "{name}");
            assert!(pair[0].log_likelihood > pair[1].log_likelihood, "{name}");
        }
    }
}

#[test]
fn pairs_that_are_refused() {
    let model = golden_model(&gpu(), "llama_tied_gqa", Use::Frozen(None));
    let mut evaluator = pollster::block_on(Evaluator::new(&model, 8)).expect("an evaluator");
    let mut error = |context: &[u32], continuation: &[u32]| {
        let pairs = [(vec![3], vec![4]), (context.to_vec(), continuation.to_vec())];
        pollster::block_on(evaluator.log_likelihoods(&pairs)).expect_err("a refusal")
    };
    for (got, says) in [
        (error(&[], &[1]), "pair 1: the context is empty"),
        (error(&[1], &[]), "pair 1: the continuation is empty"),
        (error(&[1, 320], &[1]), "token 320 is not in the vocabulary"),
        (error(&[1], &[u32::MAX - 99]), "is not in the vocabulary"),
    ] {
        assert!(
            matches!(&got, Error::Data { .. }) && got.to_string().contains(says),
            "{got}"
        );
    }
    assert!(matches!(error(&[1; 5], &[1; 4]), Error::Config { .. }));
    assert_eq!(pollster::block_on(evaluator.log_likelihoods(&[])), Ok(vec![]));
}
