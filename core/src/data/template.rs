//! Chat templates, rendered as transformers renders them (its `utils/chat_template_utils.py`).

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, State};
use serde_json::{Map, Value};

use super::tokenizer::TokenizerConfig;
use super::{bounds, jinja, python};
use crate::{Error, Result};

/// The variable that holds the two characters around generated text.
const MARKS: &str = "__generation_marks";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    marks_generation: bool,
    special_tokens: Map<String, Value>,
    /// What ends an assistant's turn, once it is known.
    pub(super) ending: OnceLock<Option<String>>,
}

/// What a template sees beside the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RenderOptions<'a> {
    /// End with the header of an assistant's turn.
    pub add_generation_prompt: bool,
    /// JSON schemas of tools, a list; `None` where the row has none.
    pub tools: Option<&'a Value>,
    /// The row's own variables, such as `enable_thinking`.
    pub kwargs: Option<&'a Map<String, Value>>,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of `text` that lay in `{% generation %}` blocks.
    pub generated: Vec<std::ops::Range<usize>>,
}

impl ChatTemplate {
    /// Compile a template. `tokens` gives it `bos_token`, `eos_token` and so on; `now`, seconds since 1970 in local time, gives it
    /// `strftime_now`, which is undefined otherwise.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's line when it cannot be parsed.
    pub fn new(source: &str, tokens: &TokenizerConfig, now: Option<i64>) -> Result<Self> {
        if source.contains(bounds::MOST) {
            return Err(Error::template(format!("{} is a name that is not free", bounds::MOST)));
        }
        let (rewritten, marks_generation, longest) = rewrite(source)?;
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|e| Error::template(e.to_string()))?,
        );
        environment.set_fuel(Some(bounds::fuel(longest)));
        jinja::print_as_python(&mut environment);
        bounds::bound(&mut environment);
        environment.add_filter("tojson", tojson);
        environment.add_filter(MARKS, mark);
        environment.add_function(
            "raise_exception",
            |why: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(
                    ErrorKind::InvalidOperation,
                    format!("raised: {why}"),
                ))
            },
        );
        if let Some(now) = now {
            environment.add_function("strftime_now", move |format: String| python::strftime(now, &format));
        }
        environment.add_template_owned("chat", rewritten).map_err(explain)?;
        let named = [
            ("bos_token", &tokens.bos_token),
            ("eos_token", &tokens.eos_token),
            ("pad_token", &tokens.pad_token),
            ("unk_token", &tokens.unk_token),
        ];
        let special_tokens = named
            .into_iter()
            .filter_map(|(name, token)| Some((name.to_owned(), Value::String(token.clone()?))))
            .collect();
        Ok(Self {
            environment,
            source: source.to_owned(),
            marks_generation,
            special_tokens,
            ending: OnceLock::new(),
        })
    }

    /// The source as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks what the assistant generates with `{% generation %}` blocks.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// Render messages, each a JSON object.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's line and reason when it raises, fails or does not end.
    pub fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<Rendered> {
        let mut variables = self.special_tokens.clone();
        variables.insert("documents".into(), Value::Null);
        variables.extend(
            options
                .kwargs
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        variables.insert("messages".into(), Value::Array(messages.to_vec()));
        variables.insert("tools".into(), options.tools.cloned().unwrap_or(Value::Null));
        variables.insert(
            "add_generation_prompt".into(),
            Value::Bool(options.add_generation_prompt),
        );
        let marks = if self.marks_generation {
            Some(self.unused_marks(&variables)?)
        } else {
            None
        };
        if let Some([open, close]) = marks {
            variables.insert(MARKS.into(), Value::String([open, close].iter().collect()));
        }
        let seen = variables
            .iter()
            .map(|(name, value)| name.len() + bounds::bytes_of(value));
        let most = bounds::most(self.source.len(), seen.sum());
        variables.insert(bounds::MOST.into(), most.into());
        let template = self.environment.get_template("chat").map_err(explain)?;
        let text = template.render(Serde(&variables)).map_err(explain)?;
        match marks {
            Some(marks) => unmark(&text, marks),
            None => Ok(Rendered {
                text,
                generated: Vec::new(),
            }),
        }
    }

    /// Two characters that neither the template nor its variables hold, from Unicode's noncharacters.
    fn unused_marks(&self, variables: &Map<String, Value>) -> Result<[char; 2]> {
        let used = serde_json::to_string(variables).unwrap_or_default();
        let mut free = ('\u{FDD0}'..='\u{FDEF}').filter(|&c| !used.contains(c) && !self.source.contains(c));
        match (free.next(), free.next()) {
            (Some(open), Some(close)) => Ok([open, close]),
            _ => Err(Error::template(
                "the row uses every character that could mark generated text",
            )),
        }
    }
}

