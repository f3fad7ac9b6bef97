//! What may befall a run's folder: other processes, a full disk, somebody who removes things, a clock that jumps.

use std::io::{BufRead, BufReader};
use std::time::{Duration, SystemTime};

use super::held::LONG;
use super::*;

const MORE: [&str; 4] = ["--max-steps", "12", "--save-steps", "1"];
impl Bench {
    /// A command run by a shell that does something first.
    #[cfg(unix)]
    fn run_after(&self, shell: &str, arguments: &[&str]) -> Ended {
        let binary = binary().display().to_string();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{shell}; exec \"$@\""), "sh", &binary])
            .args(arguments);
        command
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", self.path("cache"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

#[test]
fn a_folder_is_for_one_process_at_a_time() {
    let bench = Bench::new();
    let mut first = bench.held(&LONG);
    let busy = match cfg!(windows) {
        true => "another process".to_owned(),
        false => format!("another process ({}, if", first.child.id()),
    };
    for more in [
        &[][..],
        &["--resume"],
        &["--overwrite-output-dir"],
        &["--resume", "out/checkpoint-10"],
    ] {
        bench
            .train("out", &[&LONG[..], more].concat())
            .refused(&["out: ", &busy]);
    }
    let model = golden("llama_tied_gqa");
    let merge = [
        "merge",
        "--model",
        &model,
        "--adapter",
        "out/checkpoint-10",
        "--output-dir",
        "out",
    ];
    let merged = bench.run(&merge);
    assert!(merged.code == Some(2), "{}", merged.err);
    // Looking on is nobody's business.
    bench.run(&["report", "out"]).fine();
    bench.loss(&model, &["--adapter", "out/checkpoint-10"]);
    bench.train("out", &[&LONG[..], &["--dry-run"]].concat()).fine();
    assert_eq!(first.child.try_wait().unwrap(), None);
    // What a killed process leaves keeps nobody out.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(bench.path("out/run.lock").exists());
    bench.train("out", &[&LONG[..], &["--resume"]].concat()).fine();
    bench.assert_whole(&LONG);
}

