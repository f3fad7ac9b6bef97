//! A file of rows to tokenised examples, with everything that was left out counted.

use serde::{Deserialize, Serialize};

use super::rows::{Body, Reading, Row, for_each_row};
use super::{ChatTemplate, Example, IGNORE, Tokenizer};
use crate::{Error, Result};

/// What happens to rows of more than `max_length` tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// Refuse the file, saying how many there are.
    #[default]
    Error,
    /// Leave them out and count them.
    Drop,
    /// Keep their start, as it is: no terminator is invented. A row left without a target is dropped and counted.
    Truncate,
}

/// What rows are prepared with.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// Needed unless rows are `input_ids`.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Needed for rows of messages.
    pub template: Option<&'a ChatTemplate>,
    /// The model's vocabulary: every id and label must be below it.
    pub vocab_size: usize,
    /// The most tokens a row may have.
    pub max_length: usize,
    /// What happens to longer rows.
    pub overlong: Overlong,
}

/// What was found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows in the file.
    pub rows: usize,
    /// Tokens of the examples kept.
    pub tokens: u64,
    /// Supervised targets of the examples kept, after the shift.
    pub targets: u64,
    /// Tokens of the longest row of the file, before truncation.
    pub longest: usize,
    /// Rows of more than `max_length` tokens.
    pub overlong: usize,
    /// Of those, rows that truncation left without a target, and so were dropped.
    pub truncated_to_nothing: usize,
}

/// The examples of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The rows that were kept, in the file's order.
    pub examples: Vec<Example>,
    /// The line (in a JSON array: the row) of each example, from 1.
    pub lines: Vec<usize>,
    /// What was found.
    pub report: Report,
}

impl Dataset {
    /// Tokenise a file of rows.
    ///
    /// # Errors
    /// [`Error::Data`] with the line of a row that cannot be used: bad JSON, another shape, an id past the vocabulary, no target, too
    /// long (under [`Overlong::Error`], with how many there are); and for a file without rows, or without any kept.
    /// [`Error::Template`] for a template that fails on a row, naming it. [`Error::Config`] when a tokenizer, template or terminator that
    /// the rows need is missing, or `max_length` is below 2.
    pub fn prepare(bytes: &[u8], with: &Preparation) -> Result<Self> {
        if with.max_length < 2 {
            return Err(Error::config(
                "max_length",
                "must be at least 2: a target needs a token before it",
            ));
        }
        let mut dataset = Self::default();
        let mut too_long = Vec::new();
        for_each_row(bytes, &Reading::default(), |line, row| {
            let mut example = with.example(row?).map_err(|e| in_row(e, line))?;
            let length = example.ids.len();
            dataset.report.rows += 1;
            dataset.report.longest = dataset.report.longest.max(length);
            if example.targets() == 0 {
                return Err(Error::data("has no target: nothing in it is supervised"));
            }
            if length > with.max_length {
                dataset.report.overlong += 1;
                match with.overlong {
                    Overlong::Error => {
                        if too_long.len() < 5 {
                            too_long.push(line);
                        }
                        return Ok(());
                    }
                    Overlong::Drop => return Ok(()),
                    Overlong::Truncate => {
                        example.ids.truncate(with.max_length);
                        example.labels.truncate(with.max_length);
                        if example.targets() == 0 {
                            dataset.report.truncated_to_nothing += 1;
                            return Ok(());
                        }
                    }
                }
            }
            dataset.report.tokens += example.ids.len() as u64;
            dataset.report.targets += example.targets() as u64;
            dataset.examples.push(example);
            dataset.lines.push(line);
            Ok(())
        })?;
        dataset.refuse(with, &too_long)?;
        Ok(dataset)
    }

    fn refuse(&self, with: &Preparation, too_long: &[usize]) -> Result<()> {
        let Report {
            rows,
            longest,
            overlong,
            ..
        } = self.report;
        if rows == 0 {
            return Err(Error::data("there are no rows"));
        }
        if !too_long.is_empty() {
            let lines: Vec<_> = too_long.iter().map(usize::to_string).collect();
            let more = if overlong > too_long.len() { ", ..." } else { "" };
            return Err(Error::data(format!(
                "{overlong} of {rows} rows have more than {} tokens, the longest {longest}: lines {}{more}; raise max_length or set overlong to drop or truncate",
                with.max_length,
                lines.join(", "),
            )));
        }
        if self.examples.is_empty() {
            return Err(Error::data(format!(
                "none of the {rows} rows is left: the longest has {longest} tokens, max_length is {}",
                with.max_length
            )));
        }
        Ok(())
    }

    /// A BLAKE3 hash, in hexadecimal, of every example's ids and labels in order: what a checkpoint knows its data by.
    pub fn content_hash(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for example in &self.examples {
            hash.update(&(example.ids.len() as u64).to_le_bytes());
            hash.update(&example.ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
            hash.update(
                &example
                    .labels
                    .iter()
                    .flat_map(|label| label.to_le_bytes())
                    .collect::<Vec<u8>>(),
            );
        }
        hash.finalize().to_hex().to_string()
    }
}

impl Preparation<'_> {
    /// Tokenise one row, whatever its length.
    ///
    /// # Errors
    /// As [`Dataset::prepare`], without the line.
    pub fn example(&self, row: Row) -> Result<Example> {
        let no_tokenizer = || {
            Error::config(
                "tokenizer.json",
                "is missing: without it only input_ids can be trained on",
            )
        };
        let example = match row.body {
            Body::Tokens { ids, labels } => Example { ids, labels },
            Body::Text { prompt, completion } => {
                text_example(self.tokenizer.ok_or_else(no_tokenizer)?, &prompt, &completion)?
            }
            Body::Chat(conversation) => {
                let tokenizer = self.tokenizer.ok_or_else(no_tokenizer)?;
                let no_template =
                    || Error::config("chat_template", "is missing: without it messages cannot be rendered");
                conversation.example(self.template.ok_or_else(no_template)?, tokenizer)?
            }
            _ => return Err(Error::data("cannot be trained on yet")),
        };
        if let Some(id) = example.ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(Error::data(format!(
                "token id {id} is past the model's vocabulary of {}",
                self.vocab_size
            )));
        }
        let fits = |label: i32| label == IGNORE || usize::try_from(label).is_ok_and(|label| label < self.vocab_size);
        if let Some(label) = example.labels.iter().find(|&&label| !fits(label)) {
            let why = format!(
                "label {label} is neither {IGNORE} nor in the model's vocabulary of {}",
                self.vocab_size
            );
            return Err(Error::data(why));
        }
        Ok(example)
    }
}

/// Prompt and completion, encoded apart so that training sees the prefix that generation will see; the completion ends with EOS.
fn text_example(tokenizer: &Tokenizer, prompt: &str, completion: &str) -> Result<Example> {
    let Some(eos) = tokenizer.eos() else {
        return Err(Error::config(
            "eos_token",
            "is missing: a completion could not be ended",
        ));
    };
    let mut ids = tokenizer.encode(prompt, true)?;
    let prompt_length = ids.len();
    ids.extend(tokenizer.encode_continuation(completion)?);
    if ids.len() == prompt_length || ids.last() != Some(&eos) {
        ids.push(eos);
    }
    let labels = (0..)
        .zip(&ids)
        .map(|(at, &id)| if at < prompt_length { IGNORE } else { id as i32 })
        .collect();
    Ok(Example { ids, labels })
}

/// An error of a row, with the row in it.
fn in_row(error: Error, line: usize) -> Error {
    match error {
        Error::Template { why } => Error::template(format!("line {line} of the data: {why}")),
        other => other.at_line(line),
    }
}
