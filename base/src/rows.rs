//! Rows of the tuning set and of the held-out files.

use serde::Serialize;

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The task that it belongs to.
    pub task: &'static str,
    /// Which question this is a wording of, in the file for consistency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The question and the answer.
    pub messages: [Message; 2],
}

impl Row {
    /// A user's `question` and the assistant's `answer`.
    pub fn new(task: &'static str, question: String, answer: &str) -> Self {
        let messages = [
            Message {
                role: "user",
                content: question,
            },
            Message {
                role: "assistant",
                content: answer.to_owned(),
            },
        ];
        Self {
            task,
            group: None,
            messages,
        }
    }

    /// What is asked.
    pub fn question(&self) -> &str {
        &self.messages[0].content
    }

    /// What is to be answered.
    pub fn answer(&self) -> &str {
        &self.messages[1].content
    }
}

/// A turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub content: String,
}

/// A sentence of the corpus that ends in what is to be recalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cloze {
    /// `cloze`.
    pub task: &'static str,
    /// The sentence's beginning, and the value with the space before it.
    pub segments: [Segment; 2],
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Whether it counts.
    pub label: bool,
    /// Its text.
    pub text: String,
}

/// All rows, by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The tuning set.
    pub train: Vec<Row>,
    /// Items of the same tasks that no tuning row has, in the wordings that it has.
    pub heldout: Vec<Row>,
    /// The same items in wordings that no tuning row has.
    pub reworded: Vec<Row>,
    /// Held-out facts, each in all its wordings.
    pub wordings: Vec<Row>,
    /// A task that no tuning row has.
    pub new_task: Vec<Row>,
    /// The facts of `heldout` as sentences to complete.
    pub cloze: Vec<Cloze>,
}
