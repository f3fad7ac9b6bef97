//! The other commands.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::*;

#[test]
fn eval_prints_its_numbers_as_json() {
    let bench = Bench::new();
    let model = golden("qwen2_bias");
    let out = bench
        .run(&["eval", "--json", "--model", &model, "--data", "held_out.jsonl"])
        .fine();
    let json: Value = serde_json::from_str(&out).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["loss", "perplexity", "token_accuracy", "targets", "rows"]);
    assert_eq!(
        (&json["rows"], &json["targets"]),
        (&json!(5), &json!(rows(5, 7).matches(',').count()))
    );
    let (loss, perplexity) = (json["loss"].as_f64().unwrap(), json["perplexity"].as_f64().unwrap());
    assert!((loss.exp() - perplexity).abs() < 1e-9 * perplexity);
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn a_merged_model_is_the_base_with_its_adapter() {
    let bench = Bench::new();
    let base = golden("llama_tied_gqa");
    bench.train("out", &["--max-steps", "6"]).fine();
    bench
        .run(&["merge", "--model", &base, "--adapter", "out", "--output-dir", "merged"])
        .fine();
    let (apart, merged) = (bench.loss(&base, &["--adapter", "out"]), bench.loss("merged", &[]));
    assert!((apart - merged).abs() < 1e-5, "{apart} and {merged}");
    assert!((bench.loss(&base, &[]) - merged).abs() > 1e-2);
    let again = ["merge", "--model", &base, "--adapter", "out", "--output-dir", "merged"];
    bench.run(&again).refused(&["merged", "config.json"]);
    bench
        .run(&["eval", "--model", "out", "--data", "rows.jsonl"])
        .refused(&["--adapter"]);
}

#[test]
fn merging_saves_the_type_that_is_asked_for() {
    let bench = Bench::new();
    let base = golden("llama_tied_gqa");
    bench.train("out", &["--max-steps", "1"]).fine();
    bench
        .run(&[
            "merge",
            "--model",
            &base,
            "--adapter",
            "out",
            "--output-dir",
            "merged",
            "--save-dtype",
            "bf16",
        ])
        .fine();
    assert_eq!(bench.json("merged/config.json")["torch_dtype"], json!("bfloat16"));
    let bytes = bench.read("merged/model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(
        tensors
            .iter()
            .all(|(_, tensor)| tensor.dtype() == safetensors::Dtype::BF16)
    );
}

#[test]
fn a_model_is_made_from_its_configuration() {
    let bench = Bench::new();
    let source = golden("llama_tied_gqa");
    let config = format!("{source}/config.json");
    for (folder, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let made = [
            "init",
            "--config",
            &config,
            "--output-dir",
            folder,
            "--seed",
            seed,
            "--tokenizer",
            &source,
        ];
        bench.run(&made).fine();
    }
    bench.assert_same("a", "b", &["model.safetensors", "config.json", "tokenizer.json"]);
    assert_ne!(bench.read("a/model.safetensors"), bench.read("c/model.safetensors"));
    // Random weights know nothing: every token is as likely as any other, nearly.
    assert!((bench.loss("a", &[]) - 320f64.ln()).abs() < 0.05);
}

#[test]
fn a_greedy_answer_is_the_same_every_time() {
    let bench = Bench::new();
    let model = golden("llama_tied_gqa");
    let generate = [
        "generate",
        "--model",
        &model,
        "--prompt",
        "hello",
        "--system",
        "a",
        "--max-new-tokens",
        "12",
    ];
    let first = bench.run(&generate).fine();
    assert_eq!(bench.run(&generate).fine(), first);
    let mut chat = bench
        .command(&["chat", "--model", &model, "--system", "a", "--max-new-tokens", "12"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(
        String::from_utf8(chat.wait_with_output().unwrap().stdout).unwrap(),
        first
    );
    let sampled = [&generate[..], &["--temperature", "1.5", "--seed", "3"]].concat();
    assert_eq!(bench.run(&sampled).fine(), bench.run(&sampled).fine());
    let hot = [&generate[..], &["--top-p", "2"]].concat();
    bench.run(&hot).refused(&["top_p"]);
}

#[test]
fn devices_are_listed_and_checked() {
    let bench = Bench::new();
    let out = bench.run(&["devices"]).fine();
    assert!(
        out.starts_with("0: ") && out.contains("kernels: ") && out.contains("binding"),
        "{out}"
    );
    assert!(bench.run(&["check", "swiglu"]).fine().contains("cases are right"));
    bench.run(&["check", "no such kernel"]).refused(&["no such kernel"]);
}

#[test]
fn a_hub_id_is_taken_from_the_cache_when_offline() {
    let bench = Bench::new();
    let snapshot = "home/hub/models--some--model/snapshots/abc";
    fs::create_dir_all(bench.path(snapshot)).unwrap();
    fs::create_dir_all(bench.path("home/hub/models--some--model/refs")).unwrap();
    bench.write("home/hub/models--some--model/refs/main", "abc");
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let from = format!("{}/{file}", golden("llama_tied_gqa"));
        fs::copy(from, bench.path(snapshot).join(file)).unwrap();
    }
    let offline = |id: &str| {
        let mut command = bench.command(&["eval", "--json", "--model", id, "--data", "held_out.jsonl"]);
        let command = command.env("HF_HOME", bench.path("home")).env("HF_HUB_OFFLINE", "1");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    };
    let json: Value = serde_json::from_str(&offline("some/model").fine()).unwrap();
    assert_eq!(
        json["loss"].as_f64().unwrap(),
        bench.loss(&golden("llama_tied_gqa"), &[])
    );
    offline("other/model").refused(&["other/model", "cache"]);
}

#[test]
fn bench_prints_its_numbers_and_writes_a_trace() {
    let bench = Bench::new();
    let shape = [
        "--hidden", "32", "--layers", "1", "--heads", "2", "--ffn", "64", "--vocab", "100",
    ];
    let run = [
        "bench",
        "--json",
        "--ops",
        "--trace",
        "trace.json",
        "--tokens",
        "20",
        "--steps",
        "1",
    ];
    for method in ["lora", "full"] {
        let out = bench.run(&[&run[..], &shape, &["--method", method]].concat()).fine();
        let report: Value = serde_json::from_str(&out).unwrap();
        for field in [
            "tokens_per_second",
            "step_seconds",
            "first_step_seconds",
            "step_flops",
            "matmul_flops",
            "ratio",
            "peak_memory_bytes",
            "dispatches",
            "submits",
        ] {
            assert!(report[field].as_f64().is_some_and(|n| n > 0.0), "{field}: {out}");
        }
        assert_eq!(report["allocations_after_first_step"], 0);
        let ops = report["ops"].as_array().unwrap();
        assert_eq!(ops.len() as u64, report["dispatches"].as_u64().unwrap());
        let trace: Value = serde_json::from_slice(&fs::read(bench.path("trace.json")).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.iter().filter(|event| event["ph"] == "X").count(), ops.len());
    }
    bench
        .run(&["bench", "--method", "half"])
        .refused(&["method", "neither lora nor full"]);
    bench
        .run(&["bench", "--method", "full", "--dtype", "f16"])
        .refused(&["dtype", "always f32"]);
    bench
        .run(&[&["bench", "--tokens", "1"][..], &shape].concat())
        .refused(&["tokens", "at least 2"]);
}
