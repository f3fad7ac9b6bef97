//! A row of JSON to what it means.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::columns::keys;
use super::messages::{conversation, messages, share_gpt};
use super::{Body, Reading, Row, Segment, Shape};
use crate::{Error, Result};

type Object = Map<String, Value>;

impl Row {
    /// Recognise a row by its keys; keys that no shape has are not looked at. `text` beside another shape's keys is that row once more,
    /// rendered: it is not read.
    ///
    /// # Errors
    /// [`Error::Data`], without a line, naming the field and what is wrong with it, or the keys of a row that fits no shape or several.
    pub fn from_json(json: &Value, reading: &Reading) -> Result<Self> {
        let Value::Object(row) = json else {
            return Err(Error::data(format!("a row must be a JSON object, not {}", kind(json))));
        };
        let row = &*reading.columns.apply(row)?;
        let shape = shape(row, reading.shape)?;
        let body = match shape {
            Shape::Alpaca => instruction(row, "input", "output")?,
            Shape::Dolly => instruction(row, "context", "response")?,
            Shape::PromptCompletion => match (string(row, "prompt"), string(row, "completion")) {
                (Ok(prompt), Ok(completion)) => Body::Text { prompt, completion },
                _ => {
                    let why = "\"prompt\" and \"completion\" must both be strings or both be lists of messages";
                    return Err(Error::data(why));
                }
            },
            Shape::PromptCompletionMessages => {
                let mut all = messages(row, "prompt")?;
                let first_target = all.len();
                all.extend(messages(row, "completion")?);
                Body::Chat(conversation(row, all, first_target)?)
            }
            Shape::Messages => Body::Chat(conversation(row, messages(row, "messages")?, 0)?),
            Shape::ShareGpt => Body::Chat(conversation(row, share_gpt(row)?, 0)?),
            Shape::Text => Body::Plain(string(row, "text")?),
            Shape::Segments => Body::Segments(segments(row)?),
            Shape::Tokens => tokens(row)?,
        };
        let task = match optional_string(row, "task")? {
            None => optional_string(row, "category")?,
            task => task,
        };
        Ok(Self { shape, body, task })
    }
}

/// The one shape whose keys a row has.
fn shape(row: &Object, wanted: Option<Shape>) -> Result<Shape> {
    let lists = ["prompt", "completion"].map(|field| row.get(field).is_some_and(is_messages)) == [true; 2];
    let fits = |shape: Shape| {
        shape.keys().iter().all(|key| row.contains_key(*key))
            && match shape {
                Shape::PromptCompletion => !lists,
                Shape::PromptCompletionMessages => lists,
                _ => true,
            }
    };
    if let Some(wanted) = wanted {
        let missing = wanted.keys().iter().find(|key| !row.contains_key(**key));
        return match missing {
            None => Ok(wanted),
            Some(key) => {
                let why = format!("has no {key:?}, which {wanted} rows have; its keys are: {}", keys(row));
                Err(Error::data(why))
            }
        };
    }
    let mut found = Shape::ALL.into_iter().filter(|shape| fits(*shape));
    match (found.next(), found.find(|shape| *shape != Shape::Text)) {
        (Some(shape), None) => Ok(shape),
        (Some(one), Some(other)) => Err(Error::data(format!(
            "fits the shapes {one} and {other}: set shape to the one that is meant; its keys are: {}",
            keys(row)
        ))),
        (None, _) => Err(Error::data(unknown(row))),
    }
}

