//! Results and comparisons, as a terminal and as programs read them.

use anyhow::Result;
use serde_json::{Value, json};
use wgpu_sft::eval::{Comparison, Difference, Estimate, Measure, SuiteResult};

use crate::progress::line;

/// The ends of an interval.
fn interval(measure: Measure, estimate: &Estimate, signed: bool) -> String {
    let scale = if measure.is_share() { 100.0 } else { 1.0 };
    let digits = if measure == Measure::Loss {
        4
    } else {
        usize::from(!measure.is_share()) + 1
    };
    match estimate.low.is_finite() && estimate.high.is_finite() {
        false => "".to_owned(),
        true if signed => format!(
            "{:+.digits$} to {:+.digits$}",
            scale * estimate.low,
            scale * estimate.high
        ),
        true => format!(
            "{:.digits$} to {:.digits$}",
            scale * estimate.low,
            scale * estimate.high
        ),
    }
}

/// Rows of a table, columns as wide as their widest cell; numbers right-aligned.
fn print(rows: &[Vec<String>], right: &[usize]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cell = |(at, cell): (usize, &String)| match right.contains(&at) {
            true => format!("{cell:>width$}", width = widths[at]),
            false => format!("{cell:<width$}", width = widths[at]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Print results, and the first `samples` answers of each suite.
pub fn results(results: &[SuiteResult], samples: usize) -> Result<()> {
    let mut rows = vec![
        ["suite", "measure", "items", "value", "95 % interval"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let row = |name: &str, measure: Measure, items: u64, estimate: &Estimate| {
        vec![
            name.to_owned(),
            measure.to_string(),
            items.to_string(),
            measure.show(estimate.value),
            interval(measure, estimate, false),
        ]
    };
    for result in results {
        for (i, &measure) in result.suite.measure.iter().enumerate() {
            let name = if i == 0 { &result.suite.name[..] } else { "" };
            rows.push(row(name, measure, result.items.len() as u64, &result.estimate(measure)));
            let tasks = result.tasks(measure);
            for (task, items, estimate) in tasks.iter().filter(|_| tasks.len() > 1) {
                rows.push(row(&format!("  {task}"), measure, *items, estimate));
            }
        }
    }
    print(&rows, &[2, 3])?;
    for result in results.iter().filter(|result| samples > 0 && result.suite.asks()) {
        line(&format!("\n{}:", result.suite.name))?;
        for (i, item) in result.items.iter().take(samples).enumerate() {
            if i > 0 {
                line("")?;
            }
            sample("asked", &item.prompt)?;
            wanted(&item.references.join(" | "))?;
            sample("answer", &item.answer)?;
        }
    }
    signatures(results.iter().flat_map(|result| {
        let of = |measure: &Measure| result.signature(*measure).map(|signature| (*measure, signature));
        result.suite.measure.iter().filter_map(of)
    }))
}

/// Say what sacreBLEU would call the measures.
fn signatures(all: impl Iterator<Item = (Measure, String)>) -> Result<()> {
    let mut said: Vec<String> = Vec::new();
    for (measure, signature) in all {
        let text = format!("{measure}: {signature}");
        if !said.contains(&text) {
            if said.is_empty() {
                line("")?;
            }
            line(&text)?;
            said.push(text);
        }
    }
    Ok(())
}

fn wanted(text: &str) -> Result<()> {
    if text.is_empty() {
        Ok(())
    } else {
        sample("wanted", text)
    }
}

fn sample(name: &str, text: &str) -> Result<()> {
    for (i, text) in text.lines().chain(text.is_empty().then_some("")).enumerate() {
        let name = if i == 0 { name } else { "" };
        line(format!("  {name:<8}{text}").trim_end())?;
    }
    Ok(())
}

fn estimate_json(estimate: &Estimate) -> Value {
    json!({
        "value": estimate.value,
        "stderr": estimate.stderr,
        "low": estimate.low,
        "high": estimate.high,
    })
}

/// Results as JSON: every measure of every suite, overall and by task.
pub fn results_json(results: &[SuiteResult]) -> Value {
    let suite = |result: &SuiteResult| -> Vec<Value> {
        let measure = |&measure: &Measure| {
            let tasks = result.tasks(measure);
            let task = |(task, items, estimate): &(String, u64, Estimate)| {
                let mut json = estimate_json(estimate);
                json["items"] = (*items).into();
                (task.clone(), json)
            };
            let mut json = json!({
                "suite": result.suite.name,
                "measure": measure,
                "items": result.items.len(),
                "forgetting": result.suite.forgetting,
                "tasks": tasks.iter().map(task).collect::<serde_json::Map<_, _>>(),
                "signature": result.signature(measure),
            });
            if let (Some(json), Value::Object(estimate)) =
                (json.as_object_mut(), estimate_json(&result.estimate(measure)))
            {
                json.extend(estimate);
            }
            json
        };
        result.suite.measure.iter().map(measure).collect()
    };
    json!({ "suites": results.iter().flat_map(suite).collect::<Vec<_>>() })
}

/// Print a comparison, and up to `samples` items of each suite side by side.
pub fn comparison(comparison: &Comparison, samples: usize) -> Result<()> {
    line(&format!("base:  {}\ntuned: {}\n", comparison.base, comparison.tuned))?;
    let head = [
        "suite",
        "measure",
        "items",
        "base",
        "tuned",
        "difference",
        "95 % interval",
        "won/lost/tied",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let row = |name: String, measure: Measure, difference: &Difference| {
        vec![
            name,
            measure.to_string(),
            difference.count(),
            measure.show(difference.base.value),
            measure.show(difference.tuned.value),
            measure.show_change(difference.difference.value),
            interval(measure, &difference.difference, true),
            format!("{}/{}/{}", difference.wins, difference.losses, difference.ties),
            match difference.words(measure) {
                "worse" => "WORSE".to_owned(),
                words => words.to_owned(),
            },
        ]
    };
    for suite in &comparison.suites {
        let name = match (suite.decides, suite.forgetting) {
            (true, true) => format!("{} (must not get worse)", suite.name),
            (true, false) => suite.name.clone(),
            (false, _) => String::new(),
        };
        rows.push(row(name, suite.measure, &suite.all));
        for (task, difference) in &suite.tasks {
            rows.push(row(format!("  {task}"), suite.measure, difference));
        }
    }
    print(&rows, &[2, 3, 4, 5])?;
    for suite in comparison
        .suites
        .iter()
        .filter(|suite| samples > 0 && !suite.examples.is_empty())
    {
        line(&format!("\n{}:", suite.name))?;
        for (i, example) in suite.examples.iter().take(samples).enumerate() {
            if i > 0 {
                line("")?;
            }
            sample("asked", &example.prompt)?;
            wanted(&example.reference)?;
            sample("base", &example.base)?;
            sample("tuned", &example.tuned)?;
        }
    }
    signatures(
        comparison
            .suites
            .iter()
            .filter_map(|suite| Some((suite.measure, suite.signature.clone()?))),
    )
}
