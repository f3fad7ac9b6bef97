//! Text to token ids and back, as the model's own `tokenizer.json` says.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder, TokenizerImpl,
};

use super::pretokenize::{Words, check_expressions};
use super::trusted;
use crate::{Error, Result};

/// What `tokenizer_config.json` says beside `tokenizer.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// Begins a document.
    pub bos_token: Option<String>,
    /// Ends a document, and in most chat models a turn.
    pub eos_token: Option<String>,
    /// Fills up batches elsewhere; here only templates may print it.
    pub pad_token: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub unk_token: Option<String>,
    /// Whether a text is begun by `bos_token`; `None` leaves it to `tokenizer.json`.
    pub add_bos_token: Option<bool>,
    /// The chat template's source.
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// Parse `tokenizer_config.json`. Tokens may be strings or objects with a `content`; of several named chat templates the one called
    /// `default` counts.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that has the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let not_json = |e| Error::config("tokenizer_config.json", format!("not a JSON object: {e}"));
        let config: Map<String, Value> = serde_json::from_slice(bytes).map_err(not_json)?;
        let add_bos_token = match config.get("add_bos_token") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(add)) => Some(*add),
            Some(_) => return Err(Error::config("add_bos_token", "must be true or false")),
        };
        Ok(Self {
            bos_token: token(&config, "bos_token")?,
            eos_token: token(&config, "eos_token")?,
            pad_token: token(&config, "pad_token")?,
            unk_token: token(&config, "unk_token")?,
            add_bos_token,
            chat_template: chat_template(config.get("chat_template"))?,
        })
    }
}

fn refused(error: tokenizers::Error) -> Error {
    Error::data(format!("the tokenizer refuses a text: {error}"))
}

/// A special token of `tokenizer_config.json`.
fn token(config: &Map<String, Value>, field: &str) -> Result<Option<String>> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(object) => match object.get("content").and_then(Value::as_str) {
            Some(token) => Ok(Some(token.to_owned())),
            None => Err(Error::config(
                field,
                "must be a string or an object with a string \"content\"",
            )),
        },
    }
}

fn chat_template(field: Option<&Value>) -> Result<Option<String>> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|entry| entry["name"] == "default");
            match default.and_then(|entry| entry["template"].as_str()) {
                Some(source) => Ok(Some(source.to_owned())),
                None => Err(Error::config(
                    "chat_template",
                    "a list of templates must have one named \"default\"",
                )),
            }
        }
        Some(_) => Err(Error::config(
            "chat_template",
            "must be a string or a list of named templates",
        )),
    }
}

type Inner = TokenizerImpl<ModelWrapper, NormalizerWrapper, Words, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer that never truncates, never pads and never stops before the text's end.
pub struct Tokenizer {
    inner: Inner,
    special: HashSet<u32>,
    config: TokenizerConfig,
    bos: Option<u32>,
    eos: Option<u32>,
    /// What a document begins with: nothing or the BOS.
    lead: Vec<u32>,
    /// Whether the tokenizer puts a space in front of a text, as SentencePiece does.
    adds_space: bool,
}

/// A special token in an encoded text.
pub(super) struct Special {
    /// Which of the tokens it is.
    pub at: usize,
    /// Where it stands in the text.
    pub bytes: Range<usize>,
}

