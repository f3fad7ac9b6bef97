//! The report of a run, made from what its folder holds.

mod events;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wgpu_sft::report::{Log, Report, Run, samples};

use crate::args::ReportArgs;
use crate::progress::{line, warn};
use crate::tensor_file::replace;
use crate::{Outcome, one_line};

pub use events::Events;

/// What a report is made from.
const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";
const COMPARISON: &str = "compare.json";
/// What it is.
const PAGE: &str = "report.html";
const CURVES: &str = "curves.svg";

/// Write the report of a run again.
pub fn run(args: &ReportArgs) -> Result<Outcome> {
    write(&args.folder)?;
    line(&format!("report: {}", page(&args.folder).display()))?;
    Ok(Outcome::Fine)
}

/// Where the report of a run is.
pub fn page(folder: &Path) -> PathBuf {
    folder.join(PAGE)
}

/// Write the report of a run that goes on whether or not that works: a failure is told. Whether it worked.
pub fn refresh(folder: &Path) -> bool {
    let written = write(folder);
    if let Err(error) = &written {
        warn(&format!("the report was not written: {}", one_line(error)));
    }
    written.is_ok()
}

/// Write `report.html` and `curves.svg`.
fn write(folder: &Path) -> Result<()> {
    let Some(run) = read_run(folder)? else {
        bail!("{}: has no {RUN}: not the output folder of a run", folder.display());
    };
    let named = || folder.display().to_string();
    let report = Report {
        run,
        log: Log::parse(&read(folder, METRICS)?.unwrap_or_default()).with_context(named)?,
        samples: samples(&read(folder, SAMPLES)?.unwrap_or_default()).with_context(named)?,
        comparison: read(folder, COMPARISON)?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .with_context(|| folder.join(COMPARISON).display().to_string())?,
    };
    replace(&page(folder), report.to_html().as_bytes())?;
    replace(&folder.join(CURVES), report.curves().as_bytes())
}

/// A text file of the folder, if it is there.
fn read(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// What a run is, if the folder says so.
pub fn read_run(folder: &Path) -> Result<Option<Run>> {
    let text = read(folder, RUN)?;
    let run = text.map(|text| Run::from_json(&text)).transpose();
    run.with_context(|| folder.display().to_string())
}

/// Whether the folder says what a run is.
pub fn has_run(folder: &Path) -> bool {
    folder.join(RUN).exists()
}

/// Say what a run is.
pub fn write_run(folder: &Path, run: &Run) -> Result<()> {
    replace(&folder.join(RUN), run.to_json()?.as_bytes())
}
