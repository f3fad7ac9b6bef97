//! Every `unsafe` of this crate: where wgpu asks its caller to vouch for something.

use super::Kernel;
use super::cache::DIGEST;

/// Compile a kernel; `checked`, with the driver's run-time checks of bounds and loops.
#[allow(unsafe_code)]
pub(super) fn shader_module(device: &wgpu::Device, kernel: &Kernel, checked: bool) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.label),
        source: wgpu::ShaderSource::Wgsl(kernel.source.as_ref().into()),
    };
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: wgpu asks that the shader reads and writes only inside its buffers, and ends. In our kernels every index is guarded by
    // the sizes they are given and every loop ends; the case table runs each with the checks on as well, over sizes that
    // would show a stray access. Who makes a `Kernel` of other text answers for it, as is said there.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// A cache that begins with these bytes or, where they are not as they were given out, empty.
#[allow(unsafe_code)]
pub(super) fn pipeline_cache(device: &wgpu::Device, bytes: &[u8]) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let data = bytes
        .split_first_chunk::<DIGEST>()
        .filter(|(digest, data)| blake3::hash(data) == **digest)
        .map(|(_, data)| data);
    // SAFETY: wgpu asks that the data be what a cache once gave. The digest tells that it is what `PipelineCache::get_data` gave,
    // whole; its header tells wgpu whether that was on this adapter with this driver, and with `fallback` it is not used
    // otherwise.
    Some(unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("wgpu-sft"),
            data,
            fallback: true,
        })
    })
}

/// Leave to use what wgpu calls experimental, where it is asked for.
#[allow(unsafe_code)]
pub(super) fn experimental(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.intersects(wgpu::Features::all_experimental_mask()) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: wgpu asks its caller to know that such a feature may have bugs. The only one used is cooperative matrices, only
    // where the user names that family; they load from and store to workgroup memory alone, at indices fixed when the
    // kernel is made, and `prove` compares their results before anything else runs.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
