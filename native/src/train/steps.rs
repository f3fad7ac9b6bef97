//! The steps of a run: the next one is handed to the device before the numbers of the last are read.

use std::fmt;
use std::time::Instant;

use anyhow::Result;
use pollster::block_on;
use wgpu_sft::Error;
use wgpu_sft::train::checkpoint::Counters;
use wgpu_sft::train::{StepMetrics, Trainer, journal};

use super::evaluations::{self, Evaluations};
use super::record::Record;
use super::{Job, saving};
use crate::progress::{Progress, warn};
use crate::run_folder::{Checkpoint, Metrics};
use crate::{Outcome, interrupt, is_closed_pipe};

/// Items of each suite that are shown at the end.
const SHOWN: usize = 2;

/// Tokens, and the token rows that were dispatched for them.
#[derive(Clone, Copy, Default)]
pub struct Packing {
    /// Tokens.
    pub tokens: u64,
    /// Token rows.
    pub token_rows: u64,
}

impl Packing {
    /// Go on with a micro-batch, or a step.
    pub fn add(&mut self, tokens: u64, token_rows: u64) {
        self.tokens += tokens;
        self.token_rows += token_rows;
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (tokens, rows) = (self.tokens, self.token_rows);
        write!(
            f,
            "{tokens} tokens in {rows} token rows dispatched ({:.1} %)",
            100.0 * tokens as f64 / rows.max(1) as f64
        )
    }
}

/// What is told of a run while it runs.
struct Log {
    counters: Counters,
    /// Of the steps that this program has run.
    packing: Packing,
    metrics: Metrics,
    progress: Progress,
    /// When the line before the last and the last were written, and how many tokens had been seen: two steps may end at once, so that
    /// the time from one line to the next says little.
    since: [(Instant, u64); 2],
    /// Set when whoever read standard output has stopped reading.
    closed: Option<anyhow::Error>,
}

/// Run the steps after the first `done`, and write the result.
pub fn run(
    job: &mut Job,
    trainer: &mut Trainer,
    evaluations: &mut Evaluations,
    counters: Counters,
    record: &Record,
) -> Result<Outcome> {
    let done = job.done;
    let mut log = Log {
        since: [(Instant::now(), counters.tokens); 2],
        counters,
        packing: Packing::default(),
        metrics: job.folder.metrics(done, job.settings.tensorboard()?)?,
        progress: Progress::steps(job.quiet(), done, job.course.total),
        closed: None,
    };
    let (mut submitted, mut finished) = (done, done);
    let mut last: Option<Checkpoint> = None;
    let mut begun: Option<Instant> = None;
    if let Some(watch) = &job.watch {
        let has_checkpoint = |step| job.folder.checkpoint(step).is_ok();
        if let Some(why) = watch.forget(&mut log.counters, has_checkpoint) {
            warn(&why);
        }
    }
    // What was not evaluated before an interruption is now, and kept at once.
    if evaluations.are_due(job, done) && log.counters.evaluated != Some(done) {
        let Some(_) = log.evaluate(job, trainer, evaluations, done)? else {
            log.say("stopped while evaluating; --resume goes on from here")?;
            return log.closed.map_or(Ok(Outcome::Interrupted), Err);
        };
        if done > 0 {
            log.metrics.sync()?;
            last = Some(saving::save(job, trainer, done, &log.counters)?);
        }
    }
    while finished < job.course.total && !has_had_enough(job, &log.counters) {
        let stop = interrupt::asked() || log.closed.is_some();
        // Saving and evaluating want the state after exactly this many steps, so nothing may be under way behind them.
        while submitted < job.course.total
            && !stop
            && trainer.in_flight() < 2
            && (finished == submitted || !(job.course.saves_after(submitted) || evaluations.are_due(job, submitted)))
        {
            let batches = job.course.batches(&job.rows.examples, submitted)?;
            block_on(trainer.submit(&batches)).map_err(|error| explain(job, error))?;
            submitted += 1;
        }
        if finished < submitted {
            let step = block_on(trainer.metrics()).map_err(|error| explain(job, error))?;
            finished += 1;
            job.done = finished;
            // From one step's end to the next one's, where nothing else was done in between.
            if let Some(begun) = begun.replace(Instant::now()) {
                job.gpu.set_speed(step.work as f64 / begun.elapsed().as_secs_f64());
            }
            log.step(job, &step)?;
        }
        if finished < submitted {
            continue;
        }
        begun = None;
        let best = match evaluations.are_due(job, finished) {
            true => log.evaluate(job, trainer, evaluations, finished)?,
            false => Some(false),
        };
        let stop = interrupt::asked() || log.closed.is_some();
        let keeps_best = best == Some(true) && job.watch.as_ref().is_some_and(|watch| watch.load_best);
        if job.course.saves_after(finished) || stop || keeps_best || has_had_enough(job, &log.counters) {
            log.metrics.sync()?;
            last = Some(saving::save(job, trainer, finished, &log.counters)?);
            record.refresh(job);
        }
        if stop && (finished < job.course.total || best.is_none()) {
            let resume = format!(
                "stopped after step {finished} of {}; --resume goes on from here",
                job.course.total
            );
            log.say(&resume)?;
            return log.closed.map_or(Ok(Outcome::Interrupted), Err);
        }
    }
    let last = match last.or_else(|| job.checkpoint.take()) {
        Some(last) => last,
        None => saving::save(job, trainer, finished, &log.counters)?,
    };
    let best = log
        .counters
        .best
        .clone()
        .filter(|_| job.watch.as_ref().is_some_and(|watch| watch.load_best));
    let (kept, result) = match &best {
        Some(best) if best.step != last.state.step => (best.step, job.folder.checkpoint(best.step)?),
        _ => (last.state.step, last),
    };
    saving::finish(job, &result)?;
    log.progress.finish();
    if finished < job.course.total {
        log.say(&format!(
            "stopped early after step {finished} of {}: no further gain",
            job.course.total
        ))?;
    }
    if let (Some(best), Some(watch)) = (best, &job.watch) {
        log.say(&format!(
            "the best {}, {}, was after step {}: its weights are the result",
            watch.metric(),
            best.value,
            best.step
        ))?;
    }
    if let Some(comparison) = evaluations::compare(job, kept)?
        && !job.quiet()
    {
        log.say("")?;
        crate::eval::comparison(&comparison, SHOWN)?;
        log.say("")?;
    }
    if log.packing.tokens > 0 {
        let packing = log.packing;
        log.say(&format!("packing: {packing}"))?;
    }
    log.say(&format!(
        "done: {finished} steps; the result is in {}",
        job.folder.path().display()
    ))?;
    log.closed.map_or(Ok(Outcome::Fine), Err)
}

