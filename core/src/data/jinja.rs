//! Where minijinja and Jinja2 differ in what chat templates print: Python's `str` and white space, and a few methods.

use std::sync::OnceLock;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use regex::Regex;

use super::{bounds, python};

type Result<T> = std::result::Result<T, Error>;

/// Make an environment print as Python does. What `~` and `join` make of a number as small as 1e-5 or as large as 1e16 stays
/// minijinja's: it cannot be changed from outside.
pub(super) fn print_as_python(environment: &mut Environment<'_>) {
    environment.set_formatter(|out, state, value| {
        let text = text(value);
        bounds::print(state, &text)?;
        Ok(out.write_str(&text)?)
    });
    environment.set_unknown_method_callback(method);
    environment.add_filter("string", |value: Value| text(&value));
    environment.add_filter("trim", |text: String, characters: Option<String>| {
        strip(&text, characters, true, true)
    });
    environment.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
}

/// `str(value)`.
fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let mut out = String::new();
            repr(value, bounds::DEPTH, &mut out);
            out
        }
        _ => value.to_string(),
    }
}

/// `repr(value)`, at the end of `out`; of lists in lists so many levels.
fn repr(value: &Value, depth: usize, out: &mut String) {
    let Some(below) = depth.checked_sub(1) else {
        return out.push_str("...");
    };
    let keys = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if !value.is_integer() => out.push_str(&python::float(number)),
            _ => out.push_str(&value.to_string()),
        },
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            out.push(if value.is_tuple() { '(' } else { '[' });
            let mut count = 0;
            for item in keys() {
                out.push_str(if count > 0 { ", " } else { "" });
                repr(&item, below, out);
                count += 1;
            }
            out.push_str(match (value.is_tuple(), count) {
                (true, 1) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            });
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in keys().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                repr(&key, below, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), below, out);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// `repr` of a string: in single quotes unless only double ones spare an escape; what cannot be printed as a number.
fn quote(text: &str, out: &mut String) {
    static HIDDEN: OnceLock<Option<Regex>> = OnceLock::new();
    let hidden = HIDDEN.get_or_init(|| Regex::new(r"[\p{Other}\p{Separator}]").ok());
    let mark = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if !hidden
                .as_ref()
                .is_some_and(|hidden| hidden.is_match(c.encode_utf8(&mut [0; 4]))) =>
            {
                out.push(c)
            }
            c => out.push_str(&match u32::from(c) {
                code @ ..0x100 => format!("\\x{code:02x}"),
                code @ ..0x1_0000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(mark);
}

/// `str.strip` and its sisters.
fn strip(text: &str, characters: Option<String>, left: bool, right: bool) -> String {
    let gone = |c: char| {
        characters
            .as_ref()
            .map_or_else(|| python::is_space(c), |characters| characters.contains(c))
    };
    let text = if left { text.trim_start_matches(gone) } else { text };
    (if right { text.trim_end_matches(gone) } else { text }).to_owned()
}

/// The methods of Python's strings that the contrib crate lacks or does by Rust's idea of white space; the others from there.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value> {
    let first = || arguments.first().filter(|argument| !argument.is_none());
    let string = |argument: &Value| match argument.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::new(ErrorKind::InvalidOperation, format!("{name}: not a string"))),
    };
    bounds::method(state, value.as_str().unwrap_or_default(), name, arguments)?;
    let (Some(text), 0..=1) = (value.as_str(), arguments.len()) else {
        return other_method(state, value, name, arguments);
    };
    let characters = || first().map(string).transpose();
    match name {
        "strip" => Ok(strip(text, characters()?, true, true).into()),
        "lstrip" => Ok(strip(text, characters()?, true, false).into()),
        "rstrip" => Ok(strip(text, characters()?, false, true).into()),
        "split" | "rsplit" if first().is_none() => {
            let words = text.split(python::is_space).filter(|word| !word.is_empty());
            Ok(words.map(Value::from).collect())
        }
        "removeprefix" | "removesuffix" if arguments.len() == 1 => {
            let part = string(&arguments[0])?;
            let rest = if name == "removeprefix" {
                text.strip_prefix(&part)
            } else {
                text.strip_suffix(&part)
            };
            Ok(rest.unwrap_or(text).into())
        }
        _ => other_method(state, value, name, arguments),
    }
}

fn other_method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value> {
    if let (Some(text), "rsplit", [separator, most]) = (value.as_str(), name, arguments)
        && let (Some(separator), Some(most)) = (separator.as_str().filter(|s| !s.is_empty()), most.as_usize())
    {
        let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), separator).collect();
        parts.reverse();
        return Ok(parts.into_iter().map(Value::from).collect());
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}
