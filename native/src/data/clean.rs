//! `data clean`: the rows that are worth keeping to one file, the others with reasons to another.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wgpu_sft::data::quality::{Code, Codes, Dropped, default_drops, drops};

use super::args::DataCleanArgs;
use super::inspect::Inspection;
use super::{Output, reading, refuse_standard_input, reread};
use crate::Outcome;
use crate::progress::line;

/// Clean the files.
pub fn run(args: DataCleanArgs) -> Result<Outcome> {
    let inputs = [&args.rows.files[..], &args.eval_data[..]].concat();
    refuse_standard_input(&inputs)?;
    let codes = args.drop.as_deref().map_or(Ok(default_drops()), parse_codes)?;
    if args.output == args.dropped {
        bail!("{}: kept and dropped rows need a file each", args.output.display());
    }
    let reading = reading(&args.rows)?;
    let mut kept_file = Output::create(&args.output, &inputs, args.overwrite)?;
    let mut dropped_file = Output::create(&args.dropped, &inputs, args.overwrite)?;
    let model = args.learn.model(false)?;
    let inspection = Inspection {
        files: &args.rows.files,
        held_out: &args.eval_data,
        reading: reading.clone(),
        model: model.as_ref(),
        preparation: model.as_ref().map(|model| args.learn.preparation(model)).transpose()?,
        max_length: args.max_length,
        quiet: false,
    };
    let checked = inspection.run()?;
    let dropped = drops(&checked, codes);

    let mut reasons = dropped.iter().peekable();
    reread(
        &args.rows.files,
        &reading,
        &checked,
        |row, name, line, text| match reasons.next_if(|dropped| dropped.row == row) {
            Some(dropped) => dropped_file.line(&dropped_row(dropped, name, line, text)),
            None => kept_file.line(text),
        },
    )?;
    kept_file.finish()?;
    dropped_file.finish()?;

    for code in Code::ALL {
        let count = dropped.iter().filter(|dropped| dropped.reasons.contains(code)).count();
        if count > 0 {
            line(&format!("{count:>8} {}: {}", code.name(), code.title()))?;
        }
    }
    let training = checked
        .rows
        .iter()
        .filter(|row| !checked.report.sources[row.source].held_out)
        .count();
    line(&format!(
        "kept {} rows in {}, dropped {} to {}",
        training - dropped.len(),
        args.output.display(),
        dropped.len(),
        args.dropped.display()
    ))?;
    Ok(Outcome::Fine)
}

/// What `--drop` names: codes, separated by commas.
fn parse_codes(names: &str) -> Result<Codes> {
    let code = |name: &str| {
        Code::from_name(name.trim()).with_context(|| {
            let known: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
            format!("--drop: {:?} is none of {}", name.trim(), known.join(", "))
        })
    };
    names.split(',').map(code).collect()
}

/// A dropped row as JSON: why, from where, and the row; as a string where it is no JSON.
fn dropped_row(dropped: &Dropped, source: &str, line: usize, text: &[u8]) -> Vec<u8> {
    let reasons: Vec<&str> = dropped.reasons.iter().map(|code| code.name()).collect();
    let row = serde_json::from_slice(text).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(text)));
    json!({"reasons": reasons, "source": source, "line": line, "row": row})
        .to_string()
        .into_bytes()
}
