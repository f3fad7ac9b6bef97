//! Examining a model: a suite's items become tokens, the model answers, the answers become tallies.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::bleu::{BleuConfig, BleuStats};
use super::chrf::ChrfStats;
use super::classify::Labels;
use super::item::Item;
use super::measure::{Measure, Needs};
use super::multiple_choice::pick;
use super::rouge::{RougeType, rouge_best};
use super::suite::Suite;
use super::text::{exact_match, f1};
use super::{Evaluator, ifeval};
use crate::data::{Example, Preparation, Tokenizer};
use crate::gpu::breathe;
use crate::model::{BatchGenerator, Model};
use crate::{Error, Result};

/// Prompts that are answered at the same time, where memory allows.
pub const SLOTS: u32 = 32;

/// A suite and its items, tokenised for a model.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The suite.
    pub suite: Suite,
    items: Vec<Item>,
    /// What a classification's answers may name.
    labels: Option<Labels>,
    /// Each as long as `items`, or empty where no measure needs it.
    examples: Vec<Example>,
    prompts: Vec<Vec<u32>>,
    choices: Vec<Vec<(Vec<u32>, Vec<u32>)>>,
}

impl Prepared {
    /// Tokenise the items of a suite for a model whose context has `context` tokens.
    ///
    /// # Errors
    /// [`Error::Data`] for a suite without items, a row that is longer than the context and a prompt that fills it; what
    /// [`Item::prompt`] and [`Preparation::example`] return; with the place.
    pub fn new(suite: Suite, items: Vec<Item>, with: &Preparation, context: usize) -> Result<Self> {
        let items: Vec<Item> = items.into_iter().take(suite.limit.unwrap_or(usize::MAX)).collect();
        if items.is_empty() {
            return Err(Error::data("there are no rows"));
        }
        let too_long = |item: &Item, what: &str, tokens: usize| {
            let why = format!("{what} has {tokens} tokens, the model's context {context}");
            Err(item.place.blame(Error::data(why)))
        };
        let (mut examples, mut prompts, mut choices) = (Vec::new(), Vec::new(), Vec::new());
        for item in &items {
            if suite.needs(Needs::Targets) {
                let example = with.example(item.body()).map_err(|e| item.place.blame(e))?;
                if example.ids.len() > context {
                    return too_long(item, "the row", example.ids.len());
                }
                if example.targets() == 0 {
                    return Err(item
                        .place
                        .blame(Error::data("has no target: nothing in it is supervised")));
                }
                examples.push(example);
            }
            if suite.needs(Needs::Answer) {
                let prompt = item.prompt(with)?;
                if prompt.len() >= context {
                    return too_long(item, "the prompt", prompt.len());
                }
                prompts.push(prompt);
            }
            if suite.needs(Needs::Choices) {
                let pairs = item.choice_ids(with)?;
                let longest = pairs.iter().map(|(before, after)| before.len() + after.len()).max();
                if let Some(tokens) = longest.filter(|&tokens| tokens > context) {
                    return too_long(item, "the prompt with a choice", tokens);
                }
                choices.push(pairs);
            }
        }
        let classifies = [Measure::Accuracy, Measure::MacroF1]
            .iter()
            .any(|measure| suite.measure.contains(measure));
        let labels = classifies.then(|| labels(&suite, &items)).transpose()?;
        Ok(Self {
            suite,
            items,
            labels,
            examples,
            prompts,
            choices,
        })
    }

    /// Its items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How often an examination tells that an item is done.
    pub fn passes(&self) -> u64 {
        (self.examples.len() + self.prompts.len() + self.choices.len()) as u64
    }

    /// Tokens that are read at once for losses and choices: the longest sequence; 0 where none is.
    fn longest_sequence(&self) -> usize {
        let examples = self.examples.iter().map(|example| example.ids.len());
        let choices = self
            .choices
            .iter()
            .flatten()
            .map(|(before, after)| before.len() + after.len());
        examples.chain(choices).max().unwrap_or(0)
    }

    /// Tokens of the longest prompt with its answer; 0 where none is asked.
    fn longest_answer(&self) -> usize {
        let prompt = self.prompts.iter().map(Vec::len).max();
        prompt.map_or(0, |prompt| prompt + self.suite.max_new_tokens as usize)
    }
}

