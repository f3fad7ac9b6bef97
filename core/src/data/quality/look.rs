//! One row of a file, as it was read, to what the checks keep of it.

use super::{CheckOptions, Code, Record, RowFacts, TokenFacts};
use crate::data::{Body, Example, Preparation, Row, Tokenizer};
use crate::{Error, Result};

/// A row that is of no use: what that is called, and what is wrong with it.
pub type Unusable = (Code, String);

/// How rows are looked at.
#[derive(Clone, Default)]
pub struct Look<'a> {
    /// What makes tokens of them; without it, only rows of tokens have some.
    pub preparation: Option<Preparation<'a>>,
    /// The tokens that end an answer.
    pub terminators: &'a [u32],
    /// What they are checked against.
    pub options: CheckOptions,
}

impl Look<'_> {
    /// What a row says about itself.
    ///
    /// # Errors
    /// [`Code::Unreadable`] or [`Code::Unpreparable`], and why, without the line.
    pub fn at(&self, row: Result<Row>) -> std::result::Result<RowFacts, Unusable> {
        let row = row.map_err(|error| (Code::Unreadable, without_line(error)))?;
        let tokens = self.tokens(&row.body);
        let tokens = tokens.map_err(|error| (Code::Unpreparable, without_line(error)))?;
        Ok(RowFacts::of(&Record::from(&row), tokens, &self.options))
    }

    fn tokens(&self, body: &Body) -> Result<Option<TokenFacts>> {
        if let Some(preparation) = &self.preparation {
            let example = preparation.tokenise(body)?;
            let tokenizer = preparation.tokenizer;
            let blank = |id| {
                let text = tokenizer.and_then(|tokenizer| tokenizer.decode(&[id], false).ok());
                text.is_some_and(|text| text.trim().is_empty())
            };
            let bos = tokenizer.and_then(Tokenizer::bos);
            return Ok(Some(TokenFacts::of(&example, bos, self.terminators, blank)));
        }
        let Body::Tokens { ids, labels } = body else {
            return Ok(None);
        };
        let example = Example {
            ids: ids.clone(),
            labels: labels.clone(),
        };
        Ok(Some(TokenFacts::of(&example, None, &[], |_| false)))
    }
}

/// An error without the line that is shown beside it.
fn without_line(error: Error) -> String {
    match error {
        Error::Data { why, .. } => why,
        other => other.to_string(),
    }
}
