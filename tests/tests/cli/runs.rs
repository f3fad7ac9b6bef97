//! Runs from beginning to end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::*;

#[test]
fn an_adapter_is_trained_logged_and_evaluated() {
    let bench = Bench::new();
    bench
        .train(
            "out",
            &[
                "--num-train-epochs",
                "4",
                "--eval-data",
                "held_out.jsonl",
                "--eval-steps",
                "10",
            ],
        )
        .fine();
    let log = bench.log("out/metrics.jsonl");
    // 22 rows, 5 a step: 5 steps an epoch, the last of them short.
    let (evaluations, steps): (Vec<Value>, Vec<Value>) =
        log.into_iter().partition(|line| line.get("eval_loss").is_some());
    assert_eq!((steps.len(), evaluations.len()), (20, 2));
    let keys: Vec<&String> = steps[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "step",
            "epoch",
            "loss",
            "grad_norm",
            "learning_rate",
            "targets",
            "tokens",
            "packing"
        ]
    );
    assert_eq!((&steps[4]["step"], &steps[4]["epoch"]), (&json!(5), &json!(1.0)));
    let all: u64 = rows(22, 1).matches(',').count() as u64;
    assert_eq!(
        (&steps[4]["targets"], &steps[4]["tokens"]),
        (&json!(all), &json!(all + 22))
    );
    assert_eq!(steps[0]["learning_rate"], json!(1e-2));
    assert!(steps[19]["loss"].as_f64().unwrap() < 0.9 * steps[0]["loss"].as_f64().unwrap());
    let config = bench.json("out/adapter_config.json");
    assert_eq!(
        (&config["peft_type"], &config["r"], &config["lora_alpha"]),
        (&json!("LORA"), &json!(16), &json!(32))
    );
    let loss = bench.loss(&golden("llama_tied_gqa"), &["--adapter", "out"]);
    assert!((loss - evaluations[1]["eval_loss"].as_f64().unwrap()).abs() < 1e-5);
}

#[test]
fn every_weight_is_trained_and_saved_for_transformers() {
    let bench = Bench::new();
    let more = [
        "--method",
        "full",
        "--max-steps",
        "6",
        "--eval-data",
        "held_out.jsonl",
        "--weight-decay",
        "0.1",
    ];
    bench.train("out", &more).fine();
    let (config, generation) = (bench.json("out/config.json"), bench.json("out/generation_config.json"));
    assert_eq!(
        (&config["torch_dtype"], &generation["eos_token_id"]),
        (&json!("float32"), &json!(2))
    );
    assert!(bench.path("out/tokenizer.json").exists() && bench.path("out/tokenizer_config.json").exists());
    let (before, after) = (bench.loss(&golden("llama_tied_gqa"), &[]), bench.loss("out", &[]));
    assert!(after < before, "{after} is not below {before}");
    let log = bench.log("out/metrics.jsonl");
    assert!((log.last().unwrap()["eval_loss"].as_f64().unwrap() - after).abs() < 1e-5);
}

#[test]
fn chat_rows_are_trained_on() {
    let bench = Bench::new();
    let row = r#"{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}"#;
    bench.write("rows.jsonl", &format!("{row}\n{row}\n"));
    bench.train("out", &["--max-steps", "2"]).fine();
    assert_eq!(bench.log("out/metrics.jsonl").len(), 2);
}

/// Train whole, then from the checkpoint in its middle, and compare.
fn resumes_bit_identically(more: &[&str], results: &[&str]) {
    let bench = Bench::new();
    let more = [&["--max-steps", "9", "--save-steps", "4", "--warmup-steps", "2"], more].concat();
    bench.train("whole", &more).fine();
    bench.copy("whole/checkpoint-4", "half/checkpoint-4");
    fs::copy(bench.path("whole/metrics.jsonl"), bench.path("half/metrics.jsonl")).unwrap();
    bench.train("half", &[&more[..], &["--resume"]].concat()).fine();
    bench.assert_same("whole", "half", results);
    bench.assert_same("whole/checkpoint-9", "half/checkpoint-9", &["optimizer.safetensors"]);
    assert_eq!(bench.log("whole/metrics.jsonl"), bench.log("half/metrics.jsonl"));
}

#[test]
fn a_resumed_adapter_is_bit_identical() {
    resumes_bit_identically(
        &["--lora-dropout", "0.2", "--logging-steps", "3"],
        &["adapter_model.safetensors"],
    );
}

#[test]
fn resumed_weights_are_bit_identical() {
    resumes_bit_identically(&["--method", "full", "--weight-decay", "0.1"], &["model.safetensors"]);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let bench = Bench::new();
    for (folder, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        bench.train(folder, &["--max-steps", "3", "--seed", seed]).fine();
    }
    bench.assert_same("a", "b", &["adapter_model.safetensors"]);
    assert_ne!(
        bench.read("a/adapter_model.safetensors"),
        bench.read("c/adapter_model.safetensors")
    );
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let bench = Bench::new();
    let out = bench.train("out", &["--dry-run"]).fine();
    for word in ["22 of 22", "steps: 15", "targets", "memory: ", "time: about"] {
        assert!(out.contains(word), "{word:?} is not in {out:?}");
    }
    assert!(!bench.path("out").exists());
}

