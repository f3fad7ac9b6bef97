//! A GGUF file's vocabulary as a Hugging Face `tokenizer.json`, chat template and special tokens.
//!
//! Two kinds: byte-level BPE with merges (`gpt2`), split by the regular expression that the model's own tokenizer uses,
//! and SentencePiece BPE (`llama`), whose merges follow from its pieces and scores.

use super::{Gguf, Meta};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// llama.cpp's token types.
mod kind {
    pub const NORMAL: i64 = 1;
    pub const UNKNOWN: i64 = 2;
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
}

/// The split of Qwen 2 and 3, and of Llama 3 with runs of three digits.
const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const LLAMA3_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// What llama.cpp splits by when a file does not know its tokenizer, around GPT-2's own expression.
const DEFAULT_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const DEFAULT_DIGITS: &str = "[0-9][0-9][0-9]";

/// Longest SentencePiece piece, in bytes; SentencePiece's own limit is 16 characters.
const MAX_PIECE: usize = 256;

impl Gguf {
    /// The chat template (Jinja), if the file has one.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not a string.
    pub fn chat_template(&self) -> Result<Option<&str>> {
        self.text("tokenizer.chat_template")
    }

    /// The tokens that end a generation: end of sequence, then end of turn. A file that names no end of turn has it
    /// found by its text, as llama.cpp does.
    pub(super) fn terminators(&self) -> Result<Vec<u32>> {
        let mut ids: Vec<u32> = self.token_id("tokenizer.ggml.eos_token_id")?.into_iter().collect();
        let end_of_turn = match self.token_id("tokenizer.ggml.eot_token_id")? {
            Some(id) => Some(id),
            None if self.metadata.contains_key("tokenizer.ggml.tokens") => {
                let tokens = self.texts("tokenizer.ggml.tokens")?;
                let place = tokens
                    .iter()
                    .position(|token| token == "<|eot_id|>" || token == "<|im_end|>");
                place.and_then(|id| u32::try_from(id).ok())
            }
            None => None,
        };
        ids.extend(end_of_turn.filter(|id| !ids.contains(id)));
        Ok(ids)
    }

    /// The text of the token whose id is under `key`.
    fn special(&self, key: &str) -> Result<Option<&str>> {
        let Some(id) = self.token_id(key)? else {
            return Ok(None);
        };
        let token = self.texts("tokenizer.ggml.tokens")?.get(id as usize);
        token
            .map(|token| Some(token.as_str()))
            .ok_or_else(|| Error::config(key, format!("there is no token {id}")))
    }

    /// Whether a tokenizer of these models starts a text with its first token, unless the file says.
    fn adds_bos(&self, model: &str, pre: &str) -> Result<bool> {
        let stated = self.flag("tokenizer.ggml.add_bos_token")?;
        Ok(stated.unwrap_or(model == "llama" || matches!(pre, "llama-bpe" | "llama3" | "llama-v3")))
    }

    fn tokenizer_kind(&self) -> Result<(&str, &str)> {
        let model = self
            .text("tokenizer.ggml.model")?
            .ok_or_else(|| Error::config("tokenizer.ggml.model", "missing"))?;
        Ok((model, self.text("tokenizer.ggml.pre")?.unwrap_or_default()))
    }

