//! What a run leaves for people to look at.

use serde_json::json;

use super::*;
use crate::report::events;

const EVALUATED: [&str; 6] = ["--eval-data", "held_out.jsonl", "--eval-steps", "2", "--max-steps", "6"];

/// The event files of a folder, in the order of their names.
fn event_files(bench: &Bench, folder: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(bench.path(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("events.out.tfevents.")
    });
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Every number of the log is in the event files once, and nothing else.
#[track_caller]
fn assert_events_are_the_log(bench: &Bench, folder: &str) {
    let text = String::from_utf8(bench.read(&format!("{folder}/metrics.jsonl"))).unwrap();
    let mut want: Vec<(String, u64, f32)> = Vec::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let evaluation = line.get("eval_loss").is_some();
        for (key, value) in line.as_object().unwrap() {
            let tag = match key.strip_prefix("eval_") {
                Some(rest) => format!("eval/{rest}"),
                None if key == "step" || evaluation && key == "epoch" => continue,
                None => format!("train/{key}"),
            };
            want.push((tag, line["step"].as_u64().unwrap(), value.as_f64().unwrap() as f32));
        }
    }
    let tags = events::scalars(&event_files(bench, folder));
    let mut got: Vec<(String, u64, f32)> = Vec::new();
    for (tag, points) in tags {
        got.extend(points.into_iter().map(|(step, value)| (tag.clone(), step, value)));
    }
    want.sort_by(|a, b| a.partial_cmp(b).unwrap());
    got.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert!(want.len() > 20);
    assert_eq!(got, want);
}

