//! Runs that end before their time.

use std::time::{Duration, Instant};

use super::*;

const MORE: [&str; 4] = ["--max-steps", "12", "--save-steps", "1"];

/// Wait until `done`, and for a minute at most.
#[track_caller]
fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never happened");
        std::thread::yield_now();
    }
}

fn names(bench: &Bench, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(bench.path(folder)) else {
        return vec![];
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Go on with a run that was cut off, and compare its end with that of one that was not.
fn ends_like_a_whole_run(bench: &Bench) {
    bench.train("cut", &[&MORE[..], &["--resume"]].concat()).fine();
    bench.train("whole", &MORE).fine();
    bench.assert_same("whole", "cut", &["adapter_model.safetensors"]);
    bench.assert_same("whole/checkpoint-12", "cut/checkpoint-12", &["optimizer.safetensors"]);
    assert_eq!(bench.log("whole/metrics.jsonl"), bench.log("cut/metrics.jsonl"));
    assert!(names(bench, "cut").iter().all(|name| !name.starts_with('.')));
}

#[test]
fn a_run_killed_in_training_goes_on() {
    let bench = Bench::new();
    let mut child = bench.spawn("cut", &MORE);
    wait_until(|| bench.path("cut/checkpoint-3").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    ends_like_a_whole_run(&bench);
}

#[test]
fn a_run_killed_in_a_save_goes_on() {
    let bench = Bench::new();
    let mut child = bench.spawn("cut", &MORE);
    wait_until(|| bench.path("cut/checkpoint-2").exists());
    wait_until(|| names(&bench, "cut").iter().any(|name| name.starts_with(".unfinished")));
    child.kill().unwrap();
    child.wait().unwrap();
    // What a kill in the middle of writing leaves, whether or not this one came in time.
    bench.copy("cut/checkpoint-1", "cut/.unfinished-99");
    bench.write("cut/.unfinished-99/optimizer.safetensors", "half");
    let mut log = bench.read("cut/metrics.jsonl");
    log.extend(b"{\"step\": 99, \"lo");
    fs::write(bench.path("cut/metrics.jsonl"), log).unwrap();
    ends_like_a_whole_run(&bench);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let bench = Bench::new();
    bench.train("cut", &MORE).fine();
    fs::remove_file(bench.path("cut/checkpoint-12/state.json")).unwrap();
    bench.write("cut/checkpoint-11/optimizer.safetensors", "half");
    ends_like_a_whole_run(&bench);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_goes_on() {
    let bench = Bench::new();
    let mut child = bench.spawn("cut", &["--max-steps", "12"]);
    wait_until(|| {
        bench
            .path("cut/metrics.jsonl")
            .metadata()
            .is_ok_and(|file| file.len() > 0)
    });
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!bench.path("cut/adapter_model.safetensors").exists());
    ends_like_a_whole_run(&bench);
}
