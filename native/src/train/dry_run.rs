//! `train --dry-run`: what the run would be, and how long it would take, from one measured micro-batch.

use std::time::{Duration, Instant};

use anyhow::Result;
use pollster::block_on;
use wgpu_sft::data::{Examples, pack};
use wgpu_sft::train::Trainer;

use super::Job;
use super::evaluations::Evaluations;
use super::steps::Packing;
use crate::Outcome;
use crate::progress::duration;

/// How the steps of the first epoch are cut.
fn packing(job: &mut Job, trainer: &Trainer) -> Result<Packing> {
    let mut packing = Packing::default();
    for step in 0..job.course.order.steps_per_epoch() {
        let rows = job.course.order.step(step);
        let lengths: Vec<usize> = rows.iter().map(|row| job.rows.examples.tokens(*row as usize)).collect();
        for group in pack(&lengths, job.course.capacity())? {
            let tokens = group.iter().map(|place| lengths[*place]).sum();
            packing.add(tokens as u64, trainer.token_rows(tokens));
        }
    }
    Ok(packing)
}

/// Time one micro-batch of the first step. Nothing is written.
pub fn run(job: &mut Job) -> Result<Outcome> {
    let mut trainer = job.trainer()?;
    job.suite_bytes = Evaluations::new(job, &trainer)?.bytes;
    job.course.check_suites(job.suite_bytes)?;
    let mut batches = job.course.batches(&job.rows.examples, 0)?;
    batches.truncate(1);
    let tokens = batches[0].tokens.len() as f64;
    let mut time = Duration::ZERO;
    // The first is slower than the rest: drivers finish their work on shaders then.
    for _ in 0..2 {
        let begun = Instant::now();
        block_on(trainer.submit(&batches))?;
        block_on(trainer.metrics())?;
        time = begun.elapsed();
    }
    let packing = packing(job, &trainer)?;
    let epochs = job.course.epoch(job.course.total);
    let whole = time.mul_f64(packing.tokens as f64 * epochs / tokens);
    job.say(&format!("packing: {packing}"))?;
    job.say(&format!(
        "time: about {}, at {:.0} tokens/s, evaluating and saving aside",
        duration(whole),
        tokens / time.as_secs_f64()
    ))?;
    Ok(Outcome::Fine)
}
