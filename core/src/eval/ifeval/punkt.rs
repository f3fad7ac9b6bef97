//! Sentences, by the algorithm of NLTK's Punkt with word lists of our own.
//!
//! T. Kiss and J. Strunk, "Unsupervised multilingual sentence boundary detection" (Computational Linguistics 32, 2006), as NLTK 3.10 decides
//! (`PunktSentenceTokenizer`). NLTK has abbreviations, collocations and spellings that were learnt from newspapers; here `abbreviations.txt`
//! has common ones that NLTK knows, too, without their last full stop, and `starters.txt` words that begin sentences and are otherwise
//! written in lower case. With these as its parameters, NLTK's class finds the same sentences. With its own it found as many in 583 of 588
//! passages of English software documentation; others may differ, after rarer abbreviations above all.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::data::python::is_space;

static ABBREVIATIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("abbreviations.txt").lines().collect());
static STARTERS: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("starters.txt").lines().collect());

/// Characters that no word contains.
const NON_WORD: &str = "[)\";}\\]*:@'({\\[‘’“”«»?!]";
/// Dashes and dots in a row.
const MULTIPLE: &str = r"-{2,}|\.{2,}|(?:\.\s){2,}\.";

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// A text's sentences, in order.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    static CLOSING: LazyLock<Regex> = LazyLock::new(|| pattern("^([\"')\\]}‘’“”«»]+?)(?:(\\s+)|--|$)"));
    let slices = slices(text);
    let mut found = Vec::new();
    // Quotation marks and brackets that close a sentence are moved to it from the one after.
    let mut moved = 0;
    for (i, (start, end)) in slices.iter().enumerate() {
        let start = start + moved;
        let next = slices.get(i + 1).map(|(start, end)| (*start, &text[*start..*end]));
        let closing = next.and_then(|(at, next)| Some((at, CLOSING.captures(next)?)));
        moved = 0;
        let end = match closing {
            Some((at, closing)) => {
                moved = closing[1].len() + closing.get(2).map_or(0, |space| space.len());
                at + closing[1].len()
            }
            None => *end,
        };
        if start < end {
            found.push(&text[start..end]);
        }
    }
    found
}

/// Where sentences begin and end, before marks are moved.
fn slices(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for candidate in candidates(text) {
        if has_break(candidate.context) {
            found.push((start, candidate.end));
            start = candidate.next.unwrap_or(candidate.end);
        }
    }
    let end = text.trim_end_matches(is_space).len();
    found.push((start.min(end), end));
    found
}

/// A mark that may end a sentence.
struct Candidate<'a> {
    /// The word before it, itself, and the word or mark after it.
    context: &'a str,
    /// The place after it.
    end: usize,
    /// Where the next word begins, if white space lies between.
    next: Option<usize>,
}

fn candidates(text: &str) -> Vec<Candidate<'_>> {
    static CONTEXT: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"^(?:{NON_WORD}|\s+(\S+))")));
    let mut found: Vec<Candidate> = Vec::new();
    // The word before the last mark: its beginning and end.
    let mut previous = (0, 0);
    for (at, _) in text.match_indices(['.', '?', '!']) {
        let Some(after) = CONTEXT.captures(&text[at + 1..]) else {
            continue;
        };
        let before = &text[previous.1..at];
        let space = before.rfind([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
        let word = space.map_or(previous.0, |space| previous.1 + space + 1);
        // Of several marks after one word, the last is looked at.
        if previous.1 > word {
            found.pop();
        }
        previous = (word, at);
        found.push(Candidate {
            context: &text[word..at + 1 + after[0].len()],
            end: at + 1,
            next: after.get(1).map(|next| at + 1 + next.start()),
        });
    }
    found
}

/// A word and what is thought of it.
struct Token<'a> {
    text: &'a str,
    /// In lower case; numbers are all the same.
    kind: String,
    ends_sentence: bool,
    abbreviation: bool,
    ellipsis: bool,
}

