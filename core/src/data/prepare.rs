//! Rows to tokenised examples, with everything that was left out counted.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::quality::Record;
use super::rows::{AlpacaStyle, Body, Place, Reading, Row, Segment, Shape, Source, alpaca_prompt};
use super::{ChatTemplate, ContentHash, Conversation, Example, IGNORE, Tokenizer, TrainOn};
use crate::{Error, Result};

/// Bad rows that a report lists.
const LISTED: usize = 10;

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
    /// Cut rows of the shape `text` into pieces, each beginning with the token that the one before ends with, so that every token is still
    /// learnt once; refuse other rows.
    Split,
}

impl FromStr for Overlong {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "error" => Self::Error,
            "drop" => Self::Drop,
            "truncate" => Self::Truncate,
            "split" => Self::Split,
            _ => {
                let why = format!("{name:?} is none of error, drop, truncate, split");
                return Err(Error::config("overlong", why));
            }
        })
    }
}

/// What rows are prepared with.
#[derive(Clone, Copy, Default)]
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
    /// Which tokens of conversations are supervised.
    pub train_on: TrainOn,
    /// How instructions become tokens; `None`: through the chat template where there is one, else as Stanford's text.
    pub alpaca_style: Option<AlpacaStyle>,
    /// Leave rows out that cannot be used, and count them, instead of refusing the file.
    pub skip_bad_rows: bool,
    /// Guess the task of rows that name none, see [`Record::guess_task`].
    pub guess_tasks: bool,
}

/// What was found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows in the file.
    pub rows: usize,
    /// Of those that can be used, how many there are of each shape.
    pub shapes: BTreeMap<Shape, usize>,
    /// Rows kept.
    pub kept: usize,
    /// Examples that they make: one a row, or the pieces of it.
    pub examples: usize,
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
    /// Rows that could not be used and were left out.
    pub bad: usize,
    /// The first of them: the line, and what is wrong with it.
    pub bad_rows: Vec<String>,
}

/// A row that has been tokenised.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Its shape.
    pub shape: Shape,
    /// The task it names, or the one that was guessed.
    pub task: Option<String>,
    /// Its tokens, however many.
    pub example: Example,
}

/// Decides which rows of a file are kept, and counts. Rows can be tokenised elsewhere, but come here in the file's order.
pub struct Intake<'a> {
    with: Preparation<'a>,
    report: Report,
    /// The first lines of rows that are too long and therefore refused.
    too_long: Vec<usize>,
    refused: usize,
}

impl<'a> Intake<'a> {
    /// For the rows of one file.
    ///
    /// # Errors
    /// [`Error::Config`] for a `max_length` below 2.
    pub fn new(with: &Preparation<'a>) -> Result<Self> {
        if with.max_length < 2 {
            return Err(Error::config(
                "max_length",
                "must be at least 2: a target needs a token before it",
            ));
        }
        Ok(Self {
            with: *with,
            report: Report::default(),
            too_long: Vec::new(),
            refused: 0,
        })
    }

