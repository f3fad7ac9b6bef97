//! Files made to do harm: whatever reads them takes them or refuses them in words, and neither panics, nor hangs, nor takes more memory
//! than a multiple of the file.

mod configurations;
mod damage;
mod files;
/// What is fuzzed, too.
#[path = "../../fuzz/src/lib.rs"]
pub mod fuzzed;
mod templates;
mod weights;

use std::time::{Duration, Instant};

use fuzzed::{Outcome, Parser};
use wgpu_sft_tests::fixture;

/// Far more than any of them takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a parser says of bytes, once it has been seen to end; a panic tells which case it was.
fn run(parser: &str, case: &str, bytes: &[u8]) -> Outcome {
    let begun = Instant::now();
    let outcome = std::panic::catch_unwind(|| Parser::named(parser).run(bytes));
    let outcome = outcome.unwrap_or_else(|_| panic!("{parser}, {case}: see above"));
    assert!(
        begun.elapsed() < PATIENCE,
        "{parser}, {case}: took {:?}",
        begun.elapsed()
    );
    outcome
}

/// Panics unless a parser refuses bytes in words that hold all of these.
fn refused(parser: &str, bytes: impl AsRef<[u8]>, words: &[&str]) {
    let bytes = bytes.as_ref();
    let case = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let why = run(parser, &case, bytes).expect_err(&case);
    for word in words {
        assert!(why.contains(word), "{parser}: {why:?} does not say {word:?}, of {case}");
    }
}

/// The files of a parser's folder: name and contents, in order.
fn cases(parser: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(fixture("hostile").join(parser)).expect("a folder for each parser");
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file"))
        })
        .collect();
    all.sort();
    all
}

/// The sound file of that name.
fn sound(parser: &str, name: &str) -> Vec<u8> {
    let found = cases(parser)
        .into_iter()
        .find(|(case, _)| case == &format!("sound-{name}"));
    found.expect(name).1
}
