//! What tuning changed: two models on the same suites.

use serde::{Deserialize, Serialize};

use super::consistency::{Wording, consistency};
use super::examine::{ItemResult, SuiteResult};
use super::measure::{Measure, Needs};
use super::stats::{Estimate, bootstrap, mean, nullable};
use crate::{Error, Result};

/// Draws of the bootstrap.
pub const RESAMPLES: u32 = 2000;
const SEED: u64 = 42;

/// Items that are drawn together: the wordings of a question, or one item.
struct Unit {
    tally: Vec<f64>,
    task: Option<String>,
}

impl SuiteResult {
    /// The units of a measure, in the order of their first items.
    fn units(&self, measure: Measure) -> Vec<Unit> {
        let mut groups: Vec<Vec<&ItemResult>> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for item in &self.items {
            match &item.group {
                Some(group) => {
                    let at = *known
                        .entry((item.task.as_deref(), group.as_str()))
                        .or_insert(groups.len());
                    if at == groups.len() {
                        groups.push(Vec::new());
                    }
                    groups[at].push(item);
                }
                None => groups.push(vec![item]),
            }
        }
        let unit = |items: Vec<&ItemResult>| Unit {
            tally: tally(measure, &items),
            task: items[0].task.clone(),
        };
        let units = groups.into_iter().map(unit);
        units.filter(|unit| !unit.tally.is_empty()).collect()
    }

    /// A measure on all items.
    pub fn value(&self, measure: Measure) -> f64 {
        let units = self.units(measure);
        let tallies = tallies(&units);
        let all: Vec<u32> = (0..tallies.len() as u32).collect();
        value(measure, &tallies, &all)
    }

    /// A measure on all items, with a 95 % interval over the units by the bootstrap.
    pub fn estimate(&self, measure: Measure) -> Estimate {
        let units = self.units(measure);
        estimate(measure, &tallies(&units))
    }

    /// The measure of each task that rows name, in the order in which they come first.
    pub fn tasks(&self, measure: Measure) -> Vec<(String, u64, Estimate)> {
        let units = self.units(measure);
        let of = |task: String| {
            let mine: Vec<&[f64]> = units
                .iter()
                .filter(|unit| unit.task.as_ref() == Some(&task))
                .map(|unit| &unit.tally[..])
                .collect();
            let items = self
                .items
                .iter()
                .filter(|item| item.task.as_ref() == Some(&task))
                .count() as u64;
            let estimate = estimate(measure, &mine);
            (task, items, estimate)
        };
        self.task_names().into_iter().map(of).collect()
    }

    /// sacreBLEU's signature of a measure of these items, where it has one.
    pub fn signature(&self, measure: Measure) -> Option<String> {
        let mut references = self.items.iter().map(|item| item.references.len());
        let first = references.next();
        measure.signature(first.filter(|first| references.all(|count| count == *first)))
    }

    fn task_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for task in self.items.iter().filter_map(|item| item.task.as_ref()) {
            if !names.contains(task) {
                names.push(task.clone());
            }
        }
        names
    }
}

/// What the items of a unit come to.
fn tally(measure: Measure, items: &[&ItemResult]) -> Vec<f64> {
    if measure.is_consistency() {
        let score = |item: &ItemResult| item.tallies.get(&measure).map_or(0.0, |tally| tally[0]);
        let wordings = items.iter().map(|item| Wording {
            question: "",
            answer: &item.answer,
            score: score(item),
        });
        let wordings: Vec<Wording> = wordings.collect();
        let [question] = &consistency(&wordings)[..] else {
            return Vec::new();
        };
        return match (measure, question.agreement) {
            (Measure::WorstCase, _) => vec![question.worst, 1.0],
            (_, Some(agreement)) => vec![agreement, 1.0],
            // A question in one wording says nothing of agreement.
            (_, None) => Vec::new(),
        };
    }
    let mut sum = Vec::new();
    for tally in items.iter().filter_map(|item| item.tallies.get(&measure)) {
        add(&mut sum, tally);
    }
    sum
}

fn tallies(units: &[Unit]) -> Vec<&[f64]> {
    units.iter().map(|unit| &unit.tally[..]).collect()
}

fn add(sum: &mut Vec<f64>, tally: &[f64]) {
    if sum.len() < tally.len() {
        sum.resize(tally.len(), 0.0);
    }
    for (sum, term) in sum.iter_mut().zip(tally) {
        *sum += term;
    }
}

/// A measure of the units that were drawn.
fn value(measure: Measure, tallies: &[&[f64]], drawn: &[u32]) -> f64 {
    let mut sum = Vec::new();
    for &unit in drawn {
        add(&mut sum, tallies[unit as usize]);
    }
    measure.of(&sum)
}

