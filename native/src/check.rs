//! `check`: every kernel against its reference on this device.

use anyhow::Result;
use pollster::block_on;

use crate::args::CheckArgs;
use crate::progress::line;
use crate::{Outcome, devices, pipeline_cache};

/// Run the case table.
pub fn run(args: CheckArgs) -> Result<Outcome> {
    let gpu = devices::open(&args.device)?;
    line(&devices::describe(&gpu))?;
    let mut printed = Ok(());
    let results = block_on(wgpu_sft::check::run(&gpu, args.filter.as_deref(), |case| {
        if printed.is_ok() {
            let verdict = if case.passed { "ok" } else { "WRONG" };
            printed = line(&format!(
                "{verdict:5} {} ({}): error {:.1e}, at most {:.1e}",
                case.name, case.family, case.max_error, case.tolerance
            ));
        }
    }))?;
    printed?;
    pipeline_cache::write(&gpu);
    if let (true, Some(filter)) = (results.is_empty(), &args.filter) {
        anyhow::bail!("no case has {filter:?} in its name");
    }
    let wrong = results.iter().filter(|case| !case.passed).count();
    line(&format!(
        "{} of {} cases are right",
        results.len() - wrong,
        results.len()
    ))?;
    Ok(if wrong == 0 { Outcome::Fine } else { Outcome::No })
}
