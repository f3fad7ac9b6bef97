//! What keeps a chat template from taking all memory. Fuel bounds its steps; but a text that is doubled, or a list that is put into
//! itself, needs few of them.
//!
//! So a template is rewritten before it is compiled: what stands to the left of `~`, `+` and `*` is measured, for a text has to stand there
//! to grow; what `set` stores is, and how deep it is; and so are what is printed and the filters whose result is larger than what they are
//! given. What one multiplication makes stays minijinja's to bound: 100 million characters or items.

use minijinja::value::{Kwargs, Rest, StringInput, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

type Result<T> = std::result::Result<T, Error>;

/// What is put behind a value that `set` stores, and behind one that it makes part of another.
const STORED: &str = ")|__stored(false) ";
const STORED_IN: &str = ")|__stored(true) ";
/// What is put behind the left side of `~`, `+` and `*`.
const OPERAND: &str = "|__operand ";
/// The variable that says how many bytes a template may store at once, and print.
pub(super) const MOST: &str = "__most_bytes";
/// Bytes that are left to print in a rendering.
const PRINTED: &str = "printed";
/// Values that are left to be measured in it.
const MEASURED: &str = "stored";
/// Bytes of a value that is no text.
const VALUE: usize = 16;
/// Values that are measured in a rendering: each costs time.
const MOST_VALUES: usize = 1 << 24;
/// Lists in lists: rows have up to 128, and what walks over them has a stack.
pub(super) const DEPTH: usize = 160;
/// Words and signs of a tag, but for quotes, commas and colons: minijinja goes down into some expressions without an end, not into long lists.
pub(super) const MOST_TOKENS: usize = 500;
/// Instructions a rendering may take: far beyond any real template, so that a hostile one ends.
const FUEL: u64 = 10_000_000;
/// Bytes of text between tags that all instructions together may print.
const PLAIN: u64 = 1 << 30;

/// Bytes that a template may store at once, and print, given those that it is made of and those that it sees.
pub(super) fn most(source: usize, seen: usize) -> usize {
    (1 << 20) + 16 * (source + seen)
}

/// Instructions for a template, of which each may print its longest text between tags.
pub(super) fn fuel(longest: usize) -> u64 {
    FUEL.min(PLAIN / longest.max(1) as u64)
}

/// Bytes of the texts in a value of JSON, and a few for everything else.
pub(super) fn bytes_of(value: &serde_json::Value) -> usize {
    use serde_json::Value::{Array, Object, String};
    8 + match value {
        String(text) => text.len(),
        Array(items) => items.iter().map(bytes_of).sum(),
        Object(fields) => fields.iter().map(|(key, value)| key.len() + bytes_of(value)).sum(),
        _ => 0,
    }
}

/// Make an environment measure what its templates store, and what its filters make.
pub(super) fn bound(environment: &mut Environment<'_>) {
    environment.add_filter("__stored", stored);
    environment.add_filter("__operand", operand);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("format", format);
    environment.add_filter("batch", batch);
    environment.add_filter("slice", slice);
}

fn too_much(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("{what} is too large for what the template is given"),
    )
}

fn limit(state: &State) -> usize {
    let most = state.lookup(MOST).and_then(|most| most.as_usize());
    most.unwrap_or_else(|| self::most(0, 0))
}

/// Refuse `bytes` past the limit.
fn allow(state: &State, what: &str, bytes: Option<usize>) -> Result<()> {
    match bytes {
        Some(bytes) if bytes <= limit(state) => Ok(()),
        _ => Err(too_much(what)),
    }
}

/// Take from what a rendering has left of something.
fn spend(state: &mut State, name: &str, all: usize, spent: usize) -> Result<()> {
    let left = state.get_temp(name).and_then(|left| left.as_usize()).unwrap_or(all);
    let left = left
        .checked_sub(spent)
        .ok_or_else(|| too_much(&format!("what is {name}")))?;
    state.set_temp(name, Value::from(left));
    Ok(())
}

/// Count what is printed.
pub(super) fn print(state: &mut State, text: &str) -> Result<()> {
    let most = limit(state);
    spend(state, PRINTED, most, text.len())
}

/// The left side of an operator.
fn operand(state: &mut State, value: Value) -> Result<Value> {
    allow(
        state,
        "a text or a list",
        Some(value.as_str().map_or_else(|| value.len().unwrap_or(0), str::len)),
    )?;
    Ok(value)
}

