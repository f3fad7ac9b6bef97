//! Work that is handed to a device a little at a time, between the frames of whoever owns the device.

use super::{Gpu, Storage};
use crate::Result;
use crate::ops::matmul::{Layout, Product, fastest};
use futures_channel::oneshot;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Calls of [`Paced::advance`] whose work may be under way.
const UNDER_WAY: usize = 2;

thread_local! {
    /// Operations that the work which this thread is at may still submit; nothing bounds work outside of [`Paced`].
    static LEFT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Wait for the turn to submit more; gives the operations that may be submitted.
pub(crate) async fn turn() -> u64 {
    poll_fn(|context| match LEFT.get() {
        None => Poll::Ready(u64::MAX),
        Some(..=0) => again(context),
        Some(left) => Poll::Ready(left as u64),
    })
    .await
}

/// Let whoever paces this work go on with something else: before what takes the processor long, as compiling does. Elsewhere nothing.
pub(crate) async fn breathe() {
    let mut has_paused = LEFT.get().is_none();
    poll_fn(|context| match std::mem::replace(&mut has_paused, true) {
        true => Poll::Ready(()),
        false => again(context),
    })
    .await;
}

/// Whoever paces the work polls again without being woken; what it is combined with in there may not.
fn again<T>(context: &mut Context) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// So much was submitted. What exceeds the budget is owed.
pub(super) fn spend(work: u64) {
    let work = i64::try_from(work).unwrap_or(i64::MAX);
    LEFT.set(LEFT.get().map(|left| left.saturating_sub(work)));
}

/// Work on a caller's device in small portions: training, evaluating, answering, anything of this crate that is awaited.
///
/// A program that draws frames makes one of a future, and once a frame calls [`advance`](Self::advance), then polls its device as it does
/// anyway. Nothing here blocks. Dropping it gives the work up: what was submitted ends, nothing more is, except
/// the rest of an [update](crate::train::Trainer::submit) that has begun.
///
/// ```no_run
/// # use wgpu_sft::{Result, data::MicroBatch, gpu::{Gpu, Paced}, train::Trainer};
/// # use std::{task::Poll, time::Duration};
/// # fn example(gpu: &Gpu, trainer: &mut Trainer, batches: &[MicroBatch]) -> Result<()> {
/// let mut step = Paced::new(gpu, async {
///     trainer.submit(batches).await?;
///     trainer.metrics().await
/// });
/// loop {
///     // Draw a frame, submit it, poll the device.
///     if let Poll::Ready(metrics) = step.advance(Duration::from_millis(4)) {
///         println!("loss {}", metrics?.loss());
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Paced<'a, T> {
    gpu: Gpu,
    work: Pin<Box<dyn Future<Output = T> + 'a>>,
    left: i64,
    submitted: u64,
    /// Told when what a call has submitted is done, oldest first.
    under_way: VecDeque<oneshot::Receiver<()>>,
}

impl Gpu {
    /// Find out how many operations a second matrix products do here, by `now`, which tells seconds, and [say so](Gpu::set_speed): what
    /// budgets of time are reckoned with. It takes some milliseconds of the device's time, on a slow one half a second. On a caller's device,
    /// which has to be polled meanwhile, it is to be done before the first frame: the end of work is noticed when the device is polled, and
    /// where that is once a frame, frames would be what is measured.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when a shader does not compile or the device fails.
    pub async fn measure_speed(&self, now: impl Fn() -> f64) -> Result<f64> {
        let mut speed = self.speed();
        for size in [512, 2048] {
            let product = Product {
                layout: Layout::Nt,
                m: size,
                n: size,
                k: size,
            };
            let Some(plan) = product.plan(self, Storage::F32, None).await? else {
                break;
            };
            let seconds = fastest(self, &plan, 2, &now).await?;
            speed = plan.work() as f64 / seconds;
            // The overhead of a short one would be most of it.
            if seconds > 2e-3 {
                break;
            }
        }
        self.set_speed(speed);
        Ok(self.speed())
    }
}

/// What held before a budget holds again after it, also if the work panics.
struct Budget(Option<i64>);

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

impl<'a, T> Paced<'a, T> {
    /// Begin work on this device; none is done yet.
    pub fn new(gpu: &Gpu, work: impl Future<Output = T> + 'a) -> Self {
        Self {
            gpu: gpu.clone(),
            work: Box::pin(work),
            left: 0,
            submitted: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Go on: submit at most about as much as takes the device `budget`, by [`Gpu::speed`], and return at once; with the result once there is
    /// one. What is not cut may exceed a budget, and later calls make up for it: one dispatch, one tensor that is loaded,
    /// the rest of an [update](crate::train::Trainer::submit) that is dropped in the call. Kernels are compiled one a call. While the work
    /// of two calls is under way, as when the device is slower than thought, a call submits nothing.
    ///
    /// # Panics
    /// When the result was given before.
    pub fn advance(&mut self, budget: Duration) -> Poll<T> {
        // Gone without a word: the device was lost, which the work itself is told.
        self.under_way.retain_mut(|done| matches!(done.try_recv(), Ok(None)));
        let more = match self.under_way.len() < UNDER_WAY {
            true => (budget.as_secs_f64() * self.gpu.speed()) as i64,
            false => 0,
        };
        // What was not used up is not saved up: a call submits no more than one budget.
        let given = self.left.saturating_add(more).min(more);
        let budget = Budget(LEFT.replace(Some(given)));
        let polled = self.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.left = LEFT.get().unwrap_or(0);
        drop(budget);
        let spent = given.saturating_sub(self.left);
        if spent > 0 {
            self.submitted += spent as u64;
            let (sender, done) = oneshot::channel();
            self.gpu.queue().on_submitted_work_done(move || {
                // The receiver is gone when the work was given up.
                let _ = sender.send(());
            });
            self.under_way.push_back(done);
        }
        polled
    }

    /// Operations submitted so far, as [`Plan::work`](super::Plan::work) estimates them.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }
}
