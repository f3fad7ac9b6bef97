//! Rows: what a file's line means, whatever shape it has.

mod alpaca;
mod columns;
mod csv;
mod json;
mod messages;
mod read;
mod shapes;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Conversation, Message};
use crate::{Error, Result};

pub use alpaca::alpaca_prompt;
pub use columns::{Columns, FIELDS};
pub use read::{Format, Place, Recogniser, Source, for_each_row};

/// The shapes that a row can have, each known by its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `instruction`, `input` and `output`; LLaMA-Factory's `system` and `history` too.
    Alpaca,
    /// `instruction`, `context` and `response`.
    Dolly,
    /// `prompt` and `completion`, both strings.
    PromptCompletion,
    /// `prompt` and `completion`, both lists of messages.
    PromptCompletionMessages,
    /// `messages`, each with `role` and `content`.
    Messages,
    /// `conversations`, each turn with `from` and `value`.
    #[serde(rename = "sharegpt")]
    ShareGpt,
    /// `text`, every token of it supervised.
    Text,
    /// `segments`, each with `label` and `text`.
    Segments,
    /// `input_ids`, with `labels` aligned.
    Tokens,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 9] = [
        Self::Alpaca,
        Self::Dolly,
        Self::PromptCompletion,
        Self::PromptCompletionMessages,
        Self::Messages,
        Self::ShareGpt,
        Self::Text,
        Self::Segments,
        Self::Tokens,
    ];

    /// Its name, as messages and `--shape` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpaca => "alpaca",
            Self::Dolly => "dolly",
            Self::PromptCompletion => "prompt-completion",
            Self::PromptCompletionMessages => "prompt-completion-messages",
            Self::Messages => "messages",
            Self::ShareGpt => "sharegpt",
            Self::Text => "text",
            Self::Segments => "segments",
            Self::Tokens => "tokens",
        }
    }

    /// The keys that it is known by.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Alpaca => &["instruction", "output"],
            Self::Dolly => &["instruction", "response"],
            Self::PromptCompletion | Self::PromptCompletionMessages => &["prompt", "completion"],
            Self::Messages => &["messages"],
            Self::ShareGpt => &["conversations"],
            Self::Text => &["text"],
            Self::Segments => &["segments"],
            Self::Tokens => &["input_ids"],
        }
    }

    /// Whether rows of both may be in one file: they have the same body.
    pub fn goes_with(self, other: Self) -> bool {
        let kind = |shape| match shape {
            Self::Alpaca | Self::Dolly => 0,
            Self::Messages | Self::ShareGpt | Self::PromptCompletionMessages => 1,
            Self::PromptCompletion => 2,
            Self::Text => 3,
            Self::Segments => 4,
            Self::Tokens => 5,
        };
        kind(self) == kind(other)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config("shape", format!("{name:?} is none of {names}"))
        })
    }
}

/// One row, as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What its keys are.
    pub shape: Shape,
    /// What it holds.
    pub body: Body,
    /// The task it names: its `task`, else its `category`.
    pub task: Option<String>,
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Messages; ShareGPT's turns; prompt and completion as message lists.
    Chat(Conversation),
    /// An instruction and its answer: Alpaca and Dolly.
    Instruction {
        /// What is to be done.
        instruction: String,
        /// What it is to be done with (Alpaca's `input`); may be empty.
        context: String,
        /// The answer, without a terminator.
        response: String,
        /// The system message.
        system: Option<String>,
        /// Instructions and answers before this one, first to last.
        history: Vec<(String, String)>,
    },
    /// A prompt and its completion, as strings.
    Text {
        /// What the model is given.
        prompt: String,
        /// What it must answer, without a terminator.
        completion: String,
    },
    /// A text all of whose tokens are supervised.
    Plain(String),
    /// Pieces of text, each supervised or not, with nothing put between them.
    Segments(Vec<Segment>),
    /// `input_ids`, with `labels` aligned and unshifted, −100 where ignored; padding by `attention_mask` is cut off.
    Tokens {
        /// Token ids.
        ids: Vec<u32>,
        /// As long as `ids`; every token's own id where the row has no labels.
        labels: Vec<i32>,
    },
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Whether its tokens are supervised.
    pub label: bool,
    /// The text.
    pub text: String,
}

/// How an instruction and its answer become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlpacaStyle {
    /// Stanford's text: `Below is an instruction ...` with headings, and EOS after the answer.
    Alpaca,
    /// Messages, through the model's chat template.
    AlpacaChat,
}

impl FromStr for AlpacaStyle {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "alpaca" => Ok(Self::Alpaca),
            "alpaca-chat" => Ok(Self::AlpacaChat),
            _ => Err(Error::config(
                "alpaca_style",
                format!("{name:?} is neither alpaca nor alpaca-chat"),
            )),
        }
    }
}

/// How rows are recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which of the file's columns are which of the shapes' fields.
    pub columns: Columns,
    /// The shape of every row, for rows whose keys would fit several.
    pub shape: Option<Shape>,
}

/// What somebody says in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<'a> {
    /// `system`, `user`, `assistant` or `tool`; what else a row of messages has.
    pub role: &'a str,
    /// The text.
    pub text: Cow<'a, str>,
}

impl<'a> Turn<'a> {
    fn new(role: &'a str, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            role,
            text: text.into(),
        }
    }
}

impl Row {
    /// Who says what, for reading: none where the row is tokens. Text that is supervised without a role is the assistant's, other text
    /// the user's; a message of tool calls alone is their JSON.
    pub fn turns(&self) -> Vec<Turn<'_>> {
        match &self.body {
            Body::Chat(conversation) => conversation.messages.iter().map(Message::turn).collect(),
            Body::Instruction {
                response,
                system,
                history,
                ..
            } => {
                let mut turns: Vec<_> = system.iter().map(|system| Turn::new("system", system)).collect();
                for (request, answer) in history {
                    turns.extend([Turn::new("user", request), Turn::new("assistant", answer)]);
                }
                turns.extend([Turn::new("user", self.body.request()), Turn::new("assistant", response)]);
                turns
            }
            Body::Text { prompt, completion } => vec![Turn::new("user", prompt), Turn::new("assistant", completion)],
            Body::Plain(text) => vec![Turn::new("assistant", text)],
            Body::Segments(segments) => {
                let role = |label| if label { "assistant" } else { "user" };
                let turn = |segment: &'_ Segment| Turn::new(role(segment.label), segment.text.clone());
                segments.iter().map(turn).collect()
            }
            Body::Tokens { .. } => Vec::new(),
        }
    }
}

impl Body {
    /// What an instruction asks as one message: the instruction and, on the next line, its context if it has one (as LLaMA-Factory
    /// joins them). Empty for other rows.
    pub fn request(&self) -> Cow<'_, str> {
        match self {
            Self::Instruction {
                instruction, context, ..
            } if context.is_empty() => instruction.into(),
            Self::Instruction {
                instruction, context, ..
            } => format!("{instruction}\n{context}").into(),
            _ => "".into(),
        }
    }
}

impl Message {
    fn turn(&self) -> Turn<'_> {
        match (&self.content, self.extra.get("tool_calls")) {
            (Some(content), _) => Turn::new(&self.role, content),
            (None, Some(calls)) => Turn::new(&self.role, calls.to_string()),
            (None, None) => Turn::new(&self.role, ""),
        }
    }
}
