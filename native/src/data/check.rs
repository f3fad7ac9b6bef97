//! `data check`: what is wrong with rows, as text, JSON or a page.

use anyhow::{Context, Result};

use super::args::DataCheckArgs;
use super::inspect::Inspection;
use super::{note_headers, reading, report};
use crate::Outcome;
use crate::progress::line;

/// Tokens of a row that training allows where nobody says.
const MAX_LENGTH: usize = 1024;

/// Check the files.
pub fn run(args: DataCheckArgs) -> Result<Outcome> {
    let quiet = args.json;
    let model = args.learn.model(quiet)?;
    // What training would refuse is worth knowing before.
    let usual = model
        .as_ref()
        .map(|model| MAX_LENGTH.min(model.config.max_position_embeddings));
    let inspection = Inspection {
        files: &args.rows.files,
        held_out: &args.eval_data,
        reading: reading(&args.rows)?,
        model: model.as_ref(),
        preparation: model.as_ref().map(|model| args.learn.preparation(model)).transpose()?,
        max_length: args.max_length.or(usual),
        quiet,
    };
    let report = inspection.run()?.report;
    if let Some(file) = &args.html {
        std::fs::write(file, report.to_html()).with_context(|| file.display().to_string())?;
    }
    if args.json {
        line(&serde_json::to_string_pretty(&report)?)?;
    } else {
        report::print(&report)?;
        note_headers(model.as_ref())?;
        if let Some(file) = &args.html {
            line(&format!("\nthe same with charts: {}", file.display()))?;
        }
    }
    Ok(if report.is_serious() {
        Outcome::No
    } else {
        Outcome::Fine
    })
}
