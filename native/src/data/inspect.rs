//! Files of rows through the library's checks, as many rows side by side as there are cores.

use std::num::NonZero;
use std::thread;

use anyhow::{Context, Result};
use wgpu_sft::Error;
use wgpu_sft::data::quality::{CheckOptions, Checked, Checker, Code, Record, RowFacts, TokenFacts};
use wgpu_sft::data::{Body, Preparation, Reading, Row};

use crate::model_files::ModelFiles;
use crate::progress::Progress;
use crate::rows::for_each_row;

/// Rows looked at before they are compared: enough to keep all cores busy, few enough to hold.
const BATCH: usize = 2048;

/// What is checked.
pub struct Inspection<'a> {
    /// Files to train on.
    pub files: &'a [String],
    /// Files that are held out.
    pub held_out: &'a [String],
    /// How rows are recognised.
    pub reading: Reading,
    /// Whose tokenizer and template prepare the rows.
    pub model: Option<&'a ModelFiles>,
    /// How.
    pub preparation: Option<Preparation<'a>>,
    /// Most tokens of a row (words without a model).
    pub max_length: Option<usize>,
    /// Whether to show nothing.
    pub quiet: bool,
}

impl Inspection<'_> {
    /// Check all rows, the held-out files first.
    pub fn run(&self) -> Result<Checked> {
        let total = self
            .files
            .iter()
            .chain(self.held_out)
            .map(|file| super::size(file))
            .sum();
        let progress = Progress::bytes(self.quiet, total, "checking");
        let terminators = self.model.map(ModelFiles::terminators).transpose()?.unwrap_or_default();
        let mut checker = Checker::new(CheckOptions {
            max_length: self.max_length,
        });
        let held_out = self.held_out.iter().map(|file| (file, true));
        for (file, held_out) in held_out.chain(self.files.iter().map(|file| (file, false))) {
            let source = checker.source(file, held_out)?;
            let mut batch = Batch {
                checker: &mut checker,
                source,
                rows: Vec::with_capacity(BATCH),
                preparation: self.preparation,
                terminators: &terminators,
            };
            let read = for_each_row(file, &self.reading, &progress, |place, row| {
                batch.push(super::number(place), row)
            });
            read.and_then(|()| Ok(batch.finish()?)).with_context(|| file.clone())?;
        }
        Ok(checker.finish())
    }
}

/// Rows that are looked at together.
struct Batch<'a> {
    checker: &'a mut Checker,
    source: usize,
    rows: Vec<(usize, Result<Row, Error>)>,
    preparation: Option<Preparation<'a>>,
    terminators: &'a [u32],
}

/// What a row is: facts, or why it is of no use.
type Looked = (usize, Result<RowFacts, (Code, String)>);

impl Batch<'_> {
    fn push(&mut self, line: usize, row: Result<Row, Error>) -> Result<(), Error> {
        self.rows.push((line, row));
        if self.rows.len() >= BATCH {
            self.finish()
        } else {
            Ok(())
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = rows.len().div_ceil(threads).max(1);
        let mut rows = rows.into_iter();
        let chunks: Vec<Vec<_>> = (0..threads).map(|_| rows.by_ref().take(share).collect()).collect();
        let (this, options) = (&*self, self.checker.options());
        let looked: Vec<Vec<Looked>> = thread::scope(|scope| {
            let look = |chunk: Vec<(usize, Result<Row, Error>)>| -> Vec<Looked> {
                chunk
                    .into_iter()
                    .map(|(line, row)| (line, this.look(row, options)))
                    .collect()
            };
            let threads: Vec<_> = chunks
                .into_iter()
                .map(|chunk| scope.spawn(move || look(chunk)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (line, facts) in looked.into_iter().flatten() {
            match facts {
                Ok(facts) => self.checker.add(self.source, line, facts)?,
                Err((code, why)) => self.checker.reject(self.source, line, code, &why)?,
            }
        }
        Ok(())
    }

    fn look(&self, row: Result<Row, Error>, options: &CheckOptions) -> Result<RowFacts, (Code, String)> {
        let row = row.map_err(|error| (Code::Unreadable, without_line(error)))?;
        let record = Record::from(&row);
        let tokens = match (&self.preparation, &row.body) {
            (Some(preparation), _) => Some(
                self.tokens(preparation, &row)
                    .map_err(|error| (Code::Unpreparable, without_line(error)))?,
            ),
            (None, Body::Tokens { ids, labels }) => {
                let example = wgpu_sft::data::Example {
                    ids: ids.clone(),
                    labels: labels.clone(),
                };
                Some(TokenFacts::of(&example, None, &[], |_| false))
            }
            (None, _) => None,
        };
        Ok(RowFacts::of(&record, tokens, options))
    }

    fn tokens(&self, preparation: &Preparation, row: &Row) -> Result<TokenFacts, Error> {
        let example = preparation.example(&row.body)?;
        let tokenizer = preparation.tokenizer;
        let blank = |id| {
            let text = tokenizer.and_then(|tokenizer| tokenizer.decode(&[id], false).ok());
            text.is_some_and(|text| text.trim().is_empty())
        };
        let bos = tokenizer.and_then(|tokenizer| tokenizer.bos());
        Ok(TokenFacts::of(&example, bos, self.terminators, blank))
    }
}

/// An error without the line that is shown beside it.
fn without_line(error: Error) -> String {
    match error {
        Error::Data { why, .. } => why,
        other => other.to_string(),
    }
}