#[test]
fn of_two_that_begin_at_once_one_is_refused() {
    let bench = Bench::new();
    for _ in 0..3 {
        let mut both = [bench.spawn("out", &MORE), bench.spawn("out", &MORE)];
        let mut codes = both.each_mut().map(|child| child.wait().unwrap().code());
        codes.sort();
        assert_eq!(codes, [Some(0), Some(2)]);
        bench.assert_whole(&[&MORE[..], &["--overwrite-output-dir"]].concat());
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

#[test]
fn a_model_is_written_by_one_process_at_a_time() {
    let bench = Bench::new();
    fs::create_dir(bench.path("made")).unwrap();
    let lock = fs::File::create(bench.path("made/run.lock")).unwrap();
    lock.lock().unwrap();
    let config = format!("{}/config.json", golden("llama_tied_gqa"));
    let init = ["init", "--config", &config, "--output-dir", "made"];
    bench.run(&init).refused(&["made: another process is working in it"]);
    lock.unlock().unwrap();
    bench.run(&init).fine();
    assert!(!bench.path("made/run.lock").exists() && bench.path("made/model.safetensors").exists());
}

/// A file may not be larger than a limit, which is how a shell can have a disk full without one.
#[test]
#[cfg(unix)]
fn a_checkpoint_that_finds_no_room_ends_the_run() {
    let bench = Bench::new();
    bench.train("whole", &MORE).fine();
    bench.copy("whole/checkpoint-4", "out/checkpoint-4");
    fs::copy(bench.path("whole/metrics.jsonl"), bench.path("out/metrics.jsonl")).unwrap();
    // The weights have room, their moments have not.
    let weights = bench.read("whole/adapter_model.safetensors").len();
    assert!(bench.read("whole/checkpoint-4/optimizer.safetensors").len() > weights + 1024);
    let model = golden("llama_tied_gqa");
    let resume = [&training(&model, "out")[..], &MORE, &["--resume"]].concat();
    let full = format!("trap '' XFSZ; ulimit -f {}", weights.div_ceil(512) + 1);
    let ended = bench.run_after(&full, &resume);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    ended.refused(&["out/.unfinished-5/optimizer.safetensors: ", "os error"]);
    // Nothing half written is left, and what was there is as it was.
    assert!(!bench.path("out/.unfinished-5").exists() && !bench.path("out/run.lock").exists());
    let files = ["state.json", "optimizer.safetensors", "adapter_model.safetensors"];
    bench.assert_same("whole/checkpoint-4", "out/checkpoint-4", &files);
    bench.run(&resume).fine();
    fs::remove_dir_all(bench.path("whole")).unwrap();
    bench.assert_whole(&MORE);
}

#[test]
#[cfg(unix)]
fn a_log_that_finds_no_room_ends_the_run() {
    let bench = Bench::new();
    bench.train("whole", &MORE).fine();
    bench.copy("whole/checkpoint-4", "out/checkpoint-4");
    // A line so long that the log is larger than all else, and at the limit.
    let log = String::from_utf8(bench.read("whole/metrics.jsonl")).unwrap();
    let long = log.replacen('{', &format!("{{\"long\": {:?}, ", "x".repeat(200_000)), 1);
    bench.write("out/metrics.jsonl", &long);
    let kept: usize = long.split_inclusive('\n').take(4).map(str::len).sum();
    let full = format!("trap '' XFSZ; ulimit -f {}", kept.div_ceil(512));
    let model = golden("llama_tied_gqa");
    let resume = [&training(&model, "out")[..], &MORE, &["--resume"]].concat();
    let ended = bench.run_after(&full, &resume);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    ended.refused(&["out/metrics.jsonl: ", "os error"]);
    bench.write("out/metrics.jsonl", &log);
    bench.run(&resume).fine();
    fs::remove_dir_all(bench.path("whole")).unwrap();
    bench.assert_whole(&MORE);
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_finds_no_room_is_told_or_done_without() {
    let bench = Bench::new();
    let model = golden("llama_tied_gqa");
    let train = [&training(&model, "out")[..], &["--max-steps", "1"]].concat();
    bench
        .run_after("exec >/dev/full", &train)
        .refused(&["standard output: ", "No space left"]);
    // A warning that nobody can read is no reason to stop, and an error no reason to panic.
    bench.write("rows.jsonl", &format!("{}nothing\n", rows(22, 1)));
    let skipping = [&train[..], &["--skip-bad-rows"]].concat();
    bench.run_after("exec 2>/dev/full", &skipping).fine();
    assert_eq!(bench.run_after("exec 2>/dev/full", &train).code, Some(2));
}

#[test]
fn folders_that_cannot_be_written() {
    let bench = Bench::new();
    bench.train("rows.jsonl", &[]).refused(&["rows.jsonl: is a file"]);
    bench.train("rows.jsonl/out", &[]).refused(&["rows.jsonl/out"]);
    // The superuser may not write here either.
    if cfg!(target_os = "linux") {
        bench.train("/proc", &[]).refused(&["/proc/run.lock: "]);
        bench.train("/proc/out", &[]).refused(&["/proc/out: "]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_is_removed_is_made_again() {
    let ways: [fn(&Path) -> bool; 2] = [
        |out| fs::rename(out, out.with_file_name("gone")).is_ok(),
        |out| fs::remove_dir_all(out).is_ok(),
    ];
    for remove in ways {
        let bench = Bench::new();
        let held = bench.held(&LONG);
        held::wait_until(|| remove(&bench.path("out")));
        let ended = held.ended(&bench);
        assert!(ended.err.contains("warning: out was removed"), "{}", ended.err);
        ended.fine();
        // Checkpoints are gone with it, the log is not.
        assert!(!bench.path("out/checkpoint-10").exists());
        bench.assert_whole(&LONG);
        let page = String::from_utf8(bench.read("out/report.html")).unwrap();
        assert!(page.contains("finished: 60 steps"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_becomes_a_file_ends_the_run() {
    let bench = Bench::new();
    let held = bench.held(&LONG);
    fs::rename(bench.path("out"), bench.path("gone")).unwrap();
    held::wait_until(|| {
        // The run may have made it again.
        let _ = fs::remove_dir_all(bench.path("out"));
        fs::File::create_new(bench.path("out")).is_ok()
    });
    let ended = held.ended(&bench);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    ended.refused(&["out"]);
    fs::remove_file(bench.path("out")).unwrap();
    fs::rename(bench.path("gone"), bench.path("out")).unwrap();
    bench.train("out", &[&LONG[..], &["--resume"]].concat()).fine();
    bench.assert_whole(&LONG);
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_are_removed_are_written_again() {
    let bench = Bench::new();
    let held = bench.held(&LONG);
    for name in ["metrics.jsonl", "run.json", "report.html", "run.lock"] {
        held::wait_until(|| fs::remove_file(bench.path("out").join(name)).is_ok());
    }
    fs::remove_dir_all(bench.path("out/checkpoint-10")).unwrap();
    let ended = held.ended(&bench);
    assert!(
        ended.err.contains("warning: out/metrics.jsonl was removed"),
        "{}",
        ended.err
    );
    ended.fine();
    bench.assert_whole(&LONG);
}

#[cfg(target_os = "linux")]
#[test]
fn a_best_checkpoint_that_is_removed_ends_the_run() {
    let bench = Bench::new();
    // Tokens that no row to learn from has become less likely from the first step on.
    bench.write("never.jsonl", "{\"input_ids\": [0, 1, 2, 3, 4, 1, 0, 3]}\n");
    let more = [
        "--max-steps",
        "50",
        "--eval-data",
        "never.jsonl",
        "--eval-steps",
        "10",
        "--load-best-model-at-end",
    ];
    let held = bench.held(&more);
    fs::remove_dir_all(bench.path("out/checkpoint-10")).unwrap();
    held.ended(&bench).refused(&["out/checkpoint-10"]);
    let resumed = bench.train("out", &[&more[..], &["--resume"]].concat());
    assert!(resumed.err.contains("after step 10, is forgotten"), "{}", resumed.err);
    resumed.fine();
}

/// A process that is killed between two renames leaves the old checkpoint under a name of its own.
#[test]
fn a_checkpoint_that_lost_its_name_gets_it_back() {
    let bench = Bench::new();
    bench.train("out", &MORE).fine();
    for step in 1..12 {
        fs::remove_dir_all(bench.path(&format!("out/checkpoint-{step}"))).unwrap();
    }
    fs::rename(bench.path("out/checkpoint-12"), bench.path("out/.unfinished-12-old")).unwrap();
    bench.write("out/report.html.77.tmp", "half");
    bench.write("out/mine.77.tmp", "kept");
    let out = bench.train("out", &[&MORE[..], &["--resume"]].concat()).fine();
    assert!(out.contains("resuming after step 12 of 12"), "{out}");
    assert!(!bench.path("out/report.html.77.tmp").exists() && bench.path("out/mine.77.tmp").exists());
    fs::remove_file(bench.path("out/mine.77.tmp")).unwrap();
    bench.assert_whole(&MORE);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let bench = Bench::new();
    let more = [&MORE[..], &["--report-to", "tensorboard"]].concat();
    bench.train("out", &more).fine();
    for step in 5..=12 {
        fs::remove_dir_all(bench.path(&format!("out/checkpoint-{step}"))).unwrap();
    }
    // The session before was in the year 2100, and some of its files are older than the rest.
    let future = 4_102_444_800;
    let mut run = bench.json("out/run.json");
    run["sessions"][0]["started"] = future.into();
    run["sessions"][0]["ended"] = 0.into();
    bench.write("out/run.json", &run.to_string());
    let mut events = String::new();
    for (at, file) in fs::read_dir(bench.path("out")).unwrap().enumerate() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("events.") {
            events = format!("events.out.tfevents.{future}.wgpu-sft.0");
            fs::rename(file.path(), bench.path("out").join(&events)).unwrap();
        } else if file.path().is_file() {
            let time = Duration::from_secs([0, future][at % 2]);
            let open = fs::OpenOptions::new().append(true).open(file.path()).unwrap();
            open.set_modified(SystemTime::UNIX_EPOCH + time).unwrap();
        }
    }
    let rows = fs::OpenOptions::new()
        .append(true)
        .open(bench.path("rows.jsonl"))
        .unwrap();
    rows.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(future))
        .unwrap();
    bench.train("out", &[&more[..], &["--resume"]].concat()).fine();
    // TensorBoard reads the later session's file later.
    let entries = fs::read_dir(bench.path("out")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("events.")).collect();
    names.sort();
    assert!(names.len() == 2 && names[0] == events, "{names:?}");
    let sessions = bench.json("out/run.json")["sessions"].clone();
    let time = |key: &str| sessions[1][key].as_u64().unwrap();
    assert!(time("started") <= time("ended") && time("ended") < future);
    bench.run(&["report", "out"]).fine();
    names
        .into_iter()
        .for_each(|name| fs::remove_file(bench.path("out").join(name)).unwrap());
    bench.assert_whole(&MORE);
}

#[test]
fn resuming_is_verified_on_the_users_device() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tmp")).unwrap();
    let verify = |more: &[&str]| {
        let mut command = bench.command(&[&["verify-resume"], more].concat());
        command.env("TMPDIR", bench.path("tmp")).env("TMP", bench.path("tmp"));
        command
    };
    let run = |more: &[&str]| {
        let output = verify(more).output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let left = || fs::read_dir(bench.path("tmp")).unwrap().count();
    let out = run(&["--kills", "4"]).fine();
    for words in [
        "killed 4 times",
        "optimizer.safetensors (",
        "same    metrics.jsonl (",
        "every bit is the same",
    ] {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    assert_eq!(left(), 0);
    let model = golden("qwen2_bias");
    let own = [
        "--model",
        &model,
        "--data",
        "rows.jsonl",
        "--batch-size",
        "5",
        "--kills",
        "1",
    ];
    let out = run(&[&own[..], &["--method", "full", "--max-steps", "6", "--keep"]].concat()).fine();
    assert!(
        out.contains("same    model.safetensors (") && out.contains("kept in"),
        "{out}"
    );
    assert_eq!(left(), 1);
    fs::remove_dir_all(bench.path("tmp")).unwrap();
    fs::create_dir(bench.path("tmp")).unwrap();
    run(&["--output-dir", "out"]).refused(&["output_dir", "--keep"]);
    run(&["--model", &model]).refused(&["data", "--data"]);
    run(&["--model", &model, "--data", "-"]).refused(&["data", "standard input"]);
    run(&["--learning-rate", "1e30"]).refused(&["diverged"]);
    assert_eq!(left(), 0);
    // Rows that change under way make another run, or one that cannot be resumed: either way the answer is no.
    let mut child = verify(&[&own[..], &["--max-steps", "40"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // It is told when the rows of the run that is left alone have been read.
    while !line.starts_with("device: ") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    bench.write("rows.jsonl", &rows(22, 2));
    let rest: Vec<String> = out.lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert_eq!(left(), 1, "{rest:?}");
}
