//! Sound files, damaged everywhere: cut off, bytes replaced, numbers replaced; and what fuzzing has found.

use super::{cases, fuzzed, run};

/// Places in a file that are damaged: all of them in a small one.
const PLACES: usize = 160;
/// What bytes become.
const BYTES: [u8; 8] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'[', b'9'];
/// What numbers become, in text.
const NUMBERS: [&str; 8] = [
    "-1",
    "0",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1e999",
    "0.5",
    "null",
];
/// What numbers become, in eight bytes.
const WORDS: [u64; 5] = [1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX];

/// Every so many of a file's places.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(length.div_ceil(PLACES).max(1))
}

/// Where the digits stand in a text.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in text.match_indices(|c: char| c.is_ascii_digit()) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

fn damage(parser: &str) {
    let all = cases(parser);
    assert!(
        all.iter().any(|(name, _)| name.starts_with("sound-")),
        "{parser} has no sound file"
    );
    for (name, file) in all {
        let outcome = run(parser, &name, &file);
        if !name.starts_with("sound-") {
            continue;
        }
        // A few sound files hold tensors of another model, or no tokenizer, which is told.
        let other = ["missing", "no such tensor", "shape [", "where the index says it is"];
        if let Err(why) = outcome {
            assert!(other.iter().any(|words| why.contains(words)), "{parser}, {name}: {why}");
        }
        for end in places(file.len()) {
            let _ = run(parser, &format!("{name} cut off at {end}"), &file[..end]);
        }
        let mut copy = file.clone();
        for at in places(file.len()) {
            for byte in BYTES {
                copy[at] = byte;
                let _ = run(parser, &format!("{name}, byte {at} as {byte}"), &copy);
            }
            copy[at] = file[at];
        }
        for at in places(file.len().saturating_sub(8)).filter(|_| std::str::from_utf8(&file).is_err()) {
            for word in WORDS {
                copy[at..at + 8].copy_from_slice(&word.to_le_bytes());
                let _ = run(parser, &format!("{name}, {word} at byte {at}"), &copy);
            }
            copy[at..at + 8].copy_from_slice(&file[at..at + 8]);
        }
        let Ok(text) = std::str::from_utf8(&file) else { continue };
        for place in numbers(text).into_iter().take(PLACES) {
            for number in NUMBERS {
                let damaged = [&text[..place.start], number, &text[place.end..]].concat();
                let _ = run(parser, &format!("{name}, {number} at {place:?}"), damaged.as_bytes());
            }
        }
    }
}

macro_rules! parsers {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            damage(stringify!($name));
        })*

        #[test]
        fn every_parser_is_here() {
            let mut here = vec![$(stringify!($name)),*];
            here.sort_unstable();
            let all: Vec<_> = fuzzed::PARSERS.iter().map(|parser| parser.name).collect();
            assert_eq!(here, all);
            let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            for name in here {
                assert!(fuzz.join(format!("{name}.rs")).exists(), "{name} has no target");
            }
        }
    };
}

parsers! {
    adapter checkpoint columns config gguf index parquet report rows safetensors settings suite template tokenizer tokenizer_config
}
