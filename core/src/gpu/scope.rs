//! What the device says of what it is told to do.

use super::Gpu;
use crate::{Error, Result};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

impl Gpu {
    /// Collect the errors of everything done on this thread until [`Scope::finish`].
    pub fn scope(&self, doing: impl Into<String>) -> Scope {
        let push = |filter| self.device().push_error_scope(filter);
        let internal = push(wgpu::ErrorFilter::Internal);
        let memory = push(wgpu::ErrorFilter::OutOfMemory);
        Scope {
            doing: doing.into(),
            validation: push(wgpu::ErrorFilter::Validation),
            memory,
            internal,
        }
    }

    /// Do this, and learn what the device says of it: that there is no memory for it, or that it is not valid. So no error of ours
    /// reaches the handlers of the device's owner. Nothing of it may wait.
    ///
    /// On a caller's device in a browser the answer takes a turn of the event loop each time. On a device of our own there, it is not waited for: the device's
    /// handler hears of it.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said.
    pub(crate) async fn told<T>(&self, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
        if self.is_web() && self.inner.may_block {
            return Ok(work());
        }
        let scope = self.scope(doing);
        let value = work();
        scope.finish().await.map_err(|error| self.or_lost(doing, error))?;
        Ok(value)
    }

    /// [`told`](Self::told) where nothing can be awaited: in a browser, the handlers of the device hear of errors.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said, or what `work` returns.
    pub(crate) fn told_at_once<T>(&self, doing: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_web() {
            return work();
        }
        let scope = self.scope(doing);
        let value = work();
        // Natively the answer is there.
        match pin!(scope.finish()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(self.or_lost(doing, error)),
            _ => value,
        }
    }

    /// Nothing is valid on a device that is lost: where our own is, that is the error.
    fn or_lost(&self, doing: &str, error: Error) -> Error {
        if self.inner.may_block {
            // Natively it says so when it is polled.
            let _ = self.poll(wgpu::PollType::Poll);
        }
        self.check_failure(doing).err().unwrap_or(error)
    }
}

/// Errors of the device between [`Gpu::scope`] and [`Scope::finish`].
pub struct Scope {
    doing: String,
    // Innermost first: where a scope is left by an error, its guards are dropped in this order, which must be that of a stack.
    validation: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
}

impl Scope {
    /// The first error caught, if any.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said.
    pub fn finish(self) -> impl Future<Output = Result<()>> + Send {
        self.close().finish()
    }

    /// Whether there was memory for everything.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said, where it is about anything else.
    pub(crate) fn fits(self) -> impl Future<Output = Result<bool>> + Send {
        self.close().fits()
    }

    /// End it now and ask later. Scopes are a stack, so none may be open while other work on the device may begin.
    pub(crate) fn close(self) -> Closed {
        // Innermost first.
        let (validation, memory, internal) = (self.validation.pop(), self.memory.pop(), self.internal.pop());
        Closed {
            doing: self.doing,
            validation: Box::pin(validation),
            memory: Box::pin(memory),
            internal: Box::pin(internal),
        }
    }
}

/// An error that a scope may have caught.
type Caught = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;

/// A [`Scope`] that has ended, whose errors are not known yet.
pub(crate) struct Closed {
    doing: String,
    validation: Caught,
    memory: Caught,
    internal: Caught,
}

impl Closed {
    /// As [`Scope::fits`].
    pub async fn fits(self) -> Result<bool> {
        let (validation, memory, internal) = (self.validation.await, self.memory.await, self.internal.await);
        // What uses a buffer that could not be made is not valid either.
        match validation.or(internal) {
            _ if memory.is_some() => Ok(false),
            Some(error) => Err(Error::gpu(self.doing, one_line(&error))),
            None => Ok(true),
        }
    }

    /// As [`Scope::finish`].
    pub async fn finish(self) -> Result<()> {
        let doing = self.doing.clone();
        match self.fits().await? {
            true => Ok(()),
            false => Err(Error::gpu(doing, "the device is out of memory")),
        }
    }
}

/// wgpu's message, which spans lines, on one.
pub(super) fn one_line(error: &wgpu::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
