//! Columns by other names.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Every field that a shape reads.
pub const FIELDS: [&str; 20] = [
    "attention_mask",
    "category",
    "chat_template_kwargs",
    "completion",
    "context",
    "conversations",
    "history",
    "input",
    "input_ids",
    "instruction",
    "labels",
    "messages",
    "output",
    "prompt",
    "response",
    "segments",
    "system",
    "task",
    "text",
    "tools",
];

/// Which of the file's columns are which fields: `prompt=question,completion=answer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// Field and column.
    pairs: Vec<(String, String)>,
}

impl Columns {
    /// These fields are in these columns.
    ///
    /// # Errors
    /// [`Error::Config`] for a field that no shape has, and one that is given twice.
    pub fn new<F: Into<String>, C: Into<String>>(pairs: impl IntoIterator<Item = (F, C)>) -> Result<Self> {
        let mut columns = Self::default();
        for (field, column) in pairs {
            let (field, column) = (field.into(), column.into());
            if !FIELDS.contains(&field.as_str()) {
                let why = format!("{field:?} is no field; the fields are {}", FIELDS.join(", "));
                return Err(Error::config("columns", why));
            }
            if columns.pairs.iter().any(|(other, _)| *other == field) {
                return Err(Error::config("columns", format!("{field} is there twice")));
            }
            columns.pairs.push((field, column));
        }
        Ok(columns)
    }

    /// Whether every column is named as its field.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether a field is taken from this column.
    pub(super) fn maps(&self, column: &str) -> bool {
        self.pairs.iter().any(|(_, other)| other == column)
    }

    /// The row, its columns renamed where any are.
    ///
    /// # Errors
    /// As [`rename`](Self::rename).
    pub(crate) fn apply<'a>(&self, row: &'a Map<String, Value>) -> Result<Cow<'a, Map<String, Value>>> {
        match self.is_empty() {
            true => Ok(Cow::Borrowed(row)),
            false => self.rename(row).map(Cow::Owned),
        }
    }

    /// The row with its columns renamed: what had a field's name, or went by another, is gone.
    ///
    /// # Errors
    /// [`Error::Data`] for a row without one of the columns.
    fn rename(&self, row: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut renamed = row.clone();
        for (field, column) in &self.pairs {
            renamed.shift_remove(field);
            renamed.shift_remove(column);
        }
        for (field, column) in &self.pairs {
            let Some(value) = row.get(column) else {
                let why = format!(
                    "has no column {column:?} to take {field:?} from; its keys are: {}",
                    keys(row)
                );
                return Err(Error::data(why));
            };
            renamed.insert(field.clone(), value.clone());
        }
        Ok(renamed)
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((field, column)) if !field.trim().is_empty() && !column.trim().is_empty() => {
                Ok((field.trim().to_owned(), column.trim().to_owned()))
            }
            _ => Err(Error::config("columns", format!("{pair:?} is not FIELD=COLUMN"))),
        };
        let pairs: Vec<_> = text.split(',').map(pair).collect::<Result<_>>()?;
        Self::new(pairs)
    }
}

/// The keys of a row, for messages.
pub(super) fn keys(row: &Map<String, Value>) -> String {
    let keys: Vec<_> = row.keys().map(|key| format!("{key:?}")).collect();
    keys.join(", ")
}
