//! Answers that are cut off, missing or copied, and turns out of order.

use super::{Record, Role};
use crate::data::tasks::Task;

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Too short, or no prose: nothing to tell.
    Unknown,
    /// Prose of twenty words and more whose end is marked.
    Marked,
    /// Such prose without a mark at its end: cut off if nearly all others have one.
    Unmarked,
    /// Cut off, whatever others do.
    Cut,
}

/// Words that hardly any sentence ends with.
const DANGLING: [&str; 26] = [
    "the", "a", "an", "and", "or", "but", "my", "your", "their", "our", "its", "whose", "because", "although", "und",
    "oder", "eine", "einen", "et", "le", "les", "des", "une", "el", "los", "una",
];

/// How an answer ends; `asked` is the question. Conservative: lists, code, tables and short answers are never cut off but by an open fence.
pub fn ending(answer: &str, asked: &str, task: Task) -> Ending {
    let answer = answer.trim_end();
    let fences = answer
        .lines()
        .filter(|line| line.trim_start().starts_with("```"))
        .count();
    if fences % 2 == 1 {
        return Ending::Cut;
    }
    let words = answer.split_whitespace().take(20).count();
    let (Some(last), true) = (answer.chars().next_back(), words >= 8 && fences == 0) else {
        return Ending::Unknown;
    };
    let sentence = answer.rsplit(['\n', '.', '!', '?']).next().unwrap_or(answer);
    let open = |a: char, b: char| {
        sentence
            .rfind(a)
            .is_some_and(|at| !sentence[at..].contains(b) && !sentence[..at].ends_with([':', ';']))
    };
    let word = answer.rsplit(char::is_whitespace).next().unwrap_or(answer);
    let ellipsis = answer.strip_suffix("...").or(answer.strip_suffix('…'));
    let trails_off = ellipsis
        .is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c.is_whitespace() || c == ','))
        && words >= 15
        && task != Task::OpenWriting
        && !(asked.contains("...") || asked.contains('…'));
    let cut = trails_off
        || (last == ',' && task != Task::OpenWriting)
        || (last == '-' && answer.len() >= 2 && answer[..answer.len() - 1].ends_with(char::is_alphabetic))
        || (last.is_alphanumeric() && (DANGLING.contains(&word) || open('(', ')') || open('[', ']')));
    if cut {
        return Ending::Cut;
    }
    if words < 20 {
        return Ending::Unknown;
    }
    if !last.is_alphanumeric() {
        return Ending::Marked;
    }
    let line = answer.lines().next_back().unwrap_or(answer).trim_start();
    let prose = line.split_whitespace().count() >= 8
        && line.starts_with(char::is_alphabetic)
        && !line.contains(['|', '=', '{', '<', '\t'])
        && word.chars().all(char::is_alphabetic)
        && !line.contains("://");
    if prose { Ending::Unmarked } else { Ending::Unknown }
}

/// Whether an answer repeats what was asked where that cannot be the task; words are hashed.
pub fn is_copied(answer: &[u64], asked: &[u64], passage: &[u64], task: Task) -> bool {
    let from_passage = matches!(
        task,
        Task::Extraction | Task::Classification | Task::QuestionAnswering | Task::Rewriting | Task::Other
    );
    let own_words = matches!(task, Task::Translation | Task::OpenWriting | Task::Reasoning);
    let whole =
        answer.len() >= 4 && (answer == asked && task != Task::Extraction || answer == passage && !from_passage);
    whole
        || (own_words
            && (8..1000).contains(&answer.len())
            && asked.windows(answer.len()).any(|window| window == answer))
}

/// What is wrong with the order of a conversation's turns.
pub fn role_order(record: &Record) -> Option<String> {
    if !record.is_dialogue() || record.turns.is_empty() {
        return None;
    }
    let mut before: Option<&Role> = None;
    for (i, (role, _)) in record.turns.iter().enumerate() {
        let wrong = match (before, role) {
            (_, Role::Other(name)) => Some(format!("an unknown role {name:?}")),
            (None, Role::System) | (None | Some(Role::System), Role::User) => None,
            (_, Role::System) => Some("a system message behind others".to_owned()),
            (None | Some(Role::System), role) => Some(format!("begins with {role}, not user")),
            (Some(Role::Assistant), Role::User) => None,
            (Some(Role::User | Role::Tool), Role::Assistant) => None,
            (Some(Role::Assistant | Role::Tool), Role::Tool) => None,
            (Some(before), role) => Some(format!("{role} follows {before}")),
        };
        if let Some(wrong) = wrong {
            return Some(format!("turn {}: {wrong}", i + 1));
        }
        before = Some(role);
    }
    match before {
        Some(Role::Assistant) => None,
        Some(role) => Some(format!("ends with {role}, not assistant")),
        None => None,
    }
}