fn has_had_enough(job: &Job, counters: &Counters) -> bool {
    job.watch.as_ref().is_some_and(|watch| watch.has_had_enough(counters))
}

/// A run that diverges, or whose device fails, is told where it can be taken up again.
fn explain(job: &Job, error: Error) -> anyhow::Error {
    let what = match error {
        Error::Diverged { .. } => "the run diverged",
        Error::Gpu { .. } => "the device failed",
        _ => return error.into(),
    };
    let newest = match job.folder.newest() {
        Ok(checkpoint) => format!("the newest checkpoint is {}", checkpoint.path.display()),
        Err(_) => "there is no checkpoint yet".to_owned(),
    };
    anyhow::Error::from(error).context(format!("{what} ({newest})"))
}

impl Log {
    /// Print a line. A closed pipe ends the run in good order, as Ctrl-C does.
    fn print(&mut self, printed: Result<()>) -> Result<()> {
        match printed {
            Err(error) if is_closed_pipe(&error) => {
                self.closed = Some(error);
                Ok(())
            }
            other => other,
        }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let printed = self.progress.line(text);
        self.print(printed)
    }

    /// Count a step, and log it if it is its turn.
    fn step(&mut self, job: &Job, step: &StepMetrics) -> Result<()> {
        self.counters.add(step);
        self.packing.add(step.tokens, step.token_rows);
        let loss = self.counters.loss();
        let (since, tokens) = self.since[0];
        let speed = (self.counters.tokens - tokens) as f64 / since.elapsed().as_secs_f64().max(1e-9);
        self.progress
            .advance(1, Some(format!("loss {loss:.4}  {speed:.0} tokens/s")));
        if !step.step.is_multiple_of(job.settings.logging_steps()) && step.step != job.course.total {
            return Ok(());
        }
        let epoch = job.course.epoch(step.step);
        self.metrics
            .write(&job.folder, &self.counters.line(step, epoch, speed))?;
        let printed = self.progress.plain_line(&format!(
            "step {}/{}  epoch {epoch:.2}  loss {loss:.4}  grad_norm {:.3}  learning_rate {:.2e}  {speed:.0} tokens/s",
            step.step, job.course.total, step.grad_norm, step.learning_rate
        ));
        self.print(printed)?;
        self.since = [self.since[1], (Instant::now(), self.counters.tokens)];
        Ok(())
    }

    /// Evaluate after `step` steps, and log it; whether it is the best so far. `None` when it was interrupted.
    fn evaluate(
        &mut self,
        job: &Job,
        trainer: &mut Trainer,
        evaluations: &mut Evaluations,
        step: u64,
    ) -> Result<Option<bool>> {
        let begun = Instant::now();
        let Some((numbers, evaluated)) = evaluations.run(job, trainer, step, &mut self.counters)? else {
            return Ok(None);
        };
        let line = journal::evaluation_line(step, job.course.epoch(step), numbers);
        self.metrics.write(&job.folder, &line)?;
        for (since, _) in &mut self.since {
            *since += begun.elapsed(); // the speed is that of training
        }
        for text in evaluated.lines {
            self.say(&text)?;
        }
        Ok(Some(evaluated.best))
    }
}
