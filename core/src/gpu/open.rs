//! A device of our own, or the caller's.

use super::scope::one_line;
use super::{FIRST_SPEED, Family, Gpu, Inner, Memory, Submitted, trust};
use crate::{Error, Result};
use std::sync::{Arc, Mutex, atomic::AtomicU64, atomic::AtomicUsize};

/// How to choose and open an adapter.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// The adapter's index in [`Gpu::adapters`], or a part of its name (any case); none: the fastest.
    pub device: Option<String>,
    /// Kernel family to use instead of the one that suits the adapter.
    pub family: Option<Family>,
    /// Keep the driver's run-time checks (bounds, loops) in every shader.
    pub checked: bool,
    /// Keep what the driver compiles for [`Gpu::pipeline_cache_data`], beginning with these bytes of an earlier run, which are
    /// ignored where they do not fit or are damaged. They must come from where nobody else writes. None: no cache.
    pub pipeline_cache: Option<Vec<u8>>,
    /// Ask for the device's clock, where it has one, to time dispatches.
    pub profile: bool,
    /// What to call an adapter that tells no name of its own, as in browsers.
    pub name: Option<String>,
}

impl Gpu {
    /// Every adapter of this machine, best first: discrete, integrated, virtual, CPU.
    pub async fn adapters() -> Vec<wgpu::Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        adapters.sort_by_key(|a| match a.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        adapters
    }

    /// Open an adapter with as much as it offers of what the kernels can use.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is no adapter, none matches, or the device cannot be made.
    pub async fn request(options: &GpuOptions) -> Result<Self> {
        Self::open(&Self::adapter(options).await?, options).await
    }

