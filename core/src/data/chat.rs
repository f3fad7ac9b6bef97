//! Conversations: what is rendered, which of its tokens are supervised, and the prompt that generation sees.
//!
//! **Spans.** The text that the model must learn is every assistant turn with its terminator and nothing else. Where the template marks it
//! with `{% generation %}` blocks, those are taken, as transformers takes them. Otherwise prefixes are rendered: the messages before a
//! turn with a generation prompt end where the turn's text starts, the messages up to and with the turn end where it ends. Each of these
//! must be a true prefix of the whole rendering, and the span must hold the message's content, the names of its tool calls, and something
//! to stop at; a template for which that fails is refused. Message content is never searched for tags. White space after the terminator,
//! and an empty think block that the template puts in front, are not supervised. Reasoning is learnt where the template shows it.
//!
//! **Tokens.** The text is encoded at once, as everyone who continues the conversation will encode it. Where that puts a token across a
//! span's edge, or encodes the text before the edge differently than alone, the text is cut at the edge and its pieces are encoded
//! apart. Either way the tokens before a turn's text are those of its generation prompt, and every token is wholly inside or outside.
//! The tokens of each span are decoded and compared with its text. Special tokens that a message's text spells out become special
//! tokens, as they do in transformers.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::spans::{Turn, in_message, turns};
use super::{ChatTemplate, Example, IGNORE, RenderOptions, Rendered, Tokenizer};
use crate::{Error, Result};

/// Which tokens of a conversation are supervised. A message's own `"train"` overrules it for an assistant turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// Every assistant turn.
    #[default]
    Assistant,
    /// The last assistant turn.
    Last,
    /// Every token but the first, the template's own text included.
    All,
}

