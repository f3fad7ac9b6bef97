//! `merge`: an adapter folded into its base model.

use anyhow::Result;

use crate::args::MergeArgs;
use crate::model_files::ModelFiles;
use crate::progress::line;
use crate::{Outcome, model_folder};

/// Write base + scale · B · A, computed in f32 and then cast. Needs no GPU.
pub fn run(args: MergeArgs) -> Result<Outcome> {
    model_folder::refuse_existing(&args.output_dir)?;
    let source = ModelFiles::open(&args.model, false)?;
    source.check_tensors()?;
    let adapter = source.adapter(&args.adapter)?;
    let dtype = source.save_dtype(args.save_dtype.as_deref())?;
    let scale = adapter.config.scale() as f32;
    let _lock = model_folder::claim(&args.output_dir)?;
    let mut merged = 0;
    model_folder::write(&args.output_dir, &source.parts()?, dtype, false, |name| {
        let mut weight = source.tensor(name)?;
        if let Some(pair) = name
            .strip_suffix(".weight")
            .and_then(|module| adapter.pairs.get(module))
        {
            pair.add_to(&mut weight, adapter.config.r, scale);
            merged += 1;
        }
        Ok(weight)
    })?;
    line(&format!(
        "merged {merged} layers into {} ({})",
        args.output_dir.display(),
        dtype.name()
    ))?;
    Ok(Outcome::Fine)
}
