//! How many micro-batches are on their way.

use crate::gpu::Gpu;
use crate::{Error, Result};
use futures_channel::oneshot;
use std::collections::VecDeque;

/// Micro-batches that may be on their way at once.
const MOST: usize = 2;

/// How the end of a submit is learnt.
enum Ticket {
    /// By waiting, where this crate may block.
    Submission(wgpu::SubmissionIndex),
    /// By a callback, when the caller polls its device or, in a browser, by itself.
    Called(oneshot::Receiver<()>),
}

/// The micro-batches that were submitted and may not have ended, with the steps they are of, oldest first.
pub(super) struct Window {
    gpu: Gpu,
    tickets: VecDeque<(u64, Ticket)>,
}

impl Window {
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            tickets: VecDeque::new(),
        }
    }

    /// Wait until no more than one is left. Natively that blocks; on a caller's device and in a browser the future waits.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn room(&mut self) -> Result<()> {
        let doing = "waiting for a micro-batch";
        self.tickets.retain_mut(|(_, ticket)| match ticket {
            Ticket::Called(done) => matches!(done.try_recv(), Ok(None)),
            Ticket::Submission(_) => true,
        });
        while self.tickets.len() >= MOST {
            match self.tickets.front_mut() {
                Some((_, Ticket::Called(done))) => {
                    done.await.map_err(|_| Error::gpu(doing, "the device was lost"))?;
                }
                Some((_, Ticket::Submission(index))) => self.gpu.wait(doing, Some(index.clone()))?,
                None => break,
            }
            self.tickets.pop_front();
        }
        Ok(())
    }

    /// One of step `step` was submitted, last as `submission`.
    pub fn push(&mut self, step: u64, submission: Option<wgpu::SubmissionIndex>) {
        let ticket = match submission {
            Some(index) if self.gpu.may_block() => Ticket::Submission(index),
            _ => {
                let (sender, done) = oneshot::channel();
                self.gpu.queue().on_submitted_work_done(move || {
                    // The receiver is gone when the trainer is: nothing to tell.
                    let _ = sender.send(());
                });
                Ticket::Called(done)
            }
        };
        self.tickets.push_back((step, ticket));
    }

    /// Those of the steps up to this one have ended.
    pub fn ended(&mut self, step: u64) {
        self.tickets.retain(|(of, _)| *of > step);
    }
}
