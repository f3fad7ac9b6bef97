//! One function for each parser of what comes from outside: fuzz targets feed it, and so do the ordinary tests, which include this file.
//!
//! A parser may accept what it is given or refuse it in words. It may not panic, and not take more memory than a multiple of what it
//! was given, and a constant.

pub mod counting;
#[allow(dead_code, reason = "the binary's own file, of which this needs one function")]
#[path = "../../native/src/rows/parquet.rs"]
mod parquet_rows;
mod parsers;

pub use parsers::PARSERS;

/// Whether it was accepted, or the words it was refused with.
pub type Outcome = Result<(), String>;

/// A parser and what it may take.
pub struct Parser {
    /// Its name: of the fuzz target, and of the folder of its cases.
    pub name: &'static str,
    /// Reads bytes, and does with what they hold whatever needs no device.
    pub parse: fn(&[u8]) -> Outcome,
    /// Bytes of memory for each byte that it is given, and beyond.
    pub memory: (usize, usize),
}

impl Parser {
    /// The parser of that name.
    pub fn named(name: &str) -> &'static Self {
        let found = PARSERS.iter().find(|parser| parser.name == name);
        found.unwrap_or_else(|| panic!("no parser is called {name}"))
    }

    /// Parses, and asserts what holds of any bytes.
    pub fn run(&self, bytes: &[u8]) -> Outcome {
        self.measured(bytes).0
    }

    /// As [`run`](Self::run), with the most bytes of memory that were taken at once.
    pub fn measured(&self, bytes: &[u8]) -> (Outcome, usize) {
        parsers::warm_up();
        let (outcome, peak) = counting::peak(|| (self.parse)(bytes));
        let (factor, constant) = self.memory;
        let most = bytes.len() * factor + constant;
        assert!(
            peak <= most,
            "{}: {peak} bytes of memory for {} bytes, {most} are allowed",
            self.name,
            bytes.len()
        );
        if let Err(why) = &outcome {
            assert!(!why.trim().is_empty(), "{}: refused without a word", self.name);
        }
        (outcome, peak)
    }
}

/// The body of a fuzz target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[global_allocator]
        static ALLOCATOR: $crate::counting::Counting = $crate::counting::Counting;

        // The hook that it installs ends the process at any panic, also at those of a library that are turned into errors.
        libfuzzer_sys::fuzz_target!(init: { drop(std::panic::take_hook()); }, |bytes: &[u8]| {
            let _ = $crate::Parser::named($name).run(bytes);
        });
    };
}
