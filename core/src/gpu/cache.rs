//! What a driver has compiled, kept by the caller from one run to the next.

use super::Gpu;

/// Bytes of the digest in front of the driver's own.
const DIGEST: usize = blake3::OUT_LEN;

impl Gpu {
    /// What the driver has compiled so far, for [`GpuOptions::pipeline_cache`](super::GpuOptions::pipeline_cache) of a later
    /// run; none where no cache was asked for, or the driver has none.
    pub fn pipeline_cache_data(&self) -> Option<Vec<u8>> {
        let data = self.inner.pipeline_cache.as_ref()?.get_data()?;
        Some([blake3::hash(&data).as_bytes(), &data[..]].concat())
    }
}

/// A cache that begins with these bytes or, where they are not as they were given out, empty.
#[allow(unsafe_code)]
pub(super) fn new(device: &wgpu::Device, bytes: &[u8]) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let data = bytes
        .split_first_chunk::<DIGEST>()
        .filter(|(digest, data)| blake3::hash(data) == **digest)
        .map(|(_, data)| data);
    // SAFETY: the digest tells that the data is what `PipelineCache::get_data` once gave, whole; its header tells wgpu whether
    // that was on this adapter with this driver, and with `fallback` it is not used otherwise.
    Some(unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("wgpu-sft"),
            data,
            fallback: true,
        })
    })
}
