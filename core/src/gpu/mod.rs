//! The device and what is made on it: tensors, kernels, plans.

#[forbid(unsafe_code)]
mod cache;
#[forbid(unsafe_code)]
mod family;
#[forbid(unsafe_code)]
mod kernel;
#[forbid(unsafe_code)]
mod memory;
#[forbid(unsafe_code)]
mod narrow;
#[forbid(unsafe_code)]
mod open;
#[forbid(unsafe_code)]
mod pace;
#[forbid(unsafe_code)]
mod plan;
#[forbid(unsafe_code)]
mod profile;
#[forbid(unsafe_code)]
mod read;
#[forbid(unsafe_code)]
mod rules;
#[forbid(unsafe_code)]
mod scope;
#[forbid(unsafe_code)]
mod tensor;
mod trust;

pub use family::Family;
pub(crate) use kernel::params;
pub use kernel::{Access, Binding, Kernel, Params, bindings, param_fields};
pub use memory::{Memory, Submitted};
pub use open::GpuOptions;
pub use pace::Paced;
pub(crate) use pace::{breathe, turn};
pub(crate) use plan::PER_BYTE;
pub use plan::{Plan, PlanBuilder};
pub use profile::Timing;
pub(crate) use read::{Pending, Staging};
pub use rules::{Counts, Grid, Of, Rows, Scalars};
pub(crate) use scope::Closed;
pub use scope::Scope;
pub use tensor::{Storage, Tensor};

use crate::ops::matmul::{Class, Tile};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, atomic::AtomicU64, atomic::AtomicUsize, atomic::Ordering::Relaxed};

/// Operations a second that a GPU is trusted with before any were measured: those of a slow integrated one.
const FIRST_SPEED: f64 = 1e11;

/// Operations of the largest dispatch. A fast GPU has enough workgroups in so many to be busy.
const LARGEST_DISPATCH: u64 = 10_000_000_000;

/// Seconds of work that one submit may carry, so that watchdogs stay asleep and a desktop usable.
const SECONDS_PER_SUBMIT: f64 = 0.25;

/// Seconds of work that one dispatch on a caller's device may carry: a part of a frame.
const SECONDS_PER_SHARED_DISPATCH: f64 = 4e-3;

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
    failure: Arc<OnceLock<String>>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({}, {})", self.inner.info.name, self.inner.family)
    }
}

impl Gpu {
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
    /// or less on a device that is known to be slower; on a caller's, what does not hold up a frame.
    pub(crate) fn work_per_dispatch(&self) -> u64 {
        let most = match self.bounds_submits() {
            true => self.work_per_submit().min(LARGEST_DISPATCH),
            false => u64::MAX,
        };
        match self.inner.may_block {
            true => most,
            false => most.min((self.speed() * SECONDS_PER_SHARED_DISPATCH) as u64),
        }
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
}