impl Tokenizer {
    /// A tokenizer from the bytes of `tokenizer.json`, with what `tokenizer_config.json` (or GGUF metadata) adds.
    ///
    /// # Errors
    /// [`Error::Config`] when the bytes are not a tokenizer, or a token of `config` is not in its vocabulary.
    pub fn from_json(tokenizer_json: &[u8], config: TokenizerConfig) -> Result<Self> {
        let broken = |e: tokenizers::Error| Error::config("tokenizer.json", e.to_string());
        trusted::check(tokenizer_json)?;
        let given = tokenizers::Tokenizer::from_bytes(tokenizer_json).map_err(broken)?;
        check_expressions("normalizer", given.get_normalizer())?;
        check_expressions("decoder", given.get_decoder())?;
        let inner: Inner = TokenizerBuilder::new()
            .with_model(given.get_model().clone())
            .with_normalizer(given.get_normalizer().cloned())
            .with_pre_tokenizer(given.get_pre_tokenizer().map(Words::new).transpose()?)
            .with_post_processor(given.get_post_processor().cloned())
            .with_decoder(given.get_decoder().cloned())
            .with_added_vocabulary(given.get_added_vocabulary().clone())
            .build()
            .map_err(broken)?;
        let added = inner.get_added_tokens_decoder();
        let special = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let id = |field: &str, token: &Option<String>| match token {
            None => Ok(None),
            Some(token) => match inner.token_to_id(token) {
                Some(id) => Ok(Some(id)),
                None => Err(Error::config(
                    field,
                    format!("{token:?} is not in the tokenizer's vocabulary"),
                )),
            },
        };
        let bos = id("bos_token", &config.bos_token)?;
        let eos = id("eos_token", &config.eos_token)?;
        let mut tokenizer = Self {
            inner,
            special,
            config,
            bos,
            eos,
            lead: Vec::new(),
            adds_space: false,
        };
        tokenizer.lead = match (tokenizer.config.add_bos_token, bos) {
            (Some(false), _) => Vec::new(),
            (Some(true), Some(bos)) => vec![bos],
            (Some(true), None) => return Err(Error::config("add_bos_token", "is true, but there is no bos_token")),
            (None, _) => {
                // What the post-processor puts in front; what it puts behind is left out, for terminators are placed deliberately.
                let framed = tokenizer
                    .inner
                    .encode_fast("a", true)
                    .map_err(broken)?
                    .get_ids()
                    .to_vec();
                let bare = tokenizer.plain("a")?;
                let at = framed
                    .windows(bare.len().max(1))
                    .position(|ids| ids == bare)
                    .unwrap_or(0);
                framed[..at].to_vec()
            }
        };
        let (newline, both) = (tokenizer.plain("\n")?, tokenizer.plain("\na")?);
        tokenizer.adds_space = both
            .strip_prefix(&newline[..])
            .is_some_and(|rest| rest != tokenizer.plain("a").as_deref().unwrap_or(&[]));
        Ok(tokenizer)
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding.map_err(refused)?.get_ids().to_vec())
    }

    /// Token ids of a text. `add_special` puts the BOS in front where the model wants one and the text does not bring it; nothing is
    /// ever put behind.
    ///
    /// # Errors
    /// [`Error::Data`] when the tokenizer cannot encode the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let ids = self.plain(text)?;
        Ok(if add_special && !ids.starts_with(&self.lead) {
            [&self.lead[..], &ids].concat()
        } else {
            ids
        })
    }

    /// Token ids of a text, and the special tokens among them that stand in it literally. Between two of them text is encoded by itself.
    pub(super) fn encode_with_specials(&self, text: &str) -> Result<(Vec<u32>, Vec<Special>)> {
        let encoding = self.inner.encode(text, false).map_err(refused)?;
        let ids = encoding.get_ids().to_vec();
        let mut specials = Vec::new();
        for (at, (&id, &(start, end))) in ids.iter().zip(encoding.get_offsets()).enumerate() {
            if self.is_special(id) && text.get(start..end) == self.id_to_token(id).as_deref() {
                specials.push(Special { at, bytes: start..end });
            }
        }
        Ok((ids, specials))
    }

    /// Token ids of a text that goes on from another one: as [`encode`](Self::encode), without the space that SentencePiece would put in
    /// front.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        if self.adds_space {
            let newline = self.plain("\n")?;
            if let Some(rest) = self.plain(&format!("\n{text}"))?.strip_prefix(&newline[..]) {
                return Ok(rest.to_vec());
            }
        }
        self.plain(text)
    }

    /// The text of token ids. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Data`] when the decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|e| Error::data(format!("the tokens cannot be decoded: {e}")))
    }

    /// A decoder for tokens that arrive one by one.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream {
            tokenizer: self,
            skip_special,
            ids: Vec::new(),
            shown: 0,
        }
    }

    /// The id of a token's exact string.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The string of a token as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether a token is one that text never produces by itself.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// One more than the largest id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |&id| id as usize + 1)
    }

    /// The id that begins a document.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The id that ends a document.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// What `tokenizer_config.json` said.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }
}

/// Text from tokens that arrive one by one; only whole characters come out. From [`Tokenizer::stream`].
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The tokens shown last, then those not shown yet.
    ids: Vec<u32>,
    /// How many of `ids` are shown. They stay as context: SentencePiece drops the first space of what it decodes.
    shown: usize,
}

impl TextStream<'_> {
    /// Tokens held back before bytes that make no character are shown as U+FFFD: more than a character can have.
    const PATIENCE: usize = 8;

    /// The text that `id` completes: empty while a character is incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        self.advance(false)
    }

    /// What was held back, at the end.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(mut self) -> Result<String> {
        self.advance(true)
    }

    fn advance(&mut self, all: bool) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.shown], self.skip_special)?;
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        let incomplete = text.ends_with('\u{FFFD}') && self.ids.len() - self.shown < Self::PATIENCE;
        let Some(new) = text.get(before.len()..) else {
            return Ok(String::new());
        };
        if new.is_empty() || (incomplete && !all) {
            return Ok(String::new());
        }
        let new = new.to_owned();
        self.ids.drain(..self.shown);
        self.shown = self.ids.len();
        Ok(new)
    }
}
