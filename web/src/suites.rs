//! Suites: what a model is asked, and what it did.

use js_sys::Function;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::data::{Reading, Source as Rows};
use wgpu_sft::eval::{Examiner, Item, Prepared, Suite, SuiteFile, SuiteResult};
use wgpu_sft::formats::ModelFiles;

use crate::error::{Result, Within};
use crate::io::RowFile;
use crate::model::Model;
use crate::parse_settings;
use crate::source::Source;
use wgpu_sft::data::RowSettings;

/// Suites whose items are tokenised for a model.
#[wasm_bindgen]
pub struct Suites {
    prepared: Vec<Prepared>,
}

#[wasm_bindgen]
impl Suites {
    /// Read suites: a suite file's TOML, and the files of rows by the names that it uses. `settings` is JSON of the settings of rows,
    /// by the keys of `train.toml`. Errors: a suite, or a row of it, that cannot be used.
    #[wasm_bindgen(constructor)]
    pub fn new(source: &Source, toml: &str, files: Vec<RowFile>, settings: Option<String>) -> Result<Suites> {
        let settings = parse_settings(settings.as_deref())?.rows();
        Ok(Self {
            prepared: prepare(source.files(), toml, &files, &settings)?,
        })
    }

    /// JSON, a list of `{name, items, measures, forgetting}`.
    #[wasm_bindgen(getter)]
    pub fn about(&self) -> String {
        let about = |prepared: &Prepared| {
            json!({
                "name": prepared.suite.name,
                "items": prepared.items().len(),
                "measures": prepared.suite.measure,
                "forgetting": prepared.suite.forgetting,
            })
        };
        let all: Vec<_> = self.prepared.iter().map(about).collect();
        json!(all).to_string()
    }

    /// What a model does on them: JSON of the results that `eval --output` writes, or nothing where `on_progress` said `false`. It is
    /// told of every item that is done, by its suite. Errors: a device that fails or is out of memory, what `on_progress` throws.
    pub async fn run(
        &self,
        model: &Model,
        source: &Source,
        #[wasm_bindgen(unchecked_param_type = "(suite: string, done: number, total: number) => boolean")]
        on_progress: Function,
    ) -> Result<Option<String>> {
        let model = model.get()?;
        let mut examiner = Examiner::new(&model, &self.prepared).await?;
        let told = |suite: &str, done: u64, total: u64| {
            let going_on = on_progress.call3(
                &JsValue::NULL,
                &suite.into(),
                &(done as f64).into(),
                &(total as f64).into(),
            )?;
            Ok(going_on != JsValue::FALSE)
        };
        let results = examine(&self.prepared, &mut examiner, source.files(), told).await?;
        let results = results.map(|results| serde_json::to_string(&results));
        Ok(results.transpose()?)
    }
}

/// Suites of a suite file's TOML and its files of rows.
pub(crate) fn prepare(
    model: &ModelFiles,
    toml: &str,
    files: &[RowFile],
    settings: &RowSettings,
) -> Result<Vec<Prepared>> {
    let context = model.config.max_position_embeddings;
    let with = settings.preparation(context, model.preparation())?;
    let mut all = Vec::new();
    for suite in SuiteFile::from_toml(toml)?.suite {
        let named = format!("suite {:?}", suite.name);
        let mut reading = settings.reading()?;
        if let Some(columns) = &suite.columns {
            reading.columns = columns.parse().within(&named)?;
        }
        let bytes = find(files, &suite.data).within(&named)?.contents();
        let name = suite.data.clone();
        let items = items(&name, &bytes, &reading, &suite).within(&name)?;
        all.push(Prepared::new(suite, items, &with, context).within(&name)?);
    }
    Ok(all)
}

/// The file that a suite calls so, or else the one of the same name in whatever folder.
fn find<'a>(files: &'a [RowFile], wanted: &str) -> wgpu_sft::Result<&'a RowFile> {
    if let Some(file) = files.iter().find(|file| file.row_name() == wanted) {
        return Ok(file);
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut same = files.iter().filter(|file| last(&file.row_name()) == last(wanted));
    match (same.next(), same.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => Err(Error::data(format!("{wanted} could be any of several files"))),
        (None, _) => Err(Error::data(format!("{wanted} is missing"))),
    }
}

/// The items of a file.
fn items(name: &str, bytes: &[u8], reading: &Reading, suite: &Suite) -> wgpu_sft::Result<Vec<Item>> {
    let mut items = Vec::new();
    let most = suite.limit.unwrap_or(usize::MAX);
    Rows::new(bytes, name)?.for_each_text(reading, |place, text| {
        if items.len() == most {
            return Ok(());
        }
        items.push(Item::from_text(place, text, reading, suite)?);
        Ok(())
    })?;
    Ok(items)
}

/// What the model that `examiner` was made for does on suites. `told` hears of every item that is done; `false` ends it, without
/// a result.
pub(crate) async fn examine(
    suites: &[Prepared],
    examiner: &mut Examiner,
    model: &ModelFiles,
    mut told: impl FnMut(&str, u64, u64) -> Result<bool>,
) -> Result<Option<Vec<SuiteResult>>> {
    let terminators = model.terminators()?;
    let mut results = Vec::new();
    for prepared in suites {
        let (name, total) = (&prepared.suite.name, prepared.passes());
        let (mut done, mut outcome) = (0, Ok(true));
        let progress = || {
            done += 1;
            outcome = told(name, done, total);
            matches!(outcome, Ok(true))
        };
        let result = examiner
            .run(prepared, model.tokenizer.as_ref(), &terminators, progress)
            .await;
        outcome?;
        match result.within(&format!("suite {name:?}"))? {
            Some(result) => results.push(result),
            None => return Ok(None),
        }
    }
    Ok(Some(results))
}
