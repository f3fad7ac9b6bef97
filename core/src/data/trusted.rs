//! What the tokenizers crate takes on trust in a `tokenizer.json`, looked at before the crate reads it: where it is not so, it would panic,
//! or make of a short text one that no memory holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Result};

/// Times that normalizing and splitting into words may make a text longer. Byte-level tokenizers double some characters, `▁` has three bytes
/// for a space.
const LONGER: f64 = 256.0;

/// The parts of the file that are not lists of tokens.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Outline {
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Model {
    #[serde(rename = "type")]
    kind: Value,
    continuing_subword_prefix: Value,
}

/// Check the bytes of `tokenizer.json`.
///
/// # Errors
/// [`Error::Config`] saying what cannot be.
pub(super) fn check(tokenizer_json: &[u8]) -> Result<()> {
    let outline: Outline = serde_json::from_slice(tokenizer_json).map_err(|e| bad(e.to_string()))?;
    let prefix = outline.model.continuing_subword_prefix.as_str().unwrap_or_default();
    if !prefix.is_empty() && matches!(outline.model.kind.as_str(), None | Some("BPE")) {
        return Err(bad(format!(
            "BPE with a continuing_subword_prefix ({prefix:?}) is not supported"
        )));
    }
    for value in objects(&outline.normalizer) {
        if let Some(map) = value["precompiled_charsmap"].as_str() {
            check_charsmap(map).ok_or_else(|| bad("the normalizer's precompiled_charsmap leads out of itself"))?;
        }
    }
    for value in objects(&outline.decoder) {
        // It counts back from a token's end, past the beginning of a shorter one. Where no type is given, a step is known by its fields.
        if !value["stop"].is_null() && value["stop"].as_u64() != Some(0) {
            return Err(bad("a decoder that strips the ends of tokens is not supported"));
        }
    }
    for part in [&outline.normalizer, &outline.pre_tokenizer, &outline.decoder] {
        if objects(part).any(|value| value["pattern"]["String"] == "") {
            return Err(bad("a step with a pattern of nothing is not supported"));
        }
    }
    for part in [
        [&outline.normalizer, &outline.pre_tokenizer],
        [&outline.decoder, &Value::Null],
    ] {
        let longer: f64 = part.into_iter().flat_map(objects).map(lengthening).product();
        if longer > LONGER {
            return Err(bad(format!(
                "its steps could make a text {longer:.0} times as long: {LONGER} at most"
            )));
        }
    }
    objects(&outline.post_processor).try_for_each(frame)
}

fn bad(why: impl Into<String>) -> Error {
    Error::config("tokenizer.json", why)
}

/// A value and what lies in it.
fn objects(value: &Value) -> impl Iterator<Item = &Value> {
    let mut left = vec![value];
    std::iter::from_fn(move || {
        let value = left.pop()?;
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            _ => {}
        }
        Some(value)
    })
}

/// How many times as long a step can make a text.
fn lengthening(step: &Value) -> f64 {
    if step["type"] == "ByteLevel" || step["type"].is_null() && !step["trim_offsets"].is_null() {
        return 2.0;
    }
    match (&step["pattern"], step["content"].as_str()) {
        (Value::Object(pattern), Some(content)) => {
            let shortest = pattern.get("String").and_then(Value::as_str).map_or(1, str::len).max(1);
            (content.len() as f64 / shortest as f64).max(1.0)
        }
        _ => 1.0,
    }
}

/// Whether nothing that SentencePiece's map of characters is asked for lies outside of it; `None` if something does. It has the bytes of
/// a double array, 32 bits a unit (Yata's darts-clone), then texts that end with zero. A unit that is not a value has a place to
/// which the next byte of a text is added; that may be any byte.
fn check_charsmap(base64: &str) -> Option<()> {
    let bytes = BASE64.decode(base64).ok()?;
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (units, texts) = rest.split_at_checked(u32::from_le_bytes(*size) as usize / 4 * 4)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let longest = texts.split('\0').map(str::len).max()?;
    let (units, _) = units.as_chunks::<4>();
    let unit = |at: usize| units.get(at).map(|unit| u32::from_le_bytes(*unit));
    unit(0)?;
    for at in 0..units.len() {
        let node = unit(at)?;
        // A value is nobody's next unit, but the first one is where every text begins.
        if node >> 31 == 1 && at > 0 {
            continue;
        }
        let place = at ^ ((node >> 10) << ((node & (1 << 9)) >> 6)) as usize;
        unit(place | 255)?;
        if node >> 8 & 1 == 1 && !texts.is_char_boundary((unit(place)? & !(1 << 31)) as usize) {
            return None;
        }
    }
    (longest as f64 <= LONGER).then_some(())
}

/// What is put around a text: the text once, and tokens that are listed.
fn frame(step: &Value) -> Result<()> {
    let Some(pieces) = step["single"].as_array() else {
        return Ok(());
    };
    let texts = pieces.iter().filter(|piece| !piece["Sequence"].is_null());
    if !texts.map(|piece| &piece["Sequence"]["id"]).eq(["A"]) {
        return Err(bad("the post-processor's \"single\" must have the text, A, once"));
    }
    for piece in pieces {
        let Some(id) = piece["SpecialToken"]["id"].as_str() else {
            continue;
        };
        let token = &step["special_tokens"][id];
        let [ids, tokens] = ["ids", "tokens"].map(|list| token[list].as_array().map(Vec::len));
        if ids.is_none() || ids != tokens {
            return Err(bad(format!(
                "the post-processor's special_tokens have no {id:?}, or not as many ids as tokens"
            )));
        }
    }
    Ok(())
}
