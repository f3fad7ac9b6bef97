//! What each check asks of a response.

use std::sync::LazyLock;

use regex::Regex;
use whatlang::Lang;

use super::json::is_json;
use super::language::is_in;
use super::punkt::sentences;
use super::words::words;
use crate::eval::text::{split, strip};

/// A comparison of a count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// Fewer than the number, instead of at least as many.
    pub less: bool,
    pub number: usize,
}

impl Amount {
    fn holds(self, count: usize) -> bool {
        (count < self.number) == self.less
    }
}

/// A check with its arguments. Patterns are regular expressions, as the keywords of rows are.
#[derive(Debug, Clone)]
pub(super) enum Check {
    Keywords(Vec<Regex>),
    KeywordFrequency(Regex, Amount),
    ForbiddenWords(Vec<Regex>),
    LetterFrequency(char, Amount),
    Language(Lang),
    Sentences(Amount),
    Paragraphs(usize),
    Words(Amount),
    ParagraphFirstWord {
        paragraphs: usize,
        nth: usize,
        word: String,
    },
    Placeholders(usize),
    Postscript(Regex),
    Bullets(usize),
    ConstrainedResponse,
    Highlights(usize),
    Sections(Regex, usize),
    Json,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    End(String),
    Quotation,
    CapitalWords(Amount),
    EnglishCapital,
    EnglishLowercase,
    NoComma,
}

/// A pattern that is compiled once.
macro_rules! pattern {
    ($text:expr) => {{
        static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a valid pattern"));
        &*PATTERN
    }};
}

impl Check {
    /// Whether the response, which is not empty, does as it was told.
    pub(super) fn holds(&self, response: &str) -> bool {
        let trimmed = strip(response);
        let count = |pattern: &Regex| pattern.find_iter(response).count();
        match self {
            Self::Keywords(keywords) => keywords.iter().all(|keyword| keyword.is_match(response)),
            Self::KeywordFrequency(keyword, amount) => amount.holds(count(keyword)),
            Self::ForbiddenWords(words) => !words.iter().any(|word| word.is_match(response)),
            Self::LetterFrequency(letter, amount) => {
                amount.holds(response.to_lowercase().chars().filter(|c| c == letter).count())
            }
            Self::Language(language) => is_in(response, *language),
            Self::Sentences(amount) => amount.holds(sentences(response).len()),
            Self::Paragraphs(number) => paragraphs(response) == Some(*number),
            Self::Words(amount) => amount.holds(count(pattern!(r"\w+"))),
            Self::ParagraphFirstWord { paragraphs, nth, word } => first_word(response, *paragraphs, *nth, word),
            Self::Placeholders(number) => count(pattern!(r"\[.*?\]")) >= *number,
            Self::Postscript(marker) => marker.is_match(&response.to_lowercase()),
            Self::Bullets(number) => {
                count(pattern!(r"(?m)^\s*\*[^*].*$")) + count(pattern!(r"(?m)^\s*-.*$")) == *number
            }
            Self::ConstrainedResponse => ["My answer is yes.", "My answer is no.", "My answer is maybe."]
                .iter()
                .any(|a| trimmed.contains(a)),
            Self::Highlights(number) => highlights(response) >= *number,
            Self::Sections(heading, number) => count(heading) >= *number,
            Self::Json => is_json(unfenced(trimmed)),
            Self::Title => pattern!(r"<<[^\n]+>>").find_iter(response).any(|title| {
                let inside = title.as_str().trim_start_matches('<').trim_end_matches('>');
                !strip(inside).is_empty()
            }),
            Self::TwoResponses => two_responses(response),
            Self::RepeatPrompt(prompt) => trimmed.to_lowercase().starts_with(prompt),
            Self::End(phrase) => trimmed.trim_matches('"').to_lowercase().ends_with(phrase),
            Self::Quotation => trimmed.len() > 1 && trimmed.starts_with('"') && trimmed.ends_with('"'),
            Self::CapitalWords(amount) => amount.holds(
                words(response)
                    .iter()
                    .filter(|word| in_case(word, char::is_uppercase))
                    .count(),
            ),
            Self::EnglishCapital => in_case(response, char::is_uppercase) && is_in(response, Lang::Eng),
            Self::EnglishLowercase => in_case(response, char::is_lowercase) && is_in(response, Lang::Eng),
            Self::NoComma => !response.contains(','),
        }
    }
}

/// Python's `isupper` and `islower`: there is a letter of this case, and none of another.
fn in_case(text: &str, case: fn(char) -> bool) -> bool {
    let cased = |c: char| c.is_uppercase() || c.is_lowercase();
    text.chars().any(case) && !text.chars().any(|c| cased(c) && !case(c)) && !pattern!(r"\p{Lt}").is_match(text)
}

/// Paragraphs between lines of three asterisks; `None` where one in the middle is empty.
fn paragraphs(response: &str) -> Option<usize> {
    let parts: Vec<&str> = pattern!(r"\s?\*\*\*\s?").split(response).collect();
    let empty = |part: &&str| strip(part).is_empty();
    let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
    if inner.iter().any(empty) {
        return None;
    }
    Some(parts.iter().filter(|part| !empty(part)).count())
}

/// Whether there are so many paragraphs, with an empty line between them, and the nth part begins with the word.
fn first_word(response: &str, paragraphs: usize, nth: usize, word: &str) -> bool {
    let parts: Vec<&str> = response.split("\n\n").map(strip).collect();
    let filled = parts.iter().filter(|part| !part.is_empty()).count();
    // An empty part counts in the numbering, but not in the number.
    let Some(first) = parts.get(nth - 1).and_then(|part| split(part).next()) else {
        return false;
    };
    let first = first.trim_start_matches('\'').trim_start_matches('"');
    let end = first.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(first.len());
    let lower: String = first[..end].chars().flat_map(char::to_lowercase).collect();
    filled == paragraphs && lower == word
}

fn highlights(response: &str) -> usize {
    let single = pattern!(r"\*[^\n*]*\*").find_iter(response);
    let double = pattern!(r"\*\*[^\n*]*\*\*").find_iter(response);
    let filled = |text: &str| !strip(text.trim_matches('*')).is_empty();
    single.filter(|found| filled(found.as_str())).count() + double.filter(|found| filled(found.as_str())).count()
}

/// Without the marks of a block of code.
fn unfenced(text: &str) -> &str {
    let marks = ["```json", "```Json", "```JSON", "```"];
    let opened = marks
        .iter()
        .fold(text, |text, mark| text.strip_prefix(mark).unwrap_or(text));
    strip(opened.strip_suffix("```").unwrap_or(opened))
}

fn two_responses(response: &str) -> bool {
    let parts: Vec<&str> = response.split("******").map(strip).collect();
    let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
    let filled: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
    !inner.contains(&"") && matches!(filled[..], [a, b] if a != b)
}
