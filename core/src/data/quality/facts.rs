//! What one row says about itself: everything that needs no other row, so that rows can be looked at side by side.

use super::answers::{self, Ending};
use super::code::Code;
use super::language::{self, Language};
use super::minhash::{Signature, Sketch};
use super::words::{digest, for_each_word, grams, hash, mix, without_boilerplate};
use super::{CheckOptions, Form, Record, Role, encoding, personal, phrases, terms};
use crate::data::tasks::Task;
use crate::data::{Example, IGNORE};

/// Characters of a snippet on each side of what it shows.
const SNIPPET: usize = 50;
/// Characters of a row's beginning that are kept to show it.
const HEAD: usize = 90;

/// What the prepared tokens of a row say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenFacts {
    /// Tokens of the row.
    pub length: usize,
    /// Supervised tokens after the shift.
    pub targets: usize,
    /// Whether it begins with two BOS.
    pub double_bos: bool,
    /// Whether the last supervised stretch ends with a terminator; true where none is known.
    pub terminated: bool,
}

impl TokenFacts {
    /// Of a prepared row. `terminators` are the tokens that end an answer; tokens that `is_blank` may follow one, as some templates supervise
    /// the line break behind it.
    pub fn of(example: &Example, bos: Option<u32>, terminators: &[u32], is_blank: impl Fn(u32) -> bool) -> Self {
        let supervised = example
            .ids
            .iter()
            .zip(&example.labels)
            .rev()
            .skip_while(|(_, label)| **label == IGNORE);
        let last = supervised
            .take_while(|(_, label)| **label != IGNORE)
            .map(|(id, _)| *id)
            .find(|id| terminators.contains(id) || !is_blank(*id));
        Self {
            length: example.ids.len(),
            targets: example.targets(),
            double_bos: example.has_double_bos(bos),
            terminated: terminators.is_empty() || last.is_none_or(|id| terminators.contains(&id)),
        }
    }
}

/// A finding in a row, with the place to show.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub code: Code,
    pub snippet: String,
}

/// Everything that one row says about itself.
#[derive(Debug, Clone)]
pub struct RowFacts {
    pub(super) shape: String,
    /// The row's task, and the confidence where it is a guess.
    pub(super) task: (String, Option<f32>),
    pub(super) digest: u128,
    /// Digest of everything before the last answer, unless nothing is asked; and a sketch of that answer.
    pub(super) question: Option<u128>,
    pub(super) answer: Sketch,
    pub(super) signature: Signature,
    /// Hashes of words in sequence, by which overlap with held-out rows is found: of thirteen and of eight.
    pub(super) long_grams: Vec<u64>,
    pub(super) short_grams: Vec<u64>,
    pub(super) words: usize,
    pub(super) tokens: Option<TokenFacts>,
    pub(super) hits: Vec<Hit>,
    pub(super) language: Option<Language>,
    pub(super) flagged: Vec<u16>,
    pub(super) demographics: Vec<u16>,
    pub(super) ending: Ending,
    pub(super) tail: String,
    pub(super) head: Box<str>,
}

/// Words of the longer and of the shorter sequences that overlap is measured by.
pub(super) const LONG_GRAM: usize = 13;
pub(super) const SHORT_GRAM: usize = 8;

/// Words in the sequences that answers are compared by, and how many of them are kept.
const ANSWER_WORDS: usize = 2;
const ANSWER_SKETCH: usize = 48;