impl FromStr for TrainOn {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "assistant" => Self::Assistant,
            "last" => Self::Last,
            "all" => Self::All,
            _ => {
                let why = format!("{name:?} is none of assistant, last, all");
                return Err(Error::config("train_on", why));
            }
        })
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// The text; `None` for a message of tool calls alone.
    pub content: Option<String>,
    /// The message's other fields, as the template sees them: `tool_calls`, `name`, `reasoning_content` ... Fields that are null, and
    /// `train`, which says whether an assistant turn is learnt, are not shown to it.
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

    pub(super) fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    /// What the message says about itself with `"train"`.
    ///
    /// # Errors
    /// [`Error::Data`] when that is not true or false, or true in a message that is not the assistant's.
    pub fn train(&self) -> Result<Option<bool>> {
        match self.extra.get("train") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(true)) if !self.is_assistant() => Err(Error::data(format!(
                "a message of role {:?} has \"train\": true; only the assistant's turns can be learnt",
                self.role
            ))),
            Some(Value::Bool(train)) => Ok(Some(*train)),
            Some(other) => Err(Error::data(format!("\"train\" must be true or false, not {other}"))),
        }
    }

    /// The names of the functions that the message calls.
    pub(super) fn calls(&self) -> impl Iterator<Item = &str> {
        let calls = self.extra.get("tool_calls").and_then(Value::as_array);
        calls.into_iter().flatten().filter_map(|call| {
            let function = call.get("function").unwrap_or(call);
            function.get("name").and_then(Value::as_str)
        })
    }

    /// As transformers shows it to a template: nothing that is null, and reasoning under the names that templates read.
    fn to_json(&self) -> Value {
        let mut json = Map::new();
        let shown = |name: &str| self.extra.get(name).filter(|value| !value.is_null()).cloned();
        let reasoning = ["reasoning_content", "thinking", "reasoning"]
            .into_iter()
            .find_map(shown);
        if let Some(reasoning) = &reasoning {
            json.insert("thinking".into(), reasoning.clone());
        }
        json.insert("role".into(), self.role.clone().into());
        json.extend(self.content.clone().map(|content| ("content".into(), content.into())));
        let extra = self
            .extra
            .iter()
            .filter(|(name, value)| *name != "train" && !value.is_null());
        json.extend(extra.map(|(name, value)| (name.clone(), value.clone())));
        json.extend(reasoning.map(|reasoning| ("reasoning_content".into(), reasoning)));
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
    pub(super) fn render(
        &self,
        template: &ChatTemplate,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<Rendered> {
        let options = RenderOptions {
            add_generation_prompt,
            tools: self.tools.as_ref(),
            kwargs: Some(&self.template_kwargs),
        };
        template.render(messages, &options)
    }

    pub(super) fn to_json(&self) -> Vec<Value> {
        self.messages.iter().map(Message::to_json).collect()
    }

    /// The whole text and the byte ranges of it to learn, ascending.
    ///
    /// # Errors
    /// [`Error::Template`] when the template fails or a turn to learn cannot be found with certainty; [`Error::Data`] for a `"train"`
    /// that is not understood.
    pub fn spans(&self, template: &ChatTemplate, train_on: TrainOn) -> Result<(String, Vec<Range<usize>>)> {
        let (text, pieces) = self.pieces(template, train_on)?;
        let mut spans: Vec<Range<usize>> = Vec::new();
        for Piece { range, .. } in pieces.into_iter().filter(|piece| piece.learnt) {
            match spans.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => spans.push(range),
            }
        }
        Ok((text, spans))
    }

    /// The whole text and its pieces of interest: every turn that could be found, learnt or not, and between them what else is learnt.
    fn pieces(&self, template: &ChatTemplate, train_on: TrainOn) -> Result<(String, Vec<Piece>)> {
        let wishes: Vec<Option<bool>> = (self.messages.iter().enumerate())
            .map(|(number, message)| message.train().map_err(|e| in_message(e, number)))
            .collect::<Result<_>>()?;
        if train_on == TrainOn::All
            && let Some(number) = (0..wishes.len()).find(|&n| wishes[n].is_some() && !self.messages[n].is_assistant())
        {
            let why = "has \"train\": false, which only an assistant's turn can have where all is trained on";
            return Err(Error::data(format!("message {}: {why}", number + 1)));
        }
        let (text, turns) = turns(self, template)?;
        let last = turns.last().map_or(0, |turn| turn.message);
        let mut pieces = Vec::new();
        let mut end = 0;
        for Turn { message, ranges } in turns {
            let learnt = wishes[message].unwrap_or(match train_on {
                TrainOn::All => true,
                TrainOn::Last => message == last && message >= self.first_target,
                TrainOn::Assistant => message >= self.first_target,
            });
            let ranges = match ranges {
                Ok(ranges) => ranges,
                // It must be known only where its edge decides what is learnt.
                Err(_) if learnt == (train_on == TrainOn::All) => continue,
                Err(why) => return Err(why),
            };
            for range in ranges {
                if train_on == TrainOn::All && end < range.start {
                    pieces.push(Piece::new(end..range.start, true, None));
                }
                end = range.end;
                pieces.push(Piece::new(range, learnt, Some(message)));
            }
        }
        if train_on == TrainOn::All && end < text.len() {
            pieces.push(Piece::new(end..text.len(), true, None));
        }
        Ok((text, pieces))
    }

    /// The tokens and labels of the conversation.
    ///
    /// # Errors
    /// As [`spans`](Self::spans), and [`Error::Template`] when the text begins with two BOS, or a span's tokens are not its text.
    pub fn example(&self, template: &ChatTemplate, tokenizer: &Tokenizer, train_on: TrainOn) -> Result<Example> {
        let example = self.tokenise(template, tokenizer, train_on)?;
        match example.has_double_bos(tokenizer.bos()) {
            true => Err(Error::template("the text begins with two BOS tokens")),
            false => Ok(example),
        }
    }

    /// As [`example`](Self::example), but with two BOS where there are two.
    pub(super) fn tokenise(
        &self,
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
        train_on: TrainOn,
    ) -> Result<Example> {
        let (text, pieces) = self.pieces(template, train_on)?;
        let (ids, tokens) = encode(tokenizer, &text, &pieces)?;
        let mut labels = vec![IGNORE; ids.len()];
        for (at, (piece, tokens)) in pieces
            .iter()
            .zip(tokens)
            .enumerate()
            .filter(|(_, (piece, _))| piece.learnt)
        {
            if let Some(message) = piece.message {
                let ends = pieces.get(at + 1).is_none_or(|next| next.message != piece.message);
                let ids = &ids[tokens.clone()];
                let verified = verify(template, tokenizer, &text[piece.range.clone()], ids, ends);
                verified.map_err(|e| in_message(e, message))?;
            }
            for at in tokens.filter(|&at| at > 0) {
                labels[at] = ids[at] as i32;
            }
        }
        Ok(Example { ids, labels })
    }

    /// The tokens that generation goes on from: the messages and the header of an assistant's turn, exactly as [`example`](Self::example)
    /// encodes them before that turn's text.
    ///
    /// # Errors
    /// [`Error::Template`] when the template fails.
    pub fn prompt(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let text = self.render(template, &self.to_json(), true)?.text;
        // A template whose turns cannot be found still makes a prompt: there is no training that it would have to agree with.
        let pieces = match turns(self, template) {
            Ok((whole, turns)) => turns
                .into_iter()
                .filter_map(|turn| turn.ranges.ok())
                .flatten()
                .take_while(|range| text.starts_with(&whole[..range.end]))
                .map(|range| Piece::new(range, false, None))
                .collect(),
            Err(_) => Vec::new(),
        };
        Ok(encode(tokenizer, &text, &pieces)?.0)
    }
}

/// A byte range of a rendered text.
struct Piece {
    range: Range<usize>,
    learnt: bool,
    /// The message whose turn it is.
    message: Option<usize>,
}

impl Piece {
    fn new(range: Range<usize>, learnt: bool, message: Option<usize>) -> Self {
        Self { range, learnt, message }
    }
}

