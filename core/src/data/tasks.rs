//! What a row asks for: its own word for it, or a guess by rules over the instruction's verbs and forms and the answer's shape.
//!
//! The rules know English, and the most usual verbs of German, French and Spanish. How often they are right is measured in the tests.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::quality::words::find_phrase;

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Questions, with or without a text that holds the answer; explanations.
    QuestionAnswering,
    /// A shorter text that says the same.
    Summarising,
    /// One of a few labels.
    Classification,
    /// Another language.
    Translation,
    /// Sums, puzzles, conclusions.
    Reasoning,
    /// The same text, put or formatted differently.
    Rewriting,
    /// Parts of a given text.
    Extraction,
    /// Programs.
    Code,
    /// Stories, letters, ideas: there are many good answers.
    OpenWriting,
    /// None of these, or nothing to tell it by.
    Other,
}

/// The rules: `task<TAB>start or any<TAB>weight<TAB>phrase<TAB>phrase ...`, and `courtesy` for what may stand before the verb.
const RULES: &str = include_str!("tasks.tsv");

/// Phrases that are signs of a task.
struct Rule {
    task: Task,
    /// Whether the instruction must begin with one; else it may be anywhere.
    start: bool,
    weight: f32,
    phrases: Vec<&'static str>,
}

/// The rules, and the courtesies.
static RULE_BOOK: LazyLock<(Vec<Rule>, Vec<&'static str>)> = LazyLock::new(|| {
    let (mut rules, mut courtesies) = (Vec::new(), Vec::new());
    for line in RULES.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let (name, at, weight) = (fields.next(), fields.next(), fields.next());
        let phrases: Vec<&'static str> = fields.collect();
        match name.and_then(Task::from_name) {
            Some(task) => rules.push(Rule {
                task,
                start: at == Some("start"),
                weight: weight.and_then(|weight| weight.parse().ok()).unwrap_or(0.0),
                phrases,
            }),
            None => courtesies.extend(phrases),
        }
    }
    (rules, courtesies)
});

