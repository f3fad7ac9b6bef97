//! What cannot run says why, in one line, and exits with 2.

use super::*;

#[test]
fn rows_that_cannot_be_used() {
    let bench = Bench::new();
    let cases: [(&str, &[&str]); 7] = [
        ("", &["rows.jsonl", "no rows"]),
        (
            "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1,",
            &["rows.jsonl", "line 2"],
        ),
        ("{\"input_ids\": [1, 999]}", &["rows.jsonl", "line 1", "999"]),
        (
            "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}",
            &["rows.jsonl", "line 1", "target"],
        ),
        ("{\"what\": 1}", &["rows.jsonl", "line 1"]),
        (
            &format!("{{\"input_ids\": {:?}}}", [3; 80]),
            &["1 of 1 rows", "64 tokens"],
        ),
        ("{\"messages\": []}", &["rows.jsonl", "line 1"]),
    ];
    for (text, reasons) in cases {
        bench.write("rows.jsonl", text);
        bench.train("out", &[]).refused(reasons);
    }
    assert!(!bench.path("out").exists());
}

#[test]
fn settings_that_make_no_sense() {
    let bench = Bench::new();
    let cases: [(&[&str], &[&str]); 14] = [
        (&["--learning-rate=-1"], &["learning_rate", "-1"]),
        (&["--learning-rate", "nan"], &["learning_rate"]),
        (&["--batch-size", "0"], &["batch_size"]),
        (
            &["--lora-target-modules", "q_proj,lm_head"],
            &["lora_target_modules", "lm_head"],
        ),
        (
            &["--lora-target-modules", "query"],
            &["lora_target_modules", "query", "q_proj"],
        ),
        (&["--method", "qlora"], &["method", "qlora"]),
        (&["--warmup-steps", "1.5"], &["warmup_steps"]),
        (&["--overlong", "cut"], &["overlong", "cut"]),
        (&["--train-on", "first"], &["train_on", "first", "last"]),
        (&["--max-length", "65"], &["max_length", "64"]),
        (&["--save-dtype", "f16"], &["save_dtype", "adapter"]),
        (&["--method", "full", "--dtype", "f16"], &["dtype"]),
        (&["--micro-batch-tokens", "8"], &["micro_batch_tokens", "8", "25"]),
        (&["--eval-steps", "2"], &["eval_steps", "--eval-data"]),
    ];
    for (more, reasons) in cases {
        bench.train("out", more).refused(reasons);
    }
    assert_eq!(
        bench.train("out", &["--lr-scheduler-type", "exponential"]).code,
        Some(2)
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn files_and_devices_that_are_not_there() {
    let bench = Bench::new();
    bench
        .train("out", &["--data", "missing.jsonl"])
        .refused(&["missing.jsonl", "No such file"]);
    bench.train("out", &["--device", "abacus"]).refused(&["abacus"]);
    bench.train("out", &["--kernels", "fast"]).refused(&["kernels", "fast"]);
    bench
        .run(&["eval", "--model", "./missing", "--data", "rows.jsonl"])
        .refused(&["./missing"]);
    bench
        .run(&["eval", "--model", "rows.jsonl", "--data", "rows.jsonl"])
        .refused(&["rows.jsonl", "GGUF"]);
    bench
        .run(&["eval", "--model", ".", "--data", "rows.jsonl"])
        .refused(&["config.json"]);
    bench.run(&["train"]).refused(&["model", "--model"]);
    bench.write("bad.toml", "learning_rte = 1");
    bench
        .run(&["train", "--config", "bad.toml"])
        .refused(&["bad.toml", "learning-rte"]);
}

#[test]
fn a_folder_that_holds_a_run() {
    let bench = Bench::new();
    bench.train("out", &["--max-steps", "1"]).fine();
    bench
        .train("out", &["--max-steps", "1"])
        .refused(&["out", "--resume", "--overwrite-output-dir"]);
    bench.write("out/mine.txt", "kept");
    bench
        .train(
            "out",
            &["--max-steps", "1", "--method", "full", "--overwrite-output-dir"],
        )
        .fine();
    assert!(!bench.path("out/adapter_model.safetensors").exists() && bench.path("out/mine.txt").exists());
    bench.train("empty", &["--resume"]).refused(&["empty", "no checkpoint"]);
}

#[test]
fn a_resumed_run_that_is_not_the_same() {
    let bench = Bench::new();
    let resume = |more: &[&str]| bench.train("out", &[&["--max-steps", "4", "--resume"], more].concat());
    bench.train("out", &["--max-steps", "4", "--save-steps", "2"]).fine();
    resume(&["--learning-rate", "1e-3"]).refused(&["learning_rate (it was 0.01, now 0.001)"]);
    resume(&["--lora-r", "8"]).refused(&["lora_r (it was 16, now 8)"]);
    resume(&["--max-steps", "5"]).ended(2, &[]);
    resume(&["--kernels", "register"]).refused(&["kernels"]);
    let rows = String::from_utf8(bench.read("rows.jsonl")).unwrap();
    bench.write("rows.jsonl", &rows.replacen('5', "6", 1));
    resume(&[]).refused(&["the rows differ"]);
    bench.write("rows.jsonl", &rows);
    resume(&["--logging-steps", "3", "--save-steps", "1", "--quiet"]).fine();
}

#[test]
fn frozen_weights_stay_stored_as_when_the_run_began() {
    let bench = Bench::new();
    let whole = ["--max-steps", "4", "--dtype", "bf16"];
    bench.train("whole", &whole).fine();
    bench
        .train("out", &[&whole[..], &["--save-steps", "2"]].concat())
        .fine();
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    let resume = |more: &[&str]| bench.train("out", &[&["--max-steps", "4", "--resume"], more].concat());
    resume(&["--dtype", "f32"]).refused(&["dtype (it was \"bf16\", now \"f32\")"]);
    resume(&[]).fine();
    let [whole, resumed] = ["whole", "out"].map(|folder| bench.read(&format!("{folder}/adapter_model.safetensors")));
    assert!(whole == resumed, "the run went on with other weights");
}

#[test]
fn another_device_is_warned_of() {
    let bench = Bench::new();
    bench.train("out", &["--max-steps", "2"]).fine();
    let mut state = bench.json("out/checkpoint-2/state.json");
    state["device"]["name"] = "another".into();
    state["identity"]["kernels"] = "another".into();
    bench.write("out/checkpoint-2/state.json", &state.to_string());
    let ended = bench.train("out", &["--max-steps", "2", "--resume"]);
    assert!(
        ended.err.contains("warning: the checkpoint was made on another"),
        "{}",
        ended.err
    );
    ended.fine();
}

#[test]
fn a_checkpoint_that_was_changed() {
    let bench = Bench::new();
    bench.train("out", &["--max-steps", "2"]).fine();
    let mut bytes = bench.read("out/checkpoint-2/optimizer.safetensors");
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(bench.path("out/checkpoint-2/optimizer.safetensors"), bytes).unwrap();
    bench
        .train("out", &["--max-steps", "2", "--resume"])
        .refused(&["optimizer.safetensors is damaged"]);
}

#[test]
fn a_run_that_diverges_names_its_step() {
    let bench = Bench::new();
    let more = [
        "--method",
        "full",
        "--learning-rate",
        "1e36",
        "--lr-scheduler-type",
        "constant",
    ];
    bench.train("out", &more).ended(1, &["step 2", "diverged"]);
}

#[test]
fn a_memory_limit_that_is_none_or_cannot_be_kept() {
    let bench = Bench::new();
    for size in ["6 foo", "-1GiB", "0", "many", ""] {
        bench
            .train("out", &[&format!("--memory-limit={size}")])
            .refused(&["memory_limit: ", "6GiB"]);
    }
    bench
        .train("out", &["--recompute", "maybe"])
        .refused(&["recompute: ", "auto, off, on"]);
    bench
        .train("out", &["--activations", "half"])
        .refused(&["activations: ", "\"half\"", "f32, f16, bf16"]);
    let little = ["--memory-limit", "4kB"];
    bench
        .train("out", &little)
        .refused(&["micro-batches of 25 tokens", "4000 are available", "--memory-limit"]);
    bench
        .train("out", &[&little[..], &["--micro-batch-tokens", "64"]].concat())
        .refused(&["micro-batches of 64 tokens"]);
    assert!(!bench.path("out").exists());
}
