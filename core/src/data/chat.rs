//! Conversations: what is rendered, which of its tokens are supervised, and the prompt that generation sees.
//!
//! **Spans.** The text that the model must learn is every assistant turn with its terminator and nothing else. Where the template marks it
//! with `{% generation %}` blocks, those are taken. Otherwise prefixes are rendered: the messages before a turn with a generation
//! prompt end where the turn's text starts, the messages up to and with the turn end where it ends. Each of these must be a true prefix of
//! the whole rendering and the span must hold the message's content; a template for which that fails is refused. Message content is never
//! searched for tags. White space after the terminator, and an empty think block that the template puts in front, are not supervised.
//!
//! **Tokens.** The text is encoded at once, as everyone who continues the conversation will encode it. Where that puts a token across a
//! span's edge, or encodes the text before the edge differently than alone, the text is cut at the edge and its pieces are encoded
//! apart. Either way the tokens before a turn's text are those of its generation prompt, and every token is wholly inside or outside.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{ChatTemplate, Example, IGNORE, RenderOptions, Tokenizer};
use crate::{Error, Result};

/// One message of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// The text; `None` for a message of tool calls alone.
    pub content: Option<String>,
    /// The message's other fields, as the template sees them: `tool_calls`, `name`, `reasoning_content` ...
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(content.into()),
            extra: Map::new(),
        }
    }

    fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("role".into(), self.role.clone().into());
        json.insert("content".into(), self.content.clone().into());
        json.extend(self.extra.clone());
        // As transformers does: reasoning goes by three names, and templates read one of two.
        let reasoning =
            ["reasoning_content", "thinking", "reasoning"]
                .iter()
                .find_map(|name| match self.extra.get(*name) {
                    None | Some(Value::Null) => None,
                    Some(reasoning) => Some(reasoning.clone()),
                });
        if let Some(reasoning) = reasoning {
            json.entry("thinking").or_insert(reasoning.clone());
            json.insert("reasoning_content".into(), reasoning);
        }
        Value::Object(json)
    }
}

/// A conversation with what the template needs beside it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The messages, first to last.
    pub messages: Vec<Message>,
    /// Assistant turns before this message are context, not targets.
    pub first_target: usize,
    /// JSON schemas of tools, a list.
    pub tools: Option<Value>,
    /// The row's own variables for the template.
    pub template_kwargs: Map<String, Value>,
}

impl Conversation {
    fn render(
        &self,
        template: &ChatTemplate,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<super::Rendered> {
        let options = RenderOptions {
            add_generation_prompt,
            tools: self.tools.as_ref(),
            kwargs: Some(&self.template_kwargs),
        };
        template.render(messages, &options)
    }

    /// The whole text and the byte ranges of it to learn, ascending.
    ///
    /// # Errors
    /// [`Error::Template`] when the template fails or its turns cannot be found with certainty.
    pub fn spans(&self, template: &ChatTemplate) -> Result<(String, Vec<Range<usize>>)> {
        let messages: Vec<Value> = self.messages.iter().map(Message::to_json).collect();
        let whole = self.render(template, &messages, false)?;
        let turns: Vec<usize> = (0..messages.len())
            .filter(|&i| self.messages[i].is_assistant())
            .collect();
        if template.marks_generation() {
            let spans: Vec<_> = whole.generated.into_iter().filter(|span| !span.is_empty()).collect();
            if self.first_target == 0 {
                return Ok((whole.text, spans));
            }
            if spans.len() != turns.len() {
                let why = format!("{} generation blocks for {} assistant turns", spans.len(), turns.len());
                return Err(Error::template(why));
            }
            let spans = turns
                .iter()
                .zip(spans)
                .filter(|(turn, _)| **turn >= self.first_target)
                .map(|(_, span)| span);
            return Ok((whole.text, spans.collect()));
        }
        let mut spans: Vec<Range<usize>> = Vec::new();
        for &turn in turns.iter().filter(|turn| **turn >= self.first_target) {
            let at = |e: Error| match e {
                Error::Template { why } => Error::template(format!("message {}: {why}", turn + 1)),
                other => other,
            };
            let before = self.render(template, &messages[..turn], true).map_err(at)?.text;
            let closed = self.render(template, &messages[..=turn], false).map_err(at)?.text;
            let open = self
                .render(template, &messages[..=turn], true)
                .map_or(closed.clone(), |open| open.text);
            let after = without_closing(&closed, &open);
            let content = self.messages[turn].content.as_deref().unwrap_or("");
            let span = turn_span(&whole.text, &before, after, content).map_err(at)?;
            if spans.last().is_some_and(|last| last.end > span.start) {
                return Err(at(Error::template("its text overlaps the turn before")));
            }
            spans.push(span);
        }
        Ok((whole.text, spans))
    }

    /// The tokens and labels of the conversation.
    ///
    /// # Errors
    /// As [`spans`](Self::spans), and when the text begins with two BOS.
    pub fn example(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Example> {
        let (text, spans) = self.spans(template)?;
        let example = supervise(tokenizer, &text, &spans)?;
        match (&example.ids[..], tokenizer.bos()) {
            ([first, second, ..], Some(bos)) if *first == bos && *second == bos => {
                Err(Error::template("the text begins with two BOS tokens"))
            }
            _ => Ok(example),
        }
    }

    /// The tokens that generation goes on from: the messages and the header of an assistant's turn, exactly as [`example`](Self::example)
    /// encodes them before that turn's text.
    ///
    /// # Errors
    /// [`Error::Template`] when the template fails.
    pub fn prompt(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let messages: Vec<Value> = self.messages.iter().map(Message::to_json).collect();
        let text = self.render(template, &messages, true)?.text;
        // A template whose turns cannot be found still makes a prompt: there is no training that it would have to agree with.
        let spans = match self.spans(template) {
            Ok((whole, spans)) if spans.last().is_none_or(|last| text.starts_with(&whole[..last.end])) => spans,
            _ => Vec::new(),
        };
        Ok(supervise(tokenizer, &text, &spans)?.ids)
    }
}

/// Where an assistant turn's text lies in `whole`, from the rendering `before` it (with a generation prompt) and the one up to `after` it.
fn turn_span(whole: &str, before: &str, after: &str, content: &str) -> Result<Range<usize>> {
    // A template may show an empty think block to the model in the last turn only.
    let header = if whole.starts_with(before) {
        before
    } else {
        without_empty_thought_behind(before)
    };
    let (Some(text), Some(turn)) = (whole.strip_prefix(header), after.strip_prefix(header)) else {
        return Err(Error::template(
            "the text up to this turn is not what generation would see: the template rewrites earlier turns",
        ));
    };
    let (text_lead, turn_lead) = (
        empty_thought_in_front(text, content),
        empty_thought_in_front(turn, content),
    );
    let (text, turn) = (&text[text_lead..], &turn[turn_lead..]);
    let Some(found) = turn.find(content.trim()) else {
        return Err(Error::template(
            "its text does not hold the message's content: the template rewrites it",
        ));
    };
    let length = turn.trim_end().len();
    if length <= found + content.trim().len() {
        return Err(Error::template(
            "nothing but white space follows the message's content: a model could not learn to stop",
        ));
    }
    if !text.starts_with(&turn[..length]) {
        return Err(Error::template("its text changes with the messages after it"));
    }
    let start = header.len() + text_lead;
    Ok(start..start + length)
}

/// `closed` without what the template puts behind a whole conversation: that is where `open`, which goes on, differs. The two may begin
/// alike there (`<|endoftext|>` and `<|assistant|>`), so the cut is at the white space before.
fn without_closing<'a>(closed: &'a str, open: &str) -> &'a str {
    if open.starts_with(closed) {
        return closed;
    }
    let same = closed
        .char_indices()
        .zip(open.chars())
        .find(|((_, a), b)| a != b)
        .map_or(0, |((at, _), _)| at);
    closed[..same]
        .rfind(char::is_whitespace)
        .map_or(closed, |space| &closed[..space])
}

