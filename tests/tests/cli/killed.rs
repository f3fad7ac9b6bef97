//! Runs that end before their time.

use std::time::{Duration, Instant};

use super::held::wait_until;
use super::*;

const MORE: [&str; 4] = ["--max-steps", "12", "--save-steps", "1"];

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
    wait_until(|| has_unfinished(&bench) || child.try_wait().unwrap().is_some());
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
    let held = bench.held(&held::LONG);
    Command::new("kill")
        .args(["-INT", &held.child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(held.ended(&bench).code, Some(130));
    assert!(!bench.path("out/adapter_model.safetensors").exists());
    bench.train("out", &[&held::LONG[..], &["--resume"]].concat()).fine();
    bench.assert_whole(&held::LONG);
}

/// Numbers that look random, the same for a seed.
struct Draws(u64);

impl Draws {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// When in its life a run is killed.
#[derive(Clone, Copy)]
enum When {
    /// So long after its start.
    Anywhere,
    /// So long after it has begun to train.
    Training,
    /// While it writes a checkpoint.
    Saving,
}

fn has_unfinished(bench: &Bench) -> bool {
    names(bench, "cut").iter().any(|name| name.starts_with(".unfinished"))
}

/// Let a run live until its instant, or its end. Whether it is still running.
fn live(bench: &Bench, child: &mut Child, when: When, wait: Duration) -> bool {
    let mut until = |done: &mut dyn FnMut() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(120), "it hangs");
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    };
    let size = || bench.path("cut/metrics.jsonl").metadata().map_or(0, |file| file.len());
    let mut least = size();
    let begun = match when {
        When::Anywhere => true,
        // The log is cut back before it grows.
        When::Training => until(&mut || {
            least = least.min(size());
            size() > least
        }),
        // What the life before has left goes first.
        When::Saving => until(&mut || !has_unfinished(bench)) && until(&mut || has_unfinished(bench)),
    };
    let from = Instant::now();
    begun && until(&mut || from.elapsed() >= wait)
}

/// Kill a run at random instants, with one of these signals, until so many have met it; compare each end it comes to with a whole run's.
/// How many kills left a checkpoint half written.
fn ends_alike_whatever_kills_it(kills: u32, seed: u64, signals: &[&str], more: &[&str]) -> u32 {
    let bench = Bench::new();
    let more = [&MORE[..], more].concat();
    // The first compiles what later ones find in the cache: it takes longer than they do.
    bench.train("whole", &more).fine();
    let begun = Instant::now();
    bench
        .train("whole", &[&more[..], &["--overwrite-output-dir"]].concat())
        .fine();
    let whole = begun.elapsed().as_micros() as u64;
    let mut draws = Draws(seed);
    let (mut killed, mut in_saves, mut ends) = (0, 0, 0);
    while killed < kills || ends == 0 {
        let is_begun = names(&bench, "cut").iter().any(|name| name.starts_with("checkpoint-"));
        let how = if is_begun { "--resume" } else { "--overwrite-output-dir" };
        let model = golden("llama_tied_gqa");
        let mut command = bench.command(&[&training(&model, "cut"), &more[..], &[how]].concat());
        let log = fs::File::create(bench.path("stderr.txt")).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let (when, wait) = match draws.below(3) {
            0 => (When::Anywhere, draws.below(whole)),
            1 => (When::Training, draws.below(whole / 4)),
            _ => (When::Saving, draws.below(4000)),
        };
        let signal = signals[draws.below(signals.len() as u64) as usize];
        let leave = killed >= kills;
        if !leave && live(&bench, &mut child, when, Duration::from_micros(wait)) {
            match signal {
                "KILL" => child.kill().unwrap(),
                _ => {
                    let sent = Command::new("kill")
                        .args([&format!("-{signal}"), &child.id().to_string()])
                        .status();
                    assert!(sent.unwrap().success());
                }
            }
            killed += 1;
        }
        let code = child.wait().unwrap().code();
        in_saves += u32::from(has_unfinished(&bench));
        let err = String::from_utf8(bench.read("stderr.txt")).unwrap();
        match code {
            // It saved what it had, or was killed.
            Some(130) | None => {}
            Some(0) => {
                bench.assert_same("whole", "cut", &["adapter_model.safetensors", "adapter_config.json"]);
                let state = ["optimizer.safetensors", "adapter_model.safetensors", "state.json"];
                bench.assert_same("whole/checkpoint-12", "cut/checkpoint-12", &state);
                assert_eq!(bench.log("whole/metrics.jsonl"), bench.log("cut/metrics.jsonl"));
                let litter = |name: &String| name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".lock");
                assert_eq!(names(&bench, "cut").into_iter().find(litter), None);
                fs::remove_dir_all(bench.path("cut")).unwrap();
                ends += 1;
            }
            code => panic!("after {killed} kills: {code:?} {err}"),
        }
    }
    println!("{killed} kills ({in_saves} in a save), {ends} whole runs compared");
    in_saves
}

/// As many as `WGPU_SFT_TEST_KILLS` says.
#[test]
fn a_run_killed_at_random_instants_ends_in_the_same_bits() {
    let kills = std::env::var("WGPU_SFT_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let more = [
        "--eval-data",
        "held_out.jsonl",
        "--eval-steps",
        "3",
        "--lora-dropout",
        "0.2",
    ];
    let in_saves = ends_alike_whatever_kills_it(kills, 1, &["KILL"], &more);
    assert!(in_saves > 0, "no kill met a save");
}

#[cfg(unix)]
#[test]
fn a_run_told_to_stop_at_random_instants_ends_in_the_same_bits() {
    let kills = std::env::var("WGPU_SFT_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    ends_alike_whatever_kills_it(
        kills,
        2,
        &["INT", "TERM"],
        &["--method", "lora", "--logging-steps", "2"],
    );
}