/// Encode a text so that no token crosses an edge of `pieces`, which ascend and do not overlap; and where each piece's tokens are.
fn encode(tokenizer: &Tokenizer, text: &str, pieces: &[Piece]) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
    let mut ids = Vec::new();
    let mut edges = Vec::with_capacity(2 * pieces.len()); // in tokens
    let mut start = 0; // where `rest` begins in the text
    let (mut rest, specials) = tokenizer.encode_with_specials(text)?;
    for edge in pieces.iter().flat_map(|piece| [piece.range.start, piece.range.end]) {
        // What comes before a special token is the same with and without what follows: only the text behind the last one is encoded again.
        let behind = specials.partition_point(|special| special.bytes.end <= edge);
        let special = specials[..behind].last().filter(|_| start == 0);
        let (same, piece) = match (special, start) {
            _ if edge == text.len() => (rest.len(), Vec::new()),
            _ if edge == start => (0, Vec::new()),
            (Some(special), _) if special.bytes.end == edge => (special.at + 1, Vec::new()),
            (Some(special), _) => (special.at, tokenizer.encode(&text[special.bytes.start..edge], false)?),
            (None, 0) => (0, tokenizer.encode(&text[..edge], false)?),
            (None, _) => (0, tokenizer.encode_continuation(&text[start..edge])?),
        };
        edges.push(ids.len() + same + piece.len());
        if !rest[same..].starts_with(&piece) {
            ids.extend_from_slice(&rest[..same]);
            ids.extend(piece);
            start = edge;
            rest = tokenizer.encode_continuation(&text[edge..])?;
        }
    }
    ids.extend(rest);
    Ok((ids, edges.chunks_exact(2).map(|edge| edge[0]..edge[1]).collect()))
}

/// Whether a turn's tokens are its text, and end with what the template ends turns with.
fn verify(template: &ChatTemplate, tokenizer: &Tokenizer, text: &str, ids: &[u32], ends: bool) -> Result<()> {
    let decoded = tokenizer.decode(ids, false)?;
    if decoded != text {
        // A normalizer may have changed the text: then it is compared with its tokens apart.
        let apart = tokenizer.decode(&tokenizer.encode_continuation(text)?, false)?;
        if decoded.trim() != apart.trim() {
            let why = "its tokens decode to another text: the tokenizer and the template do not go together";
            return Err(Error::template(why));
        }
    }
    let text = text.trim_end();
    let special = || -> Result<bool> {
        for &id in ids.iter().rev() {
            if !tokenizer.decode(&[id], false)?.trim().is_empty() {
                return Ok(tokenizer.is_special(id));
            }
        }
        Ok(false)
    };
    match ending(template) {
        Some(ending) if ends && !text.ends_with(ending) && !special()? => Err(Error::template(format!(
            "it does not end with {ending:?}, with which the template ends turns, nor with another special token"
        ))),
        _ => Ok(()),
    }
}

/// What a template is tried with.
fn probe() -> Conversation {
    Conversation {
        messages: vec![Message::new("user", "Is it?"), Message::new("assistant", "Yes.")],
        ..Conversation::default()
    }
}

impl ChatTemplate {
    /// Whether its generation blocks begin before the prompt that generation goes on from ends (SmolLM3's do): then the header of an
    /// assistant's turn, or the end of it, is learnt with the turn, as transformers learns it.
    pub fn learns_headers(&self) -> bool {
        let conversation = probe();
        let prompt = conversation.render(self, &conversation.to_json()[..1], true);
        match (conversation.spans(self, TrainOn::Last), prompt) {
            (Ok((text, spans)), Ok(prompt)) => {
                text.starts_with(&prompt.text) && spans.first().is_some_and(|span| span.start < prompt.text.len())
            }
            _ => false,
        }
    }
}

/// What the template puts behind an assistant's text; `None` where it cannot be told.
fn ending(template: &ChatTemplate) -> Option<&str> {
    let probe = || {
        let (text, spans) = probe().spans(template, TrainOn::Last).ok()?;
        let turn: String = spans.into_iter().map(|span| &text[span]).collect();
        let content = "Yes.";
        Some(turn[turn.rfind(content)? + content.len()..].trim().to_owned())
    };
    template.ending.get_or_init(probe).as_deref()
}

/// Every token at which generation stops: the tokenizer's EOS, the model's (`eos_token_id` of its generation config), and those
/// with which the template ends an assistant's turn.
///
/// # Errors
/// As [`Tokenizer::encode`].
pub fn terminators(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, eos_token_ids: &[u32]) -> Result<Vec<u32>> {
    // A template that cannot show its turns says so when it is trained with; here it has no terminator to add.
    let ending = template.and_then(ending).unwrap_or("");
    let mut ids = tokenizer.encode_continuation(ending)?;
    ids.retain(|&id| tokenizer.is_special(id));
    ids.extend(tokenizer.eos());
    ids.extend(eos_token_ids);
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
