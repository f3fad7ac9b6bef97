//! `data`: looking at rows before a model learns from them.

mod args;
mod check;
mod clean;
mod inspect;
mod preview;
mod report;
mod split;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wgpu_sft::Error;
use wgpu_sft::data::quality::{Checked, RowVerdict};
use wgpu_sft::data::{Place, Reading};

use crate::Outcome;
use crate::model_files::ModelFiles;
use crate::progress::{Progress, line};
use crate::rows::for_each_text;

pub use args::DataCommand;
use args::FilesArgs;

/// Run one of the commands.
pub fn run(command: DataCommand) -> Result<Outcome> {
    match command {
        DataCommand::Check(args) => check::run(args),
        DataCommand::Preview(args) => preview::run(args),
        DataCommand::Clean(args) => clean::run(args),
        DataCommand::Split(args) => split::run(args),
    }
}

/// How a command's flags say that rows are recognised.
fn reading(args: &FilesArgs) -> Result<Reading> {
    Ok(Reading {
        columns: args.columns.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        shape: args.shape.as_deref().map(str::parse).transpose()?,
    })
}

/// Say so where the model's template teaches what others keep for the prompt.
fn note_headers(model: Option<&ModelFiles>) -> Result<()> {
    match model.and_then(|model| model.template.as_ref()) {
        Some(template) if template.learns_headers() => line(
            "note: this chat template has the header of the assistant's turns, or its end, in its generation blocks: it is learnt too, as \
             in transformers\n",
        ),
        _ => Ok(()),
    }
}

/// Refuse what would be read twice, from where that cannot be.
fn refuse_standard_input(files: &[String]) -> Result<()> {
    if files.iter().any(|file| file == "-") {
        bail!("-: standard input cannot be read twice; write it to a file first");
    }
    Ok(())
}

/// A file that is written beside its name and put in place when it is whole.
struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    /// Begin to write. Refuses a file that exists unless told to overwrite it, and one that is read from, always.
    fn create(path: &Path, inputs: &[String], overwrite: bool) -> Result<Self> {
        let name = || path.display().to_string();
        if let Ok(target) = path.canonicalize() {
            let same = |input: &String| Path::new(input).canonicalize().is_ok_and(|input| input == target);
            if inputs.iter().any(same) {
                bail!("{}: is read from; rows are never changed in place", name());
            }
            if !overwrite {
                bail!("{}: exists already; --overwrite replaces it", name());
            }
        }
        let temporary = path.with_added_extension("tmp");
        let file = File::create(&temporary).with_context(name)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::new(file),
        })
    }

    /// Write a line.
    fn line(&mut self, text: &[u8]) -> Result<()> {
        let written = self.file.write_all(text).and_then(|()| self.file.write_all(b"\n"));
        written.with_context(|| self.path.display().to_string())
    }

    /// Put the file in place.
    fn finish(mut self) -> Result<()> {
        let mut finish = || {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.temporary, &self.path)
        };
        let done: std::io::Result<()> = finish();
        done.with_context(|| self.path.display().to_string())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Where it was put in place, there is nothing left to remove.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// A file's bytes; 0 where nobody knows.
fn size(file: &str) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// The number that a row is known by in its file: its line, or its own where several are on one.
fn number(place: Place) -> usize {
    place.row.unwrap_or(place.number())
}

/// Read files again whose rows were checked: `write` gets each row's number, file, line and text.
fn reread(
    files: &[String],
    reading: &Reading,
    checked: &Checked,
    mut write: impl FnMut(usize, &str, usize, &[u8]) -> Result<()>,
) -> Result<()> {
    const CHANGED: &str = "the file has changed since it was checked";
    // Held-out rows came first; the others follow in the order of the files.
    let held_out = |row: &&RowVerdict| checked.report.sources[row.source].held_out;
    let mut row = checked.rows.iter().take_while(held_out).count();
    let progress = Progress::bytes(false, files.iter().map(|file| size(file)).sum(), "writing");
    for name in files {
        let mut failed = None;
        let read = for_each_text(name, reading, &progress, |place, text| {
            let line = number(place);
            let known = checked.rows.get(row).is_some_and(|verdict| verdict.line == line);
            let written = if known {
                write(row, name, line, text)
            } else {
                Err(anyhow!(CHANGED))
            };
            row += 1;
            written.map_err(|error| {
                failed = Some(error);
                Error::data("stopped")
            })
        });
        match failed {
            Some(error) => return Err(error.context(name.clone())),
            None => read.with_context(|| name.clone())?,
        }
    }
    if row == checked.rows.len() {
        Ok(())
    } else {
        bail!(CHANGED)
    }
}
