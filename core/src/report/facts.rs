//! What went in, and what it ran on.

use std::fmt::{Result, Write};

use serde_json::Value;

use super::page::name;
use super::{FileSummary, Outcome, Run, Session, TaskSummary, words};
use crate::data::quality::html::grouped;

/// Files of rows, and tasks.
pub(super) fn write_data(page: &mut String, run: &Run) -> Result {
    write_files(page, "Files learnt from", &run.data)?;
    if run.tasks.iter().any(|task| !task.name.is_empty()) {
        write_tasks(page, &run.tasks)?;
    }
    write_files(page, "Files held out", &run.eval_data)
}

/// A table whose rows become cards where there is no room: columns' names, then rows of a name and numbers.
fn table(page: &mut String, columns: &[&str], rows: impl Iterator<Item = (String, Vec<String>)>) -> Result {
    page.push_str("<table class=\"cards\"><thead><tr>");
    for column in columns {
        write!(page, "<th>{column}</th>")?;
    }
    page.push_str("</tr></thead><tbody>\n");
    for (first, cells) in rows {
        write!(page, "<tr><td>{first}</td>")?;
        for (column, cell) in columns[1..].iter().zip(cells) {
            write!(page, "<td data-name=\"{column}\">{cell}</td>")?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
    Ok(())
}

fn write_files(page: &mut String, title: &str, files: &[FileSummary]) -> Result {
    if files.is_empty() {
        return Ok(());
    }
    writeln!(page, "<h3>{title}</h3>")?;
    let columns = [
        "file", "rows", "kept", "dropped", "unusable", "too long", "examples", "tokens", "targets", "longest",
    ];
    let row = |file: &FileSummary| {
        let weight = match file.weight {
            1.0 => String::new(),
            weight => format!("<small>{weight} times an epoch</small>"),
        };
        let dropped = file.rows.saturating_sub(file.kept + file.bad);
        let numbers = [
            file.rows,
            file.kept,
            dropped,
            file.bad,
            file.overlong,
            file.examples,
            file.tokens,
            file.targets,
            file.longest,
        ];
        let first = format!("<code>{}</code>{weight}", name(&file.name));
        (first, numbers.map(grouped).to_vec())
    };
    table(page, &columns, files.iter().map(row))
}

fn write_tasks(page: &mut String, tasks: &[TaskSummary]) -> Result {
    writeln!(page, "<h3>Tasks</h3>")?;
    let columns = [
        "task",
        "examples",
        "in an epoch",
        "tokens",
        "targets",
        "share of targets",
    ];
    let all: u64 = tasks.iter().map(|task| task.targets).sum();
    let row = |task: &TaskSummary| {
        let mut cells: Vec<String> = [task.examples, task.per_epoch, task.tokens, task.targets]
            .map(grouped)
            .to_vec();
        let share = 100.0 * task.targets as f64 / all.max(1) as f64;
        cells.push(format!("{share:.1} %"));
        let first = match task.name.as_str() {
            "" => "<span class=\"quiet\">unnamed</span>".to_owned(),
            task => name(task),
        };
        (first, cells)
    };
    table(page, &columns, tasks.iter().map(row))
}

/// How a session ended, in a word.
fn outcome(session: &Session, last: bool) -> &'static str {
    match session.outcome {
        Outcome::Running if last => "running, or cut off",
        Outcome::Running => "cut off",
        Outcome::Finished => "finished",
        Outcome::Interrupted => "interrupted",
        Outcome::Diverged => "diverged",
        Outcome::Failed => "failed",
    }
}

/// Commands, versions, devices, hashes, settings.
pub(super) fn write_run(page: &mut String, run: &Run) -> Result {
    for (i, session) in run.sessions.iter().enumerate() {
        if run.sessions.len() > 1 {
            writeln!(page, "<h3>Session {}</h3>", i + 1)?;
        }
        writeln!(page, "<pre>{}</pre>", name(&words::command_line(&session.command)))?;
        let device = &session.device;
        let steps = match session.to_step {
            Some(to) => format!("{} to {to}", session.from_step),
            None => format!("from {}", session.from_step),
        };
        let took = session
            .ended
            .map(|ended| words::duration(ended.saturating_sub(session.started)));
        let facts = [
            ("device", format!("{} ({})", device.name, device.backend)),
            ("driver", device.driver.clone()),
            ("kernels", session.kernels.clone()),
            ("version", format!("wgpu-sft {}, {}", session.version, session.platform)),
            ("began", words::date(session.started)),
            ("took", took.unwrap_or_default()),
            ("steps", steps),
            ("ended", outcome(session, i + 1 == run.sessions.len()).to_owned()),
            ("error", session.error.clone().unwrap_or_default()),
        ];
        write_list(page, &facts)?;
    }
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let setting = |key: &str| run.settings.get(key).map(plain).unwrap_or_default();
    let trained = 100.0 * run.trained_parameters as f64 / run.parameters.max(1) as f64;
    page.push_str("<h3>Identity</h3>\n");
    write_list(
        page,
        &[
            ("model", run.model.clone()),
            ("weights", grouped(run.parameters)),
            (
                "trained",
                format!("{} ({trained:.2} %)", grouped(run.trained_parameters)),
            ),
            ("seed", setting("seed")),
            ("rows' hash", run.hashes.data.clone()),
            ("model's hash", run.hashes.model.clone()),
            ("tokenizer's hash", run.hashes.tokenizer.clone().unwrap_or_default()),
        ],
    )?;
    page.push_str("<h3>All settings</h3>\n<div class=\"settings\">");
    for (key, value) in &run.settings {
        write!(
            page,
            "<div><code>{}</code> <b>{}</b></div>",
            name(key),
            name(&plain(value))
        )?;
    }
    page.push_str("</div>\n");
    Ok(())
}

/// Names and what they stand for, those without anything left out.
fn write_list(page: &mut String, facts: &[(&str, String)]) -> Result {
    page.push_str("<dl>");
    for (key, value) in facts.iter().filter(|fact| !fact.1.is_empty()) {
        write!(page, "<dt>{key}</dt><dd>{}</dd>", name(value))?;
    }
    page.push_str("</dl>\n");
    Ok(())
}