impl RowFacts {
    /// Look at a row; `tokens` are what a model's tokenizer makes of it, where one is given.
    pub fn of(record: &Record, tokens: Option<TokenFacts>, options: &CheckOptions) -> Self {
        let answered = record.turns.iter().rposition(|(role, _)| *role == Role::Assistant);
        let answer = answered.map_or("", |at| record.turns[at].1.as_str());
        let asked_at = record.turns[..answered.unwrap_or(record.turns.len())]
            .iter()
            .rposition(|(role, _)| *role == Role::User);
        let asked = asked_at.map_or("", |at| record.turns[at].1.as_str());
        let (task, confidence) = record.guess_task();
        let (label, task) = match record.task.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            // Called as the row calls it: splits and mixes go by that, and two names may be two things to whoever gave them.
            Some(name) => ((name.to_owned(), None), Task::from_name(name).unwrap_or(task)),
            None => ((task.name().to_owned(), Some(confidence)), task),
        };
        let mut facts = Self {
            shape: record.shape.clone(),
            task: label,
            digest: digest(record.turns.iter().flat_map(|(role, text)| [role.name(), text])),
            question: None,
            answer: Sketch::new(grams(&hashed(answer), ANSWER_WORDS), ANSWER_SKETCH),
            signature: Signature::default(),
            long_grams: Vec::new(),
            short_grams: Vec::new(),
            words: 0,
            tokens,
            hits: Vec::new(),
            language: None,
            flagged: Vec::new(),
            demographics: Vec::new(),
            ending: Ending::Unknown,
            tail: String::new(),
            head: "".into(),
        };
        if let (Some(at), false) = (answered, record.opening().trim().is_empty()) {
            let before = record.turns[..at].iter().flat_map(|(role, text)| [role.name(), text]);
            facts.question = Some(digest(before));
        }
        facts.compare(record);
        facts.tokens(options);
        facts.conversation(record, asked, answer, task);
        facts.texts(record);
        facts.answers(answer, asked, task, record.is_dialogue());
        facts
    }

    /// What other rows are compared by.
    fn compare(&mut self, record: &Record) {
        // System prompts are often the same in every row: they say nothing about this one.
        let spoken = record.turns.iter().filter(|(role, _)| *role != Role::System);
        let mut words: Vec<u64> = spoken
            .flat_map(|(_, text)| hashed(&without_boilerplate(text)))
            .collect();
        if record.turns.is_empty() {
            words = record.ids.iter().map(|&id| mix(u64::from(id) + 1)).collect();
            let text: String = record.ids.iter().map(|id| format!("{id} ")).collect();
            self.digest = digest([text.as_str()]);
        }
        self.words = words.len();
        self.signature = Signature::new(&words);
        if words.len() >= LONG_GRAM {
            self.long_grams = grams(&words, LONG_GRAM).collect();
        }
        if words.len() >= SHORT_GRAM {
            self.short_grams = grams(&words, SHORT_GRAM).collect();
        }
        self.flagged = terms::flagged(&words).iter().map(|found| found.line).collect();
        self.flagged.sort_unstable();
        self.flagged.dedup();
        self.demographics = terms::demographics(&words);
        let first = record
            .turns
            .iter()
            .find(|(role, _)| *role != Role::System)
            .or(record.turns.first());
        let head = match first {
            Some((_, text)) => without_boilerplate(text)
                .trim()
                .chars()
                .take(4 * HEAD)
                .collect::<String>(),
            None => record.ids.iter().take(16).map(|id| format!("{id} ")).collect(),
        };
        self.head = one_line(&personal::masked(&head), HEAD).into();
    }

    fn hit(&mut self, code: Code, snippet: impl Into<String>) {
        self.hits.push(Hit {
            code,
            snippet: snippet.into(),
        });
    }

    fn tokens(&mut self, options: &CheckOptions) {
        let head = self.head.to_string();
        let limit = options.max_length.unwrap_or(usize::MAX);
        match self.tokens {
            Some(facts) => {
                if facts.length > limit {
                    self.hit(Code::Overlong, format!("{} tokens: {head}", facts.length));
                }
                if facts.targets == 0 {
                    self.hit(Code::ZeroTarget, head.clone());
                } else if !facts.terminated {
                    self.hit(Code::UnsupervisedTerminator, head.clone());
                }
                if facts.double_bos {
                    self.hit(Code::DoubleBos, head);
                }
            }
            // No language has fewer tokens than words.
            None if self.words > limit => self.hit(Code::Overlong, format!("{} words: {head}", self.words)),
            None => {}
        }
    }

    fn conversation(&mut self, record: &Record, asked: &str, answer: &str, task: Task) {
        if let Some(wrong) = answers::role_order(record) {
            self.hit(Code::RoleOrder, wrong);
        }
        if !record.is_dialogue() {
            return;
        }
        let last_is_answer = matches!(record.turns.last(), Some((Role::Assistant, _)));
        if last_is_answer && answer.trim().is_empty() {
            self.hit(Code::EmptyAnswer, self.head.to_string());
        } else if phrases::is_placeholder(answer) {
            self.hit(
                Code::PlaceholderAnswer,
                format!("{} → {}", self.head, one_line(answer, SNIPPET)),
            );
        }
        if record
            .turns
            .iter()
            .any(|(role, text)| *role == Role::User && text.trim().is_empty())
        {
            self.hit(Code::EmptyQuestion, one_line(&personal::masked(answer), HEAD));
        }
        let passage = asked.split_once("\n\n").map_or("", |(_, passage)| passage);
        if answers::is_copied(&hashed(answer), &hashed(asked), &hashed(passage), task) {
            self.hit(Code::CopiedAnswer, one_line(&personal::masked(answer), HEAD));
        }
        let mut answers = record.turns.iter().filter(|(role, _)| *role == Role::Assistant);
        let asked_lower = record
            .turns
            .iter()
            .filter(|(role, _)| *role != Role::Assistant)
            .map(|(_, text)| text.to_ascii_lowercase())
            .collect::<Vec<_>>()
            .join("\n");
        let told = answers.find_map(|(_, text)| {
            phrases::self_identification(&text.to_ascii_lowercase(), &asked_lower).map(|range| snippet(text, range))
        });
        if let Some(told) = told {
            self.hit(Code::SelfIdentification, told);
        }
        let tag = record
            .turns
            .iter()
            .find_map(|(_, text)| phrases::template_tag(text).map(|range| snippet(text, range)));
        if let (Some(tag), true) = (tag, record.form == Form::Chat) {
            self.hit(Code::TemplateTag, tag);
        }
    }

    /// What any text may hold.
    fn texts(&mut self, record: &Record) {
        let mut seen = super::code::Codes::default();
        let about_markup =
            std::cell::LazyCell::new(|| record.turns.iter().any(|(_, text)| encoding::is_about_markup(text)));
        for (_, text) in &record.turns {
            let damaged = encoding::damage(text).map(|range| (Code::EncodingDamage, range));
            let markup = encoding::markup(text)
                .filter(|_| !*about_markup)
                .map(|range| (Code::MarkupLeftover, range));
            let personal = personal::find(text)
                .into_iter()
                .map(|personal| (personal.code, personal.range));
            for (code, range) in damaged.into_iter().chain(markup).chain(personal) {
                if !seen.contains(code) {
                    seen.insert(code);
                    self.hit(code, snippet(text, range));
                }
            }
        }
        if !self.flagged.is_empty() {
            let shown = record.turns.iter().find_map(|(_, text)| flagged_snippet(text));
            self.hit(Code::FlaggedTerm, shown.unwrap_or_default());
        }
    }

    fn answers(&mut self, answer: &str, asked: &str, task: Task, dialogue: bool) {
        let languages = [answer, asked].map(language::detect);
        self.language = languages[0].or(languages[1]);
        if !dialogue {
            return;
        }
        if let [Some(answered), Some(asked_in)] = languages
            && !language::are_close(answered, asked_in)
            && task != Task::Translation
            && !language::names_a_language(&asked.to_lowercase())
        {
            let shown = one_line(&personal::masked(answer), HEAD);
            self.hit(
                Code::LanguageMismatch,
                format!("asked in {asked_in}, answered in {answered}: {shown}"),
            );
        }
        self.ending = answers::ending(answer, asked, task);
        if matches!(self.ending, Ending::Cut | Ending::Unmarked) {
            let from = answer.trim_end().char_indices().rev().nth(HEAD).map_or(0, |(at, _)| at);
            self.tail = one_line(&format!("…{}", personal::masked(&answer[from..])), HEAD + 1);
        }
        if self.ending == Ending::Cut {
            self.hit(Code::TruncatedAnswer, self.tail.clone());
        }
    }
}

