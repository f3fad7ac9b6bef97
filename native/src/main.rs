//! `wgpu-sft`: instruction-tune small language models on any GPU.

mod args;
mod bench;
mod chat;
mod check;
mod compare;
mod data;
mod devices;
mod eval;
mod generate;
#[cfg(feature = "hub")]
mod hub;
mod init;
mod interrupt;
mod lock;
mod log_file;
mod manual;
mod merge;
mod model_files;
mod model_folder;
mod pipeline_cache;
mod progress;
mod report;
mod rows;
mod run_folder;
mod tensor_file;
mod train;
mod verify_resume;

use std::io::ErrorKind;
use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;
use progress::tell;

/// How a command that could run ended.
pub enum Outcome {
    /// As wanted: exit code 0.
    Fine,
    /// It ran, and the answer is no: exit code 1.
    No,
    /// Interrupted, its work saved: exit code 130.
    Interrupted,
}

/// Mesa's device-selection layer complains on standard error where there is no desktop session; adapters are chosen here,
/// so it has nothing to do.
#[allow(unsafe_code)]
fn quiet_driver() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: the first thing `main` does: there is no other thread that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn main() -> ExitCode {
    quiet_driver();
    let result = match Args::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Init(args) => init::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(*args),
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Report(args) => report::run(&args),
        Command::Devices => devices::run(),
        Command::Check(args) => check::run(args),
        Command::VerifyResume(args) => verify_resume::run(*args),
        Command::Data(command) => data::run(command),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    };
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}", one_line(&error)));
            ExitCode::from(if is_divergence(&error) { 1 } else { 2 })
        }
    }
}

/// Whether whoever read our output has stopped reading.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    })
}

/// Whether a loss or gradient that is not finite ended a run.
pub fn is_divergence(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<wgpu_sft::Error>(),
            Some(wgpu_sft::Error::Diverged { .. })
        )
    })
}

/// An error and its causes on one line.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Some libraries repeat their cause in their own message.
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(cause.trim());
    }
    text.replace('\n', " ")
}
