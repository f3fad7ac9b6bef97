//! What a driver has compiled, kept by the caller from one run to the next.

use super::Gpu;

/// Bytes of the digest in front of the driver's own.
pub(super) const DIGEST: usize = blake3::OUT_LEN;

impl Gpu {
    /// What the driver has compiled so far, for [`GpuOptions::pipeline_cache`](super::GpuOptions::pipeline_cache) of a later
    /// run; none where no cache was asked for, or the driver has none.
    pub fn pipeline_cache_data(&self) -> Option<Vec<u8>> {
        let data = self.inner.pipeline_cache.as_ref()?.get_data()?;
        Some([blake3::hash(&data).as_bytes(), &data[..]].concat())
    }
}
