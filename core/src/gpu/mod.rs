//! The device and what is made on it: tensors, kernels, plans.

mod cache;
mod family;
mod kernel;
mod memory;
mod narrow;
mod pace;
mod plan;
mod profile;
mod read;
mod rules;
mod tensor;

pub use family::Family;
pub(crate) use kernel::params;
pub use kernel::{Access, Binding, Kernel, Params, bindings, param_fields};
pub use memory::{Memory, Submitted};
pub use pace::Paced;
pub use plan::{Plan, PlanBuilder};
pub use profile::Timing;
pub(crate) use read::{Pending, Staging};
pub use rules::{Counts, Grid, Of, Rows, Scalars};
pub use tensor::{Storage, Tensor};

use crate::ops::matmul::{Class, Tile};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, atomic::AtomicU64, atomic::AtomicUsize, atomic::Ordering::Relaxed};

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

/// Operations a second that a GPU is trusted with before any were measured: those of a slow integrated one.
const FIRST_SPEED: f64 = 1e11;

/// Operations of the largest dispatch. A fast GPU has enough workgroups in so many to be busy.
const LARGEST_DISPATCH: u64 = 10_000_000_000;

/// Seconds of work that one submit may carry, so that watchdogs stay asleep and a desktop usable.
const SECONDS_PER_SUBMIT: f64 = 0.25;

