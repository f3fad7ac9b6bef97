//! `data split`: rows to train on and rows to hold out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use wgpu_sft::data::quality::RowVerdict;
use wgpu_sft::data::split::{HeldOut, SplitBy, SplitRow, split};

use super::args::{DataSplitArgs, SplitKind};
use super::inspect::Inspection;
use super::{Output, reading, refuse_standard_input, reread};
use crate::Outcome;
use crate::progress::line;

/// Split the files.
pub fn run(args: DataSplitArgs) -> Result<Outcome> {
    let files = &args.rows.files;
    refuse_standard_input(files)?;
    if args.train == args.eval {
        bail!("{}: training and held-out rows need a file each", args.train.display());
    }
    let by = match (args.by, &args.tasks) {
        (SplitKind::Task, tasks) => SplitBy::Task(tasks.clone()),
        (_, tasks) if !tasks.is_empty() => bail!("--tasks: goes with --by task"),
        (SplitKind::Row, _) => SplitBy::Row,
        (SplitKind::Cluster, _) => SplitBy::Cluster,
    };
    let held_out = match args.eval_rows {
        Some(rows) => HeldOut::Rows(rows),
        None => HeldOut::Fraction(args.eval_fraction),
    };
    let reading = reading(&args.rows)?;
    let mut train_file = Output::create(&args.train, files, args.overwrite)?;
    let mut eval_file = Output::create(&args.eval, files, args.overwrite)?;
    let inspection = Inspection {
        files,
        held_out: &[],
        reading: reading.clone(),
        model: None,
        preparation: None,
        max_length: None,
        quiet: false,
    };
    let checked = inspection.run()?;
    let row = |row: &'_ RowVerdict| -> Result<SplitRow<'_>> {
        let name = &checked.report.sources[row.source].name;
        let digest = row.digest.with_context(|| {
            let why = "cannot be read; `data check` says why, `data clean` leaves it out";
            format!("{name}: line {}: {why}", row.line)
        })?;
        Ok(SplitRow {
            digest,
            task: &checked.tasks[row.task],
            cluster: row.cluster,
        })
    };
    let rows: Vec<SplitRow> = checked.rows.iter().map(row).collect::<Result<_>>()?;
    let held = split(&rows, &by, held_out, args.seed)?;

    reread(files, &reading, &checked, |row, _, _, text| match held[row] {
        true => eval_file.line(text),
        false => train_file.line(text),
    })?;
    train_file.finish()?;
    eval_file.finish()?;

    let mut tasks: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (row, held) in rows.iter().zip(&held) {
        tasks.entry(row.task).or_default()[usize::from(*held)] += 1;
    }
    line(&format!("{:<20} {:>8} {:>8}", "task", "train", "held out"))?;
    for (task, [train, eval]) in &tasks {
        line(&format!("{task:<20} {train:>8} {eval:>8}"))?;
    }
    let eval = held.iter().filter(|held| **held).count();
    line(&format!("{:<20} {:>8} {eval:>8}", "all", rows.len() - eval))?;
    Ok(Outcome::Fine)
}
