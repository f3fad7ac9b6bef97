//! How rows are read, as users say it.

use serde::{Deserialize, Serialize};

use super::{Preparation, Reading};
use crate::{Error, Result};

/// How rows are recognised and become tokens, by the names of settings; absent where nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args), command(next_help_heading = "Rows"))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RowSettings {
    /// Most tokens of a row [default: 1024, or the model's context if that is shorter]
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub max_length: Option<usize>,

    /// What to do with longer rows: error, drop, truncate or split (rows of text alone) [default: error]
    #[cfg_attr(feature = "clap", arg(long, value_name = "WHAT"))]
    pub overlong: Option<String>,

    /// What conversations teach: the assistant's turns (assistant), the last of them (last), or everything (all)
    /// [default: assistant]
    #[cfg_attr(feature = "clap", arg(long, value_name = "WHICH"))]
    pub train_on: Option<String>,

    /// Columns that are not named as fields are: prompt=question,completion=answer
    #[cfg_attr(feature = "clap", arg(long, value_name = "FIELD=COLUMN,..."))]
    pub columns: Option<String>,

    /// The shape of the rows, where their keys fit several: alpaca, dolly, prompt-completion,
    /// prompt-completion-messages, messages, sharegpt, text, segments or tokens
    #[cfg_attr(feature = "clap", arg(long, value_name = "SHAPE"))]
    pub shape: Option<String>,

    /// Instructions as Stanford's text (alpaca) or through the chat template (alpaca-chat) [default: alpaca-chat if
    /// the model has a template]
    #[cfg_attr(feature = "clap", arg(long, value_name = "STYLE"))]
    pub alpaca_style: Option<String>,

    /// Leave rows out that cannot be used, and list the first ten
    #[cfg_attr(feature = "clap", arg(long))]
    pub skip_bad_rows: bool,

    /// Whether rows that name no task get the one that their words speak for.
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(skip)]
    pub guess_tasks: bool,
}

impl RowSettings {
    /// How rows are recognised.
    ///
    /// # Errors
    /// [`Error::Config`] for columns or a shape that cannot be read.
    pub fn reading(&self) -> Result<Reading> {
        Ok(Reading {
            columns: self.columns.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            shape: self.shape.as_deref().map(str::parse).transpose()?,
        })
    }

    /// How they are prepared, for a model that knows so many tokens of context.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that cannot be read, and rows longer than the context.
    pub fn preparation<'a>(&self, context: usize, for_model: Preparation<'a>) -> Result<Preparation<'a>> {
        let max_length = self.max_length.unwrap_or(1024.min(context));
        if max_length > context {
            let why = format!("{max_length} is more than the model's context of {context} tokens");
            return Err(Error::config("max_length", why));
        }
        Ok(Preparation {
            max_length,
            overlong: self
                .overlong
                .as_deref()
                .map(str::parse)
                .transpose()?
                .unwrap_or_default(),
            train_on: self
                .train_on
                .as_deref()
                .map(str::parse)
                .transpose()?
                .unwrap_or_default(),
            alpaca_style: self.alpaca_style.as_deref().map(str::parse).transpose()?,
            skip_bad_rows: self.skip_bad_rows,
            guess_tasks: self.guess_tasks,
            ..for_model
        })
    }
}
