//! The binary itself, as a user runs it: on a tiny model, in folders of its own.

mod data;
mod evaluation;
mod held;
mod killed;
mod manual;
mod models;
mod network;
mod refused;
mod reports;
mod rows;
mod runs;
mod sturdy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use serde_json::Value;
use tempfile::TempDir;

/// The binary, built before the tests.
fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let name = format!("wgpu-sft{}", std::env::consts::EXE_SUFFIX);
    let binary = tests.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        binary.exists(),
        "{} is missing: cargo build --release -p wgpu-sft-cli",
        binary.display()
    );
    static FRESH: Once = Once::new();
    FRESH.call_once(|| refuse_stale(&binary));
    binary
}

/// Panic if sources are newer than the binary: building the tests does not build it.
fn refuse_stale(binary: &Path) {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).unwrap();
    let built = changed(binary);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut left: Vec<PathBuf> = ["core", "native", "shaders"]
        .map(|crate_| root.join(crate_).join("src"))
        .into();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        assert!(
            changed(&path) <= built,
            "{} is newer than {}: cargo build --release -p wgpu-sft-cli",
            path.display(),
            binary.display()
        );
    }
}

/// A folder of reference models.
fn golden(name: &str) -> String {
    format!("{}/fixtures/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    /// It went well; what it printed.
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// It could not run, for a reason that has all of these in it, on one line.
    #[track_caller]
    fn refused(self, reasons: &[&str]) {
        self.ended(2, reasons);
    }

    /// It ended with this code and an error that has all of these in it.
    #[track_caller]
    fn ended(self, code: i32, reasons: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        let line = self
            .err
            .lines()
            .rfind(|line| line.starts_with("error: "))
            .unwrap_or_default();
        for reason in reasons {
            assert!(line.contains(reason), "{reason:?} is not in {:?}", self.err);
        }
    }
}

/// A folder with rows, where commands are run.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: TempDir::new().unwrap(),
        };
        bench.write("rows.jsonl", &rows(22, 1));
        bench.write("held_out.jsonl", &rows(5, 7));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// The lines of a log, without what depends on the clock.
    fn log(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read(name)).unwrap();
        let parse = |line: &str| {
            let mut json: Value = serde_json::from_str(line).unwrap();
            if let Some(speed) = json.as_object_mut().unwrap().remove("tokens_per_second") {
                assert!(speed.as_f64().unwrap() > 0.0);
            }
            json
        };
        text.lines().map(parse).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.env_remove("HF_HUB_OFFLINE").env_remove("HF_HOME");
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn train(&self, folder: &str, more: &[&str]) -> Ended {
        let model = golden("llama_tied_gqa");
        self.run(&[&training(&model, folder), more].concat())
    }

    /// A training that goes on while the test does something else.
    fn spawn(&self, folder: &str, more: &[&str]) -> Child {
        let model = golden("llama_tied_gqa");
        let mut command = self.command(&[&training(&model, folder), more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// `loss` of `eval`, in full precision.
    fn loss(&self, model: &str, more: &[&str]) -> f64 {
        let out = self
            .run(&[&["eval", "--json", "--model", model, "--data", "held_out.jsonl"], more].concat())
            .fine();
        serde_json::from_str::<Value>(&out).unwrap()["loss"].as_f64().unwrap()
    }

    #[track_caller]
    fn assert_same(&self, a: &str, b: &str, files: &[&str]) {
        for file in files {
            let same = self.read(&format!("{a}/{file}")) == self.read(&format!("{b}/{file}"));
            assert!(same, "{file} differs between {a} and {b}");
        }
    }

    /// Copy a folder without folders in it.
    fn copy(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to)).unwrap();
        for entry in fs::read_dir(self.path(from)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), self.path(to).join(entry.file_name())).unwrap();
        }
    }
}

fn training<'a>(model: &'a str, folder: &'a str) -> Vec<&'a str> {
    let fixed = [
        "train",
        "--model",
        model,
        "--data",
        "rows.jsonl",
        "--output-dir",
        folder,
    ];
    [
        &fixed[..],
        &["--batch-size", "5", "--logging-steps", "1", "--learning-rate", "1e-2"],
    ]
    .concat()
}

/// Tokenised rows that a model can learn: each token follows from the one before.
fn rows(n: u32, seed: u32) -> String {
    let row = |row: u32| {
        let length = 6 + (row * 7 + seed) % 20;
        let ids: Vec<u32> = (0..length).map(|at| 5 + (row * 11 + at * seed.max(3)) % 50).collect();
        format!("{{\"input_ids\": {ids:?}}}\n")
    };
    (0..n).map(row).collect()
}