/// A mean of units has the standard error of a mean; what does not weigh units alike is bootstrapped.
fn estimate(measure: Measure, tallies: &[&[f64]]) -> Estimate {
    let score = |tally: &&[f64]| match **tally {
        [score, 1.0] if measure.is_share() => Some(score),
        _ => None,
    };
    if let Some(scores) = tallies.iter().map(score).collect::<Option<Vec<f64>>>() {
        let mean = mean(&scores);
        // Student's interval knows nothing of the ends of a share.
        return Estimate {
            low: mean.low.max(0.0),
            high: mean.high.min(1.0),
            ..mean
        };
    }
    let drawn = bootstrap(
        tallies.len() as u32,
        |drawn| value(measure, tallies, drawn),
        RESAMPLES,
        SEED,
    );
    // Where all units are right, or none is, draws do not differ; the truth may.
    if measure.is_share() && drawn.low == drawn.high && (drawn.value == 0.0 || drawn.value == 1.0) {
        return mean(&vec![drawn.value; tallies.len()]);
    }
    drawn
}

/// Two models on the same suites.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the first is called.
    pub base: String,
    /// What the second is called.
    pub tuned: String,
    /// Every measure of every suite.
    pub suites: Vec<SuiteComparison>,
}

/// Two models by one measure of one suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteComparison {
    /// The suite.
    pub name: String,
    /// The measure's name.
    pub measure: Measure,
    /// Whether it is the first of its suite: the one that decides.
    pub decides: bool,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether it must not get worse.
    pub forgetting: bool,
    /// Over all items.
    pub all: Difference,
    /// Over those of each task that rows name.
    pub tasks: Vec<(String, Difference)>,
    /// Some items side by side, where the model is asked something; of a suite's first measure only.
    pub examples: Vec<SideBySide>,
    /// sacreBLEU's signature, where the measure has one.
    pub signature: Option<String>,
}

/// Two models on the same items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Items.
    pub items: u64,
    /// The first model.
    pub base: Estimate,
    /// The second model.
    pub tuned: Estimate,
    /// The second less the first, by the paired bootstrap: both on the same draws.
    pub difference: Estimate,
    /// Units (items, or questions of several wordings) on which the second does better.
    pub wins: u64,
    /// On which it does worse.
    pub losses: u64,
    /// On which they do the same.
    pub ties: u64,
}

/// One item, answered by both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideBySide {
    /// The task that the row names.
    pub task: Option<String>,
    /// What was asked.
    pub prompt: String,
    /// The right answer; several are joined by ` | `.
    pub reference: String,
    /// The first model's answer.
    pub base: String,
    /// The second model's answer.
    pub tuned: String,
    /// The measure of the first on this item alone; NaN where one item has none.
    #[serde(with = "nullable")]
    pub base_score: f64,
    /// The measure of the second.
    #[serde(with = "nullable")]
    pub tuned_score: f64,
}

/// What the interval of a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is on the better side of 0.
    Better,
    /// All of it is on the worse side.
    Worse,
    /// It holds 0, or too few items differ to tell.
    Open,
}

impl SuiteComparison {
    /// What the interval over all items says.
    pub fn verdict(&self) -> Verdict {
        self.all.verdict(self.measure)
    }
}

impl Difference {
    /// Units: items, or questions of several wordings.
    pub fn units(&self) -> u64 {
        self.wins + self.losses + self.ties
    }

    /// How many items there are, in words.
    pub fn count(&self) -> String {
        match self.units() {
            units if units == self.items => self.items.to_string(),
            units => format!("{} in {units}", self.items),
        }
    }

    /// What the interval says, in words.
    pub fn words(&self, measure: Measure) -> &'static str {
        match self.verdict(measure) {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Open if self.wins + self.losses > 0 && self.are_few(measure) => "too few differ",
            Verdict::Open => "no clear difference",
        }
    }

    /// Of a share, fewer than six units that differ decide nothing: even a sign test of all against none leaves p above 0.05, and the
    /// bootstrap of so few is too sure of itself.
    fn are_few(&self, measure: Measure) -> bool {
        measure.is_share() && self.wins + self.losses < 6
    }

    /// What the interval says. A model whose number is none, where the other's is one, is worse.
    pub fn verdict(&self, measure: Measure) -> Verdict {
        match (self.base.value.is_finite(), self.tuned.value.is_finite()) {
            (true, false) => return Verdict::Worse,
            (false, true) => return Verdict::Better,
            _ if self.are_few(measure) => return Verdict::Open,
            _ => {}
        }
        let Estimate { low, high, .. } = self.difference;
        match (low > 0.0, high < 0.0) {
            (true, _) if measure.higher_is_better() => Verdict::Better,
            (true, _) => Verdict::Worse,
            (_, true) if measure.higher_is_better() => Verdict::Worse,
            (_, true) => Verdict::Better,
            _ => Verdict::Open,
        }
    }
}

impl Comparison {
    /// Whether a suite has got worse by the measure that decides.
    pub fn is_worse(&self) -> bool {
        let mut deciding = self.suites.iter().filter(|suite| suite.decides);
        deciding.any(|suite| suite.verdict() == Verdict::Worse)
    }

