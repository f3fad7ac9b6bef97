//! Writes everything that the base model is made from into a folder.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), None) = (args.next(), args.next()) else {
        bail!("usage: wgpu-sft-base FOLDER");
    };
    let folder = PathBuf::from(folder);
    for (name, text) in wgpu_sft_base::files(wgpu_sft_base::SEED)? {
        let path = folder.join(name);
        let parent = path.parent().context("a file has a folder")?;
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
