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

    /// Let no more than one be left, by waiting where this crate may block.
    ///
    /// # Errors
    /// [`Error::Busy`] where it may not, [`Error::Gpu`] when the device fails.
    pub fn make_room(&mut self) -> Result<()> {
        self.tickets.retain_mut(|(_, ticket)| match ticket {
            // Gone without a word: the device was lost, which whoever reads next is told.
            Ticket::Called(done) => matches!(done.try_recv(), Ok(None)),
            Ticket::Submission(_) => true,
        });
        while self.tickets.len() >= MOST {
            match self.tickets.pop_front() {
                Some((_, Ticket::Submission(index))) => self.gpu.wait("waiting for a micro-batch", Some(index))?,
                Some(called) => {
                    self.tickets.push_front(called);
                    return Err(Error::Busy);
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Wait until there is room.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn room(&mut self) -> Result<()> {
        while let Err(error) = self.make_room() {
            match (error, self.tickets.pop_front()) {
                (Error::Busy, Some((_, Ticket::Called(done)))) => done
                    .await
                    .map_err(|_| Error::gpu("waiting for a micro-batch", "the device was lost"))?,
                (error, _) => return Err(error),
            }
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
