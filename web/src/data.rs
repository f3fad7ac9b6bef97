//! Rows in a browser tab: checked, and shown as a model would see them. Files are given as bytes; Parquet is not read.

use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::data::preview::Preview;
use wgpu_sft::data::quality::{Checker, Look};
use wgpu_sft::data::{
    ChatTemplate, Intake, Overlong, Preparation, Reading, RowSettings, Source as Rows, Tokenizer, TokenizerConfig,
};
use wgpu_sft::formats::ModelFiles;

use crate::error::Result;
use crate::parse_settings;
use crate::source::Source;

/// Bad rows that are listed.
const LISTED: usize = 10;

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
    pub fn add(&mut self, name: &str, file: &[u8], held_out: bool) -> Result<()> {
        let source = self.checker.source(name, held_out)?;
        Rows::new(file, name)?.for_each(&Reading::default(), |place, row| {
            let line = place.row.unwrap_or(place.number());
            self.checker.take(source, line, self.look.at(row))
        })?;
        Ok(())
    }

    /// The report of `data check --json`, without its line breaks. No more rows can be added.
    pub fn finish(self) -> Result<String> {
        Ok(serde_json::to_string(&self.checker.finish().report)?)
    }
}

/// A model's tokenizer and chat template.
#[wasm_bindgen]
pub struct RowReader {
    with: With,
}

/// Where these are from.
enum With {
    /// Files of their own.
    Files(Box<(Tokenizer, Option<ChatTemplate>)>),
    /// A model.
    Model(Rc<ModelFiles>),
}

#[wasm_bindgen]
impl RowReader {
    /// From the bytes of `tokenizer.json`, those of `tokenizer_config.json`, and the chat template where that is a file of its own. `now`,
    /// seconds since 1970 in local time, is the clock of templates that print the date. Errors: what these files lack.
    #[wasm_bindgen(constructor)]
    pub fn new(tokenizer: &[u8], config: &[u8], template: Option<String>, now: Option<f64>) -> Result<Self> {
        let config = TokenizerConfig::from_json(config)?;
        let template = template.or_else(|| config.chat_template.clone());
        let template = template.map(|source| ChatTemplate::new(&source, &config, now.map(|now| now as i64)));
        let template = template.transpose()?;
        let tokenizer = Tokenizer::from_json(tokenizer, config)?;
        Ok(Self {
            with: With::Files(Box::new((tokenizer, template))),
        })
    }

    /// From a model.
    #[wasm_bindgen(js_name = fromSource)]
    pub fn from_source(source: &Source) -> Self {
        Self {
            with: With::Model(source.files().clone()),
        }
    }

