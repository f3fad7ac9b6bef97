//! Runs that are met at work, however slow or fast the machine is.

use std::io::{PipeReader, Write};
use std::time::{Duration, Instant};

use super::*;

/// Long enough to be met at work.
pub const LONG: [&str; 4] = ["--max-steps", "60", "--save-steps", "10"];
/// What a run may print until it has to wait for a reader, on Linux: more than ten steps, and less than twenty.
const ROOM: usize = 1900;

/// A training whose output nobody reads yet: on Linux it goes on until that fills its pipe.
#[cfg_attr(
    not(unix),
    allow(
        dead_code,
        reason = "what runs say that are told to stop, or meet full disks, is not read there"
    )
)]
pub struct Held {
    pub child: Child,
    output: PipeReader,
}

#[cfg_attr(
    not(unix),
    allow(
        dead_code,
        reason = "what runs say that are told to stop, or meet full disks, is not read there"
    )
)]
impl Held {
    /// Read what it says until its end.
    pub fn ended(mut self, bench: &Bench) -> Ended {
        std::io::copy(&mut self.output, &mut std::io::sink()).unwrap();
        Ended {
            code: self.child.wait().unwrap().code(),
            out: String::new(),
            err: String::from_utf8(bench.read("stderr.txt")).unwrap(),
        }
    }
}

/// Wait until `done`, and for five minutes at most.
#[track_caller]
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it never happened");
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl Bench {
    /// A training into `out` that stays at work, once all is written that comes with the checkpoint after ten steps.
    pub fn held(&self, more: &[&str]) -> Held {
        let (output, mut input) = std::io::pipe().unwrap();
        if cfg!(target_os = "linux") {
            // Sixteen pages.
            input.write_all(&vec![b'\n'; 16 * 4096 - ROOM]).unwrap();
        }
        let model = golden("llama_tied_gqa");
        let mut command = self.command(&[&training(&model, "out")[..], more].concat());
        let stderr = fs::File::create(self.path("stderr.txt")).unwrap();
        let child = command.stdout(input).stderr(stderr).spawn().unwrap();
        // What is written last.
        wait_until(|| self.path("out/curves.svg").exists());
        assert!(self.path("out/checkpoint-10").exists());
        Held { child, output }
    }

    /// Whether what is in `out` is what a run has left that nothing befell.
    pub fn assert_whole(&self, more: &[&str]) {
        self.train("whole", more).fine();
        self.assert_same("whole", "out", &["adapter_model.safetensors"]);
        let last = format!("checkpoint-{}", more[1]);
        self.assert_same(
            &format!("whole/{last}"),
            &format!("out/{last}"),
            &["optimizer.safetensors", "state.json"],
        );
        assert_eq!(self.log("whole/metrics.jsonl"), self.log("out/metrics.jsonl"));
        let left = |folder: &str| {
            let entries = fs::read_dir(self.path(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|name| !name.starts_with("checkpoint-")).collect();
            names.sort();
            names
        };
        assert_eq!(left("whole"), left("out"));
    }
}
