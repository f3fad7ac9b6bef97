//! Rows from JSONL or a JSON array: one shape a file.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Conversation, Message};
use crate::{Error, Result};

/// One row, as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// `messages`, or `prompt` and `completion` as message lists.
    Chat(Conversation),
    /// `prompt` and `completion` as strings.
    Text {
        /// What the model is given.
        prompt: String,
        /// What it must answer, without a terminator.
        completion: String,
    },
    /// `input_ids`, with `labels` aligned and unshifted, −100 where ignored; padding by `attention_mask` is cut off.
    Tokens {
        /// Token ids.
        ids: Vec<u32>,
        /// As long as `ids`; every token's own id where the row has no labels.
        labels: Vec<i32>,
    },
}

impl Row {
    /// Recognise a row by its keys; other keys are not looked at.
    ///
    /// # Errors
    /// [`Error::Data`], without a line, naming the field and what is wrong with it.
    pub fn from_json(json: &Value) -> Result<Self> {
        let Value::Object(row) = json else {
            return Err(Error::data(format!("a row must be a JSON object, not {}", kind(json))));
        };
        let shapes = [
            row.contains_key("messages"),
            row.contains_key("completion"),
            row.contains_key("input_ids"),
        ];
        match shapes {
            [true, false, false] => chat(row, messages(row, "messages")?, 0),
            [false, true, false] => match (row.get("prompt"), row.get("completion")) {
                (Some(Value::String(prompt)), Some(Value::String(completion))) => Ok(Self::Text {
                    prompt: prompt.clone(),
                    completion: completion.clone(),
                }),
                (Some(Value::Array(_)), Some(Value::Array(_))) => {
                    let mut all = messages(row, "prompt")?;
                    let first_target = all.len();
                    all.extend(messages(row, "completion")?);
                    chat(row, all, first_target)
                }
                (None, _) => Err(Error::data("has a \"completion\" but no \"prompt\"")),
                _ => Err(Error::data(
                    "\"prompt\" and \"completion\" must both be strings or both be lists of messages",
                )),
            },
            [false, false, true] => tokens(row),
            [false, false, false] => {
                let keys: Vec<_> = row.keys().map(|key| format!("{key:?}")).collect();
                let why = "has none of \"messages\", \"prompt\" with \"completion\", and \"input_ids\"";
                Err(Error::data(format!("{why}; its keys are: {}", keys.join(", "))))
            }
            _ => Err(Error::data(
                "has more than one of \"messages\", \"completion\" and \"input_ids\"",
            )),
        }
    }

    /// The keys that make the shape, for messages.
    fn shape(&self) -> &'static str {
        match self {
            Self::Chat(conversation) if conversation.first_target == 0 => "messages",
            Self::Chat(_) => "prompt and completion as message lists",
            Self::Text { .. } => "prompt and completion as strings",
            Self::Tokens { .. } => "input_ids",
        }
    }
}

/// Call `each` with every row and its number from 1: the line in JSONL, the place in a JSON array. Blank lines count but are no rows.
///
/// # Errors
/// [`Error::Data`] with the number of the first row that is not JSON, has no known shape or another one than the first; what `each`
/// returns, with the number added.
pub fn for_each_row(bytes: &[u8], mut each: impl FnMut(usize, Row) -> Result<()>) -> Result<()> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut first: Option<(usize, &'static str)> = None;
    let mut handle = |number: usize, json: Value| -> Result<()> {
        let row = Row::from_json(&json)?;
        let (first_number, first_shape) = *first.get_or_insert((number, row.shape()));
        if row.shape() != first_shape {
            let why = format!(
                "has {}, but line {first_number} has {first_shape}: one file, one shape",
                row.shape()
            );
            return Err(Error::data(why));
        }
        each(number, row)
    };
    if bytes.trim_ascii_start().starts_with(b"[") {
        let mut failed = None;
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let visitor = Rows {
            each: |number, row| handle(number, row).map_err(|e| failed = Some(e.at_line(number))),
        };
        let parsed = json.deserialize_seq(visitor).and_then(|()| json.end());
        return match (failed, parsed) {
            (Some(error), _) => Err(error),
            (None, Err(e)) => Err(Error::data(format!("not a JSON array: {e}"))),
            (None, Ok(())) => Ok(()),
        };
    }
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let json = serde_json::from_slice(line).map_err(|e| {
            let why = e.to_string();
            let why = why.split(" at line ").next().unwrap_or(&why);
            Error::Data {
                line: Some(index + 1),
                why: format!("not JSON: {why} at column {}", e.column()),
            }
        })?;
        handle(index + 1, json).map_err(|e| e.at_line(index + 1))?;
    }
    Ok(())
}

/// Visits a JSON array one element at a time, so that the file is never held parsed as a whole.
struct Rows<F> {
    each: F,
}

impl<'de, F: FnMut(usize, Value) -> std::result::Result<(), ()>> Visitor<'de> for Rows<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> std::result::Result<(), A::Error> {
        let mut number = 0;
        while let Some(row) = rows.next_element::<Value>()? {
            number += 1;
            (self.each)(number, row).map_err(|()| de::Error::custom("a row was refused"))?;
        }
        Ok(())
    }
}

