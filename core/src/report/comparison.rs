//! Before and after: tables with intervals, bars by task, answers side by side.

use std::fmt::{Result, Write};

use super::curves::COLUMN;
use super::page::{clipped, name};
use crate::chart::{Bar, BarChart, BarGroup};
use crate::data::quality::html::grouped;
use crate::eval::{Comparison, Difference, Estimate, Measure, SideBySide, SuiteComparison, Verdict};

/// Answers of a suite that are shown without being asked for.
const SHOWN: usize = 4;

/// All of it, below a heading of the page.
pub(super) fn write(page: &mut String, comparison: &Comparison) -> Result {
    let (base, tuned) = (name(&comparison.base), name(&comparison.tuned));
    writeln!(
        page,
        "<p class=\"quiet\">Base: <code>{base}</code>. Tuned: <code>{tuned}</code>. Small numbers are 95 % intervals; a difference is \
         called better or worse where its interval leaves zero out and six items or more differ.</p>"
    )?;
    if comparison.suites.is_empty() {
        return writeln!(page, "<p class=\"quiet\">There are no suites in it.</p>");
    }
    let kinds = [
        (false, "What should get better"),
        (true, "What must not get worse: forgetting"),
    ];
    let both = kinds
        .iter()
        .all(|(kind, _)| comparison.suites.iter().any(|suite| suite.forgetting == *kind));
    for (forgetting, title) in kinds {
        let suites: Vec<&SuiteComparison> = comparison
            .suites
            .iter()
            .filter(|s| s.forgetting == forgetting)
            .collect();
        if suites.is_empty() {
            continue;
        }
        if both || forgetting {
            writeln!(page, "<h3>{title}</h3>")?;
        }
        open_table(page, "suite")?;
        for suite in &suites {
            let direction = if suite.higher_is_better {
                "more is better"
            } else {
                "less is better"
            };
            let about = format!("{}, {direction}", measure(suite));
            write_row(page, &suite.name, Some(&about), &suite.all, suite.measure)?;
        }
        page.push_str("</tbody></table>\n");
    }
    for suite in &comparison.suites {
        write_suite(page, suite)?;
    }
    Ok(())
}

fn open_table(page: &mut String, first: &str) -> Result {
    writeln!(
        page,
        "<table class=\"difference\"><thead><tr><th>{first}</th><th>base</th><th>tuned</th><th>difference</th></tr></thead><tbody>"
    )
}

/// Whether a difference is more than chance: a class of the page's style, and words.
fn verdict(difference: &Difference, measure: Measure) -> (&'static str, &'static str) {
    let class = match difference.verdict(measure) {
        Verdict::Better => "good",
        Verdict::Worse => "error",
        Verdict::Open => "quiet",
    };
    (class, difference.words(measure))
}

fn write_row(page: &mut String, title: &str, about: Option<&str>, of: &Difference, measure: Measure) -> Result {
    let about = about.map_or(String::new(), |about| format!("{}; ", name(about)));
    write!(
        page,
        "<tr><td><b>{}</b><small>{about}{} item{}{groups}</small>",
        name(title),
        grouped(of.items),
        if of.items == 1 { "" } else { "s" },
        groups = if of.units() == of.items {
            String::new()
        } else {
            format!(" in {} groups", grouped(of.units()))
        }
    )?;
    write_wins(page, of)?;
    page.push_str("</td>");
    for estimate in [&of.base, &of.tuned] {
        let interval = interval(estimate, |value| measure.show(value));
        write!(
            page,
            "<td>{}<small>{interval}</small></td>",
            measure.show(estimate.value)
        )?;
    }
    let (class, word) = verdict(of, measure);
    writeln!(
        page,
        "<td>{}<small>{}</small><small class=\"{class}\">{word}</small></td></tr>",
        measure.show_change(of.difference.value),
        interval(&of.difference, |value| measure.show_change(value))
    )
}

fn interval(of: &Estimate, number: impl Fn(f64) -> String) -> String {
    format!("<span>{}</span> to <span>{}</span>", number(of.low), number(of.high))
}

/// What a suite measures, in words.
fn measure(suite: &SuiteComparison) -> String {
    suite.measure.name().replace('_', " ")
}

