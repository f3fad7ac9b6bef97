//! Where each assistant turn lies in a rendered conversation, verified.

use std::ops::Range;

use serde_json::Value;

use super::chat::{Conversation, Message};
use super::{ChatTemplate, Rendered, python};
use crate::{Error, Result};

/// An assistant turn: its message, and the byte ranges of the text to learn, or why they are not known.
pub(super) struct Turn {
    pub message: usize,
    pub ranges: Result<Vec<Range<usize>>>,
}

/// The whole text and every assistant turn in it, first to last.
///
/// # Errors
/// [`Error::Template`] when the whole conversation cannot be rendered.
pub(super) fn turns(conversation: &Conversation, template: &ChatTemplate) -> Result<(String, Vec<Turn>)> {
    let messages = conversation.to_json();
    let whole = conversation.render(template, &messages, false)?;
    let numbers: Vec<usize> = (0..messages.len())
        .filter(|&number| conversation.messages[number].is_assistant())
        .collect();
    let mut blocks = if template.marks_generation() {
        blocks_of_turns(conversation, template, &messages, &numbers, &whole)?.into_iter()
    } else {
        Vec::new().into_iter()
    };
    let mut end = 0;
    let mut turns = Vec::with_capacity(numbers.len());
    for number in numbers {
        let message = &conversation.messages[number];
        let found = match blocks.next() {
            Some(ranges) => verify_blocks(&whole.text, &ranges, message).map(|()| {
                let prompt = conversation.render(template, &messages[..number], true);
                let prompt = prompt.ok().filter(|prompt| whole.text.starts_with(&prompt.text));
                cut(ranges, prompt.map_or(0, |prompt| prompt.text.len()))
            }),
            None => by_prefixes(conversation, template, &messages, number, &whole.text).map(|range| vec![range]),
        };
        let ranges = found.and_then(|ranges| {
            if ranges.first().is_some_and(|range| range.start < end) {
                return Err(Error::template("its text overlaps the turn before"));
            }
            end = ranges.last().map_or(end, |range| range.end);
            Ok(ranges)
        });
        turns.push(Turn {
            message: number,
            ranges: ranges.map_err(|e| in_message(e, number)),
        });
    }
    Ok((whole.text, turns))
}

/// An error of a turn, with its message in it.
pub(super) fn in_message(error: Error, number: usize) -> Error {
    match error {
        Error::Template { why } => Error::template(format!("message {}: {why}", number + 1)),
        Error::Data { line, why } => Error::Data {
            line,
            why: format!("message {}: {why}", number + 1),
        },
        other => other,
    }
}

/// The generation blocks of each assistant turn.
fn blocks_of_turns(
    conversation: &Conversation,
    template: &ChatTemplate,
    messages: &[Value],
    numbers: &[usize],
    whole: &Rendered,
) -> Result<Vec<Vec<Range<usize>>>> {
    let filled = |rendered: &Rendered| -> Vec<Range<usize>> {
        rendered
            .generated
            .iter()
            .filter(|block| !block.is_empty())
            .cloned()
            .collect()
    };
    let blocks = filled(whole);
    if blocks.len() == numbers.len() {
        return Ok(blocks.into_iter().map(|block| vec![block]).collect());
    }
    // A turn may have several blocks, and one may follow the last turn: the blocks up to each turn are counted.
    let mut ranges = Vec::with_capacity(numbers.len());
    let mut taken = 0;
    for (at, &number) in numbers.iter().enumerate() {
        let up_to = if at + 1 == numbers.len() {
            blocks.len()
        } else {
            filled(&conversation.render(template, &messages[..=number], true)?).len()
        };
        let Some(own) = blocks.get(taken..up_to).filter(|own| !own.is_empty()) else {
            let why = format!(
                "{} generation blocks for {} assistant turns",
                blocks.len(),
                numbers.len()
            );
            return Err(Error::template(why));
        };
        ranges.push(own.to_vec());
        taken = up_to;
    }
    Ok(ranges)
}

fn verify_blocks(whole: &str, ranges: &[Range<usize>], message: &Message) -> Result<()> {
    let text: String = ranges.iter().map(|range| &whole[range.clone()]).collect();
    verify(&text, message)
}