    /// The adapter that the options choose.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is none, or none matches.
    pub async fn adapter(options: &GpuOptions) -> Result<wgpu::Adapter> {
        let mut adapters = Self::adapters().await;
        if adapters.is_empty() {
            // A browser does not enumerate: it hands out one adapter on request.
            let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
            let wanted = wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            };
            adapters.extend(instance.request_adapter(&wanted).await.ok());
        }
        let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
        let index = match &options.device {
            None => (!adapters.is_empty()).then_some(0),
            Some(wanted) => match wanted.parse::<usize>() {
                Ok(index) => (index < adapters.len()).then_some(index),
                Err(_) => names
                    .iter()
                    .position(|n| n.to_lowercase().contains(&wanted.to_lowercase())),
            },
        };
        let Some(index) = index else {
            return Err(Error::gpu(
                "choosing an adapter",
                match &options.device {
                    Some(wanted) => format!("no adapter matches {wanted:?}; there are: {}", names.join(", ")),
                    None => "no adapter found; install a Vulkan driver (on Debian without a GPU: \
                             apt-get install mesa-vulkan-drivers libvulkan1)"
                        .into(),
                },
            ));
        };
        Ok(adapters.swap_remove(index))
    }

    /// Open this adapter with as much as it offers of what the kernels can use.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device cannot be made, or the family asked for does not run on it rightly.
    pub async fn open(adapter: &wgpu::Adapter, options: &GpuOptions) -> Result<Self> {
        let (mut wanted, limits) = Self::wanted(adapter);
        // Timer queries change how some drivers encode: not without need.
        wanted.set(wgpu::Features::TIMESTAMP_QUERY, options.profile);
        wanted.set(wgpu::Features::PIPELINE_CACHE, options.pipeline_cache.is_some());
        let mut options = options.clone();
        if let Some(Family::Cooperative { .. }) = options.family {
            options.family = Some(Family::cooperative(adapter)?);
            wanted |= Family::COOPERATIVE_FEATURES;
        }
        let features = adapter.features() & wanted;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-sft"),
            required_features: features,
            required_limits: limits,
            experimental_features: trust::experimental(features),
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::gpu("opening the device", e.to_string()))?;
        let gpu = Self::with(device, queue, adapter.get_info(), &options, true);
        let failure = gpu.inner.failure.clone();
        gpu.device().on_uncaptured_error(Arc::new(move |error| {
            failure.get_or_init(|| one_line(&error));
        }));
        let failure = gpu.inner.failure.clone();
        gpu.device().set_device_lost_callback(move |reason, message| {
            failure.get_or_init(|| match reason {
                wgpu::DeviceLostReason::Destroyed => "the device was destroyed".to_owned(),
                wgpu::DeviceLostReason::Unknown => format!("the device was lost: {message}"),
            });
        });
        crate::ops::matmul::prove(&gpu).await?;
        Ok(gpu)
    }

    /// What a device is best asked for that this crate is to work on, besides whatever its owner needs: every limit of memory that the
    /// adapter offers, and subgroups, by which CPU adapters compute several times faster. None of it is needed.
    pub fn wanted(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
        let offered = adapter.limits();
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            max_buffer_size: offered.max_buffer_size,
            ..wgpu::Limits::default()
        };
        (adapter.features() & wgpu::Features::SUBGROUP, limits)
    }

    /// Work on the caller's device. Needs no feature, and of the limits of computing those that WebGPU guarantees; uses what
    /// [`Gpu::wanted`] names where the device was asked for it. Of the options, `device` and `profile` say nothing here. Nothing here
    /// blocks: what is awaited completes when the caller polls the device.
    ///
    /// Errors of buffers and shaders are caught in scopes of this crate's own, so that they never reach the caller's handlers (aside
    /// from those of profiling, [`bench`](crate::bench), tensors and plans that the caller itself makes, writes and runs; and in a
    /// browser that of what does not wait, as putting an adapter on a model). A device that is destroyed is an [`Error::Gpu`] to
    /// whoever awaits something. One that the driver gives up may never answer: its owner hears of it by the device's own callback,
    /// and drops what it awaits.
    ///
    /// # Errors
    /// [`Error::Gpu`] naming every limit that is too low, and for [`Family::Cooperative`], which only a device of our own proves.
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, options: &GpuOptions) -> Result<Self> {
        let (has, needs) = (device.limits(), wgpu::Limits::default());
        let mut low = Vec::new();
        for (name, has, needs) in [
            ("max_buffer_size", has.max_buffer_size, needs.max_buffer_size),
            (
                "max_storage_buffer_binding_size",
                has.max_storage_buffer_binding_size,
                needs.max_storage_buffer_binding_size,
            ),
            (
                "max_storage_buffers_per_shader_stage",
                has.max_storage_buffers_per_shader_stage.into(),
                needs.max_storage_buffers_per_shader_stage.into(),
            ),
            (
                "max_compute_workgroup_storage_size",
                has.max_compute_workgroup_storage_size.into(),
                needs.max_compute_workgroup_storage_size.into(),
            ),
            (
                "max_compute_invocations_per_workgroup",
                has.max_compute_invocations_per_workgroup.into(),
                needs.max_compute_invocations_per_workgroup.into(),
            ),
            (
                "max_compute_workgroup_size_x",
                has.max_compute_workgroup_size_x.into(),
                needs.max_compute_workgroup_size_x.into(),
            ),
            (
                "max_compute_workgroup_size_y",
                has.max_compute_workgroup_size_y.into(),
                1,
            ),
            (
                "max_compute_workgroup_size_z",
                has.max_compute_workgroup_size_z.into(),
                1,
            ),
            (
                "max_compute_workgroups_per_dimension",
                has.max_compute_workgroups_per_dimension.into(),
                needs.max_compute_workgroups_per_dimension.into(),
            ),
        ] {
            if has < needs {
                low.push(format!("{name} is {has}, {needs} is needed"));
            }
        }
        if !low.is_empty() {
            return Err(Error::gpu("taking over the device", low.join("; ")));
        }
        if let Some(Family::Cooperative { .. }) = options.family {
            let why =
                "cooperative kernels are proved before they are used, on a device of this crate's own: see `Gpu::open`";
            return Err(Error::gpu("taking over the device", why));
        }
        let info = device.adapter_info();
        Ok(Self::with(device, queue, info, options, false))
    }

    fn with(
        device: wgpu::Device,
        queue: wgpu::Queue,
        mut info: wgpu::AdapterInfo,
        options: &GpuOptions,
        may_block: bool,
    ) -> Self {
        if let (true, Some(name)) = (info.name.is_empty(), &options.name) {
            info.name.clone_from(name);
        }
        let features = device.features();
        let pipeline_cache = options
            .pipeline_cache
            .as_ref()
            .and_then(|bytes| trust::pipeline_cache(&device, bytes));
        let family = options.family.unwrap_or_else(|| Family::pick(&info, features));
        Self {
            inner: Arc::new(Inner {
                limits: device.limits(),
                device,
                queue,
                family: family.on(&info, features),
                info,
                checked: options.checked,
                may_block,
                pipelines: Mutex::default(),
                pipeline_cache,
                memory: Memory::default(),
                written: AtomicUsize::new(0),
                speed: AtomicU64::new(FIRST_SPEED.to_bits()),
                tiles: Mutex::default(),
                submitted: Submitted::default(),
                failure: Arc::default(),
            }),
        }
    }
}