    /// What is kept of the row at a place: nothing, one example or, where it is split, several.
    ///
    /// # Errors
    /// What is wrong with the row, with its place, unless bad rows are skipped; [`Error::Config`] always.
    pub fn take(&mut self, place: Place, row: Result<Prepared>) -> Result<Vec<Example>> {
        self.report.rows += 1;
        let no_target = || Error::data("has no target: nothing in it is supervised");
        let row = row.and_then(|row| match row.example.targets() {
            0 => Err(place.blame(no_target())),
            _ => Ok(row),
        });
        let row = match row {
            Ok(row) => row,
            Err(error @ (Error::Data { .. } | Error::Template { .. })) if self.with.skip_bad_rows => {
                self.report.bad += 1;
                if self.report.bad_rows.len() < LISTED {
                    self.report.bad_rows.push(error.to_string());
                }
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        *self.report.shapes.entry(row.shape).or_default() += 1;
        self.report.longest = self.report.longest.max(row.example.ids.len());
        let kept = self.fit(place, row);
        self.report.kept += usize::from(!kept.is_empty());
        self.report.examples += kept.len();
        for example in &kept {
            self.report.tokens += example.ids.len() as u64;
            self.report.targets += example.targets() as u64;
        }
        Ok(kept)
    }

    /// A row in no more tokens than it may have.
    fn fit(&mut self, place: Place, row: Prepared) -> Vec<Example> {
        let (mut example, most) = (row.example, self.with.max_length);
        if example.ids.len() <= most {
            return vec![example];
        }
        self.report.overlong += 1;
        match self.with.overlong {
            Overlong::Split if row.shape == Shape::Text => split(&example, most),
            Overlong::Error | Overlong::Split => {
                self.refused += 1;
                if self.too_long.len() < 5 {
                    self.too_long.push(place.number());
                }
                Vec::new()
            }
            Overlong::Drop => Vec::new(),
            Overlong::Truncate => {
                example.ids.truncate(most);
                example.labels.truncate(most);
                if example.targets() > 0 {
                    return vec![example];
                }
                self.report.truncated_to_nothing += 1;
                Vec::new()
            }
        }
    }

    /// What was found, once every row has been taken.
    ///
    /// # Errors
    /// [`Error::Data`] for a file without rows, with rows that are too long (under [`Overlong::Error`]), or without any kept.
    pub fn finish(self) -> Result<Report> {
        let Report { rows, longest, bad, .. } = self.report;
        if rows == 0 {
            return Err(Error::data("there are no rows"));
        }
        if self.refused > 0 {
            let lines: Vec<_> = self.too_long.iter().map(usize::to_string).collect();
            let more = if self.refused > lines.len() { ", ..." } else { "" };
            let text = match self.report.shapes.contains_key(&Shape::Text) {
                true => "drop, truncate or split",
                false => "drop or truncate",
            };
            return Err(Error::data(format!(
                "{} of {rows} rows have more than {} tokens, the longest {longest}: lines {}{more}; raise max_length or set overlong to {text}",
                self.refused,
                self.with.max_length,
                lines.join(", "),
            )));
        }
        if let (0, Some(first)) = (rows - bad, self.report.bad_rows.first()) {
            return Err(Error::data(format!(
                "none of the {rows} rows can be used; the first: {first}"
            )));
        }
        if self.report.examples == 0 {
            return Err(Error::data(format!(
                "none of the {rows} rows is left: the longest has {longest} tokens, max_length is {}",
                self.with.max_length
            )));
        }
        Ok(self.report)
    }
}

/// The examples of a file, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The rows that were kept, in the file's order.
    pub examples: Vec<Example>,
    /// The line that the row of each example begins on, from 1.
    pub lines: Vec<usize>,
    /// The task that the row of each example names, or that was guessed.
    pub tasks: Vec<Option<String>>,
    /// What was found.
    pub report: Report,
}

impl Dataset {
    /// Tokenise a file of rows in memory, whose columns are named as fields are.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn prepare(bytes: &[u8], with: &Preparation) -> Result<Self> {
        Self::read(Source::new(bytes, "")?, &Reading::default(), with)
    }

    /// Tokenise a file of rows.
    ///
    /// # Errors
    /// [`Error::Data`] with the line of a row that cannot be used: bad JSON, another shape, an id past the vocabulary, no target, too
    /// long (under [`Overlong::Error`], with how many there are); and for a file without rows, or without any kept.
    /// [`Error::Template`] for a template that fails on a row, naming it. [`Error::Config`] when a tokenizer, template or terminator that
    /// the rows need is missing, or `max_length` is below 2.
    pub fn read(source: Source, reading: &Reading, with: &Preparation) -> Result<Self> {
        let mut dataset = Self::default();
        let mut intake = Intake::new(with)?;
        source.for_each(reading, |place, row| {
            let prepared = row.and_then(|row| with.prepare(place, row));
            let task = prepared.as_ref().ok().and_then(|row| row.task.clone());
            for example in intake.take(place, prepared)? {
                dataset.examples.push(example);
                dataset.lines.push(place.number());
                dataset.tasks.push(task.clone());
            }
            Ok(())
        })?;
        dataset.report = intake.finish()?;
        Ok(dataset)
    }

    /// The [`ContentHash`] of every example in order.
    pub fn content_hash(&self) -> String {
        let mut hash = ContentHash::default();
        self.examples.iter().for_each(|example| hash.add(example));
        hash.hex()
    }
}

