//! What programs are told: versions, the smallest example, what is `unsafe`.

use std::fs;
use std::path::{Path, PathBuf};

use wgpu_sft::gpu::{Gpu, Tensor};
use wgpu_sft::model::{Generator, Sampling};
use wgpu_sft::train::Trainer;
use wgpu_sft::wgpu::Device as OurDevice;
use wgpu_sft_tests::fixture;

const EXAMPLE: &str = include_str!("../readme/example.rs");

fn core() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core")
}

fn sources(folder: &Path, all: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, all),
            false => all.push((path.clone(), fs::read_to_string(&path).expect("text"))),
        }
    }
}

#[test]
fn the_version_of_wgpu_is_the_one_that_is_told() {
    let lock = include_str!("../../../Cargo.lock");
    let locked = lock
        .split("\n[[package]]\n")
        .find(|package| package.starts_with("name = \"wgpu\"\n"));
    let version = locked
        .and_then(|package| package.split('"').nth(3))
        .expect("wgpu in Cargo.lock");
    let major = version.split('.').next().expect("a version");
    let told = format!("`wgpu_sft::wgpu` is wgpu {major}:");
    for (name, text) in [
        ("README.md", include_str!("../../../README.md")),
        ("core/src/lib.rs", include_str!("../../../core/src/lib.rs")),
    ] {
        assert!(text.contains(&told), "{name} does not say {told:?}");
    }
    // And it is the crate that a host has.
    let same = std::any::TypeId::of::<wgpu::Device>() == std::any::TypeId::of::<OurDevice>();
    assert!(same, "two versions of wgpu");
}

#[test]
fn the_crate_shows_the_readmes_example() {
    let library = include_str!("../../../core/src/lib.rs");
    let shown: String = EXAMPLE
        .lines()
        .map(|line| format!("//! {line}").trim_end().to_owned() + "\n")
        .collect();
    assert!(
        library.contains(&shown),
        "core/src/lib.rs does not show readme/example.rs"
    );
    let lines = EXAMPLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("use "))
        .count();
    assert!(lines <= 20, "{lines} lines are not the smallest use");
}

#[test]
fn unsafe_is_in_one_file_and_each_is_justified() {
    let mut all = Vec::new();
    sources(&core().join("src"), &mut all);
    assert!(all.len() > 100, "{} files", all.len());
    let trust = core().join("src/gpu/trust.rs");
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\'')
            .any(|word| word == "unsafe" || word == "unsafe_code")
    };
    for (path, text) in &all {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let fine = *path == trust || line.trim() == "#[forbid(unsafe_code)]";
            assert!(fine, "{}:{}: {line}", path.display(), number + 1);
        }
    }
    let (_, text) = all.iter().find(|(path, _)| *path == trust).expect("trust.rs");
    let lines: Vec<&str> = text.lines().collect();
    let blocks: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].contains("unsafe {")).collect();
    assert_eq!(blocks.len(), 3, "each further one is a decision");
    for at in blocks {
        let comment = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.trim().starts_with("//"));
        let text: Vec<&str> = comment.map(|line| line.trim()).collect();
        assert!(
            text.last().is_some_and(|line| line.starts_with("// SAFETY: ")),
            "line {}",
            at + 1
        );
    }
    // The compiler refuses it in every other module.
    for file in ["lib.rs", "gpu/mod.rs"] {
        let text = fs::read_to_string(core().join("src").join(file)).expect("text");
        let mut before = "";
        for line in text.lines() {
            let module = line.trim_start_matches("pub ").strip_prefix("mod ");
            if let Some(name) = module.filter(|name| !["gpu;", "trust;"].contains(name)) {
                assert_eq!(before, "#[forbid(unsafe_code)]", "{file}: mod {name}");
            }
            before = line;
        }
    }
}

#[test]
fn a_folder_tells_which_file_it_lacks() {
    use wgpu_sft::formats::Folder;
    let folder = fixture("golden/llama_tied_gqa");
    let without = |missing: &'static str| {
        let read = |file: &str| match file == missing {
            true => Err(std::io::ErrorKind::NotFound.into()),
            false => fs::read(folder.join(file)),
        };
        Folder::read(read).map(drop)
    };
    for (file, why) in [
        ("config.json", "config.json: is missing"),
        ("model.safetensors", "model.safetensors: is missing"),
    ] {
        assert_eq!(without(file).expect_err(file).to_string(), why);
    }
    without("tokenizer.json").expect("a model that cannot be asked");
    let denied = Folder::read(|_| Err(std::io::ErrorKind::PermissionDenied.into())).map(drop);
    assert_eq!(
        denied.expect_err("denied").to_string(),
        "config.json: permission denied"
    );
}

/// What is awaited may move between threads, as executors of several want it. It need not run: it compiles.
#[test]
fn what_is_awaited_can_be_sent() {
    fn sent<T: Send>(_: T) {}
    let _ = |trainer: &mut Trainer, generator: &mut Generator, gpu: &Gpu, tensor: &Tensor| {
        sent(trainer.submit(&[]));
        sent(trainer.metrics());
        sent(generator.generate(&[], &Sampling::default(), 1, &[], |_| true));
        sent(gpu.read(tensor));
    };
}
