//! Suites of files, read and run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use pollster::block_on;
use wgpu_sft::data::{Reading, RowSettings};
use wgpu_sft::eval::{Examiner, Item, Measure, Prepared, Suite, SuiteFile, SuiteResult};
use wgpu_sft::model::Model;

use crate::model_files::ModelFiles;
use crate::progress::Progress;
use crate::rows::for_each_text;
use crate::{interrupt, pipeline_cache};

/// What is evaluated on.
#[derive(Args, Clone, Default)]
#[command(group = ArgGroup::new("evaluated").args(["data", "suite"]).required(true))]
pub struct SuiteArgs {
    /// Files of rows: JSONL, JSON, CSV or Parquet, plain or gzip; -: standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<String>,

    /// Suite files (TOML): rows, measures, how answers are drawn
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "measure")]
    pub suite: Vec<PathBuf>,

    /// Only the suites of these names
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "suite")]
    pub only: Vec<String>,

    /// What to measure on the rows of --data: loss, perplexity, token_accuracy, exact_match, f1, rouge1, rouge2, rougeL,
    /// rougeLsum, bleu, chrf, chrf++, accuracy, macro_f1, acc, acc_norm, acc_bytes, consistency (agreement, worst_case) or
    /// ifeval; `eval` without it tells loss, perplexity and token accuracy
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub measure: Vec<String>,

    /// Only so many of the first rows of each suite
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// Most tokens of an answer, whatever the suites say [default: 128]
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<u32>,
}

impl SuiteArgs {
    /// Whether there is more to do than losses over rows.
    pub fn are_asked_for(&self) -> bool {
        !self.suite.is_empty() || !self.measure.is_empty()
    }

    /// The suites, each with its file of rows.
    fn suites(&self) -> Result<Vec<(Suite, PathBuf)>> {
        let mut all: Vec<(Suite, PathBuf)> = Vec::new();
        for file in &self.suite {
            let named = || file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(named)?;
            for suite in SuiteFile::from_toml(&text).with_context(named)?.suite {
                if all.iter().any(|(other, _)| other.name == suite.name) {
                    bail!("{}: a suite {:?} is in another file too", named(), suite.name);
                }
                let path = file.parent().unwrap_or(Path::new("")).join(&suite.data);
                all.push((suite, path));
            }
        }
        if let Some(name) = self
            .only
            .iter()
            .find(|name| all.iter().all(|(suite, _)| suite.name != **name))
        {
            let names: Vec<_> = all.iter().map(|(suite, _)| suite.name.as_str()).collect();
            bail!("only: no suite is called {name:?}; there are {}", names.join(", "));
        }
        all.retain(|(suite, _)| self.only.is_empty() || self.only.contains(&suite.name));
        let measures: Vec<Vec<Measure>> = self
            .measure
            .iter()
            .map(|name| Measure::named(name))
            .collect::<Result<_, _>>()?;
        for file in self.data.iter().filter(|_| !measures.is_empty()) {
            let name = Path::new(file)
                .file_stem()
                .map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into());
            let mut measures = measures.concat();
            let mut seen = Vec::new();
            measures.retain(|measure| {
                !seen.contains(measure) && {
                    seen.push(*measure);
                    true
                }
            });
            if all.iter().any(|(other, _)| other.name == name) {
                bail!("data: {name} is there twice");
            }
            all.push((Suite::new(name, file.clone(), measures), file.into()));
        }
        for (suite, _) in &mut all {
            suite.limit = self.limit.or(suite.limit);
            suite.max_new_tokens = self.max_new_tokens.unwrap_or(suite.max_new_tokens);
            suite.validate()?;
        }
        Ok(all)
    }
}

/// Suites whose items are tokenised for a model.
pub struct Suites {
    /// The suites.
    pub prepared: Vec<Prepared>,
}

impl Suites {
    /// Read suites and their rows.
    pub fn read(args: &SuiteArgs, source: &ModelFiles, rows: &RowSettings) -> Result<Self> {
        let with = rows.preparation(source.config.max_position_embeddings, source.preparation())?;
        let mut prepared = Vec::new();
        for (suite, path) in args.suites()? {
            let columns = match &suite.columns {
                Some(columns) => columns.parse().with_context(|| format!("suite {:?}", suite.name))?,
                None => rows.reading()?.columns,
            };
            let reading = Reading {
                columns,
                shape: rows.reading()?.shape,
            };
            let named = || path.display().to_string();
            let items = items(&path, &reading, &suite).with_context(named)?;
            let context = source.config.max_position_embeddings;
            prepared.push(Prepared::new(suite, items, &with, context).with_context(named)?);
        }
        Ok(Self { prepared })
    }

    /// What a model does on them; `None` when that was interrupted.
    pub fn run(&self, model: &Model, source: &ModelFiles, quiet: bool) -> Result<Option<Vec<SuiteResult>>> {
        let mut examiner = block_on(Examiner::new(model, &self.prepared))?;
        pipeline_cache::write(model.gpu());
        self.examine(&mut examiner, source, quiet)
    }

    /// What the model that `examiner` was made for does on them; `None` when that was interrupted.
    pub fn examine(
        &self,
        examiner: &mut Examiner,
        source: &ModelFiles,
        quiet: bool,
    ) -> Result<Option<Vec<SuiteResult>>> {
        let terminators = source.terminators()?;
        let mut results = Vec::new();
        for prepared in &self.prepared {
            let progress = Progress::items(quiet, prepared.passes(), &prepared.suite.name);
            let done = block_on(examiner.run(prepared, source.tokenizer.as_ref(), &terminators, || {
                progress.advance(1, None);
                !interrupt::asked()
            }));
            progress.finish();
            match done.with_context(|| format!("suite {:?}", prepared.suite.name))? {
                Some(result) => results.push(result),
                None => return Ok(None),
            }
        }
        Ok(Some(results))
    }
}

/// The items of a file.
fn items(path: &Path, reading: &Reading, suite: &Suite) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let progress = Progress::bytes(true, 0, "reading");
    let most = suite.limit.unwrap_or(usize::MAX);
    for_each_text(&path.to_string_lossy(), reading, &progress, |place, text| {
        if items.len() == most {
            return Ok(());
        }
        items.push(Item::from_text(place, text, reading, suite)?);
        Ok(())
    })?;
    Ok(items)
}
