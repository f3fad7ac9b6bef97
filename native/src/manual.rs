//! The command line in other forms, made from its definition: manual pages and shell completions.

use std::io::Write;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, CommandFactory};
use clap_complete::Shell;

use crate::Outcome;
use crate::args::Args;

#[derive(ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(ClapArgs)]
pub struct ManArgs {
    /// Folder to write the pages to, one for each command: wgpu-sft.1, wgpu-sft-train.1 and so on
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
}

/// Print the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "wgpu-sft", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Outcome::Fine)
}

/// Write the manual pages.
pub fn man(args: &ManArgs) -> Result<Outcome> {
    let folder = &args.output_dir;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), folder))
        .with_context(|| folder.display().to_string())?;
    Ok(Outcome::Fine)
}