#[test]
fn a_run_leaves_its_report() {
    let bench = Bench::new();
    let row = |task: &str, ids: &[u32]| format!("{}\n", json!({"task": task, "input_ids": ids}));
    let more = [
        row("sums", &[7, 8, 9]),
        row("sums", &[7, 8]),
        row("names", &[5; 6]),
        row("names", &[9; 70]),
    ]
    .concat();
    bench.write("tasks.jsonl", &more);
    let arguments = [
        &EVALUATED[..],
        &["--data", "tasks.jsonl:2", "--overlong", "drop", "--seed", "7"],
    ]
    .concat();
    bench.train("out", &arguments).fine();
    let run = bench.json("out/run.json");
    let session = &run["sessions"][0];
    let words: Vec<&str> = session["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let model = golden("llama_tied_gqa");
    assert_eq!(words[1..], [&training(&model, "out")[..], &arguments].concat());
    assert_eq!(
        (
            &session["outcome"],
            &session["from_step"],
            &session["to_step"],
            &run["total_steps"]
        ),
        (&json!("finished"), &json!(0), &json!(6), &json!(6))
    );
    assert!(
        session["ended"].as_u64() >= session["started"].as_u64() && session["started"].as_u64() > Some(1_700_000_000)
    );
    assert!(session["peak_memory"].as_u64() > Some(100_000) && session["device"]["driver"].is_string());
    assert_eq!(
        (&run["settings"]["seed"], &run["settings"]["weight-decay"]),
        (&json!(7), &json!(0.0))
    );
    let file = &run["data"][1];
    let counts = [
        "weight", "rows", "kept", "bad", "overlong", "examples", "tokens", "targets", "longest",
    ]
    .map(|key| &file[key]);
    assert_eq!(json!(counts), json!([2.0, 4, 3, 0, 1, 3, 11, 8, 70]));
    let tasks: Vec<Value> = run["tasks"].as_array().unwrap().clone();
    assert_eq!(
        tasks[1],
        json!({"name": "sums", "examples": 2, "per_epoch": 4, "tokens": 5, "targets": 3})
    );
    assert_eq!(
        (&tasks[0]["name"], &tasks[0]["examples"], &tasks[2]["tokens"]),
        (&json!(""), &json!(22), &json!(6))
    );
    // Its hashes are those that its checkpoints know it by; nothing of it is in them.
    let state = bench.json("out/checkpoint-6/state.json");
    for (hash, of) in [("data", "data"), ("model", "model"), ("tokenizer", "tokenizer")] {
        assert_eq!(run["hashes"][hash], state["identity"][of]);
    }
    let state = state.to_string();
    assert!(
        !state.contains("started") && !state.contains("overlong") && !state.contains("rows.jsonl"),
        "{state}"
    );

    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    let loss = bench.log("out/metrics.jsonl")[0]["loss"].as_f64().unwrap();
    for part in [
        "finished: 6 steps",
        &format!("loss; first {loss:.3}"),
        "tasks.jsonl",
        "<dt>seed</dt><dd>7</dd>",
        run["hashes"]["data"].as_str().unwrap(),
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let curves = String::from_utf8(bench.read("out/curves.svg")).unwrap();
    assert!(curves.starts_with("<?xml") && curves.contains("held out") && curves.contains("<polyline"));
    assert!(event_files(&bench, "out").is_empty());
}

#[test]
fn a_report_is_made_again_wherever_the_folder_is() {
    let bench = Bench::new();
    bench.train("out", &EVALUATED).fine();
    let page = bench.read("out/report.html");
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::rename(bench.path("out"), bench.path("elsewhere/moved")).unwrap();
    fs::remove_file(bench.path("elsewhere/moved/report.html")).unwrap();
    let out = bench.run(&["report", "elsewhere/moved"]).fine();
    assert!(out.contains("report.html"), "{out}");
    assert!(bench.read("elsewhere/moved/report.html") == page);
    // What comes later is part of it.
    let sample = json!({"step": 2, "prompt": "Who?", "reference": "She", "answer": "<They>"});
    bench.write("elsewhere/moved/samples.jsonl", &format!("{sample}\n"));
    let estimate = json!({"value": 0.5, "stderr": 0.1, "low": 0.3, "high": 0.7});
    let all = json!({"items": 9, "base": estimate, "tuned": estimate, "difference": estimate, "wins": 5, "losses": 1, "ties": 3});
    let suite = json!({"name": "facts", "measure": "f1", "decides": true, "higher_is_better": true, "forgetting": false,
        "all": all, "tasks": [["capitals", all]], "examples": [], "signature": null});
    bench.write(
        "elsewhere/moved/compare.json",
        &json!({"base": "a", "tuned": "b", "suites": [suite]}).to_string(),
    );
    bench.run(&["report", "elsewhere/moved"]).fine();
    let page = String::from_utf8(bench.read("elsewhere/moved/report.html")).unwrap();
    assert!(page.contains("&lt;They&gt;") && page.contains("<b>capitals</b>") && page.contains(">better</small>"));
}

#[test]
fn what_no_report_can_be_made_of_is_refused() {
    let bench = Bench::new();
    bench
        .run(&["report", "nowhere"])
        .refused(&["nowhere", "has no run.json"]);
    bench.train("out", &["--max-steps", "1"]).fine();
    let run = bench.read("out/run.json");
    for (file, text, why) in [
        ("run.json", "{\"schema\": 9}", "version 9"),
        ("run.json", "{\"schema\": 1, ", "damaged"),
        ("metrics.jsonl", "{\"step\": 1}\nnothing\n", "metrics.jsonl: line 2"),
        ("samples.jsonl", "{}\n", "samples.jsonl: line 1"),
        ("compare.json", "{}", "compare.json"),
    ] {
        let before = fs::read(bench.path(&format!("out/{file}"))).ok();
        bench.write(&format!("out/{file}"), text);
        bench.run(&["report", "out"]).refused(&["out", why]);
        match before {
            Some(before) => fs::write(bench.path(&format!("out/{file}")), before).unwrap(),
            None => fs::remove_file(bench.path(&format!("out/{file}"))).unwrap(),
        }
    }
    assert_eq!(bench.read("out/run.json"), run);
    bench.run(&["report", "out"]).fine();
}

#[test]
fn tensorboard_is_told_every_number_once() {
    let bench = Bench::new();
    let more = [&EVALUATED[..], &["--save-steps", "2", "--report-to"]].concat();
    bench.train("out", &[&more[..], &["tensorboard"]].concat()).fine();
    assert_events_are_the_log(&bench, "out");
    // From the middle: what is done again is told again, and forgotten where it was told before.
    fs::remove_dir_all(bench.path("out/checkpoint-6")).unwrap();
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    bench.train("out", &[&more[..], &["all", "--resume"]].concat()).fine();
    assert_eq!(event_files(&bench, "out").len(), 2);
    assert_events_are_the_log(&bench, "out");
    let sessions = bench.json("out/run.json")["sessions"].clone();
    assert_eq!(
        (
            &sessions[0]["to_step"],
            &sessions[1]["from_step"],
            &sessions[1]["to_step"]
        ),
        (&json!(6), &json!(2), &json!(6))
    );
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("Session 2") && page.contains("--resume"));
    // A run in its place leaves nothing of it.
    bench.write("out/samples.jsonl", "{}\n");
    bench
        .train("out", &[&more[..], &["none", "--overwrite-output-dir"]].concat())
        .fine();
    assert!(event_files(&bench, "out").is_empty() && !bench.path("out/samples.jsonl").exists());
    assert_eq!(bench.json("out/run.json")["sessions"].as_array().unwrap().len(), 1);
    bench
        .train("other", &["--report-to", "wandb"])
        .refused(&["report_to", "wandb", "tensorboard"]);
}

#[test]
fn a_run_that_diverges_has_a_report() {
    let bench = Bench::new();
    bench
        .train("out", &["--max-steps", "9", "--learning-rate", "1e30"])
        .ended(1, &["diverged"]);
    let session = bench.json("out/run.json")["sessions"][0].clone();
    assert!(session["error"].as_str().unwrap().contains("not finite"), "{session}");
    assert_eq!(session["outcome"], json!("diverged"));
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("diverged after step 1 of 9") && page.contains("not finite"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_has_a_report_and_goes_on_with_it() {
    let bench = Bench::new();
    let more = ["--max-steps", "400", "--report-to", "tensorboard"];
    let mut child = bench.spawn("out", &more);
    held::wait_until(|| {
        bench
            .path("out/metrics.jsonl")
            .metadata()
            .is_ok_and(|file| file.len() > 500)
    });
    // It is told at the start what runs.
    assert_eq!(bench.json("out/run.json")["sessions"][0]["outcome"], json!("running"));
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let session = bench.json("out/run.json")["sessions"][0].clone();
    let step = session["to_step"].as_u64().unwrap();
    assert_eq!(session["outcome"], json!("interrupted"));
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains(&format!("interrupted after step {step} of 400")));
    // What was logged past its checkpoint, had it been killed, is told once.
    bench.train("out", &[&more[..], &["--resume"]].concat()).fine();
    assert_events_are_the_log(&bench, "out");
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("finished: 400 steps") && page.contains("Session 2"));
}
