//! The report of a check, for a terminal.

use anyhow::Result;
use wgpu_sft::data::quality::{CheckReport, Count, Finding, Length, Place, Severity};

use crate::progress::line;

/// Parts of a list shown on one line.
const SHOWN: usize = 6;
/// Examples shown of each finding.
const EXAMPLES: usize = 3;

/// Print all of it.
pub fn print(report: &CheckReport) -> Result<()> {
    for source in &report.sources {
        let held_out = if source.held_out { ", held out" } else { "" };
        line(&format!("{}: {} rows{held_out}", source.name, source.rows))?;
    }
    line("")?;
    let row = |name: &str, text: String| line(&format!("{name:<10} {text}"));
    row("shapes", list(&report.shapes, report.rows))?;
    row("tasks", tasks(report))?;
    if let Some(length) = &report.length {
        row("length", lengths(length))?;
        row("", sparkline(length))?;
    }
    if report.languages.iter().any(|language| language.name != "unknown") {
        row("languages", list(&report.languages, report.rows))?;
    }
    if let Some(overlap) = &report.overlap {
        let text = format!(
            "{} training rows are held out too, {} nearly so; {} of {} held-out rows of eight words or more overlap, {} of a row's word sequences on average",
            overlap.duplicates,
            overlap.near_duplicates,
            overlap.overlapping_rows,
            overlap.measured_rows,
            percent(overlap.mean_share),
        );
        row("held out", text)?;
    }
    if !report.flagged_terms.is_empty() {
        row("flagged", list(&report.flagged_terms, report.rows))?;
    }
    for (i, group) in report.representation.iter().enumerate() {
        let total = group.buckets.iter().map(|bucket| bucket.rows).sum();
        let mut buckets = group.buckets.clone();
        buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.rows));
        row(
            if i == 0 { "mentions" } else { "" },
            format!("{}: {}", group.name, list(&buckets, total)),
        )?;
    }
    if !(report.flagged_terms.is_empty() && report.representation.is_empty()) {
        row("", "(word lists without context: a screen, not a verdict)".to_owned())?;
    }
    for finding in &report.findings {
        line("")?;
        print_finding(finding)?;
    }
    let count = |severity| {
        report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    line("")?;
    match (errors, warnings) {
        (0, 0) => line("nothing serious was found"),
        _ => line(&format!("kinds of errors: {errors}, of warnings: {warnings}")),
    }
}

fn print_finding(finding: &Finding) -> Result<()> {
    line(&format!(
        "{} {}: {} ({}) {}",
        finding.severity.name(),
        finding.code.name(),
        finding.count,
        percent(finding.share),
        finding.title
    ))?;
    let place = |place: &Place| format!("{}:{}", place.file, place.line);
    for example in finding.examples.iter().take(EXAMPLES) {
        let like = example
            .like
            .as_ref()
            .map_or(String::new(), |like| format!(" like {}", place(like)));
        line(&format!("    {}{like}  {}", place(&example.place), example.snippet))?;
    }
    line(&format!("  → {}", finding.advice))
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// `alpaca 52,002 (100.0 %), ...`, what there is none of left out.
fn list(counts: &[Count], total: usize) -> String {
    let found: Vec<&Count> = counts.iter().filter(|count| count.rows > 0).collect();
    let shown = found.iter().take(SHOWN).map(|count| {
        let share = percent(count.rows as f64 / total.max(1) as f64);
        format!("{} {} ({share})", count.name, count.rows)
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if found.len() > SHOWN {
        text += &format!(" and {} more", found.len() - SHOWN);
    }
    text
}

fn tasks(report: &CheckReport) -> String {
    let (counts, guessed, sure) = report.task_counts();
    let text = list(&counts, counts.iter().map(|count| count.rows).sum());
    match guessed {
        0 => text,
        n => format!("{text}; {n} guessed, with a mean confidence of {:.0} %", 100.0 * sure),
    }
}

fn lengths(length: &Length) -> String {
    let mut text = format!(
        "{} {}: half of the rows have at most {}, 9 in 10 at most {}, the longest {}",
        length.total, length.unit, length.median, length.p90, length.longest
    );
    if let Some(limit) = length.limit {
        text += &format!("; {} beyond the limit of {limit}", length.over);
    }
    text
}

/// The histogram as one line of bars.
fn sparkline(length: &Length) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = length.histogram.iter().map(|bin| bin.rows).max().unwrap_or(0).max(1);
    // A bar that is not empty is seen.
    let bars: String = length
        .histogram
        .iter()
        .map(|bin| BARS[(bin.rows * 8).div_ceil(most)])
        .collect();
    let width = length.histogram.first().map_or(1, |bin| bin.to - bin.from + 1);
    match length.histogram.len() {
        0 | 1 => String::new(),
        _ => format!("0 {bars}▏ bars of {width}, the last open-ended"),
    }
}
