//! Reading tensors back.

use super::{Gpu, Memory, Tensor};
use crate::{Error, Result};
use futures_channel::oneshot;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes read back per piece: bounds the staging memory.
const PIECE: u64 = 32 << 20;

/// A buffer that the GPU writes and the CPU maps, kept for reuse.
pub(crate) struct Staging {
    buffer: wgpu::Buffer,
    memory: Memory,
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.memory.remove(self.buffer.size());
        self.buffer.destroy();
    }
}

/// A copy on its way from the GPU.
pub(crate) struct Pending {
    staging: Staging,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Gpu {
    /// Let submitted work end, up to a submission or all of it, where this crate may block.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is lost or has reported an error that no scope caught.
    pub(crate) fn wait(&self, doing: &str, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        if self.inner.may_block {
            let timeout = None;
            let polled = self.poll(wgpu::PollType::Wait {
                submission_index,
                timeout,
            });
            if let Err(why) = polled {
                // What was submitted to a device that is lost cannot be waited for: let it say that it is.
                let _ = self.poll(wgpu::PollType::Poll);
                self.check_failure(doing)?;
                return Err(Error::gpu(doing, why));
            }
        }
        self.check_failure(doing)
    }

    /// Poll a device of our own. wgpu panics where the driver gives the device up meanwhile: that is a loss like any other.
    pub(super) fn poll(&self, poll: wgpu::PollType) -> std::result::Result<(), String> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.device().poll(poll)));
        match polled {
            Ok(status) => status.map(drop).map_err(|error| error.to_string()),
            Err(_) => {
                let first = self.inner.failure.get_or_init(|| "the device was lost".to_owned());
                Err(first.clone())
            }
        }
    }

    /// Whether the device can still be used, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when it is lost or has reported an error that no scope caught.
    pub(crate) fn check_failure(&self, doing: &str) -> Result<()> {
        match self.inner.failure.get() {
            Some(why) => Err(Error::gpu(doing, why.clone())),
            None => Ok(()),
        }
    }

    /// Let all submitted work end.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is lost or has reported an error that no scope caught.
    pub async fn finish(&self) -> Result<()> {
        let (sender, done) = oneshot::channel();
        self.queue().on_submitted_work_done(move || {
            // The receiver is gone when the caller dropped the future: nothing to tell.
            let _ = sender.send(());
        });
        // Natively this is what calls back; a browser does so by itself.
        self.wait("waiting", None)?;
        done.await.map_err(|_| Error::gpu("waiting", "the device was lost"))
    }

    /// A staging buffer of this many bytes.
    pub(crate) fn staging(&self, bytes: u64) -> Staging {
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: bytes.next_multiple_of(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.memory().add(buffer.size());
        Staging {
            buffer,
            memory: self.memory().clone(),
        }
    }

    /// Start copying `bytes` bytes of the tensor from byte `start` on, after all work submitted so far.
    pub(crate) fn read_start(&self, tensor: &Tensor, start: u64, bytes: u64, staging: Staging) -> Pending {
        let bytes = bytes.next_multiple_of(4);
        let mut encoder = self.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(tensor.buffer(), tensor.offset() + start, &staging.buffer, 0, bytes);
        let (sender, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&staging.buffer, wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver is gone when the caller dropped the future: nothing to tell.
            let _ = sender.send(result);
        });
        let submission = self.queue().submit([encoder.finish()]);
        self.submitted().add(0);
        Pending {
            staging,
            bytes,
            submission,
            mapped,
        }
    }

    /// Wait for the copy and hand its bytes to `take`. Gives the staging buffer back for reuse.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is lost or the buffer cannot be mapped.
    pub(crate) async fn read_finish<T>(&self, pending: Pending, take: impl FnOnce(&[u8]) -> T) -> Result<(T, Staging)> {
        let fail = |why: String| Error::gpu("reading back", why);
        self.wait("reading back", Some(pending.submission))?;
        pending
            .mapped
            .await
            .map_err(|_| fail("the device was lost".into()))?
            .map_err(|e| fail(e.to_string()))?;
        let value = {
            let view = pending
                .staging
                .buffer
                .slice(..pending.bytes)
                .get_mapped_range()
                .map_err(|e| fail(e.to_string()))?;
            take(&view)
        };
        pending.staging.buffer.unmap();
        Ok((value, pending.staging))
    }

    /// The tensor's bytes, after all work submitted so far.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device is lost or the buffer cannot be mapped.
    pub async fn read_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        let total = tensor.len() * tensor.storage().bytes();
        let mut out = Vec::with_capacity(total as usize);
        let doing = "reading back";
        let mut staging = self.told(doing, || self.staging(total.clamp(4, PIECE))).await?;
        while (out.len() as u64) < total {
            let take = (total - out.len() as u64).min(PIECE);
            let start = || self.read_start(tensor, out.len() as u64, take, staging);
            let pending = self.told(doing, start).await?;
            let ((), back) = self
                .read_finish(pending, |bytes| out.extend_from_slice(&bytes[..take as usize]))
                .await?;
            staging = back;
        }
        Ok(out)
    }

    /// The numbers of an f32 tensor, after all work submitted so far.
    ///
    /// # Errors
    /// As [`Gpu::read_bytes`].
    pub async fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(tensor).await?))
    }
}
