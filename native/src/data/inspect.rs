//! Files of rows through the library's checks, as many rows side by side as there are cores.

use anyhow::{Context, Result};
use wgpu_sft::data::quality::{CheckOptions, Checked, Checker, Look};
use wgpu_sft::data::{Preparation, Reading};

use crate::model_files::ModelFiles;
use crate::progress::Progress;
use crate::rows::on_every_core;

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
        let terminators = self
            .model
            .map(|model| model.terminators())
            .transpose()?
            .unwrap_or_default();
        let look = Look {
            preparation: self.preparation,
            terminators: &terminators,
            options: CheckOptions {
                max_length: self.max_length,
            },
        };
        let mut checker = Checker::new(look.options.clone());
        let held_out = self.held_out.iter().map(|file| (file, true));
        for (file, held_out) in held_out.chain(self.files.iter().map(|file| (file, false))) {
            let source = checker.source(file, held_out)?;
            let at = |_, row| look.at(row);
            let read = on_every_core(file, &self.reading, &progress, at, |place, found| {
                checker.take(source, super::number(place), found)
            });
            read.with_context(|| file.clone())?;
        }
        Ok(checker.finish())
    }
}
