//! The written-out tables, as `tables/*.toml` have them.

use anyhow::{Context, Result};
use serde::Deserialize;

/// Everything that corpus and rows are made of.
#[derive(Debug, Clone)]
pub struct Tables {
    /// How people talk about a fact: `{p}` is the relation's phrase.
    pub talk: Vec<String>,
    /// Kinds of invented entities.
    pub kinds: Vec<Kind>,
    /// The other tasks.
    pub words: Words,
}

impl Tables {
    /// The tables that the crate comes with.
    ///
    /// # Errors
    /// What TOML finds wrong with them.
    pub fn read() -> Result<Self> {
        #[derive(Deserialize)]
        struct Facts {
            talk: Vec<String>,
            kind: Vec<Kind>,
        }
        let facts: Facts = toml::from_str(include_str!("../tables/facts.toml")).context("facts.toml")?;
        let words = toml::from_str(include_str!("../tables/words.toml")).context("words.toml")?;
        Ok(Self {
            talk: facts.talk,
            kinds: facts.kind,
            words,
        })
    }
}

/// A kind of entities, all of which have the same relations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// What the kind is called.
    pub name: String,
    /// The entities' names.
    pub entities: Vec<String>,
    /// What is known of each of them.
    #[serde(rename = "relation")]
    pub relations: Vec<Relation>,
}

/// What is known of each entity of a kind. Texts have `{e}` for the entity, statements `{v}` for its value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// What the relation is called.
    pub name: String,
    /// What it is called of an entity.
    pub phrase: String,
    /// The values, dealt out evenly.
    pub values: Vec<String>,
    /// How the corpus says it.
    pub statements: Vec<String>,
    /// How tuning rows ask for it.
    pub asked: Vec<String>,
    /// How no tuning row asks for it.
    pub new: Vec<String>,
}

impl Relation {
    /// The subject of statements about an entity, and their predicates without the full stop.
    pub fn predicates(&self) -> (&'static str, Vec<&str>) {
        let of = |subject: &str| -> Vec<&str> {
            let rest = self
                .statements
                .iter()
                .filter_map(|statement| statement.strip_prefix(subject)?.strip_suffix('.'));
            rest.filter(|predicate| !predicate.contains(',')).collect()
        };
        match of("{e} ") {
            none if none.is_empty() => ("The {e} ", of("The {e} ")),
            some => ("{e} ", some),
        }
    }
}

/// The tables of `words.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// A made-up language.
    pub velan: Velan,
    /// Additions.
    pub sums: Sums,
    /// Pairs of opposites: the task that no tuning row has.
    pub opposites: Opposites,
    /// Reviews and their mood.
    pub reviews: Reviews,
    /// Short stories and their gist.
    pub stories: Stories,
}

/// A made-up language: `{en}`, `{ve}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Velan {
    pub nouns: Vec<[String; 2]>,
    pub adjectives: Vec<[String; 2]>,
    pub held_out: Vec<String>,
    pub statements: Vec<String>,
    pub asked: Vec<String>,
    pub new: Vec<String>,
}

/// Additions of numbers from 1 to `largest`: `{a}`, `{b}`, `{c}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    pub largest: usize,
    pub statements: Vec<String>,
    pub asked: Vec<String>,
    pub new: Vec<String>,
}

/// Opposites: `{a}`, `{b}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opposites {
    pub pairs: Vec<[String; 2]>,
    pub statements: Vec<String>,
    pub asked: Vec<String>,
    pub new: Vec<String>,
}

/// Reviews of things: `{t}` is `{a}`, `{u}` is `{b}`; `{l}` the mood, `{r}` the review.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviews {
    pub positive: Vec<String>,
    pub negative: Vec<String>,
    pub held_out: Vec<String>,
    pub things: Vec<String>,
    pub positive_ends: Vec<String>,
    pub negative_ends: Vec<String>,
    pub openings: Vec<String>,
    pub verdicts: Vec<String>,
    pub asked: Vec<String>,
    pub new: Vec<String>,
}

/// Stories of somebody `{n}` and a thing `{t}` at places `{p}` and `{q}`, with somebody else `{h}`; `{s}` the story.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stories {
    pub names: Vec<String>,
    pub held_out_names: Vec<String>,
    pub things: Vec<String>,
    pub held_out_things: Vec<String>,
    pub places: Vec<String>,
    pub helpers: Vec<String>,
    pub intros: Vec<String>,
    pub asked: Vec<String>,
    pub new: Vec<String>,
    #[serde(rename = "plot")]
    pub plots: Vec<Plot>,
}

/// A plot: ways to say each of its lines, what it comes to, and that in a word.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    pub lines: Vec<Vec<String>>,
    pub gist: String,
    pub verb: String,
}