/// A text's words, hashed.
fn hashed(text: &str) -> Vec<u64> {
    let mut words = Vec::new();
    for_each_word(text, |_, word| words.push(hash(word.as_bytes())));
    words
}

/// The first flagged term of a text and what is around it, this and other terms reduced to their first letters.
fn flagged_snippet(text: &str) -> Option<String> {
    let (mut words, mut places) = (Vec::new(), Vec::new());
    for_each_word(text, |place, word| {
        words.push(hash(word.as_bytes()));
        places.push(place);
    });
    let flagged = terms::flagged(&words);
    let place = |found: &terms::Found| places[found.word].start..places[found.word + found.words - 1].end;
    let first = flagged.first()?;
    let (mut at, end) = around(text, &place(first));
    let mut shown = String::new();
    for place in flagged.iter().map(place) {
        if place.start >= at && place.end <= end {
            shown.push_str(&text[at..place.start]);
            shown.extend(text[place.clone()].chars().take(1));
            shown.push_str("•••");
            at = place.end;
        }
    }
    // What the edge cuts in two is left out: it might be a term.
    let cut = flagged
        .iter()
        .map(place)
        .find(|place| place.start < end && place.end > end);
    shown.push_str(&text[at..cut.map_or(end, |cut| cut.start.max(at))]);
    let category = terms::flagged_category(first.line);
    Some(format!(
        "{category}: {}",
        one_line(&personal::masked(&shown), 4 * SNIPPET)
    ))
}