    /// The fields of `tokenizer_config.json`, chat template included.
    ///
    /// # Errors
    /// [`Error::Config`] naming the metadata key that is missing, malformed or not supported.
    pub fn tokenizer_config(&self) -> Result<Value> {
        let (model, pre) = self.tokenizer_kind()?;
        Ok(json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.special("tokenizer.ggml.bos_token_id")?,
            "eos_token": self.special("tokenizer.ggml.eos_token_id")?,
            "pad_token": self.special("tokenizer.ggml.padding_token_id")?,
            "unk_token": self.special("tokenizer.ggml.unknown_token_id")?,
            "add_bos_token": self.adds_bos(model, pre)?,
            "add_eos_token": self.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.config()?.max_position_embeddings,
            "chat_template": self.chat_template()?,
        }))
    }

    /// A `tokenizer.json` that encodes as the model's own tokenizer does.
    ///
    /// # Errors
    /// [`Error::Config`] naming the metadata key that is missing, malformed or not supported.
    pub fn tokenizer_json(&self) -> Result<Value> {
        let tokens = self.texts("tokenizer.ggml.tokens")?;
        let kinds = match self.metadata.get("tokenizer.ggml.token_type") {
            Some(Meta::Ints(kinds)) if kinds.len() == tokens.len() => kinds.clone(),
            None => vec![kind::NORMAL; tokens.len()],
            Some(_) => {
                let why = format!("not a list of {} integers", tokens.len());
                return Err(Error::config("tokenizer.ggml.token_type", why));
            }
        };
        let mut vocab = Map::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if vocab.insert(token.clone(), json!(id)).is_some() {
                return Err(Error::config(
                    "tokenizer.ggml.tokens",
                    format!("{token:?} is there twice"),
                ));
            }
        }
        let added: Vec<Value> = tokens
            .iter()
            .zip(&kinds)
            .enumerate()
            // Files of SentencePiece models call <unk> unknown, not control.
            .filter(|(_, (_, kind))| matches!(**kind, kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED))
            .map(|(id, (content, kind))| {
                json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != kind::USER_DEFINED,
                })
            })
            .collect();
        let (model, pre) = self.tokenizer_kind()?;
        let parts = match model {
            "gpt2" => self.byte_level(pre, tokens, vocab)?,
            "llama" => self.sentence_piece(tokens, &kinds, vocab)?,
            other => {
                let why = format!("{other} is not supported; gpt2 and llama are");
                return Err(Error::config("tokenizer.ggml.model", why));
            }
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": self.post_processor(model, pre)?,
            "decoder": parts.decoder,
            "model": parts.model,
        }))
    }

    /// Puts the first and last tokens around a text, where the model wants them.
    fn post_processor(&self, model: &str, pre: &str) -> Result<Value> {
        let mut sequence = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
        let mut special = Map::new();
        let mut token = |key: &str| -> Result<Value> {
            let text = self
                .special(key)?
                .ok_or_else(|| Error::config(key, "missing, and to be added to every text"))?;
            special.insert(
                text.to_owned(),
                json!({"id": text, "ids": [self.token_id(key)?], "tokens": [text]}),
            );
            Ok(json!({"SpecialToken": {"id": text, "type_id": 0}}))
        };
        if self.adds_bos(model, pre)? {
            sequence.insert(0, token("tokenizer.ggml.bos_token_id")?);
        }
        if self.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false) {
            sequence.push(token("tokenizer.ggml.eos_token_id")?);
        }
        if special.is_empty() {
            return Ok(Value::Null);
        }
        let second = json!({"Sequence": {"id": "B", "type_id": 1}});
        let pair: Vec<Value> = sequence.iter().cloned().chain([second]).collect();
        Ok(json!({"type": "TemplateProcessing", "single": sequence, "pair": pair, "special_tokens": special}))
    }

    /// Byte-level BPE: GPT-2's byte alphabet, the file's merges, the family's way to split text into words.
    fn byte_level(&self, pre: &str, tokens: &[String], vocab: Map<String, Value>) -> Result<Parts> {
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let steps = match pre {
            "smollm" | "refact" => vec![digits, bytes(true)],
            "llama-bpe" | "llama3" | "llama-v3" => vec![split(LLAMA3_SPLIT), bytes(false)],
            "qwen2" => vec![split(QWEN2_SPLIT), bytes(false)],
            "gpt-2" => vec![bytes(true)],
            "default" => {
                let runs = json!({"type": "Digits", "individual_digits": false});
                vec![split(DEFAULT_PUNCTUATION), runs, split(DEFAULT_DIGITS), bytes(true)]
            }
            other => {
                let why =
                    format!("{other:?} is not supported; smollm, refact, llama-bpe, qwen2, gpt-2 and default are");
                return Err(Error::config("tokenizer.ggml.pre", why));
            }
        };
        let key = "tokenizer.ggml.merges";
        let known: HashMap<&str, usize> = tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.as_str(), id))
            .collect();
        let mut merges = Vec::new();
        for merge in self.texts(key)? {
            let pair = merge.split_once(' ').filter(|(left, right)| {
                known.contains_key(left)
                    && known.contains_key(right)
                    && known.contains_key(format!("{left}{right}").as_str())
            });
            let (left, right) = pair.ok_or_else(|| Error::config(key, format!("{merge:?} is not a pair of tokens")))?;
            merges.push(json!([left, right]));
        }
        // Llama 3 takes a word that is a token as it is, even where no merges lead to it.
        let whole_words = pre.starts_with("llama");
        Ok(Parts {
            // Qwen's tokenizers compose Unicode first.
            normalizer: if pre == "qwen2" {
                json!({"type": "NFC"})
            } else {
                Value::Null
            },
            pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
            decoder: bytes(true),
            model: bpe(vocab, merges, json!({"ignore_merges": whole_words})),
        })
    }

    /// SentencePiece BPE with byte fallback, as the fast tokenizers of Llama 2, TinyLlama and Mistral spell it.
    fn sentence_piece(&self, tokens: &[String], kinds: &[i64], vocab: Map<String, Value>) -> Result<Parts> {
        if self.flag("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false) {
            return Err(Error::config(
                "tokenizer.ggml.remove_extra_whitespaces",
                "not supported",
            ));
        }
        let scores = match self.metadata.get("tokenizer.ggml.scores") {
            Some(Meta::Floats(scores)) if scores.len() == tokens.len() => scores,
            _ => {
                return Err(Error::config(
                    "tokenizer.ggml.scores",
                    format!("not a list of {} floats", tokens.len()),
                ));
            }
        };
        let space = self.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let mut normalizer = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
        let mut decoder = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if space {
            normalizer.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoder.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let merges = merges_of_pieces(tokens, kinds, scores)?;
        let merges = merges.into_iter().map(|(left, right)| json!([left, right])).collect();
        let unknown = tokens
            .iter()
            .zip(kinds)
            .find(|(_, kind)| **kind == kind::UNKNOWN)
            .map(|(token, _)| token);
        let extra = json!({"unk_token": unknown, "fuse_unk": true, "byte_fallback": true});
        Ok(Parts {
            normalizer: json!({"type": "Sequence", "normalizers": normalizer}),
            pre_tokenizer: Value::Null,
            decoder: json!({"type": "Sequence", "decoders": decoder}),
            model: bpe(vocab, merges, extra),
        })
    }
}