/// What `set` stores, once it is measured; `member`: in something else.
fn stored(state: &mut State, value: Value, member: bool) -> Result<Value> {
    if member && is_namespace(&value) {
        return Err(nested_namespace());
    }
    let mut bytes = Some(limit(state));
    let mut values = 0;
    measure(&value, 0, &mut bytes, &mut values)?;
    spend(state, MEASURED, MOST_VALUES, values)?;
    Ok(value)
}

/// A namespace can change, so that one in another could have no end.
fn is_namespace(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with("Namespace"))
}

fn nested_namespace() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a namespace cannot be part of something")
}

fn measure(value: &Value, depth: usize, bytes: &mut Option<usize>, values: &mut usize) -> Result<()> {
    let mut take = |some: usize| {
        *bytes = bytes.and_then(|left| left.checked_sub(some));
        *values += 1;
        if bytes.is_none() {
            Err(too_much("what is stored"))
        } else {
            Ok(())
        }
    };
    if let Some(text) = value.as_str() {
        return take(text.len());
    }
    take(VALUE)?;
    if depth == DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("lists lie more than {DEPTH} deep in each other"),
        ));
    }
    if depth > 0 && is_namespace(value) {
        return Err(nested_namespace());
    }
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        for item in value.try_iter()? {
            if value.kind() == ValueKind::Map {
                measure(&value.get_item(&item)?, depth + 1, bytes, values)?;
            }
            measure(&item, depth + 1, bytes, values)?;
        }
    }
    Ok(())
}

/// Bytes of a text once every `from` in it is a `to`.
fn replaced(text: &str, from: &str, to: &str) -> Option<usize> {
    text.matches(from)
        .count()
        .checked_mul(to.len())?
        .checked_add(text.len())
}

fn replace(state: &mut State, text: StringInput<'_>, from: StringInput<'_>, to: StringInput<'_>) -> Result<Value> {
    allow(
        state,
        "what replace makes",
        replaced(text.as_str(), from.as_str(), to.as_str()),
    )?;
    filters::replace(state, text, from, to)
}

/// Bytes of items with a text between them.
fn joined(items: &Value, joiner: &str) -> Option<usize> {
    let mut items = items.try_iter().ok()?;
    items.try_fold(0usize, |sum, item| {
        sum.checked_add(joiner.len() + item.as_str().map_or(8, str::len))
    })
}

fn join(
    state: &mut State,
    items: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value> {
    if matches!(items.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let joiner = joiner.as_ref().map_or("", |joiner| joiner.as_str());
        allow(state, "what join makes", joined(items, joiner))?;
    }
    filters::join(state, items, joiner, attribute, kwargs)
}

fn indent(
    text: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value> {
    let width_by_name: Option<usize> = kwargs.peek("width").ok();
    let width_given = width.or(width_by_name).unwrap_or(4);
    let lines = text.as_str().matches('\n').count() + 1;
    let bytes = lines
        .checked_mul(width_given)
        .and_then(|bytes| bytes.checked_add(text.as_str().len()));
    // As of a template that sees nothing but this text: there is no room for a state among so many arguments.
    if bytes.is_none_or(|bytes| bytes > most(0, text.as_str().len())) {
        return Err(too_much("what indent makes"));
    }
    filters::indent(text, width, first, blank, kwargs)
}

/// Refuse a format that asks for widths of more than four digits.
fn narrow(text: &str) -> Result<()> {
    let wide = |directive: &str| directive.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > 4);
    // What follows a directive's sign, up to the next white space.
    let mut directives = text
        .split(['%', '{'])
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next());
    match directives.any(wide) {
        true => Err(too_much("a format's width")),
        false => Ok(()),
    }
}

