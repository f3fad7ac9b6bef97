//! Checks of rows, in one pass, without I/O: the command line and the browser feed rows, and get a report.
//!
//! [`RowFacts::of`] looks at one row alone, so callers with threads may do that side by side; [`Checker::add`] takes the facts in the order of
//! the files, and [`Checker::finish`] compares rows with each other. Kept of a row are hashes and its first words: about 700 bytes.
//!
//! The ideas are those of published data work: MinHash for near duplicates and word sequences for contamination (Broder 1997; Lee et al.,
//! "Deduplicating training data makes language models better", 2022; Brown et al., "Language models are few-shot learners", 2020, appendix C).

mod answers;
mod checker;
mod clean;
mod code;
mod encoding;
mod facts;
pub(crate) mod html;
mod language;
mod look;
mod minhash;
mod personal;
mod phrases;
mod report;
mod terms;
pub(crate) mod words;

use std::fmt;

use super::tasks::Task;
use super::{Body, Row};

pub use checker::{Checked, Checker, RowVerdict};
pub use clean::{Dropped, default_drops, drops};
pub use code::{Code, Codes, Severity};
pub(crate) use facts::shown;
pub use facts::{RowFacts, TokenFacts};
pub use look::{Look, Unusable};
pub use minhash::{JACCARD, SHINGLE_WORDS};
pub use report::{Bin, CheckReport, Count, Example, Finding, Group, Length, Overlap, Place, SourceReport, TaskCount};

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
    /// What a tool returned.
    Tool,
    /// A role that none of the usual templates knows.
    Other(String),
}

impl Role {
    /// As rows spell it.
    pub fn name(&self) -> &str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        match name {
            "system" | "developer" => Self::System,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" | "function" | "ipython" => Self::Tool,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a row's turns are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// Turns that a template puts its tags around.
    #[default]
    Chat,
    /// A prompt and a completion, as they are: tags in them may be meant.
    Pair,
    /// Text in which nobody speaks in turn.
    Document,
}

/// A row as the checks see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The name of its shape.
    pub shape: String,
    /// Who says what, first to last.
    pub turns: Vec<(Role, String)>,
    /// What its turns are.
    pub form: Form,
    /// The row's own `task` or `category`.
    pub task: Option<String>,
    /// Token ids, for a row that has no text.
    pub ids: Vec<u32>,
}

impl From<&Row> for Record {
    fn from(row: &Row) -> Self {
        let mut turns: Vec<(Role, String)> = row
            .turns()
            .into_iter()
            .map(|turn| (Role::from(turn.role), turn.text.into_owned()))
            .collect();
        if let (
            Body::Instruction {
                instruction, context, ..
            },
            Some(asked),
        ) = (&row.body, turns.iter_mut().rev().nth(1))
            && !context.trim().is_empty()
        {
            // The checks tell the instruction from what it is about by a blank line.
            asked.1 = format!("{instruction}\n\n{context}");
        }
        Self {
            shape: row.shape.name().to_owned(),
            turns,
            form: match &row.body {
                Body::Chat(_) | Body::Instruction { .. } => Form::Chat,
                Body::Text { .. } => Form::Pair,
                Body::Plain(_) | Body::Segments(_) | Body::Tokens { .. } => Form::Document,
            },
            task: row.task.clone(),
            ids: match &row.body {
                Body::Tokens { ids, .. } => ids.clone(),
                _ => Vec::new(),
            },
        }
    }
}

impl Record {
    fn is_dialogue(&self) -> bool {
        self.form != Form::Document
    }

    /// What is asked first.
    fn opening(&self) -> &str {
        let asked = self.turns.iter().find(|(role, _)| *role == Role::User);
        asked.map_or("", |(_, text)| text)
    }

    /// The task that the row's words speak for, whatever it names, and how sure that is, from 0 to 1. It is that of the first question:
    /// later ones lean on it.
    pub fn guess_task(&self) -> (Task, f32) {
        let answers = self.turns.iter().rev().find(|(role, _)| *role == Role::Assistant);
        let answer = answers.map_or("", |(_, text)| text);
        Task::guess(&words::without_boilerplate(self.opening()), answer)
    }
}

/// What rows are checked against.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Most tokens of a row (words, where no tokens are given).
    pub max_length: Option<usize>,
}