    /// Whether every suite but the forgetting sets has got better, and none worse.
    pub fn is_better(&self) -> bool {
        let mut deciding = self.suites.iter().filter(|suite| suite.decides && !suite.forgetting);
        deciding.all(|suite| suite.verdict() == Verdict::Better) && !self.is_worse()
    }

    /// Compare the results of two models on the same suites, showing `examples` items of each.
    ///
    /// # Errors
    /// [`Error::Data`] when the results are not of the same suites and items.
    pub fn new(base: (&str, &[SuiteResult]), tuned: (&str, &[SuiteResult]), examples: usize) -> Result<Self> {
        let mut suites = Vec::new();
        if base.1.len() != tuned.1.len() {
            return Err(Error::data("the two results are not of the same suites"));
        }
        for (b, t) in base.1.iter().zip(tuned.1) {
            let same = |b: &ItemResult, t: &ItemResult| (b.line, &b.prompt, &b.group) == (t.line, &t.prompt, &t.group);
            let same_items = b.items.len() == t.items.len() && b.items.iter().zip(&t.items).all(|(b, t)| same(b, t));
            if b.suite != t.suite || !same_items {
                let why = format!("the two results of {:?} are not of the same items", b.suite.name);
                return Err(Error::data(why));
            }
            for (i, measure) in b.suite.measure.iter().copied().enumerate() {
                suites.push(SuiteComparison {
                    name: b.suite.name.clone(),
                    measure,
                    decides: i == 0,
                    higher_is_better: measure.higher_is_better(),
                    forgetting: b.suite.forgetting,
                    all: difference(measure, b, t, None),
                    tasks: match b.task_names() {
                        names if names.len() > 1 => names
                            .into_iter()
                            .map(|task| {
                                let difference = difference(measure, b, t, Some(&task));
                                (task, difference)
                            })
                            .collect(),
                        _ => Vec::new(),
                    },
                    examples: match (i, measure.needs()) {
                        (0, Needs::Answer | Needs::Choices) => side_by_side(measure, b, t, examples),
                        _ => Vec::new(),
                    },
                    signature: b.signature(measure),
                });
            }
        }
        Ok(Self {
            base: base.0.to_owned(),
            tuned: tuned.0.to_owned(),
            suites,
        })
    }
}

fn difference(measure: Measure, base: &SuiteResult, tuned: &SuiteResult, task: Option<&String>) -> Difference {
    let mine = |unit: &Unit| task.is_none() || unit.task.as_ref() == task;
    let units = |result: &SuiteResult| -> Vec<Unit> { result.units(measure).into_iter().filter(mine).collect() };
    let (base_units, tuned_units) = (units(base), units(tuned));
    let (b, t) = (tallies(&base_units), tallies(&tuned_units));
    let (mut wins, mut losses, mut ties) = (0, 0, 0);
    for (b, t) in b.iter().zip(&t) {
        let (b, t) = (measure.of_unit(b), measure.of_unit(t));
        let change = if measure.higher_is_better() { t - b } else { b - t };
        // A number that is none is worse than any, whichever way is better.
        match (b.is_finite(), t.is_finite()) {
            (true, false) => losses += 1,
            (false, true) => wins += 1,
            _ if change > 0.0 => wins += 1,
            _ if change < 0.0 => losses += 1,
            _ => ties += 1,
        }
    }
    let of_both = |drawn: &[u32]| value(measure, &t, drawn) - value(measure, &b, drawn);
    Difference {
        items: base
            .items
            .iter()
            .filter(|item| task.is_none() || item.task.as_ref() == task)
            .count() as u64,
        base: estimate(measure, &b),
        tuned: estimate(measure, &t),
        difference: bootstrap(b.len() as u32, of_both, RESAMPLES, SEED),
        wins,
        losses,
        ties,
    }
}

/// Items of every task in turn, first to last.
fn side_by_side(measure: Measure, base: &SuiteResult, tuned: &SuiteResult, most: usize) -> Vec<SideBySide> {
    let mut seen = std::collections::HashMap::new();
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (at, item) in base.items.iter().enumerate() {
        let round = seen.entry(item.task.as_deref()).or_insert(0usize);
        order.push((*round, at));
        *round += 1;
    }
    order.sort_unstable();
    let score = |item: &ItemResult| measure.of_unit(&tally(measure, &[item]));
    let show = |(_, at): &(usize, usize)| {
        let (b, t) = (&base.items[*at], &tuned.items[*at]);
        SideBySide {
            task: b.task.clone(),
            prompt: b.prompt.clone(),
            reference: b.references.join(" | "),
            base: b.answer.clone(),
            tuned: t.answer.clone(),
            base_score: score(b),
            tuned_score: score(t),
        }
    };
    order.iter().take(most).map(show).collect()
}