fn format(state: &mut State, text: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value> {
    narrow(text.as_str().unwrap_or_default())?;
    let given: usize = arguments
        .iter()
        .map(|argument| argument.as_str().map_or(0, str::len))
        .sum();
    allow(state, "what format makes", Some(given))?;
    filters::format(state, text, arguments)
}

fn batch(state: &State, items: Value, count: usize, fill: Option<Value>) -> Result<Value> {
    allow(state, "what batch makes", count.checked_mul(8))?;
    filters::batch(state, items, count, fill)
}

fn slice(state: &State, items: Value, count: usize, fill: Option<Value>) -> Result<Value> {
    allow(state, "what slice makes", count.checked_mul(8))?;
    filters::slice(state, items, count, fill)
}

/// As the filters: what methods of a text make.
pub(super) fn method(state: &State, text: &str, name: &str, arguments: &[Value]) -> Result<()> {
    let argument = |at: usize| arguments.get(at).and_then(Value::as_str);
    match (name, argument(0), argument(1)) {
        ("replace", Some(from), Some(to)) => allow(state, "what replace makes", replaced(text, from, to)),
        ("join", ..) => match arguments.first() {
            Some(items) => allow(state, "what join makes", joined(items, text).or(Some(0))),
            None => Ok(()),
        },
        ("format", ..) => narrow(text),
        _ => Ok(()),
    }
}

/// Words behind which a sign is no operator between two values.
const BEFORE_A_VALUE: [&str; 9] = ["if", "elif", "else", "in", "not", "and", "or", "is", "set"];

/// A tag that begins with `{{` or `{%`, its operators and what `set` stores put through the filters above, and its length; `None` if it
/// does not end.
///
/// # Errors
/// [`crate::Error::Template`] for a tag of more than [`MOST_TOKENS`] words and signs.
pub(super) fn tag(text: &str) -> crate::Result<Option<(String, usize)>> {
    let bytes = text.as_bytes();
    let closes = if text.starts_with("{{") { b"}}" } else { b"%}" };
    let mut out = String::with_capacity(text.len().min(256));
    // From where on nothing is written yet, and where the value that `set` stores begins.
    let (mut from, mut value) = (0, None);
    let (mut quote, mut open) = (None, 0usize);
    let mut at = 2;
    let is_set = text.starts_with("{%") && first_word(text) == "set";
    let (mut tokens, mut in_word) = (0, false);
    while at < bytes.len() {
        if quote.is_none() && !bytes[at].is_ascii_whitespace() && !b"'\",:".contains(&bytes[at]) {
            let word = bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
            tokens += usize::from(!(word && in_word));
            in_word = word;
        } else {
            in_word = false;
        }
        if tokens > MOST_TOKENS {
            let why = format!("a tag has more than {MOST_TOKENS} words and signs, but for texts in quotes");
            return Err(crate::Error::template(why));
        }
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(mark), byte) if byte == mark => quote = None,
            (Some(_), _) => {}
            (None, mark @ (b'"' | b'\'')) => quote = Some(mark),
            (None, _) if open == 0 && bytes[at..].starts_with(closes) => {
                let controls = at > 2 && matches!(bytes[at - 1], b'-' | b'+');
                let end = at - usize::from(controls);
                out.push_str(&text[from..end]);
                if value.is_some_and(|value| value < end) {
                    out.push_str(if member(text, value) { STORED_IN } else { STORED });
                }
                out.push_str(&text[end..at + 2]);
                return Ok(Some((out, at + 2)));
            }
            (None, b'(' | b'[' | b'{') => open += 1,
            (None, b')' | b']' | b'}') => open = open.saturating_sub(1),
            (None, b'=') if is_set && value.is_none() && open == 0 => {
                out.push_str(&text[from..=at]);
                out.push('(');
                (from, value) = (at + 1, Some(at + 1));
            }
            (None, b'*') if bytes.get(at + 1) == Some(&b'*') => at += 1,
            (None, b'~' | b'+' | b'*') if is_between(&text[..at], &bytes[at + 1..], closes) => {
                out.push_str(&text[from..at]);
                out.push_str(OPERAND);
                from = at;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(None)
}

/// The word that a tag begins with.
pub(super) fn first_word(tag: &str) -> &str {
    let inside = tag
        .get(2..)
        .unwrap_or_default()
        .trim_start_matches(['-', '+'])
        .trim_start();
    inside
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}

/// Whether what `set` stores, from `value` on, becomes part of something.
fn member(tag: &str, value: Option<usize>) -> bool {
    value.is_some_and(|value| tag[..value].contains('.'))
}

/// Whether a sign stands between two values: behind one, and not in a number or at the tag's end.
fn is_between(before: &str, behind: &[u8], closes: &[u8]) -> bool {
    let before = before.trim_end();
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
        .next()
        .unwrap_or_default();
    let exponent = word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['e', 'E']);
    let value = before.ends_with(|c: char| c.is_alphanumeric() || "_)]}\"'".contains(c));
    value && !exponent && !BEFORE_A_VALUE.contains(&word) && !behind.starts_with(closes)
}