/// The labels of a classification: the suite's, or those of the rows.
fn labels(suite: &Suite, items: &[Item]) -> Result<Labels> {
    if !suite.labels.is_empty() {
        let labels = Labels::new(&suite.labels)?;
        for item in items {
            let reference = item.references.first().map_or("", String::as_str);
            if labels.find(reference).is_none() {
                let why = format!(
                    "the answer {reference:?} is none of the labels {}",
                    suite.labels.join(", ")
                );
                return Err(item.place.blame(Error::data(why)));
            }
        }
        return Ok(labels);
    }
    let mut found: Vec<&str> = items
        .iter()
        .filter_map(|item| item.references.first())
        .map(String::as_str)
        .collect();
    found.sort_unstable();
    found.dedup();
    Labels::new(&found)
}

/// What a model did on one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemResult {
    /// The line, or row, of its file.
    pub line: usize,
    /// The task that the row names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The question that the row words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What was asked.
    pub prompt: String,
    /// The right answers.
    pub references: Vec<String>,
    /// The model's: what it wrote, cut at a stop, or the choice it took. Empty where nothing was asked.
    pub answer: String,
    /// The tally of each measure, see [`Measure`].
    #[serde(deserialize_with = "tallies")]
    pub tallies: BTreeMap<Measure, Vec<f64>>,
}

/// JSON has `null` for a number that is none.
fn tallies<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<BTreeMap<Measure, Vec<f64>>, D::Error> {
    let all = BTreeMap::<Measure, Vec<Option<f64>>>::deserialize(from)?;
    let numbers = |tally: Vec<Option<f64>>| tally.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect();
    Ok(all
        .into_iter()
        .map(|(measure, tally)| (measure, numbers(tally)))
        .collect())
}

/// What a model did on a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteResult {
    /// The suite.
    pub suite: Suite,
    /// What it did on each item.
    pub items: Vec<ItemResult>,
}

/// What examines one model on some suites: its buffers, allocated once.
pub struct Examiner {
    evaluator: Option<Evaluator>,
    generator: Option<BatchGenerator>,
}

impl Examiner {
    /// For these suites.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Gpu`] when its buffers do not fit.
    pub async fn new(model: &Model, suites: &[Prepared]) -> Result<Self> {
        let sequence = suites.iter().map(Prepared::longest_sequence).max().unwrap_or(0);
        let answer = suites.iter().map(Prepared::longest_answer).max().unwrap_or(0);
        let most = suites.iter().map(|suite| suite.prompts.len()).max().unwrap_or(0);
        let context = answer.min(model.config().max_position_embeddings) as u32;
        Ok(Self {
            evaluator: match sequence {
                0 => None,
                longest => Some(Evaluator::new(model, longest.max(512) as u32).await?),
            },
            generator: match answer {
                0 => None,
                _ => Some(BatchGenerator::new(model, SLOTS.min(most as u32), context).await?),
            },
        })
    }

    /// Examine the model on a suite. `progress` is told of every item that is done, for each pass over them; `false` ends the examination,
    /// without a result.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails, [`Error::Data`] when tokens cannot be decoded.
    pub async fn run(
        &mut self,
        prepared: &Prepared,
        tokenizer: Option<&Tokenizer>,
        terminators: &[u32],
        mut progress: impl FnMut() -> bool,
    ) -> Result<Option<SuiteResult>> {
        let suite = &prepared.suite;
        let mut items: Vec<ItemResult> = prepared.items.iter().map(ItemResult::new).collect();
        if let (false, Some(evaluator)) = (prepared.examples.is_empty(), &mut self.evaluator) {
            let metrics = evaluator.per_example(&prepared.examples).await?;
            for (item, metrics) in items.iter_mut().zip(metrics) {
                let targets = metrics.targets as f64;
                item.tally(suite, Measure::Loss, || vec![metrics.loss_sum, targets]);
                item.tally(suite, Measure::Perplexity, || vec![metrics.loss_sum, targets]);
                item.tally(suite, Measure::TokenAccuracy, || vec![metrics.correct, targets]);
                if !progress() {
                    return Ok(None);
                }
            }
        }
        if let (false, Some(evaluator)) = (prepared.choices.is_empty(), &mut self.evaluator) {
            for (number, pairs) in prepared.choices.iter().enumerate() {
                let found = evaluator.log_likelihoods(pairs).await?;
                let sums: Vec<f64> = found.iter().map(|found| found.log_likelihood).collect();
                let (result, item) = (&mut items[number], &prepared.items[number]);
                let picked = pick(&sums, &item.choices)?;
                let scores = picked.scores(item.gold.unwrap_or(usize::MAX));
                for (measure, score) in [Measure::Acc, Measure::AccNorm, Measure::AccBytes]
                    .into_iter()
                    .zip(scores)
                {
                    result.tally(suite, measure, || vec![score, 1.0]);
                }
                result.answer = item.choices[picked.likeliest].clone();
                if !progress() {
                    return Ok(None);
                }
            }
        }
        if let (false, Some(generator)) = (prepared.prompts.is_empty(), &mut self.generator) {
            let tokenizer = tokenizer
                .ok_or_else(|| Error::config("tokenizer.json", "is missing: without it nothing can be asked"))?;
            let (mut stopped, sampling) = (false, suite.sampling());
            let on_done = |_, _: &[u32]| {
                stopped = !progress();
                !stopped
            };
            let answers = generator
                .generate(&prepared.prompts, &sampling, suite.max_new_tokens, terminators, on_done)
                .await?;
            if stopped {
                return Ok(None);
            }
            for ((result, item), ids) in items.iter_mut().zip(&prepared.items).zip(answers) {
                breathe().await;
                let text = tokenizer.decode(&ids, true)?;
                let text = suite.cut(&text);
                text.trim().clone_into(&mut result.answer);
                prepared.mark(item, text, result);
            }
        }
        Ok(Some(SuiteResult {
            suite: suite.clone(),
            items,
        }))
    }
}

