//! Instructions as Stanford's text, and as messages.

use super::Body;
use crate::data::{Conversation, Message};

/// What Stanford's Alpaca is asked with, to the letter (`train.py` of `tatsu-lab/stanford_alpaca`): the answer follows at once.
pub fn alpaca_prompt(instruction: &str, input: &str) -> String {
    if input.is_empty() {
        return format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Response:"
        );
    }
    format!(
        "Below is an instruction that describes a task, paired with an input that provides further context. \
         Write a response that appropriately completes the request.\n\n\
         ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
    )
}

impl Body {
    /// An instruction, what was before it and its answer as messages, every answer learnt; `None` for other rows.
    pub fn conversation(&self) -> Option<Conversation> {
        let Self::Instruction {
            response,
            system,
            history,
            ..
        } = self
        else {
            return None;
        };
        let mut messages: Vec<_> = system.iter().map(|system| Message::new("system", system)).collect();
        for (request, answer) in history {
            messages.extend([Message::new("user", request), Message::new("assistant", answer)]);
        }
        messages.extend([
            Message::new("user", self.request()),
            Message::new("assistant", response),
        ]);
        Some(Conversation {
            messages,
            ..Default::default()
        })
    }
}