impl Preparation<'_> {
    /// Tokenise one row, whatever its length.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn prepare(&self, place: Place, row: Row) -> Result<Prepared> {
        let example = self.example(&row.body).map_err(|e| place.blame(e))?;
        let named = row.task.as_ref().is_some_and(|task| !task.trim().is_empty());
        let task = match self.guess_tasks && !named {
            true => Some(Record::from(&row).guess_task().0.name().to_owned()),
            false => row.task,
        };
        Ok(Prepared {
            shape: row.shape,
            task,
            example,
        })
    }

    /// The tokens and labels of what a row holds, whatever its length.
    ///
    /// # Errors
    /// As [`Dataset::read`], without the place.
    pub fn example(&self, body: &Body) -> Result<Example> {
        let example = self.tokenise(body)?;
        let bos = self.tokenizer.and_then(Tokenizer::bos);
        match body {
            // Ids are taken as they are.
            Body::Tokens { .. } => Ok(example),
            _ if example.has_double_bos(bos) => Err(Error::data(
                "begins with two BOS tokens: one stands in its text (or in the chat template) beside the one that generation will see",
            )),
            _ => Ok(example),
        }
    }

    /// As [`example`](Self::example), but with two BOS where there are two: what checks look at, to say so.
    ///
    /// # Errors
    /// As [`Dataset::read`], without the place.
    pub fn tokenise(&self, body: &Body) -> Result<Example> {
        let example = match body {
            Body::Tokens { ids, labels } => Example {
                ids: ids.clone(),
                labels: labels.clone(),
            },
            Body::Text { prompt, completion } => text_example(self.tokenizer()?, prompt, completion)?,
            Body::Plain(text) => plain_example(self.tokenizer()?, text)?,
            Body::Segments(segments) => segments_example(self.tokenizer()?, segments)?,
            Body::Chat(conversation) => self.chat(conversation)?,
            Body::Instruction {
                instruction,
                context,
                response,
                system,
                history,
            } => match body.conversation() {
                Some(conversation) if self.alpaca_style() == AlpacaStyle::AlpacaChat => self.chat(&conversation)?,
                _ if system.is_some() || !history.is_empty() => {
                    let why = "has \"system\" or \"history\", which Stanford's text has no place for: set alpaca_style to alpaca-chat";
                    return Err(Error::data(why));
                }
                _ => text_example(self.tokenizer()?, &alpaca_prompt(instruction, context), response)?,
            },
        };
        self.check(&example)?;
        Ok(example)
    }

    /// How instructions become tokens here.
    pub fn alpaca_style(&self) -> AlpacaStyle {
        self.alpaca_style.unwrap_or(match self.template {
            Some(_) => AlpacaStyle::AlpacaChat,
            None => AlpacaStyle::Alpaca,
        })
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        let missing = || {
            Error::config(
                "tokenizer.json",
                "is missing: without it only input_ids can be trained on",
            )
        };
        self.tokenizer.ok_or_else(missing)
    }

    fn chat(&self, conversation: &Conversation) -> Result<Example> {
        let tokenizer = self.tokenizer()?;
        let missing = || Error::config("chat_template", "is missing: without it messages cannot be rendered");
        conversation.tokenise(self.template.ok_or_else(missing)?, tokenizer, self.train_on)
    }

    /// Refuse ids and labels that the model does not know.
    fn check(&self, example: &Example) -> Result<()> {
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
        Ok(())
    }
}

/// Prompt and completion, encoded apart so that training sees the prefix that generation will see; the completion ends with EOS.
fn text_example(tokenizer: &Tokenizer, prompt: &str, completion: &str) -> Result<Example> {
    let mut ids = tokenizer.encode(prompt, true)?;
    let prompt_length = ids.len();
    ids.extend(tokenizer.encode_continuation(completion)?);
    end(tokenizer, &mut ids, prompt_length)?;
    let labels = (0..)
        .zip(&ids)
        .map(|(at, &id)| if at < prompt_length { IGNORE } else { id as i32 })
        .collect();
    Ok(Example { ids, labels })
}

/// Every token of a text, framed by BOS (where the tokenizer adds it) and EOS, supervised.
fn plain_example(tokenizer: &Tokenizer, text: &str) -> Result<Example> {
    let mut ids = tokenizer.encode(text, true)?;
    end(tokenizer, &mut ids, 0)?;
    let labels = ids.iter().map(|&id| id as i32).collect();
    Ok(Example { ids, labels })
}

/// Pieces of text, encoded apart so that each token is of one piece. Nothing is added but BOS, where the tokenizer adds it.
fn segments_example(tokenizer: &Tokenizer, segments: &[Segment]) -> Result<Example> {
    let mut example = Example::default();
    for (i, segment) in segments.iter().enumerate() {
        let ids = match i {
            0 => tokenizer.encode(&segment.text, true)?,
            _ => tokenizer.encode_continuation(&segment.text)?,
        };
        let label = |id: &u32| if segment.label { *id as i32 } else { IGNORE };
        example.labels.extend(ids.iter().map(label));
        example.ids.extend(ids);
    }
    Ok(example)
}

/// End with EOS what begins at `start`, unless it does.
fn end(tokenizer: &Tokenizer, ids: &mut Vec<u32>, start: usize) -> Result<()> {
    let Some(eos) = tokenizer.eos() else {
        return Err(Error::config("eos_token", "is missing: a text could not be ended"));
    };
    if ids.len() == start || ids.last() != Some(&eos) {
        ids.push(eos);
    }
    Ok(())
}

/// Pieces of at most `most` tokens that share a token where they meet: there it is the last target of one and the context of the next.
fn split(example: &Example, most: usize) -> Vec<Example> {
    let starts = (0..example.ids.len() - 1).step_by(most - 1);
    let piece = |start: usize| {
        let end = (start + most).min(example.ids.len());
        Example {
            ids: example.ids[start..end].to_vec(),
            labels: example.labels[start..end].to_vec(),
        }
    };
    starts.map(piece).collect()
}