/// The characters around a place.
fn around(text: &str, place: &std::ops::Range<usize>) -> (usize, usize) {
    let start = text[..place.start]
        .char_indices()
        .rev()
        .nth(SNIPPET - 1)
        .map_or(0, |(at, _)| at);
    let end = text[place.end..]
        .char_indices()
        .nth(SNIPPET)
        .map_or(text.len(), |(at, _)| place.end + at);
    (start, end)
}

/// What is around a place of a text, on one line, personal data masked.
fn snippet(text: &str, place: std::ops::Range<usize>) -> String {
    let (mut start, mut end) = around(text, &place);
    // A find that the edge cuts in two would not be recognised, and so not masked.
    for personal in personal::find(text) {
        if personal.range.start < start && start < personal.range.end {
            start = personal.range.start;
        }
        if personal.range.start < end && end < personal.range.end {
            end = personal.range.end;
        }
    }
    let lead = if start > 0 { "…" } else { "" };
    let trail = if end < text.len() { "…" } else { "" };
    format!(
        "{lead}{}{trail}",
        one_line(&personal::masked(&text[start..end]), 4 * SNIPPET)
    )
}

/// A character as a screen may show it: control characters as their Unicode pictures, and marks that turn the direction of writing
/// as the replacement character.
pub(crate) fn shown(c: char) -> char {
    match c {
        '\u{7F}' => '␡',
        c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or(' '),
        '\u{80}'..='\u{9F}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}' => '�',
        c => c,
    }
}

/// A text on one line, control characters as their Unicode pictures, at most `most` characters.
fn one_line(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.trim().chars().enumerate() {
        if i == most {
            out.push('…');
            break;
        }
        out.push(match c {
            '\n' => '↵',
            '\t' | '\r' => ' ',
            c => shown(c),
        });
    }
    out
}