/// A device and its queue, ours or the caller's, with the kernels compiled on it so far. Cheap to clone.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    family: Family,
    checked: bool,
    /// Whether reading back may block the thread in `poll`. Not on a caller's device, whose owner polls.
    may_block: bool,
    pipelines: Mutex<HashMap<String, Arc<kernel::Pipeline>>>,
    pipeline_cache: Option<wgpu::PipelineCache>,
    memory: Memory,
    /// Bytes of large writes since they were last submitted.
    written: AtomicUsize,
    submitted: Submitted,
    /// Operations a second, as an f64's bits.
    speed: AtomicU64,
    /// Tiles that were measured to be fastest.
    tiles: Mutex<BTreeMap<Class, Tile>>,
    /// The first error of our own device that no scope caught, or why it was lost.
    failure: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({}, {})", self.inner.info.name, self.inner.family)
    }
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
            experimental_features: experimental(features),
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::gpu("opening the device", e.to_string()))?;
        let gpu = Self::with(device, queue, adapter.get_info(), &options, true);
        let failure = gpu.inner.failure.clone();
        gpu.device().on_uncaptured_error(Arc::new(move |error| {
            if let Ok(mut first) = failure.lock() {
                first.get_or_insert_with(|| one_line(&error));
            }
        }));
        let failure = gpu.inner.failure.clone();
        gpu.device().set_device_lost_callback(move |reason, message| {
            if let Ok(mut first) = failure.lock() {
                first.get_or_insert_with(|| match reason {
                    wgpu::DeviceLostReason::Destroyed => "the device was destroyed".to_owned(),
                    wgpu::DeviceLostReason::Unknown => format!("the device was lost: {message}"),
                });
            }
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
    /// [`Gpu::wanted`] names where the device was asked for it. Nothing here blocks: what is awaited completes when the caller polls
    /// the device. Errors of buffers and shaders are caught in scopes of this crate's own, so that they never reach the caller's
    /// handlers; a device that is lost is an [`Error::Gpu`] to whoever awaits something.
    ///
    /// # Errors
    /// [`Error::Gpu`] naming every limit that is too low.
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
            .and_then(|bytes| cache::new(&device, bytes));
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

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// What the adapter says of itself.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Whether this crate may wait for the device: natively, on a device of its own.
    pub(crate) fn may_block(&self) -> bool {
        self.inner.may_block && !self.is_web()
    }

    /// The kernel family in use.
    pub fn family(&self) -> Family {
        self.inner.family
    }

    fn is_web(&self) -> bool {
        self.inner.info.backend == wgpu::Backend::BrowserWebGpu
    }

    /// Tell how fast plans ran: [`Plan::work`] over the seconds it took. From then on a submit carries at most a quarter of a
    /// second of work at that speed. What is no positive number is ignored.
    pub fn set_speed(&self, operations_per_second: f64) {
        if operations_per_second.is_finite() && operations_per_second > 0.0 {
            self.inner.speed.store(operations_per_second.to_bits(), Relaxed);
        }
    }

    /// Operations a second that the device is thought to do: what [`Gpu::set_speed`] was told last, at first those of a slow GPU.
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.inner.speed.load(Relaxed))
    }

    /// Whether submits are bounded: not natively on CPU adapters, which have no watchdog.
    pub(crate) fn bounds_submits(&self) -> bool {
        !self.family().is_cpu() || self.is_web()
    }

    /// Operations that one submit may carry.
    fn work_per_submit(&self) -> u64 {
        if !self.bounds_submits() {
            return u64::MAX;
        }
        (self.speed() * SECONDS_PER_SUBMIT) as u64
    }

    /// Operations that one dispatch of a plan that is now recorded may carry: what GPUs of 40 GFLOP/s do in a quarter of a second,
    /// or less on a device that is known to be slower.
    pub(crate) fn work_per_dispatch(&self) -> u64 {
        if !self.bounds_submits() {
            return u64::MAX;
        }
        self.work_per_submit().min(LARGEST_DISPATCH)
    }

    /// Whether shaders keep the run-time checks.
    pub fn checked(&self) -> bool {
        self.inner.checked
    }

    /// Live and peak bytes of the buffers made here, and how many were made.
    pub fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Tiles of products that plans use in place of the family's own choice: those measured by
    /// [`tune`](crate::ops::matmul::tune), or [set](Gpu::set_tiles) from an earlier run.
    pub fn tiles(&self) -> BTreeMap<Class, Tile> {
        self.inner
            .tiles
            .lock()
            .expect("no thread panics while it holds this")
            .clone()
    }

    /// The tile measured for a class of products.
    pub(crate) fn tile(&self, class: Class) -> Option<Tile> {
        let tiles = self.inner.tiles.lock().expect("no thread panics while it holds this");
        tiles.get(&class).copied()
    }

    /// Use these tiles from now on, those that the kernel family has not left out.
    pub fn set_tiles(&self, tiles: impl IntoIterator<Item = (Class, Tile)>) {
        let known = Tile::all(self.family());
        let mut all = self.inner.tiles.lock().expect("no thread panics while it holds this");
        all.extend(tiles.into_iter().filter(|(_, tile)| known.contains(tile)));
    }

    /// Dispatches and submits so far.
    pub fn submitted(&self) -> &Submitted {
        &self.inner.submitted
    }

    /// Largest storage binding in bytes, rounded down to whole 256-byte units.
    pub fn max_binding(&self) -> u64 {
        self.inner
            .limits
            .max_storage_buffer_binding_size
            .min(self.inner.limits.max_buffer_size)
            & !255
    }

    /// Largest buffer in bytes.
    pub fn max_buffer(&self) -> u64 {
        self.inner.limits.max_buffer_size & !255
    }

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
}

/// Leave to use what wgpu calls experimental, where it is asked for.
#[allow(unsafe_code)]
fn experimental(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.intersects(wgpu::Features::all_experimental_mask()) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: wgpu asks its caller to know that such a feature may have bugs. The only one used is cooperative matrices, only
    // where the user names that family; they load from and store to workgroup memory alone, at indices fixed when the
    // kernel is made, and `prove` compares their results before anything else runs.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
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
    pub async fn finish(self) -> Result<()> {
        self.close().finish().await
    }

    /// Whether there was memory for everything.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the driver said, where it is about anything else.
    pub(crate) async fn fits(self) -> Result<bool> {
        self.close().fits().await
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
type Caught = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

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
fn one_line(error: &wgpu::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