fn write_wins(page: &mut String, of: &Difference) -> Result {
    let all = of.wins + of.losses + of.ties;
    if all == 0 {
        return Ok(());
    }
    let share = |n: u64| 100.0 * n as f64 / all as f64;
    let words = format!(
        "{} better, {} worse, {} alike",
        grouped(of.wins),
        grouped(of.losses),
        grouped(of.ties)
    );
    write!(
        page,
        "<span class=\"wins\" role=\"img\" aria-label=\"{words}\"><i class=\"good\" style=\"width:{:.2}%\"></i>\
         <i class=\"error\" style=\"width:{:.2}%\"></i></span><small>{words}</small>",
        share(of.wins),
        share(of.losses)
    )
}

fn write_suite(page: &mut String, suite: &SuiteComparison) -> Result {
    if suite.tasks.is_empty() && suite.examples.is_empty() {
        return Ok(());
    }
    let badge = if suite.forgetting {
        " <span class=\"badge\">forgetting</span>"
    } else {
        ""
    };
    writeln!(page, "<section class=\"suite\"><h3>{}{badge}</h3>", name(&suite.name))?;
    let signature = suite
        .signature
        .as_deref()
        .map(|signature| format!(" · <code>{}</code>", name(signature)));
    writeln!(
        page,
        "<p class=\"quiet\">{}{}</p>",
        name(&measure(suite)),
        signature.unwrap_or_default()
    )?;
    if !suite.tasks.is_empty() {
        let chart = tasks(suite).to_svg();
        writeln!(page, "<div class=\"two\"><figure>{chart}</figure>\n<div>")?;
        open_table(page, "task")?;
        for (task, difference) in &suite.tasks {
            write_row(page, task, None, difference, suite.measure)?;
        }
        page.push_str("</tbody></table></div></div>\n");
    }
    for (i, example) in suite.examples.iter().enumerate() {
        if i == SHOWN {
            let more = suite.examples.len() - SHOWN;
            writeln!(page, "<details><summary>{more} more</summary>")?;
        }
        write_example(page, example, suite.measure)?;
    }
    if suite.examples.len() > SHOWN {
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
    Ok(())
}

/// Bars with intervals for every task, before and after.
fn tasks(suite: &SuiteComparison) -> BarChart {
    let bar = |(series, of): (usize, &Estimate)| Bar {
        value: of.value,
        interval: Some((of.low, of.high)),
        text: suite.measure.show(of.value),
        series,
    };
    let group = |(name, of): (&str, &Difference)| BarGroup {
        name: name.to_owned(),
        bars: [&of.base, &of.tuned].into_iter().enumerate().map(bar).collect(),
    };
    let all = [("all tasks", &suite.all)];
    let tasks = suite.tasks.iter().map(|(name, of)| (name.as_str(), of));
    BarChart {
        title: format!("{}, with 95 % intervals", measure(suite)),
        legend: vec!["base".to_owned(), "tuned".to_owned()],
        groups: all.into_iter().chain(tasks).map(group).collect(),
        axis: true,
        width: COLUMN.0,
    }
}

fn write_example(page: &mut String, example: &SideBySide, measure: Measure) -> Result {
    let task = example.task.as_deref().filter(|task| !task.is_empty());
    let badge = task.map_or(String::new(), |task| {
        format!("<span class=\"badge\">{}</span> ", name(task))
    });
    writeln!(
        page,
        "<article class=\"example\"><p class=\"text\">{badge}{}</p>",
        clipped(&example.prompt)
    )?;
    if !example.reference.is_empty() {
        writeln!(
            page,
            "<p class=\"text quiet\"><small>wanted</small>{}</p>",
            clipped(&example.reference)
        )?;
    }
    page.push_str("<div class=\"answers\">");
    for (who, answer, score) in [
        ("base", &example.base, example.base_score),
        ("tuned", &example.tuned, example.tuned_score),
    ] {
        let score = measure.show(score);
        write!(
            page,
            "<div><small>{who} · {score}</small><p class=\"text\">{}</p></div>",
            clipped(answer)
        )?;
    }
    page.push_str("</div></article>\n");
    Ok(())
}