/// The parts of a `tokenizer.json` that differ by kind.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// The `model` of a `tokenizer.json`; `extra` overrides its usual settings.
fn bpe(vocab: Map<String, Value>, merges: Vec<Value>, extra: Value) -> Value {
    let mut model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    });
    if let (Value::Object(model), Value::Object(extra)) = (&mut model, extra) {
        model.extend(extra);
        model.insert("vocab".to_owned(), Value::Object(vocab));
        model.insert("merges".to_owned(), Value::Array(merges));
    }
    model
}

/// SentencePiece joins whichever two neighbours give the piece with the highest score; as a list of merges, that is
/// every split of a piece into two pieces, by falling score.
fn merges_of_pieces<'a>(tokens: &'a [String], kinds: &[i64], scores: &[f32]) -> Result<Vec<(&'a str, &'a str)>> {
    let pieces: HashMap<&str, usize> = (0..tokens.len())
        .filter(|id| kinds[*id] == kind::NORMAL)
        .map(|id| (tokens[id].as_str(), id))
        .collect();
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(id, _)| kinds[*id] == kind::NORMAL) {
        if token.len() > MAX_PIECE {
            let why = format!("token {id} is longer than {MAX_PIECE} bytes");
            return Err(Error::config("tokenizer.ggml.tokens", why));
        }
        if scores[id].is_nan() {
            return Err(Error::config(
                "tokenizer.ggml.scores",
                format!("token {id} has no number"),
            ));
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (pieces.get(left), pieces.get(right)) {
                merges.push((scores[id], *left_id, *right_id, (left, right)));
            }
        }
    }
    // Equal scores: in the order that transformers' converter gives, longer left parts first.
    merges.sort_by(|a, b| {
        let lengths = |m: &(f32, usize, usize, (&str, &str))| (m.3.0.chars().count(), m.3.1.chars().count());
        b.0.total_cmp(&a.0)
            .then_with(|| lengths(b).cmp(&lengths(a)))
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    Ok(merges.into_iter().map(|(_, _, _, pair)| pair).collect())
}
