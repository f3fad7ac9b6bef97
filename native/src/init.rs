//! `init`: a model with random weights.

use anyhow::{Context, Result, bail};
use wgpu_sft::Error;
use wgpu_sft::formats::{Dtype, Parts};
use wgpu_sft::model::{ModelConfig, init};

use crate::Outcome;
use crate::args::InitArgs;
use crate::model_files::ModelFiles;
use crate::model_folder;
use crate::progress::line;

/// Draw the weights and write the model.
pub fn run(args: InitArgs) -> Result<Outcome> {
    model_folder::refuse_existing(&args.output_dir)?;
    let dtype = Dtype::named("save_dtype", &args.save_dtype)?;
    let file = || args.config.display().to_string();
    let text = std::fs::read_to_string(&args.config).with_context(file)?;
    let config = ModelConfig::from_json(&text).with_context(file)?;
    let tokenizer = args
        .tokenizer
        .as_deref()
        .map(|name| ModelFiles::open(name, false))
        .transpose()?;
    if let Some(tokenizer) = tokenizer.as_ref().and_then(|source| source.tokenizer.as_ref())
        && tokenizer.vocab_size() > config.vocab_size
    {
        let why = format!(
            "{} is less than the tokenizer's {}",
            config.vocab_size,
            tokenizer.vocab_size()
        );
        return Err(Error::config("vocab_size", why).into());
    }
    let mut weights = init::weights(&config, args.seed);
    let parts = Parts {
        config: &config,
        config_json: Some(&text),
        generation_config: tokenizer
            .as_ref()
            .and_then(|source| source.generation_config.as_deref()),
        tokenizer_files: tokenizer.as_ref().map_or(&[][..], |source| &source.tokenizer_files),
        terminators: tokenizer
            .as_ref()
            .map(|source| source.terminators())
            .transpose()?
            .unwrap_or_default(),
    };
    let _lock = model_folder::claim(&args.output_dir)?;
    model_folder::write(&args.output_dir, &parts, dtype, false, |name| match weights.next() {
        Some((next, _, values)) if next == name => Ok(values),
        _ => bail!("{name} comes out of order"),
    })?;
    let parameters: usize = config
        .tensors()
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    line(&format!(
        "made {parameters} random weights in {} ({})",
        args.output_dir.display(),
        dtype.name()
    ))?;
    Ok(Outcome::Fine)
}