/// Turn `{% generation %}` blocks, which only transformers knows, into filter blocks, keeping their white-space control, and let
/// [`bounds`] measure what tags make.
fn rewrite(source: &str) -> Result<(String, bool, usize)> {
    let mut out = String::with_capacity(source.len());
    let (mut found, mut longest) = (false, 0);
    let mut rest = source;
    let begins = |pair: &[u8]| pair[0] == b'{' && b"%#{".contains(&pair[1]);
    while let Some(at) = rest.as_bytes().windows(2).position(begins) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        longest = longest.max(before.len());
        let comment = tag.starts_with("{#");
        let word = if tag.starts_with("{%") {
            bounds::first_word(tag)
        } else {
            ""
        };
        let until = |mark: &str| tag.find(mark).map_or(tag.len(), |end| end + mark.len());
        let (text, end) = match word {
            _ if comment => (tag[..until("#}")].to_owned(), until("#}")),
            "raw" => (tag[..until("endraw")].to_owned(), until("endraw")),
            _ => bounds::tag(tag)?.unwrap_or_else(|| (tag.to_owned(), tag.len())),
        };
        match word {
            "generation" => out.push_str(&text.replacen("generation", &format!("filter {MARKS}"), 1)),
            "endgeneration" => out.push_str(&text.replacen("endgeneration", "endfilter", 1)),
            _ => out.push_str(&text),
        }
        found |= word == "generation";
        if word == "raw" {
            longest = longest.max(end);
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    longest = longest.max(rest.len());
    if source.matches("elif").count() > bounds::MOST_TOKENS {
        return Err(Error::template(format!(
            "elif is there more than {} times",
            bounds::MOST_TOKENS
        )));
    }
    Ok((out, found, longest))
}

/// The filter behind [`rewrite`].
fn mark(state: &State, text: String) -> String {
    let marks = state.lookup(MARKS).map(|marks| marks.to_string()).unwrap_or_default();
    let mut marks = marks.chars();
    let (open, close) = (marks.next(), marks.next());
    open.into_iter().chain(text.chars()).chain(close).collect()
}

/// Take the marks out and keep where they were.
fn unmark(marked: &str, [open, close]: [char; 2]) -> Result<Rendered> {
    let mut rendered = Rendered {
        text: String::with_capacity(marked.len()),
        generated: Vec::new(),
    };
    let mut start = None;
    for c in marked.chars() {
        if c == open || c == close {
            match (c == open, start.take()) {
                (true, None) => start = Some(rendered.text.len()),
                (false, Some(start)) => rendered.generated.push(start..rendered.text.len()),
                _ => return Err(Error::template("generation blocks overlap")),
            }
        } else {
            rendered.text.push(c);
        }
    }
    Ok(rendered)
}

/// `tojson` with the arguments that transformers gives it.
fn tojson(value: Serde<Value>, kwargs: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let invalid = |why: String| minijinja::Error::new(ErrorKind::InvalidOperation, why);
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let separators = match separators.as_deref() {
        None => None,
        Some([item, key]) => Some([item.clone(), key.clone()]),
        Some(_) => return Err(invalid("tojson: separators must be two strings".into())),
    };
    let indent: Option<usize> = kwargs.get("indent")?;
    if indent.is_some_and(|indent| indent > 64) {
        return Err(invalid("tojson: an indent of more than 64".into()));
    }
    let style = python::Json {
        indent,
        separators,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    Ok(style.dumps(&value))
}

/// Our error from minijinja's: its reason and the template's line.
fn explain(error: minijinja::Error) -> Error {
    let line = error
        .line()
        .map(|line| format!("line {line} of the template: "))
        .unwrap_or_default();
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Error::template(format!("{line}{what}"))
}
