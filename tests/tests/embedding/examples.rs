//! The examples, as their users run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An example, built before the tests.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let example = tests.parent().and_then(Path::parent).unwrap().join(name);
    assert!(example.exists(), "{} is missing: make examples", example.display());
    example
}

/// It ended well, and its standard output has all of these in it.
pub fn assert_tells(ended: &Output, lines: &[&str]) {
    let told = text(&ended.stdout);
    assert!(ended.status.success(), "{told}{}", text(&ended.stderr));
    for line in lines {
        assert!(told.contains(line), "{line}: {told}");
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_simulation_and_a_training_run_share_a_device() {
    let ended = Command::new(example("embed_compute"))
        .output()
        .expect("embed_compute runs");
    let lines = [
        "simulating and training: ",
        "simulating alone: ",
        "simulation: the same as alone",
        ", the same as alone\nnothing was left on the device",
    ];
    assert_tells(&ended, &lines);
}