/// The length of an empty think block, with the line breaks behind it, at the start of `text`; 0 where `content` brings it itself.
fn empty_thought_in_front(text: &str, content: &str) -> usize {
    let thought = |text: &str| -> Option<usize> {
        let rest = text
            .trim_start()
            .strip_prefix("<think>")?
            .trim_start()
            .strip_prefix("</think>")?;
        Some(text.len() - rest.trim_start_matches('\n').len())
    };
    if thought(content).is_some() {
        0
    } else {
        thought(text).unwrap_or(0)
    }
}

/// `text` without an empty think block at its end.
fn without_empty_thought_behind(text: &str) -> &str {
    let thought = |text| -> Option<&str> {
        str::trim_end(text)
            .strip_suffix("</think>")?
            .trim_end()
            .strip_suffix("<think>")
    };
    thought(text).unwrap_or(text)
}

/// Encode a text and label the tokens in `spans`, which ascend and do not overlap.
fn supervise(tokenizer: &Tokenizer, text: &str, spans: &[Range<usize>]) -> Result<Example> {
    let mut ids = Vec::new();
    let mut edges = Vec::with_capacity(2 * spans.len()); // in tokens
    let mut start = 0; // where `rest` begins in the text
    let mut rest = tokenizer.encode(text, false)?;
    for edge in spans.iter().flat_map(|span| [span.start, span.end]) {
        let piece = match (edge == text.len(), start) {
            (true, _) => rest.clone(),
            (false, 0) => tokenizer.encode(&text[..edge], false)?,
            (false, _) => tokenizer.encode_continuation(&text[start..edge])?,
        };
        edges.push(ids.len() + piece.len());
        if !rest.starts_with(&piece) {
            ids.extend(piece);
            start = edge;
            rest = tokenizer.encode_continuation(&text[edge..])?;
        }
    }
    ids.extend(rest);
    let mut labels = vec![IGNORE; ids.len()];
    for span in edges.chunks_exact(2) {
        for at in span[0]..span[1] {
            labels[at] = ids[at] as i32;
        }
    }
    Ok(Example { ids, labels })
}

/// Every token at which generation stops: the tokenizer's EOS, the model's (`eos_token_id` of its generation config), and the one
/// with which the template ends an assistant's turn.
///
/// # Errors
/// As [`Tokenizer::encode`].
pub fn terminators(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, eos_token_ids: &[u32]) -> Result<Vec<u32>> {
    let mut ids: Vec<u32> = tokenizer
        .eos()
        .into_iter()
        .chain(eos_token_ids.iter().copied())
        .collect();
    let probe = Conversation {
        messages: vec![Message::new("user", "a"), Message::new("assistant", "b")],
        ..Default::default()
    };
    // A template that cannot show its turns says so when it is trained with; here it has no terminator to add.
    if let Some((text, spans)) = template.and_then(|template| probe.spans(template).ok())
        && let Some(span) = spans.last()
        && let Some(last) = tokenizer.encode(text[span.clone()].trim_end(), false)?.last()
        && tokenizer.is_special(*last)
    {
        ids.push(*last);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