impl Prepared {
    /// Tally an answer by every measure that looks at answers.
    fn mark(&self, item: &Item, answer: &str, result: &mut ItemResult) {
        let (suite, references) = (&self.suite, &item.references);
        let exact = exact_match(answer, references);
        // Of a group of wordings, agreement compares the answers themselves; see `SuiteResult::units`.
        for measure in [Measure::ExactMatch, Measure::WorstCase, Measure::Agreement] {
            result.tally(suite, measure, || vec![exact, 1.0]);
        }
        result.tally(suite, Measure::F1, || vec![f1(answer, references), 1.0]);
        for (measure, kind) in [
            (Measure::Rouge1, RougeType::Rouge1),
            (Measure::Rouge2, RougeType::Rouge2),
            (Measure::RougeL, RougeType::RougeL),
            (Measure::RougeLsum, RougeType::RougeLsum),
        ] {
            let score = || rouge_best(kind, references, answer, true).fmeasure;
            result.tally(suite, measure, || vec![score(), 1.0]);
        }
        result.tally(suite, Measure::Bleu, || {
            BleuStats::of(answer, references, &BleuConfig::default()).to_sums()
        });
        for measure in [Measure::Chrf, Measure::ChrfPlusPlus] {
            result.tally(suite, measure, || {
                ChrfStats::of(answer, references, &measure.chrf()).to_sums()
            });
        }
        if let Some(labels) = &self.labels {
            let (named, wanted) = (
                labels.find(answer),
                references.first().and_then(|label| labels.find(label)),
            );
            let right = named.is_some() && named == wanted;
            result.tally(suite, Measure::Accuracy, || vec![f64::from(right), 1.0]);
            result.tally(suite, Measure::MacroF1, || labels.tally(named, wanted));
        }
        if !item.instructions.is_empty() {
            let verdict = ifeval::check(&item.instructions, answer);
            let [strict, loose, all] = verdict.counts().map(|count| count as f64);
            for (followed, prompt, inst) in [
                (strict, Measure::PromptStrict, Measure::InstStrict),
                (loose, Measure::PromptLoose, Measure::InstLoose),
            ] {
                result.tally(suite, prompt, || vec![f64::from(followed == all), 1.0]);
                result.tally(suite, inst, || vec![followed, all]);
            }
        }
        let forgotten = |measure: &&Measure| {
            measure.needs() == Needs::Answer && !measure.is_ifeval() && !result.tallies.contains_key(measure)
        };
        assert_eq!(
            suite.measure.iter().find(forgotten),
            None,
            "a measure of answers that is not tallied"
        );
    }
}

impl ItemResult {
    fn new(item: &Item) -> Self {
        Self {
            line: item.place.number(),
            task: item.task.clone(),
            group: item.group.clone(),
            prompt: item.prompt_text(),
            references: item.references.clone(),
            answer: String::new(),
            tallies: BTreeMap::new(),
        }
    }

    /// Keep a tally that the suite asks for.
    fn tally(&mut self, suite: &Suite, measure: Measure, tally: impl FnOnce() -> Vec<f64>) {
        if suite.measure.contains(&measure) {
            self.tallies.insert(measure, tally());
        }
    }
}