#[test]
fn piped_output_is_plain_and_quiet_is_silent() {
    let bench = Bench::new();
    let out = bench.train("out", &["--max-steps", "2"]).fine();
    assert!(
        out.contains("step 1/2") && out.contains("step 2/2") && !out.contains(['\x1b', '\r']),
        "{out:?}"
    );
    let quiet = bench.train("out", &["--max-steps", "1", "--quiet", "--overwrite-output-dir"]);
    assert_eq!(quiet.fine(), "");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let bench = Bench::new();
    let model = golden("llama_tied_gqa");
    for arguments in [vec!["train", "--print-config"], training(&model, "out")] {
        let mut child = bench
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{err}");
        assert!(!err.contains("panicked") && !err.contains("roken pipe"), "{err}");
    }
}

#[test]
fn a_training_whose_reader_leaves_saves_and_goes_on() {
    let bench = Bench::new();
    let model = golden("llama_tied_gqa");
    let arguments = [&training(&model, "out")[..], &["--max-steps", "300"]].concat();
    let mut child = bench
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("step 2/300")));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!bench.path("out/adapter_model.safetensors").exists());
    let out = bench.train("out", &["--max-steps", "300", "--resume"]).fine();
    assert!(out.contains("resuming after step") && bench.path("out/checkpoint-300").exists());
}

#[test]
fn rows_that_are_left_out_are_counted() {
    let bench = Bench::new();
    bench.write(
        "rows.jsonl",
        &format!("{}{{\"input_ids\": {:?}}}\n", rows(4, 1), [9; 70]),
    );
    let out = bench.train("out", &["--overlong", "drop", "--max-steps", "1"]).fine();
    assert!(
        out.contains("rows: 4 of 5") && out.contains("too long: 1 rows were dropped"),
        "{out}"
    );
    let out = bench
        .train("cut", &["--overlong", "truncate", "--max-steps", "1"])
        .fine();
    assert!(
        out.contains("rows: 5 of 5") && out.contains("too long: 1 rows were truncated"),
        "{out}"
    );
}

#[test]
fn settings_come_from_flags_then_the_file_then_defaults() {
    let bench = Bench::new();
    bench.write(
        "run.toml",
        "learning_rate = 0.5\nbatch-size = 3\nlora_target_modules = [\"q_proj\"]\n",
    );
    let out = bench
        .run(&["train", "--config", "run.toml", "--batch-size", "4", "--print-config"])
        .fine();
    for line in [
        "learning-rate = 0.5",
        "batch-size = 4",
        "lora-target-modules = [\"q_proj\"]",
        "seed = 42",
    ] {
        assert!(out.lines().any(|other| other == line), "{line:?} is not in {out:?}");
    }
    bench.write("again.toml", &out);
    assert_eq!(
        bench.run(&["train", "--config", "again.toml", "--print-config"]).fine(),
        out
    );
}

#[test]
fn what_the_step_computes_does_not_depend_on_the_micro_batch() {
    let bench = Bench::new();
    bench
        .train("one", &["--max-steps", "4", "--micro-batch-tokens", "256"])
        .fine();
    bench
        .train("many", &["--max-steps", "4", "--micro-batch-tokens", "32"])
        .fine();
    for (one, many) in bench
        .log("one/metrics.jsonl")
        .iter()
        .zip(bench.log("many/metrics.jsonl"))
    {
        let (one, many) = (one["loss"].as_f64().unwrap(), many["loss"].as_f64().unwrap());
        assert!((one - many).abs() < 1e-5 * one, "{one} and {many}");
    }
}

#[test]
fn a_memory_limit_is_kept_by_recomputing() {
    let bench = Bench::new();
    let tokens = ["--micro-batch-tokens", "4096", "--max-steps", "4", "--save-steps", "2"];
    let with = |folder: &str, more: &[&str]| bench.train(folder, &[&tokens[..], more].concat()).fine();
    let kept = with("kept", &[]);
    assert!(!kept.contains("recomputed"), "{kept}");
    for (folder, more) in [("on", ["--recompute", "on"]), ("limited", ["--memory-limit", "24MiB"])] {
        let out = with(folder, &more);
        assert!(out.contains(", recomputed), largest binding"), "{out}");
        bench.assert_same("kept", folder, &["adapter_model.safetensors"]);
    }
    // It is not part of what the run is.
    bench.copy("kept/checkpoint-2", "half/checkpoint-2");
    fs::copy(bench.path("kept/metrics.jsonl"), bench.path("half/metrics.jsonl")).unwrap();
    with("half", &["--resume", "--recompute", "on"]);
    bench.assert_same("kept", "half", &["adapter_model.safetensors"]);
    // Micro-batches that are not set are made smaller.
    let whole = bench.train("small", &["--dry-run"]).fine();
    assert!(whole.contains(" 88 tokens at once"), "{whole}");
    let out = bench.train("small", &["--dry-run", "--memory-limit", "650 kB"]).fine();
    assert!(
        out.contains("recomputed") && out.contains(" 44 tokens at once"),
        "{out}"
    );
}

