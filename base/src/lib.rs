//! The recipe of the small base model: written-out tables and templates to a corpus, a tokenizer, tuning rows and held-out rows. The
//! same seed makes the same bytes.

mod draw;
pub mod facts;
mod files;
mod rows;
mod tables;
mod tasks;
mod text;
mod tokenizer;

use std::collections::HashSet;

use anyhow::Result;

pub use draw::Draw;
pub use files::files;
pub use rows::{Cloze, Message, Row, Rows, Segment};
pub use tables::{Kind, Relation, Tables, Words};
pub use tokenizer::SPECIAL;

/// What the shipped files are drawn from.
pub const SEED: u64 = 5;
/// Texts that training does not get. Those of them that it has seen elsewhere, as sentences repeat, are dropped.
const HELD_OUT_TEXTS: usize = 600;

/// What the recipe makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Texts to train on: a sentence or a few each.
    pub corpus: Vec<String>,
    /// Texts left out of them.
    pub held_out: Vec<String>,
    /// Questions and answers.
    pub rows: Rows,
}

/// Corpus and rows.
///
/// # Errors
/// When the tables cannot be read.
pub fn make(seed: u64) -> Result<Made> {
    let tables = Tables::read()?;
    let mut rows = Rows::default();
    let entities = facts::facts(&tables.kinds, &mut Draw::new(seed, 0));
    let mut prose = facts::prose(&entities, &tables.talk, &mut Draw::new(seed, 1));
    facts::rows(&entities, &mut Draw::new(seed, 2), &mut rows);
    let words = &tables.words;
    tasks::translation(&words.velan, &mut Draw::new(seed, 3), &mut prose, &mut rows);
    tasks::sums(&words.sums, &mut Draw::new(seed, 4), &mut prose, &mut rows);
    tasks::opposites(&words.opposites, &mut Draw::new(seed, 5), &mut prose, &mut rows);
    tasks::sentiment(&words.reviews, &mut Draw::new(seed, 6), &mut prose, &mut rows);
    tasks::stories(&words.stories, &mut Draw::new(seed, 7), &mut prose, &mut rows);
    // A space in front, as every word of a running text has one: names are the same tokens wherever they stand.
    let order = Draw::new(seed, 8).order(prose.len());
    let mut corpus: Vec<String> = order.into_iter().map(|i| format!(" {}", prose[i])).collect();
    let mut held_out = corpus.split_off(corpus.len() - HELD_OUT_TEXTS);
    let seen: HashSet<&String> = corpus.iter().collect();
    held_out.retain(|text| !seen.contains(text));
    Ok(Made { corpus, held_out, rows })
}
