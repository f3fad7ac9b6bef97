//! `devices`: the adapters of this machine; and opening one of them.

use anyhow::Result;
use pollster::block_on;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions};
use wgpu_sft::wgpu::Features;

use crate::args::DeviceArgs;
use crate::progress::{bytes, line};
use crate::{Outcome, pipeline_cache};

/// Open the adapter that the flags choose.
pub fn open(args: &DeviceArgs) -> Result<Gpu> {
    open_with(args, GpuOptions::default())
}

/// The same, with more than the flags say.
pub fn open_with(args: &DeviceArgs, options: GpuOptions) -> Result<Gpu> {
    let family = args.kernels.as_deref().map(str::parse::<Family>).transpose()?;
    let options = GpuOptions {
        device: args.device.clone(),
        family,
        checked: args.checked,
        ..options
    };
    let adapter = block_on(Gpu::adapter(&options))?;
    let options = GpuOptions {
        pipeline_cache: pipeline_cache::read(&adapter.get_info()),
        ..options
    };
    Ok(block_on(Gpu::open(&adapter, &options))?)
}

/// One line about an open adapter.
pub fn describe(gpu: &Gpu) -> String {
    let info = gpu.info();
    let checked = if gpu.checked() { ", checked" } else { "" };
    format!("{} ({}, {} kernels{checked})", info.name, info.backend, gpu.family())
}

/// List the adapters.
pub fn run() -> Result<Outcome> {
    let adapters = block_on(Gpu::adapters());
    if adapters.is_empty() {
        // The library's own error says what to install.
        open(&DeviceArgs::default())?;
    }
    for (index, adapter) in adapters.iter().enumerate() {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let features = adapter.features();
        let named = [
            (Features::SUBGROUP, "subgroups"),
            (Features::SHADER_F16, "f16 arithmetic"),
            (Features::TIMESTAMP_QUERY, "timestamps"),
        ];
        let has: Vec<&str> = named
            .iter()
            .filter(|(feature, _)| features.contains(*feature))
            .map(|(_, name)| *name)
            .collect();
        line(&format!("{index}: {}", info.name))?;
        line(&format!(
            "   {:?}, {}, {} {}",
            info.device_type, info.backend, info.driver, info.driver_info
        ))?;
        line(&format!(
            "   kernels: {}, without run-time checks unless --checked is given",
            Family::pick(&info, features)
        ))?;
        line(&match Family::cooperative(adapter) {
            Ok(Family::Cooperative { size, .. }) => format!("   cooperative kernels: offered, {size}×{size}×{size}"),
            _ => "   cooperative kernels: not offered".to_owned(),
        })?;
        line(&format!(
            "   features: {}",
            if has.is_empty() {
                "none".to_owned()
            } else {
                has.join(", ")
            }
        ))?;
        if features.contains(Features::SUBGROUP) {
            line(&format!(
                "   subgroup size: {} to {}",
                info.subgroup_min_size, info.subgroup_max_size
            ))?;
        }
        line(&format!(
            "   limits: binding {}, buffer {}, {} storage buffers, {} invocations, workgroup memory {}",
            bytes(limits.max_storage_buffer_binding_size),
            bytes(limits.max_buffer_size),
            limits.max_storage_buffers_per_shader_stage,
            limits.max_compute_invocations_per_workgroup,
            bytes(limits.max_compute_workgroup_storage_size.into()),
        ))?;
    }
    Ok(Outcome::Fine)
}
