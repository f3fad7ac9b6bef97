//! Two models on the same items.

use serde::{Deserialize, Serialize};

use super::stats::Estimate;

/// What tuning changed, suite by suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model before.
    pub base: String,
    /// The model after.
    pub tuned: String,
    /// What both were measured by.
    pub suites: Vec<SuiteComparison>,
}

/// One suite's part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SuiteComparison {
    /// Its name.
    pub name: String,
    /// What is measured.
    pub measure: String,
    /// How: `generation`, `loss`, …
    pub kind: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether it is there to see what must not get worse.
    pub forgetting: bool,
    /// Over all items.
    pub all: Difference,
    /// By task.
    pub tasks: Vec<(String, Difference)>,
    /// Some items with both answers.
    pub examples: Vec<SideBySide>,
    /// Everything that decides the measure's value, as sacreBLEU writes it.
    pub signature: Option<String>,
}

/// A measure before and after, on the same items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// How many items there are.
    pub items: u64,
    /// Before.
    pub base: Estimate,
    /// After.
    pub tuned: Estimate,
    /// After less before, item by item.
    pub difference: Estimate,
    /// Items on which the model after is better.
    pub wins: u64,
    /// Items on which it is worse.
    pub losses: u64,
    /// Items on which both are as good.
    pub ties: u64,
}

/// An item and what both models answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SideBySide {
    /// Its task.
    pub task: Option<String>,
    /// What is asked.
    pub prompt: String,
    /// What would be right.
    pub reference: String,
    /// The answer before.
    pub base: String,
    /// The answer after.
    pub tuned: String,
    /// The score of the answer before.
    pub base_score: f64,
    /// The score of the answer after.
    pub tuned_score: f64,
}
