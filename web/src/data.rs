//! Rows in a browser tab: checked, and shown as a model would see them. Files are given as bytes; Parquet is not read.

use wasm_bindgen::prelude::*;
use wgpu_sft::data::preview::Preview;
use wgpu_sft::data::quality::{Checker, Look};
use wgpu_sft::data::{ChatTemplate, Preparation, Reading, Source, Tokenizer, TokenizerConfig};

/// The checks of `wgpu-sft data check`, without a model.
#[wasm_bindgen]
pub struct RowChecker {
    checker: Checker,
    look: Look<'static>,
}

#[wasm_bindgen]
impl RowChecker {
    /// No rows yet; `max_length` is the most words of a row.
    #[wasm_bindgen(constructor)]
    pub fn new(max_length: Option<usize>) -> Self {
        let mut look = Look::default();
        look.options.max_length = max_length;
        Self {
            checker: Checker::new(look.options.clone()),
            look,
        }
    }

    /// Check a file's rows; held-out files come first. Errors: a held-out file behind training rows, a file that breaks off.
    pub fn add(&mut self, name: &str, file: &[u8], held_out: bool) -> Result<(), JsError> {
        let source = self.checker.source(name, held_out)?;
        Source::new(file, name)?.for_each(&Reading::default(), |place, row| {
            let line = place.row.unwrap_or(place.number());
            self.checker.take(source, line, self.look.at(row))
        })?;
        Ok(())
    }

    /// The report of `data check --json`, without its line breaks. No more rows can be added.
    pub fn finish(self) -> Result<String, JsError> {
        Ok(serde_json::to_string(&self.checker.finish().report)?)
    }
}

/// A model's tokenizer and chat template.
#[wasm_bindgen]
pub struct RowReader {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

#[wasm_bindgen]
impl RowReader {
    /// From the bytes of `tokenizer.json`, those of `tokenizer_config.json`, and the chat template where that is a file of its own. `now`,
    /// seconds since 1970 in local time, is the clock of templates that print the date. Errors: what these files lack.
    #[wasm_bindgen(constructor)]
    pub fn new(tokenizer: &[u8], config: &[u8], template: Option<String>, now: Option<f64>) -> Result<Self, JsError> {
        let config = TokenizerConfig::from_json(config)?;
        let template = template.or_else(|| config.chat_template.clone());
        let template = template.map(|source| ChatTemplate::new(&source, &config, now.map(|now| now as i64)));
        Ok(Self {
            template: template.transpose()?,
            tokenizer: Tokenizer::from_json(tokenizer, config)?,
        })
    }

    /// Token ids of a text, nothing added. Errors: a text that the tokenizer refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, JsError> {
        Ok(self.tokenizer.encode(text, false)?)
    }

    /// All rows of a file with what a model would learn of them: the output of `data preview --json`, without its line breaks. Errors: the
    /// first row that cannot be used.
    pub fn preview(&self, name: &str, file: &[u8]) -> Result<String, JsError> {
        let with = Preparation {
            tokenizer: Some(&self.tokenizer),
            template: self.template.as_ref(),
            vocab_size: self.tokenizer.vocab_size(),
            ..Preparation::default()
        };
        let mut previews = Vec::new();
        Source::new(file, name)?.for_each(&Reading::default(), |place, row| {
            let at = place.row.unwrap_or(place.number());
            let preview = Preview::of_row(name, at, &row?, &with).map_err(|error| place.blame(error))?;
            previews.push(preview);
            Ok(())
        })?;
        Ok(serde_json::to_string(&previews)?)
    }
}