#[test]
fn how_activations_are_kept_is_part_of_the_run() {
    let bench = Bench::new();
    let steps = ["--max-steps", "4", "--save-steps", "2"];
    let with = |folder: &str, more: &[&str]| bench.train(folder, &[&steps[..], more].concat());
    with("wide", &[]).fine();
    for storage in ["bf16", "f16"] {
        let out = with(storage, &["--activations", storage]).fine();
        assert!(out.contains(&format!(" in {storage}), largest binding")), "{out}");
        for (wide, narrow) in bench
            .log("wide/metrics.jsonl")
            .iter()
            .zip(bench.log(&format!("{storage}/metrics.jsonl")))
        {
            let (wide, narrow) = (wide["loss"].as_f64().unwrap(), narrow["loss"].as_f64().unwrap());
            assert!(
                wide != narrow && (wide - narrow).abs() < 1e-2 * wide,
                "{wide} and {narrow}"
            );
        }
    }
    bench.copy("bf16/checkpoint-2", "half/checkpoint-2");
    fs::copy(bench.path("bf16/metrics.jsonl"), bench.path("half/metrics.jsonl")).unwrap();
    with("half", &["--resume"]).refused(&["activations (it was \"bf16\", now \"f32\")"]);
    with("half", &["--resume", "--activations", "bf16"]).fine();
    bench.assert_same("bf16", "half", &["adapter_model.safetensors"]);
}

/// A CPU adapter's memory is the process's, which can be kept short: of 3 GB for a plan that has 3.4 GB.
#[test]
#[cfg(target_os = "linux")]
fn memory_that_is_refused_is_saved_by_recomputing() {
    let bench = Bench::new();
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 256,
        "num_hidden_layers": 24, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 256,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true,
        "hidden_act": "silu"
    });
    bench.write("config.json", &config.to_string());
    bench
        .run(&["init", "--config", "config.json", "--output-dir", "model"])
        .fine();
    let arguments = [
        &training("model", "out")[..],
        &[
            "--max-steps",
            "1",
            "--micro-batch-tokens",
            "32768",
            "--device",
            "llvmpipe",
        ],
    ]
    .concat();
    let limited = |more: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 3000000; exec \"$@\"", "sh"]);
        let command = command.arg(binary()).args(&arguments).args(more);
        let output = command.current_dir(bench.folder.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, err) = limited(&["--recompute", "off"]);
    assert!(code == Some(2) && err.contains("out of memory"), "{code:?} {err}");
    let (code, out, err) = limited(&[]);
    assert!(
        code == Some(0) && out.contains("activations are recomputed"),
        "{code:?} {out} {err}"
    );
}

#[test]
fn checks_are_kept_where_asked_for_and_change_no_bit() {
    let bench = Bench::new();
    let plain = bench.train("plain", &["--max-steps", "2"]).fine();
    let checked = bench.train("checked", &["--max-steps", "2", "--checked"]).fine();
    assert!(
        !plain.contains(", checked)") && checked.contains(" kernels, checked)"),
        "{checked}"
    );
    bench.assert_same("plain", "checked", &["adapter_model.safetensors"]);
    let out = bench.run(&["check", "swiglu", "--checked"]).fine();
    assert!(
        out.contains(" kernels, checked)") && out.contains("cases are right"),
        "{out}"
    );
    assert!(bench.run(&["devices"]).fine().contains("--checked"));
}

/// Whatever is where the driver's work was left, a run begins; and it leaves its own again.
#[test]
#[cfg(target_os = "linux")]
fn a_damaged_pipeline_cache_is_ignored() {
    let bench = Bench::new();
    let check = || bench.run(&["check", "swiglu"]).fine();
    check();
    let files: Vec<_> = fs::read_dir(bench.path("cache/wgpu-sft")).unwrap().collect();
    let [Ok(file)] = &files[..] else {
        panic!("{files:?}");
    };
    let good = fs::read(file.path()).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&good[..good.len() / 2], &flipped, b"", b"nothing"] {
        fs::write(file.path(), damaged).unwrap();
        check();
        assert_ne!(fs::read(file.path()).unwrap(), damaged);
    }
    // Nowhere to write is no reason to stop.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    bench.write("cache", "a file");
    check();
}

/// Of the process, as the system counts it: the library's own count is tested elsewhere.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_flat_over_300_steps() {
    let bench = Bench::new();
    let model = golden("llama_tied_gqa");
    // It has to live when it is looked at.
    let more = [
        "--max-steps",
        "350",
        "--micro-batch-tokens",
        "32",
        "--save-steps",
        "1000",
    ];
    let arguments = [&training(&model, "out")[..], &more].concat();
    let mut command = bench.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut resident = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if ["step 100/350 ", "step 290/350 "]
            .iter()
            .any(|step| line.starts_with(step))
        {
            let status = fs::read_to_string(&status).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            resident.push(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let [early, late] = resident[..] else {
        panic!("{resident:?}");
    };
    assert!(late < early + 2048, "{early} kB after 100 steps, {late} kB after 290");
}