impl Task {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::QuestionAnswering,
        Self::Summarising,
        Self::Classification,
        Self::Translation,
        Self::Reasoning,
        Self::Rewriting,
        Self::Extraction,
        Self::Code,
        Self::OpenWriting,
        Self::Other,
    ];

    /// In kebab case.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuestionAnswering => "question-answering",
            Self::Summarising => "summarising",
            Self::Classification => "classification",
            Self::Translation => "translation",
            Self::Reasoning => "reasoning",
            Self::Rewriting => "rewriting",
            Self::Extraction => "extraction",
            Self::Code => "code",
            Self::OpenWriting => "open-writing",
            Self::Other => "other",
        }
    }

    /// The task that a row's own `task` or `category` means, for the names that data sets use (Dolly's among them); `None` for others.
    pub fn from_name(name: &str) -> Option<Self> {
        let name: String = name
            .trim()
            .chars()
            .map(|c| {
                if c == '_' || c == ' ' {
                    '-'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        Some(match name.as_str() {
            "question-answering"
            | "question"
            | "questions"
            | "qa"
            | "open-qa"
            | "closed-qa"
            | "general-qa"
            | "reading-comprehension"
            | "knowledge"
            | "trivia"
            | "explanation" => Self::QuestionAnswering,
            "summarising" | "summarizing" | "summarisation" | "summarization" | "summary" | "summarize"
            | "summarise" => Self::Summarising,
            "classification" | "classify" | "sentiment" | "sentiment-analysis" | "categorization" | "nli" => {
                Self::Classification
            }
            "translation" | "translate" | "machine-translation" => Self::Translation,
            "reasoning" | "math" | "maths" | "mathematics" | "arithmetic" | "logic" | "commonsense-reasoning" => {
                Self::Reasoning
            }
            "rewriting" | "rewrite" | "paraphrase" | "paraphrasing" | "editing" | "grammar-correction" => {
                Self::Rewriting
            }
            "extraction" | "information-extraction" | "ner" | "extract" => Self::Extraction,
            "code" | "coding" | "programming" | "code-generation" => Self::Code,
            "open-writing" | "creative-writing" | "brainstorming" | "brainstorm" | "generation" | "open-generation"
            | "writing" | "creative" | "story" => Self::OpenWriting,
            "other" | "chat" | "misc" => Self::Other,
            _ => return None,
        })
    }

    /// Guess a task from what is asked and answered, with a confidence from 0 to 1: the share of the signs that speak for it.
    pub fn guess(asked: &str, answer: &str) -> (Self, f32) {
        let instruction = instruction(asked);
        let start = without_courtesies(&instruction);
        if start.is_empty() {
            return (Self::Other, 0.0);
        }
        let mut scores = [0.0f32; 10];
        for rule in &RULE_BOOK.0 {
            let hits = if rule.start {
                usize::from(rule.phrases.iter().any(|phrase| starts_with_word(start, phrase)))
            } else {
                // A second sign of the same kind makes it likelier; more say nothing new.
                let found = rule
                    .phrases
                    .iter()
                    .filter(|phrase| find_phrase(&instruction, phrase).is_some());
                found.take(2).count()
            };
            scores[rule.task as usize] += rule.weight * [0.0, 1.0, 1.5][hits];
        }
        shape(&mut scores, &instruction, start, asked, answer);
        let best = (0..9)
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .expect("nine tasks");
        let score = scores[best];
        if score < 2.0 {
            return (Self::Other, 1.0 - score / 4.0);
        }
        let second = (0..9)
            .filter(|&task| task != best)
            .map(|task| scores[task])
            .fold(0.0, f32::max);
        (Self::ALL[best], score / (score + second + 1.0))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What forms say that words do not; `start` is the instruction from its verb on.
fn shape(scores: &mut [f32; 10], instruction: &str, start: &str, asked: &str, answer: &str) {
    let mut add = |task: Task, weight: f32| scores[task as usize] += weight;
    let question = instruction.ends_with('?');
    let answer_words = answer.split_whitespace().take(60).count();
    if question {
        add(Task::QuestionAnswering, 1.0);
    }
    add(Task::Translation, translation(instruction, start));
    if answer.contains("```") || asked.contains("```") {
        add(Task::Code, 4.0);
    }
    let code_like = [
        "def ",
        "function ",
        "import ",
        "SELECT ",
        "#include",
        "public class",
        "console.log",
        "print(",
        "</",
        "=> {",
        "fn main",
    ];
    if code_like.iter().any(|mark| answer.contains(mark)) {
        add(Task::Code, 2.0);
    }
    // Numbers in the question and in the answer, or a sum in the answer.
    let numbers = |text: &str| {
        let runs = text.split(|c: char| !c.is_ascii_digit());
        runs.filter(|run| (1..=6).contains(&run.len())).count()
    };
    if numbers(instruction) >= 2 && numbers(answer) >= 1 && !instruction.contains("write") {
        add(Task::Reasoning, 2.5);
        if instruction.contains(['+', '×', '=', '%', '*']) {
            add(Task::Reasoning, 2.0);
        }
    }
    if answer.contains([' ', '\u{A0}'])
        && answer.contains(['×', '÷', '=', '−'])
        && numbers(answer) >= 2
        && !answer.contains("```")
    {
        add(Task::Reasoning, 2.0);
    }
    // "If ..., ...?" and "All ... are .... Is ...?"
    if question
        && ["if", "suppose", "all", "no", "every"]
            .iter()
            .any(|word| starts_with_word(start, word))
    {
        add(Task::Reasoning, 3.5);
    }
    // "A or B?", "a, b or c: ..."
    if lists_choices(instruction) {
        add(Task::Classification, if answer_words <= 12 { 4.0 } else { 3.0 });
    }
    // A label rather than a sentence.
    if answer_words <= 3 && !answer.trim_end().ends_with('.') && asked.len() > instruction.len() + 20 {
        add(Task::Classification, 1.0);
    }
    if answer_words >= 60 {
        add(Task::OpenWriting, 1.0);
    }
    // Several lines that the question has too.
    let bare = |line: &str| line.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let lines: Vec<String> = answer
        .lines()
        .map(bare)
        .filter(|line| line.len() > 2)
        .take(50)
        .collect();
    if lines.len() >= 2 && lines.iter().filter(|line| asked.contains(line.as_str())).count() * 2 > lines.len() {
        add(Task::Extraction, 2.5);
    }
}

/// How much speaks for a translation: a language is named the way one asks for it.
fn translation(instruction: &str, start: &str) -> f32 {
    const LANGUAGES: [&str; 24] = [
        "english",
        "french",
        "german",
        "spanish",
        "italian",
        "portuguese",
        "dutch",
        "swedish",
        "danish",
        "norwegian",
        "finnish",
        "polish",
        "czech",
        "greek",
        "turkish",
        "russian",
        "ukrainian",
        "arabic",
        "hebrew",
        "hindi",
        "chinese",
        "japanese",
        "korean",
        "latin",
    ];
    let mut most: f32 = 0.0;
    for language in LANGUAGES
        .iter()
        .filter(|language| find_phrase(instruction, language).is_some())
    {
        let behind = |lead: &str| find_phrase(instruction, &format!("{lead} {language}")).is_some();
        let opens = start.strip_prefix("in ").unwrap_or(start).strip_prefix(language);
        let opens = opens.is_some_and(|rest| rest.starts_with([':', ',']) || rest.starts_with(" for"));
        let moves = [
            "say",
            "put",
            "render",
            "convert",
            "turn",
            "express",
            "give",
            "write the following",
            "write this",
        ];
        let moves = moves.iter().any(|verb| starts_with_word(start, verb));
        let meant = [
            "say",
            "meaning",
            "what is \"",
            "what's \"",
            "word for",
            "phrase",
            "write \"",
        ]
        .iter()
        .any(|sign| instruction.contains(sign));
        most = most.max(match () {
            () if opens => 6.0,
            () if moves && (behind("in") || behind("into") || behind("to") || behind("the") || meant) => 6.0,
            () if meant && (behind("in") || behind("the")) => 4.0,
            () if behind("into") => 2.5,
            () if behind("to") || behind("in") => 1.5,
            () => 0.0,
        });
    }
    most
}

/// Whether an instruction lists a few short choices: "a, b or c" or, right at its start or end, "a or b".
fn lists_choices(instruction: &str) -> bool {
    let clause = |text: &str| {
        text.rsplit(['.', '?', '!', '"', ':', ';'])
            .next()
            .unwrap_or("")
            .split_whitespace()
            .count()
    };
    // "...: a, b, c"
    let behind = instruction.split_once(": ").map_or("", |(_, rest)| rest);
    let items: Vec<&str> = behind.trim_end_matches(['.', '?']).split(',').collect();
    if items.len() >= 3
        && items
            .iter()
            .all(|item| (1..=2).contains(&item.split_whitespace().count()) && !item.contains(char::is_numeric))
    {
        return true;
    }
    instruction.match_indices(" or ").any(|(at, or)| {
        let (before, after) = (&instruction[..at], &instruction[at + or.len()..]);
        let end = after.find([':', '?', '.', ',']).unwrap_or(after.len());
        let short = after[..end].split_whitespace().count() <= 4
            && (after[end..].starts_with([':', '?', ',']) || after[end..].len() <= 1);
        let listed = before
            .rsplit_once(", ")
            .is_some_and(|(_, last)| last.split_whitespace().count() <= 3);
        short && (listed || clause(before) <= 2 || after.starts_with("not "))
    })
}

/// The part of what was asked that says what to do, in lower case: the first paragraph, and the last where that is short.
fn instruction(asked: &str) -> String {
    let asked = asked.trim();
    let (first, rest) = asked.split_once("\n\n").unwrap_or((asked, ""));
    let cut = |text: &str, most: usize| -> String { text.chars().take(most).collect() };
    let last = rest.rsplit("\n\n").next().unwrap_or("").trim();
    let mut text = cut(first, 400);
    // "Shorten this: ...", "Key message? ...": what follows is what it is about.
    if let Some(at) = text.find([':', '?']) {
        let (head, body) = (
            text[..at].split_whitespace().count(),
            text[at..].split_whitespace().count(),
        );
        if head <= 6 && body > 12 {
            text.truncate(at + 1);
        }
    }
    // A passage first and the question behind it.
    if !last.is_empty() && last.len() < 160 && (last.ends_with('?') || first.len() > 300) {
        text = format!("{last} {text}");
    }
    text.to_lowercase()
}

fn without_courtesies(mut text: &str) -> &str {
    text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    while let Some(rest) = RULE_BOOK
        .1
        .iter()
        .filter(|courtesy| starts_with_word(text, courtesy) && **courtesy != text)
        .map(|courtesy| &text[courtesy.len()..])
        .min_by_key(|rest| rest.len())
    {
        text = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
    }
    text
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word)
        .is_some_and(|rest| rest.chars().next().is_none_or(|c| !c.is_alphanumeric()))
}
