//! What a run is, did and used, kept in `run.json` for its report. None of it decides what is computed.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use wgpu_sft::report::{Outcome as How, Run, Session};
use wgpu_sft::train::checkpoint::Device;
use wgpu_sft::train::{Method, Trainer};

use super::Job;
use crate::progress::warn;
use crate::{Outcome, is_closed_pipe, is_divergence, one_line, report};

/// The record of this run, which has begun.
pub struct Record {
    run: Run,
    /// When it began, by a clock that nobody sets.
    begun: Instant,
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Record {
    /// Write down what is about to be done. A run that goes on keeps what was written of it before.
    pub fn begin(job: &Job, trainer: &Trainer) -> Result<Self> {
        let mut sessions = Vec::new();
        if job.checkpoint.is_some() {
            match report::read_run(job.folder.path()) {
                Ok(earlier) => sessions = earlier.map_or(Vec::new(), |run| run.sessions),
                Err(error) => warn(&format!("the report begins anew: {}", one_line(&error))),
            }
        }
        sessions.push(Session {
            command: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            device: Device::from(job.gpu.info()),
            kernels: job.gpu.family().to_string(),
            started: now(),
            from_step: job.done,
            ..Session::default()
        });
        let base = job.source.base(job.course.config.method == Method::Lora);
        let tallies = (&job.rows.tally, job.eval_rows.as_ref().map(|rows| &rows.tally));
        let run = job
            .course
            .record(&job.settings, &base, tallies, trainer.recomputes(), sessions)?;
        report::write_run(job.folder.path(), &run)?;
        Ok(Self {
            run,
            begun: Instant::now(),
        })
    }

    /// Write the report; and what it is made from, should somebody have removed that.
    pub fn refresh(&self, job: &Job) {
        let folder = job.folder.path();
        let kept = match report::has_run(folder) {
            true => Ok(()),
            false => report::write_run(folder, &self.run),
        };
        match kept {
            Ok(()) => _ = report::refresh(folder),
            Err(error) => warn(&one_line(&error)),
        }
    }

    /// Write down how it ended, and the report.
    pub fn end(mut self, job: &Job, outcome: Result<Outcome>) -> Result<Outcome> {
        let how = match &outcome {
            Err(error) if is_divergence(error) => How::Diverged,
            // Whoever read our output has left: the run ended in good order.
            Err(error) if !is_closed_pipe(error) => How::Failed,
            Err(_) if job.done < job.course.total => How::Interrupted,
            Ok(Outcome::Interrupted) => How::Interrupted,
            // A run may have had enough before its last step.
            _ => How::Finished,
        };
        self.run.memory.suites = job.suite_bytes;
        if let Some(session) = self.run.sessions.last_mut() {
            session.ended = Some(session.started + self.begun.elapsed().as_secs());
            session.to_step = Some(job.done);
            session.outcome = how;
            session.error = outcome.as_ref().err().filter(|e| !is_closed_pipe(e)).map(one_line);
            session.peak_memory = Some(job.gpu.memory().peak());
        }
        // Where the folder went, and another run came, it is not this one's to write in.
        let written = job
            .folder
            .claim()
            .and_then(|()| report::write_run(job.folder.path(), &self.run));
        match written {
            Ok(()) if report::refresh(job.folder.path()) => {
                // Nobody is left to be told if standard output is closed.
                let _ = job.say(&format!("report: {}", report::page(job.folder.path()).display()));
            }
            Ok(()) => {}
            Err(error) => warn(&one_line(&error)),
        }
        outcome
    }
}
