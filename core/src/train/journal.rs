//! The logs of a run: the lines of `metrics.jsonl` and `samples.jsonl`.

use serde_json::{Map, Value, json};

use super::StepMetrics;
use super::checkpoint::Counters;
use crate::eval::{EvalMetrics, ItemResult, Measure, SuiteResult};

/// Answers of each suite that `samples.jsonl` follows.
const SAMPLES: usize = 3;

impl Counters {
    /// Count a step.
    pub fn add(&mut self, step: &StepMetrics) {
        self.targets += step.targets;
        self.tokens += step.tokens;
        self.loss_sum += step.loss_sum;
        self.loss_targets += step.targets;
    }

    /// Mean loss of a target since the last line of the log.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.loss_targets as f64
    }

    /// The log's line after a step; the next one's loss begins anew.
    pub fn line(&mut self, step: &StepMetrics, epoch: f64, tokens_per_second: f64) -> Value {
        let line = json!({
            "step": step.step,
            "epoch": epoch,
            "loss": self.loss(),
            "grad_norm": step.grad_norm,
            "learning_rate": step.learning_rate,
            "targets": self.targets,
            "tokens": self.tokens,
            "tokens_per_second": tokens_per_second,
            "packing": step.tokens as f64 / step.token_rows as f64,
        });
        (self.loss_sum, self.loss_targets) = (0.0, 0);
        line
    }
}

/// How `metrics.jsonl` calls a measure of a suite.
pub fn key(suite: &str, measure: Measure) -> String {
    format!("eval_{suite}_{measure}")
}

/// What `metrics.jsonl` says of an evaluation: of held-out rows, and of suites.
pub fn numbers(rows: Option<&EvalMetrics>, suites: &[SuiteResult]) -> Map<String, Value> {
    let mut numbers = Map::new();
    if let Some(rows) = rows {
        numbers.insert("eval_loss".to_owned(), json!(rows.loss()));
        numbers.insert("eval_perplexity".to_owned(), json!(rows.perplexity()));
        numbers.insert("eval_token_accuracy".to_owned(), json!(rows.token_accuracy()));
        numbers.insert("eval_targets".to_owned(), json!(rows.targets));
    }
    for result in suites {
        for &measure in &result.suite.measure {
            numbers.insert(key(&result.suite.name, measure), json!(result.value(measure)));
        }
    }
    numbers
}

/// The log's line after an evaluation.
pub fn evaluation_line(step: u64, epoch: f64, numbers: Map<String, Value>) -> Value {
    let mut line = Map::from_iter([("step".to_owned(), json!(step)), ("epoch".to_owned(), json!(epoch))]);
    line.extend(numbers);
    Value::Object(line)
}

/// The same in words, a line for the rows and one for each suite.
pub fn words(step: u64, total: u64, rows: Option<&EvalMetrics>, suites: &[SuiteResult]) -> Vec<String> {
    let at = format!("step {step}/{total}");
    let of_rows = |rows: &EvalMetrics| {
        format!(
            "{at}  eval_loss {:.4}  perplexity {:.3}  token accuracy {:.1} %",
            rows.loss(),
            rows.perplexity(),
            100.0 * rows.token_accuracy()
        )
    };
    let of_suite = |result: &SuiteResult| {
        let mut text = format!("{at}  {}:", result.suite.name);
        for &measure in &result.suite.measure {
            text += &format!("  {measure} {}", measure.show(result.value(measure)));
        }
        text
    };
    rows.map(of_rows)
        .into_iter()
        .chain(suites.iter().map(of_suite))
        .collect()
}

/// The first answers of each suite: the lines of `samples.jsonl`.
pub fn samples(step: u64, results: &[SuiteResult]) -> Vec<Value> {
    let asked = results.iter().filter(|result| result.suite.asks());
    let items = asked.flat_map(|result| result.items.iter().take(SAMPLES).map(move |item| (result, item)));
    let line = |(result, item): (&SuiteResult, &ItemResult)| {
        json!({
            "step": step,
            "suite": result.suite.name,
            "prompt": item.prompt,
            "reference": item.references.join(" | "),
            "answer": item.answer,
        })
    };
    items.map(line).collect()
}

/// A log's lines up to a step. A line that a crash cut short is none. Of that step itself, what an evaluation said stays only where it
/// was `evaluated`.
pub fn cut_back(text: &str, step: u64, evaluated: bool) -> String {
    let is_kept = |line: &&str| {
        let json: Option<Value> = serde_json::from_str(line).ok();
        let kept = |json: Value| {
            let at = json["step"].as_u64()?;
            let trained = json.get("loss").is_some();
            Some(at < step || at == step && (evaluated || trained))
        };
        json.and_then(kept).unwrap_or(false)
    };
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter(is_kept)
        .collect()
}