fn chat(row: &Map<String, Value>, messages: Vec<Message>, first_target: usize) -> Result<Row> {
    let tools = match row.get("tools") {
        None | Some(Value::Null) => None,
        Some(tools @ Value::Array(_)) => Some(tools.clone()),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(tools @ Value::Array(_)) => Some(tools),
            _ => return Err(Error::data("\"tools\" is a string that is not a JSON list")),
        },
        Some(other) => return Err(Error::data(format!("\"tools\" must be a list, not {}", kind(other)))),
    };
    let template_kwargs = match row.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(kwargs)) => kwargs.clone(),
        Some(other) => {
            return Err(Error::data(format!(
                "\"chat_template_kwargs\" must be an object, not {}",
                kind(other)
            )));
        }
    };
    Ok(Row::Chat(Conversation {
        messages,
        first_target,
        tools,
        template_kwargs,
    }))
}

fn messages(row: &Map<String, Value>, field: &str) -> Result<Vec<Message>> {
    let list = match row.get(field) {
        Some(Value::Array(list)) if list.is_empty() => return Err(Error::data(format!("\"{field}\" is empty"))),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(Error::data(format!(
                "\"{field}\" must be a list of messages, not {}",
                kind(other)
            )));
        }
        None => return Err(Error::data(format!("\"{field}\" is missing"))),
    };
    let at = |i: usize, e: Error| match e {
        Error::Data { line, why } => Error::Data {
            line,
            why: format!("\"{field}\", message {}: {why}", i + 1),
        },
        other => other,
    };
    list.iter()
        .enumerate()
        .map(|(i, json)| message(json).map_err(|e| at(i, e)))
        .collect()
}

fn message(json: &Value) -> Result<Message> {
    let Value::Object(fields) = json else {
        return Err(Error::data(format!("must be an object, not {}", kind(json))));
    };
    let role = match fields.get("role") {
        Some(Value::String(role)) if !role.is_empty() => role.clone(),
        Some(_) => return Err(Error::data("\"role\" must be a string that is not empty")),
        None => return Err(Error::data("\"role\" is missing")),
    };
    let mut extra = fields.clone();
    extra.shift_remove("role");
    let content = match extra.shift_remove("content") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => Some(join_parts(&parts)?),
        None | Some(Value::Null) if extra.get("tool_calls").is_some_and(Value::is_array) => None,
        None | Some(Value::Null) => return Err(Error::data("\"content\" is missing")),
        Some(other) => {
            return Err(Error::data(format!(
                "\"content\" must be a string, not {}",
                kind(&other)
            )));
        }
    };
    Ok(Message { role, content, extra })
}

/// The text of a list of `{"type": "text", "text": ...}` parts.
fn join_parts(parts: &[Value]) -> Result<String> {
    if parts.is_empty() {
        return Err(Error::data("\"content\" is an empty list"));
    }
    let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (Some(other), _) if other != "text" => Err(Error::data(format!(
            "a content part is of type {other:?}: only text can be learnt"
        ))),
        _ => Err(Error::data("a content part is not {\"type\": \"text\", \"text\": ...}")),
    };
    parts.iter().map(text).collect()
}

fn tokens(row: &Map<String, Value>) -> Result<Row> {
    let mut ids = integers(row, "input_ids", |n| u32::try_from(n).ok())?.unwrap_or_default();
    let labels = integers(row, "labels", |n| i32::try_from(n).ok())?;
    let mask = integers(row, "attention_mask", |n| u8::try_from(n).ok().filter(|&n| n <= 1))?;
    let own = |ids: &[u32]| {
        ids.iter()
            .map(|&id| i32::try_from(id))
            .collect::<std::result::Result<Vec<i32>, _>>()
    };
    let mut labels = match labels {
        Some(labels) => labels,
        None => own(&ids).map_err(|_| Error::data("\"input_ids\" holds a number past 2^31 - 1"))?,
    };
    for (field, length) in [
        ("labels", labels.len()),
        ("attention_mask", mask.as_ref().map_or(ids.len(), Vec::len)),
    ] {
        if length != ids.len() {
            let why = format!("\"{field}\" has {length} entries, \"input_ids\" has {}", ids.len());
            return Err(Error::data(why));
        }
    }
    if let Some(mask) = mask {
        let start = mask.iter().position(|&m| m == 1).unwrap_or(mask.len());
        let end = mask.iter().rposition(|&m| m == 1).map_or(start, |last| last + 1);
        if mask[start..end].contains(&0) {
            return Err(Error::data(
                "\"attention_mask\" has a 0 between ones: only padding at the ends can be masked",
            ));
        }
        ids = ids[start..end].to_vec();
        labels = labels[start..end].to_vec();
    }
    if ids.is_empty() {
        return Err(Error::data("\"input_ids\" is empty"));
    }
    Ok(Row::Tokens { ids, labels })
}

/// A list of integers, each accepted by `convert`; `None` where the field is missing or null.
fn integers<T>(row: &Map<String, Value>, field: &str, convert: impl Fn(i64) -> Option<T>) -> Result<Option<Vec<T>>> {
    let list = match row.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(Error::data(format!(
                "\"{field}\" must be a list of integers, not {}",
                kind(other)
            )));
        }
    };
    let number = |(i, json): (usize, &Value)| {
        json.as_i64()
            .and_then(&convert)
            .ok_or_else(|| Error::data(format!("\"{field}\"[{i}] cannot be {json}")))
    };
    list.iter().enumerate().map(number).collect::<Result<_>>().map(Some)
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
