//! Cutting text into words as `tokenizer.json` says, by regular expressions that never stop early.
//!
//! The tokenizers crate searches with an engine that backtracks, gives up after a million steps, and then takes the rest of the text
//! for one word: a megabyte of spaces gets other ids than elsewhere, and nobody hears of it. The expressions of real models need that
//! engine for one thing, `\s+(?!\S)|\s+` at their end: white space leaves its last character to the word behind it. That is
//! done here by hand, on top of an engine that takes linear time. Other expressions that need backtracking keep it, and when it gives
//! up, that is an error.

use std::ops::Range;

use regex::Regex;
use serde::Serialize;
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::{Error, Result};

/// GPT-2's words, which `ByteLevel` cuts (`encoder.py` of openai/gpt-2, with the order of the crate).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// How expressions say that white space leaves its last character to the next word.
const LEAVES_ONE: &str = r"|\s+(?!\S)|\s+";

/// A pre-tokenizer of `tokenizer.json`.
pub(super) enum Words {
    /// One that needs no regular expression, or a simple one of its own.
    Library(PreTokenizerWrapper),
    /// A space in front of a text that has none.
    Space,
    Split {
        expression: Expression,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    Sequence(Vec<Words>),
}

impl Words {
    /// # Errors
    /// [`Error::Config`] for an expression that cannot be parsed.
    pub fn new(given: &PreTokenizerWrapper) -> Result<Self> {
        Ok(match given {
            PreTokenizerWrapper::Sequence(all) => {
                Self::Sequence(all.as_ref().iter().map(Self::new).collect::<Result<_>>()?)
            }
            PreTokenizerWrapper::Split(split) => match &split.pattern {
                SplitPattern::String(_) => Self::Library(given.clone()),
                SplitPattern::Regex(source) => Self::Split {
                    expression: Expression::new(source)?,
                    behavior: split.behavior,
                    invert: split.invert,
                },
            },
            PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => {
                let words = Self::Split {
                    expression: Expression::new(GPT2)?,
                    behavior: SplitDelimiterBehavior::Isolated,
                    invert: false,
                };
                let to_bytes = Self::Library(ByteLevel::new(false, bytes.trim_offsets, false).into());
                let space = bytes.add_prefix_space.then_some(Self::Space);
                Self::Sequence(space.into_iter().chain([words, to_bytes]).collect())
            }
            other => Self::Library(other.clone()),
        })
    }
}

impl PreTokenizer for Words {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        match self {
            Self::Library(library) => library.pre_tokenize(text),
            Self::Space => text.split(|_, mut word| {
                if !word.get().starts_with(' ') {
                    word.prepend(" ");
                }
                Ok(vec![word])
            }),
            Self::Split {
                expression,
                behavior,
                invert: false,
            } => text.split(|_, word| word.split(expression, *behavior)),
            Self::Split {
                expression, behavior, ..
            } => text.split(|_, word| word.split(Invert(expression), *behavior)),
            Self::Sequence(all) => all.iter().try_for_each(|each| each.pre_tokenize(text)),
        }
    }
}

/// A regular expression that finds all matches in a text, or says that it could not.
pub(super) enum Expression {
    Linear(Regex),
    /// The expression with `\s+` for [`LEAVES_ONE`], and without.
    LeavesOne {
        whole: Regex,
        rest: Regex,
    },
    Backtracking(fancy_regex::Regex),
}

impl Expression {
    fn new(source: &str) -> Result<Self> {
        if let Ok(linear) = Regex::new(source) {
            return Ok(Self::Linear(linear));
        }
        if let Some(rest) = source.strip_suffix(LEAVES_ONE)
            && let (Ok(whole), Ok(rest)) = (Regex::new(&format!(r"{rest}|\s+")), Regex::new(rest))
        {
            return Ok(Self::LeavesOne { whole, rest });
        }
        let backtracking = fancy_regex::Regex::new(source);
        let broken = |e| Error::config("tokenizer.json", format!("the expression {source:?}: {e}"));
        Ok(Self::Backtracking(backtracking.map_err(broken)?))
    }

    fn matches(&self, text: &str) -> tokenizers::Result<Vec<Range<usize>>> {
        match self {
            Self::Linear(regex) => Ok(regex.find_iter(text).map(|found| found.range()).collect()),
            Self::LeavesOne { whole, rest } => {
                let mut matches = Vec::new();
                let mut at = 0;
                while let Some(found) = whole.find_at(text, at) {
                    let mut found = found.range();
                    if let Some([space, next]) = left_to_the_next(&text[found.clone()], &text[found.end..])
                        // Not if another alternative matched; it would have matched the same, so that the search may end here.
                        && (rest.find_at(&text[..found.end + next], found.start))
                            .is_none_or(|other| other.start() > found.start)
                    {
                        found.end -= space;
                    }
                    at = if found.is_empty() {
                        found.end + text[found.end..].chars().next().map_or(1, char::len_utf8)
                    } else {
                        found.end
                    };
                    matches.push(found);
                    if at > text.len() {
                        break;
                    }
                }
                Ok(matches)
            }
            Self::Backtracking(regex) => {
                let mut matches = Vec::new();
                for found in regex.find_iter(text) {
                    let gave_up = |e| format!("the tokenizer's regular expression {:?} gave up: {e}", regex.as_str());
                    let found = found.map_err(gave_up)?;
                    matches.push(found.start()..found.end());
                }
                Ok(matches)
            }
        }
    }
}

/// If `space` is white space of several characters and something is `behind` it: the lengths of its last character and of the next.
fn left_to_the_next(space: &str, behind: &str) -> Option<[usize; 2]> {
    let last = space.chars().next_back()?.len_utf8();
    let next = behind.chars().next()?.len_utf8();
    let leaves = last < space.len() && space.chars().all(char::is_whitespace);
    leaves.then_some([last, next])
}

impl Pattern for &Expression {
    fn find_matches(&self, text: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut pieces = Vec::new();
        let mut end = 0;
        for found in self.matches(text)? {
            if end < found.start {
                pieces.push(((end, found.start), false));
            }
            pieces.push(((found.start, found.end), true));
            end = found.end;
        }
        if end < text.len() {
            pieces.push(((end, text.len()), false));
        }
        Ok(pieces)
    }
}

/// Refuse a normalizer or a decoder whose expression needs the engine that gives up in silence.
///
/// # Errors
/// [`Error::Config`] with the expression.
pub(super) fn check_expressions(name: &str, part: Option<&impl Serialize>) -> Result<()> {
    let json = serde_json::to_value(part).map_err(|e| Error::config("tokenizer.json", e.to_string()))?;
    let mut left = vec![&json];
    while let Some(value) = left.pop() {
        if let Some(source) = value["pattern"]["Regex"].as_str()
            && let Err(e) = Regex::new(source)
        {
            let why = format!("the {name}'s expression {source:?} needs an engine that may stop early: {e}");
            return Err(Error::config("tokenizer.json", why));
        }
        match value {
            serde_json::Value::Array(items) => left.extend(items),
            serde_json::Value::Object(fields) => left.extend(fields.values()),
            _ => {}
        }
    }
    Ok(())
}