    /// Token ids of a text, nothing added. Errors: a text that the tokenizer refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let (with, _) = self.preparation();
        let missing = || Error::config("tokenizer.json", "is missing");
        Ok(with.tokenizer.ok_or_else(missing)?.encode(text, false)?)
    }

    /// The first `limit` rows of a file, or all, with what a model would learn of them: the output of `data preview --json`, without
    /// its line breaks. `settings` is JSON of the settings of rows, by the keys of `train.toml`; with `skip-bad-rows`, rows
    /// that cannot be used are left out. Errors: settings out of range, the first row that cannot be used.
    pub fn preview(&self, name: &str, file: &[u8], settings: Option<String>, limit: Option<usize>) -> Result<String> {
        let settings = parse_settings(settings.as_deref())?.rows();
        let with = self.prepared_by(&settings)?;
        let (mut previews, limit) = (Vec::new(), limit.unwrap_or(usize::MAX));
        let mut enough = limit == 0;
        let read = Rows::new(file, name)?.for_each(&settings.reading()?, |place, row| {
            if enough {
                return Err(Error::data("the rest is not read"));
            }
            let at = place.row.unwrap_or(place.number());
            let preview = row.and_then(|row| Preview::of_row(name, at, &row, &with));
            match preview {
                Ok(preview) => previews.push(preview),
                Err(Error::Data { .. } | Error::Template { .. }) if with.skip_bad_rows => {}
                Err(error) => return Err(place.blame(error)),
            }
            enough = previews.len() >= limit;
            Ok(())
        });
        if !enough {
            read?;
        }
        Ok(serde_json::to_string(&previews)?)
    }

    /// What a file's rows come to with these settings, as JSON: `{rows, kept, examples, tokens, targets, longest, overlong, bad_rows,
    /// bad: [{place, why}]}`. `bad` are the first rows that cannot be used; with rows that are too long and `overlong` at its
    /// default, `error`, one of them speaks of these. Errors: settings out of range, a file that breaks off.
    pub fn count(&self, name: &str, file: &[u8], settings: Option<String>) -> Result<String> {
        let settings = parse_settings(settings.as_deref())?.rows();
        let given = self.prepared_by(&settings)?;
        // Whatever is wrong is told, not thrown.
        let with = Preparation {
            skip_bad_rows: true,
            overlong: match given.overlong {
                Overlong::Error => Overlong::Drop,
                other => other,
            },
            ..given
        };
        let mut intake = Intake::new(&with)?;
        let (mut bad, mut bad_rows) = (Vec::new(), 0u64);
        let mut sums = Sums::default();
        let mut refuse = |place: String, why: String| {
            bad_rows += 1;
            if bad.len() < LISTED {
                bad.push(json!({"place": place, "why": why}));
            }
        };
        Rows::new(file, name)?.for_each(&settings.reading()?, |place, row| {
            let row = row.and_then(|row| with.prepare(place, row));
            let mut why = row.as_ref().err().map(|error| match error {
                // The place is told beside it.
                Error::Data { why, .. } => why.clone(),
                other => other.to_string(),
            });
            sums.rows += 1;
            if let Ok(row) = &row {
                let tokens = row.example.ids.len();
                sums.longest = sums.longest.max(tokens);
                let too_long = tokens > with.max_length;
                sums.overlong += u64::from(too_long);
                if row.example.targets() == 0 {
                    why = Some("has no target: nothing in it is supervised".to_owned());
                } else if too_long && given.overlong == Overlong::Error {
                    why = Some(format!(
                        "has {tokens} tokens, more than {}: raise max-length, or set overlong",
                        with.max_length
                    ));
                }
            }
            if let Some(why) = why {
                refuse(format!("{name}:{}", place.number()), why);
            }
            let kept = intake.take(place, row)?;
            sums.kept += u64::from(!kept.is_empty());
            sums.examples += kept.len() as u64;
            for example in kept {
                sums.tokens += example.ids.len() as u64;
                sums.targets += example.targets() as u64;
            }
            Ok(())
        })?;
        Ok(json!({
            "rows": sums.rows,
            "kept": sums.kept,
            "examples": sums.examples,
            "tokens": sums.tokens,
            "targets": sums.targets,
            "longest": sums.longest,
            "overlong": sums.overlong,
            "bad_rows": bad_rows,
            "bad": bad,
        })
        .to_string())
    }
}

/// What rows come to.
#[derive(Default)]
struct Sums {
    rows: u64,
    kept: u64,
    examples: u64,
    tokens: u64,
    targets: u64,
    longest: usize,
    overlong: u64,
}

impl RowReader {
    /// What rows are tokenised with, and the most tokens that the model knows.
    fn preparation(&self) -> (Preparation<'_>, usize) {
        match &self.with {
            With::Files(files) => {
                let (tokenizer, template) = &**files;
                let with = Preparation {
                    tokenizer: Some(tokenizer),
                    template: template.as_ref(),
                    vocab_size: tokenizer.vocab_size(),
                    ..Preparation::default()
                };
                (with, usize::MAX)
            }
            With::Model(files) => (files.preparation(), files.config.max_position_embeddings),
        }
    }

    fn prepared_by(&self, settings: &RowSettings) -> Result<Preparation<'_>> {
        let (with, context) = self.preparation();
        Ok(settings.preparation(context, with)?)
    }
}
