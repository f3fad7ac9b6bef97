//! Messages, as OpenAI's and ShareGPT's rows have them.

use serde_json::{Map, Value, json};

use super::shapes::{kind, list, optional_string};
use crate::data::{Conversation, Message};
use crate::{Error, Result};

type Object = Map<String, Value>;

/// Messages with what else the row gives the template. Its `system`, where no message is one, comes first.
pub(super) fn conversation(row: &Object, mut messages: Vec<Message>, first_target: usize) -> Result<Conversation> {
    let mut first_target = first_target;
    if let Some(system) = optional_string(row, "system")?
        && messages.iter().all(|message| message.role != "system")
    {
        messages.insert(0, Message::new("system", system));
        first_target += usize::from(first_target > 0);
    }
    // A row without tools may hold an empty list, which is none to a template too.
    let tools = list(row, "tools")?.filter(|tools| !tools.is_empty());
    let template_kwargs = match row.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(kwargs)) => kwargs.clone(),
        Some(Value::String(text)) if text.is_empty() => Map::new(),
        Some(other) => {
            return Err(Error::data(format!(
                "\"chat_template_kwargs\" must be an object, not {}",
                kind(other)
            )));
        }
    };
    Ok(Conversation {
        messages,
        first_target,
        tools: tools.map(|tools| Value::Array(tools.into_owned())),
        template_kwargs,
    })
}

/// A field that holds messages.
pub(super) fn messages(row: &Object, field: &str) -> Result<Vec<Message>> {
    turns(row, field, message)
}

/// ShareGPT's `conversations`: `from` and `value`, or `role` and `content` under that key.
pub(super) fn share_gpt(row: &Object) -> Result<Vec<Message>> {
    turns(row, "conversations", |json| match json.get("from").is_some() {
        true => share_gpt_turn(json),
        false => message(json),
    })
}

fn turns(row: &Object, field: &str, turn: impl Fn(&Value) -> Result<Message>) -> Result<Vec<Message>> {
    let list = list(row, field)?.unwrap_or_default();
    if list.is_empty() {
        return Err(Error::data(format!("{field:?} is empty")));
    }
    let at = |i: usize, e: Error| match e {
        Error::Data { line, why } => Error::Data {
            line,
            why: format!("{field:?}, message {}: {why}", i + 1),
        },
        other => other,
    };
    let turn = |(i, json)| turn(json).map_err(|e| at(i, e));
    list.iter().enumerate().map(turn).collect()
}

/// A turn as FastChat and LLaMA-Factory write it.
fn share_gpt_turn(json: &Value) -> Result<Message> {
    let (Value::String(from), Value::String(value)) = (&json["from"], &json["value"]) else {
        return Err(Error::data("\"from\" and \"value\" must be strings"));
    };
    let role = match from.as_str() {
        "human" | "user" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "model" | "assistant" => "assistant",
        "system" => "system",
        "observation" | "function_response" | "tool" => "tool",
        "function_call" => return function_call(value),
        other => return Err(Error::data(format!("nobody is known by \"from\": {other:?}"))),
    };
    let mut message = Message::new(role, value.clone());
    let others = json.as_object().into_iter().flatten();
    let others = others.filter(|(key, _)| !["from", "value", "role", "content"].contains(&key.as_str()));
    message.extra = others.map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(message)
}

/// The calls that a `function_call` turn holds as JSON: one, or a list of them.
fn function_call(value: &str) -> Result<Message> {
    let calls = match serde_json::from_str(value) {
        Ok(Value::Array(calls)) => calls,
        Ok(call) => vec![call],
        Err(e) => return Err(Error::data(format!("a function call is not JSON: {e}"))),
    };
    if calls.is_empty() || calls.iter().any(|call| !call["name"].is_string()) {
        return Err(Error::data(
            "a function call must be {\"name\": ..., \"arguments\": ...}",
        ));
    }
    let calls: Vec<_> = calls
        .into_iter()
        .map(|call| json!({"type": "function", "function": call}))
        .collect();
    Ok(Message {
        role: "assistant".into(),
        content: None,
        extra: Map::from_iter([("tool_calls".to_owned(), calls.into())]),
    })
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
