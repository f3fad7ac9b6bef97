//! The charts of a run.

use super::{Log, Report};
use crate::chart::{Bar, BarChart, BarGroup, LineChart, Mark, Series};
use crate::report::words;

/// Sizes of charts: across the page, and in a column of it.
pub(super) const WIDE: (f64, f64) = (1000.0, 340.0);
pub(super) const COLUMN: (f64, f64) = (480.0, 280.0);

/// A log has a smoothed line from so many points on.
const SMOOTHED_FROM: usize = 8;
/// What evaluations say beside their loss and the measures of suites.
const NO_SUITES: [&str; 4] = ["eval_loss", "eval_perplexity", "eval_token_accuracy", "eval_targets"];

/// Means over as many points before each as after it: a twenty-fifth of all on either side, at most 100, fewer towards the ends. Such a
/// line does not lag behind. A point that is not finite stays so, and weighs nothing.
pub(super) fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 25).clamp(2, 100);
    // Sums and numbers of what came before each point.
    let mut before = vec![(0.0, 0u32)];
    let (mut sum, mut count) = (0.0, 0);
    for (_, y) in points.iter() {
        if y.is_finite() {
            (sum, count) = (sum + y, count + 1);
        }
        before.push((sum, count));
    }
    let mean = |i: usize| {
        let reach = reach.min(i).min(points.len() - 1 - i);
        let (low, high) = (before[i - reach], before[i + reach + 1]);
        (high.0 - low.0) / f64::from(high.1 - low.1)
    };
    let at = |(i, (x, y)): (usize, &(f64, f64))| (*x, if y.is_finite() { mean(i) } else { f64::NAN });
    points.iter().enumerate().map(at).collect()
}

/// A series of the log with its smoothed line.
fn both(name: &str, points: Vec<(f64, f64)>) -> Vec<Series> {
    let series = |name: String, points, mark| Series {
        name,
        points,
        mark,
        colour: 0,
    };
    if points.len() < SMOOTHED_FROM {
        return vec![series(name.to_owned(), points, Mark::Dotted)];
    }
    let line = smoothed(&points);
    vec![
        series(name.to_owned(), points, Mark::Faint),
        series(format!("{name}, smoothed"), line, Mark::Line),
    ]
}

fn over_steps(title: &str, series: Vec<Series>, size: (f64, f64)) -> LineChart {
    LineChart {
        title: title.to_owned(),
        x: "step".to_owned(),
        series,
        size,
    }
}

/// Loss, and held-out loss.
pub(super) fn loss(log: &Log, size: (f64, f64)) -> LineChart {
    let mut series = both("training", log.series("loss"));
    series.push(Series {
        name: "held out".to_owned(),
        points: log.series("eval_loss"),
        mark: Mark::Dotted,
        colour: 1,
    });
    over_steps("Loss per target", series, size)
}

/// Everything else that the log has over steps.
pub(super) fn others(log: &Log) -> Vec<LineChart> {
    let one = |title: &str, key: &str, mark, colour| {
        let points = log.series(key);
        let name = title.to_owned();
        let series = vec![Series {
            name,
            points,
            mark,
            colour,
        }];
        over_steps(title, series, COLUMN)
    };
    let mut charts = vec![
        one("Learning rate", "learning_rate", Mark::Line, 0),
        over_steps(
            "Gradient norm before clipping",
            both("gradient norm", log.series("grad_norm")),
            COLUMN,
        ),
        over_steps(
            "Tokens per second",
            both("tokens/s", log.series("tokens_per_second")),
            COLUMN,
        ),
        one("Held-out token accuracy", "eval_token_accuracy", Mark::Dotted, 1),
    ];
    let mut suites: Vec<&str> = Vec::new();
    for key in log.lines.iter().flat_map(|(_, numbers)| numbers.keys()) {
        if key.starts_with("eval_") && !NO_SUITES.contains(&key.as_str()) && !suites.contains(&key.as_str()) {
            suites.push(key);
        }
    }
    charts.extend(
        suites
            .into_iter()
            .map(|key| one(&format!("Suite {}", &key["eval_".len()..]), key, Mark::Dotted, 1)),
    );
    charts.retain(|chart| {
        chart
            .series
            .iter()
            .any(|series| series.points.iter().any(|point| point.1.is_finite()))
    });
    charts
}

/// What is allocated, part by part.
pub(super) fn memory(report: &Report) -> BarChart {
    let memory = &report.run.memory;
    let mut parts = vec![
        ("weights", memory.weights, 0),
        ("adapter", memory.adapter, 0),
        ("gradients", memory.gradients, 0),
        ("optimizer", memory.optimizer, 0),
        ("activations", memory.activations, 0),
        ("suites", memory.suites, 0),
        ("planned in all", memory.total(), 5),
    ];
    let peaks = report.run.sessions.iter().filter_map(|session| session.peak_memory);
    if let Some(peak) = peaks.max() {
        parts.push(("most that was allocated at once", peak, 1));
    }
    parts.retain(|part| part.1 > 0);
    let group = |(name, bytes, series): (&str, u64, usize)| BarGroup {
        name: name.to_owned(),
        bars: vec![Bar {
            value: bytes as f64,
            interval: None,
            text: words::bytes(bytes),
            series,
        }],
    };
    BarChart {
        title: "Memory on the device".to_owned(),
        legend: Vec::new(),
        groups: parts.into_iter().map(group).collect(),
        axis: false,
        width: COLUMN.0,
    }
}

impl Report {
    /// The loss curves as an SVG file of their own.
    pub fn curves(&self) -> String {
        loss(&self.log, (960.0, 420.0)).to_file()
    }
}
