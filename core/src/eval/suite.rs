//! Suites: which items are asked, how answers are drawn, and what is measured.

use serde::{Deserialize, Deserializer, Serialize};

use super::measure::{Measure, Needs};
use crate::model::Sampling;
use crate::{Error, Result};

/// A set of items and what is measured on them; a table `[[suite]]` of a suite file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What it is called: unique in its file, in reports, and as `eval_NAME_MEASURE` in `metrics.jsonl`.
    pub name: String,
    /// The file of its rows, relative to the suite file.
    pub data: String,
    /// What is measured; the first decides comparisons. One name or a list; `ifeval` and `consistency` stand for several.
    #[serde(deserialize_with = "measures")]
    pub measure: Vec<Measure>,
    /// Only so many of the first rows.
    #[serde(default)]
    pub limit: Option<usize>,
    /// It must not get worse: what the model knew before.
    #[serde(default)]
    pub forgetting: bool,
    /// Most tokens of an answer.
    #[serde(default = "max_new_tokens", alias = "max-new-tokens")]
    pub max_new_tokens: u32,
    /// 0: the likeliest token, always.
    #[serde(default)]
    pub temperature: f32,
    /// Only so many of the likeliest tokens; 0: all.
    #[serde(default, alias = "top-k")]
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability.
    #[serde(default = "one", alias = "top-p")]
    pub top_p: f32,
    /// Only tokens at least so likely as this share of the likeliest.
    #[serde(default, alias = "min-p")]
    pub min_p: f32,
    /// What draws come from.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Texts that an answer is cut before, besides the model's own terminators.
    #[serde(default)]
    pub stop: Vec<String>,
    /// The labels of a classification; none: those of the rows.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Columns that are not named as fields are: `prompt=question`.
    #[serde(default)]
    pub columns: Option<String>,
}

fn max_new_tokens() -> u32 {
    128
}

fn one() -> f32 {
    1.0
}

fn seed() -> u64 {
    42
}

/// One name, or a list of names.
fn measures<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Measure>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the name of a measure, or a list of names")]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    let names = match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    };
    let mut all: Vec<Measure> = Vec::new();
    for name in names {
        for measure in Measure::named(&name).map_err(serde::de::Error::custom)? {
            if !all.contains(&measure) {
                all.push(measure);
            }
        }
    }
    Ok(all)
}

/// A suite file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Its suites.
    #[serde(default)]
    pub suite: Vec<Suite>,
}

impl SuiteFile {
    /// Read a suite file's TOML.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no TOML, an unknown key or measure, a value out of range, a name that is there twice, and a file
    /// without suites.
    pub fn from_toml(text: &str) -> Result<Self> {
        let file: Self = toml::from_str(text).map_err(|e| {
            let before = e.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = before.matches('\n').count() + 1;
            let hint = match e.message().starts_with("invalid type: map, expected a sequence") {
                true => ": write [[suite]], with two brackets",
                false => "",
            };
            Error::config("suite", format!("line {line}: {}{hint}", e.message()))
        })?;
        if file.suite.is_empty() {
            return Err(Error::config("suite", "the file has no [[suite]]"));
        }
        for (i, suite) in file.suite.iter().enumerate() {
            suite.validate()?;
            if file.suite[..i].iter().any(|other| other.name == suite.name) {
                return Err(Error::config("suite", format!("{:?} is there twice", suite.name)));
            }
        }
        Ok(file)
    }
}

impl Suite {
    /// A suite of a file's rows alone.
    pub fn new(name: impl Into<String>, data: impl Into<String>, measure: Vec<Measure>) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
            measure,
            limit: None,
            forgetting: false,
            max_new_tokens: max_new_tokens(),
            temperature: 0.0,
            top_k: 0,
            top_p: one(),
            min_p: 0.0,
            seed: seed(),
            stop: Vec::new(),
            labels: Vec::new(),
            columns: None,
        }
    }

    /// Check every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the suite and the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, why: String| Err(Error::config(format!("suite {:?}: {field}", self.name), why));
        if self.name.is_empty() {
            return refuse("name", "is empty".to_owned());
        }
        if self.measure.is_empty() {
            return refuse("measure", "names none".to_owned());
        }
        if self.limit == Some(0) {
            return refuse("limit", "must be at least 1".to_owned());
        }
        if self.max_new_tokens == 0 {
            return refuse("max_new_tokens", "must be at least 1".to_owned());
        }
        if self.stop.iter().any(String::is_empty) {
            return refuse("stop", "has an empty text".to_owned());
        }
        match self.sampling().validate() {
            Err(Error::Config { field, why }) => refuse(&field, why),
            other => other,
        }
    }

    /// How answers are drawn.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
        }
    }

    /// Whether any of its measures needs this.
    pub fn needs(&self, what: Needs) -> bool {
        self.measure.iter().any(|measure| measure.needs() == what)
    }

    /// Whether the model is asked something, so that there is an answer to show.
    pub fn asks(&self) -> bool {
        self.needs(Needs::Answer) || self.needs(Needs::Choices)
    }

    /// An answer, cut before the first of the suite's stops.
    pub fn cut<'a>(&self, answer: &'a str) -> &'a str {
        let end = self.stop.iter().filter_map(|stop| answer.find(stop)).min();
        &answer[..end.unwrap_or(answer.len())]
    }
}