/// `ranges`, the one that holds the end of the generation prompt cut there: a block may begin before it, but no token may cross it.
fn cut(ranges: Vec<Range<usize>>, prompt: usize) -> Vec<Range<usize>> {
    let halves = |range: Range<usize>| {
        let middle = prompt.clamp(range.start, range.end);
        [range.start..middle, middle..range.end]
    };
    ranges
        .into_iter()
        .flat_map(halves)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Where an assistant turn's text lies in `whole`, from what the template makes of the messages before it and up to it.
fn by_prefixes(
    conversation: &Conversation,
    template: &ChatTemplate,
    messages: &[Value],
    number: usize,
    whole: &str,
) -> Result<Range<usize>> {
    let before = conversation.render(template, &messages[..number], true)?.text;
    if number == 0 && before == conversation.render(template, &[], false)?.text {
        return Err(Error::template(
            "the template has no prompt for a conversation that the assistant begins: give this turn \"train\": false",
        ));
    }
    let closed = conversation.render(template, &messages[..=number], false)?.text;
    let open = conversation.render(template, &messages[..=number], true);
    let open = open.map_or(closed.clone(), |open| open.text);
    let after = without_closing(&closed, &open);
    let message = &conversation.messages[number];

    // A template may show an empty think block to the model in the last turn only.
    let header = if whole.starts_with(&before) {
        before.as_str()
    } else {
        without_empty_thought_behind(&before)
    };
    let (Some(text), Some(turn)) = (whole.strip_prefix(header), after.strip_prefix(header)) else {
        return Err(Error::template(
            "the text up to this turn is not what generation would see: the template rewrites earlier turns",
        ));
    };
    let content = message.content.as_deref().unwrap_or("");
    let shown = empty_thought(text); // in front of the turn, here and where it is the last
    let lead = if empty_thought(content) > 0 { 0 } else { shown };
    let skipped = if shown > 0 { lead } else { empty_thought(turn) };
    let turn = &turn[skipped..];
    verify(turn, message)?;
    let turn = turn.trim_end();
    // With a thought go the line breaks that the content begins with.
    let breaks = if skipped > lead {
        text.len() - text.trim_start_matches('\n').len()
    } else {
        0
    };
    if !text[lead + breaks..].starts_with(turn) {
        return Err(Error::template(
            "its text changes with the messages after it, as where a template takes the reasoning out of earlier turns: learn the last turn alone, or give this one \"train\": false",
        ));
    }
    let start = header.len() + lead;
    Ok(start..start + breaks + turn.len())
}

/// Whether a turn's text holds what the message says, followed by something to stop at.
fn verify(text: &str, message: &Message) -> Result<()> {
    let content = message.content.as_deref().unwrap_or("").trim_matches(python::is_space);
    // A template that knows thoughts may change the white space around their tags.
    let mut at = 0;
    let whole = text.find(content).map(|start| start + content.len());
    let pieces = content
        .split("<think>")
        .flat_map(|piece| piece.split("</think>"))
        .map(|piece| piece.trim_matches(python::is_space));
    let end = whole.or_else(|| {
        for piece in pieces {
            at += text[at..].find(piece)? + piece.len();
        }
        Some(at)
    });
    let Some(end) = end else {
        return Err(Error::template(
            "its text does not hold the message's content: the template rewrites it",
        ));
    };
    for name in message.calls() {
        if !text.contains(name) {
            return Err(Error::template(format!(
                "the template leaves the call of the tool {name:?} out"
            )));
        }
    }
    if text[end..].trim().is_empty() {
        return Err(Error::template(
            "nothing but white space follows the message's content, so that a model could not learn to stop: the template has no terminator here, or writes it with the next message",
        ));
    }
    Ok(())
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

/// The length of an empty think block, with the line breaks behind it, at the start of `text`.
fn empty_thought(text: &str) -> usize {
    let rest = text.trim_start_matches(python::is_space).strip_prefix("<think>");
    let rest = rest.and_then(|rest| rest.trim_start().strip_prefix("</think>"));
    rest.map_or(0, |rest| text.len() - rest.trim_start_matches('\n').len())
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