/// What to say of a row without a shape.
fn unknown(row: &Object) -> String {
    if row.is_empty() {
        return "is an empty object".to_owned();
    }
    let shapes: Vec<_> = Shape::ALL
        .into_iter()
        .filter(|shape| *shape != Shape::PromptCompletionMessages)
        .map(|shape| format!("{shape} ({})", shape.keys().join(", ")))
        .collect();
    // What people call a question and its answer, first to last by how likely it is meant.
    let named = |names: &[&'static str]| names.iter().copied().find(|name| row.contains_key(*name));
    let question = named(&[
        "prompt",
        "question",
        "query",
        "instruction",
        "problem",
        "input",
        "source",
        "user",
    ]);
    let answer = named(&[
        "completion",
        "answer",
        "response",
        "output",
        "solution",
        "target",
        "summary",
        "assistant",
    ]);
    let (question, answer) = match (question, answer) {
        (Some(question), Some(answer)) => (question, answer),
        _ => ("QUESTION", "ANSWER"),
    };
    format!(
        "has no known shape; its keys are: {}; the shapes are {}; other names are mapped by columns, such as prompt={question},completion={answer}",
        keys(row),
        shapes.join(", "),
    )
}

fn instruction(row: &Object, context: &str, response: &str) -> Result<Body> {
    let history = match list(row, "history")? {
        None => Vec::new(),
        Some(pairs) => pairs.iter().enumerate().map(exchange).collect::<Result<_>>()?,
    };
    Ok(Body::Instruction {
        instruction: string(row, "instruction")?,
        context: optional_string(row, context)?.unwrap_or_default(),
        response: string(row, response)?,
        system: optional_string(row, "system")?,
        history,
    })
}

/// An instruction and its answer, from before.
fn exchange((i, json): (usize, &Value)) -> Result<(String, String)> {
    match json.as_array().map(Vec::as_slice) {
        Some([Value::String(asked), Value::String(answer)]) => Ok((asked.clone(), answer.clone())),
        _ => Err(Error::data(format!(
            "\"history\", pair {}: must be a list of two strings",
            i + 1
        ))),
    }
}

fn segments(row: &Object) -> Result<Vec<Segment>> {
    let list = list(row, "segments")?.unwrap_or_default();
    if list.is_empty() {
        return Err(Error::data("\"segments\" is empty"));
    }
    let segment = |(i, json): (usize, &Value)| match (&json["label"], &json["text"]) {
        (Value::Bool(label), Value::String(text)) => Ok(Segment {
            label: *label,
            text: text.clone(),
        }),
        _ => Err(Error::data(format!(
            "\"segments\", segment {}: must be {{\"label\": true or false, \"text\": ...}}",
            i + 1
        ))),
    };
    list.iter().enumerate().map(segment).collect()
}

/// A field that must be a string.
fn string(row: &Object, field: &str) -> Result<String> {
    match row.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Error::data(format!("{field:?} must be a string, not {}", kind(other)))),
        None => Err(Error::data(format!("{field:?} is missing"))),
    }
}

/// A field that may be missing, null or empty.
pub(super) fn optional_string(row: &Object, field: &str) -> Result<Option<String>> {
    match row.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => Ok(Some(string(row, field)?).filter(|text| !text.is_empty())),
    }
}

/// A field that holds a list, as it is or as the JSON text that CSV and some Parquet files have; `None` where it is missing, null or empty
/// text.
pub(super) fn list<'a>(row: &'a Object, field: &str) -> Result<Option<Cow<'a, [Value]>>> {
    match row.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.into())),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => match serde_json::from_str::<Vec<Value>>(text) {
            Ok(list) => Ok(Some(list.into())),
            Err(_) => Err(Error::data(format!(
                "{field:?} must be a list, not a string that is no JSON list"
            ))),
        },
        Some(other) => Err(Error::data(format!("{field:?} must be a list, not {}", kind(other)))),
    }
}

/// Whether a prompt or a completion is messages: a list, or JSON text of a list of messages and nothing else.
fn is_messages(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::String(text) if text.trim_start().starts_with('[') => serde_json::from_str::<Vec<Value>>(text)
            .is_ok_and(|list| !list.is_empty() && list.iter().all(|message| message.get("role").is_some())),
        _ => false,
    }
}

fn tokens(row: &Object) -> Result<Body> {
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
    Ok(Body::Tokens { ids, labels })
}

/// A list of integers, each accepted by `convert`; `None` where the field is missing or null.
fn integers<T>(row: &Object, field: &str, convert: impl Fn(i64) -> Option<T>) -> Result<Option<Vec<T>>> {
    let Some(list) = list(row, field)? else { return Ok(None) };
    let number = |(i, json): (usize, &Value)| {
        json.as_i64()
            .and_then(&convert)
            .ok_or_else(|| Error::data(format!("\"{field}\"[{i}] cannot be {json}")))
    };
    list.iter().enumerate().map(number).collect::<Result<_>>().map(Some)
}

pub(super) fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