impl<'a> Token<'a> {
    fn new(text: &'a str) -> Self {
        static ELLIPSIS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\.\.+$"));
        static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"^-?[.,]?\d[\d,.-]*\.?$"));
        let lower = text.to_lowercase();
        let mut token = Self {
            text,
            kind: if NUMBER.is_match(&lower) {
                "##number##".to_string()
            } else {
                lower.clone()
            },
            ends_sentence: false,
            abbreviation: false,
            ellipsis: false,
        };
        if [".", "?", "!"].contains(&text) {
            token.ends_sentence = true;
        } else if ELLIPSIS.is_match(text) {
            token.ellipsis = true;
        } else if let Some(stem) = lower.strip_suffix('.') {
            let last = stem.rsplit('-').next().unwrap_or(stem);
            token.abbreviation = [stem, last].iter().any(|word| ABBREVIATIONS.contains(word));
            token.ends_sentence = !token.abbreviation;
        }
        token
    }

    fn kind_without_stop(&self) -> &str {
        self.kind
            .strip_suffix('.')
            .filter(|stem| !stem.is_empty())
            .unwrap_or(&self.kind)
    }

    fn is_initial(&self) -> bool {
        static INITIAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\w--\d]\.$"));
        INITIAL.is_match(self.text)
    }

    fn begins(&self, case: fn(char) -> bool) -> bool {
        self.text.chars().next().is_some_and(case)
    }

    /// Whether it is the first word of a sentence, by how it is written; `None`: it may be.
    fn starts_sentence(&self) -> Option<bool> {
        if [";", ":", ",", ".", "!", "?"].contains(&self.text) {
            return Some(false);
        }
        let kind = if self.ends_sentence {
            self.kind_without_stop()
        } else {
            &self.kind
        };
        if self.begins(char::is_uppercase) && STARTERS.contains(kind) {
            return Some(true);
        }
        self.begins(char::is_lowercase).then_some(false)
    }

    /// Think again, now that the word after it is known.
    fn reconsider(&mut self, next: &Self) {
        let initial = self.is_initial();
        let starts = next.starts_sentence();
        if (self.abbreviation || self.ellipsis) && starts == Some(true) {
            self.ends_sentence = true;
        } else if (initial || self.kind_without_stop() == "##number##")
            && (starts == Some(false) || (starts.is_none() && initial && next.begins(char::is_uppercase)))
        {
            self.ends_sentence = false;
        }
    }
}

/// Whether a sentence ends before the last word of this piece of text.
fn has_break(context: &str) -> bool {
    let mut tokens: Vec<Token> = context.split('\n').flat_map(tokens).collect();
    for i in 1..tokens.len() {
        let (left, right) = tokens.split_at_mut(i);
        left[i - 1].reconsider(&right[0]);
    }
    tokens
        .split_last()
        .is_some_and(|(_, before)| before.iter().any(|token| token.ends_sentence))
}

/// Words of a line, with their full stops, and other marks.
fn tokens(line: &str) -> Vec<Token<'_>> {
    static MARKS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^(?:{MULTIPLE})")));
    static WORD_END: LazyLock<Regex> = LazyLock::new(|| {
        let end = format!(r"$|\s|{NON_WORD}|{MULTIPLE}");
        pattern(&format!("^(?:{end}|,(?:{end}))"))
    });
    let mut found = Vec::new();
    let mut rest = line.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let length = if let Some(marks) = MARKS.find(rest) {
            marks.len()
        } else if "(\"`{[:;&#*@)}]-,".contains(first) {
            first.len_utf8()
        } else {
            let places = rest.char_indices().map(|(i, _)| i).skip(1);
            places
                .chain([rest.len()])
                .find(|i| WORD_END.is_match(&rest[*i..]))
                .unwrap_or(rest.len())
        };
        found.push(Token::new(&rest[..length]));
        rest = rest[length..].trim_start_matches(is_space);
    }
    found
}
