//! The browser's GPU.

use std::sync::Mutex;

use futures_channel::oneshot;
use js_sys::{Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use wgpu_sft::gpu::{Gpu, GpuOptions};
use wgpu_sft::wgpu::DeviceType;

use crate::error::{Fault, Result};

/// A WebGPU device, with the kernels compiled on it so far.
#[wasm_bindgen]
pub struct Device {
    gpu: Gpu,
    lost: Promise,
}

#[wasm_bindgen]
impl Device {
    /// Open the fastest adapter that the browser offers, with all the memory that it gives. `kernels` is the kernel family to use
    /// instead of the one that suits the adapter. Errors: an unknown family, `NoWebGpu`, a device that cannot be made.
    pub async fn open(kernels: Option<String>) -> Result<Device> {
        let options = GpuOptions {
            family: kernels.map(|family| family.parse()).transpose()?,
            name: adapter_name().await,
            ..GpuOptions::default()
        };
        let Ok(adapter) = Gpu::adapter(&options).await else {
            return Err(no_webgpu().await);
        };
        let gpu = Gpu::open(&adapter, &options).await?;
        let (sender, receiver) = oneshot::channel();
        let sender = Mutex::new(Some(sender));
        gpu.device().set_device_lost_callback(move |reason, message| {
            let sender = sender.lock().ok().and_then(|mut sender| sender.take());
            let why = match reason {
                wgpu_sft::wgpu::DeviceLostReason::Destroyed => "destroyed".to_owned(),
                _ if message.is_empty() => "the browser gave no reason".to_owned(),
                _ => message,
            };
            // Nobody may be waiting any more.
            let _ = sender.map(|sender| sender.send(why));
        });
        let lost = future_to_promise(async move {
            let why = receiver.await;
            Ok(why.unwrap_or_else(|_| "destroyed".to_owned()).into())
        });
        Ok(Device { gpu, lost })
    }

    /// What the browser tells of it; may be empty.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.gpu.info().name.clone()
    }

    /// The kernel family in use.
    #[wasm_bindgen(getter)]
    pub fn kernels(&self) -> String {
        self.gpu.family().to_string()
    }

    /// Whether it is the CPU after all.
    #[wasm_bindgen(getter, js_name = isSoftware)]
    pub fn is_software(&self) -> bool {
        self.gpu.info().device_type == DeviceType::Cpu || self.gpu.info().name.to_lowercase().contains("swiftshader")
    }

    /// Optional WebGPU features in use.
    #[wasm_bindgen(getter)]
    pub fn features(&self) -> Vec<String> {
        let features = self.gpu.device().features();
        features.iter_names().map(|(name, _)| name.to_owned()).collect()
    }

    /// Most bytes of a binding.
    #[wasm_bindgen(getter, js_name = maxBinding)]
    pub fn max_binding(&self) -> f64 {
        self.gpu.max_binding() as f64
    }

    /// Most bytes of a buffer.
    #[wasm_bindgen(getter, js_name = maxBuffer)]
    pub fn max_buffer(&self) -> f64 {
        self.gpu.max_buffer() as f64
    }

    /// Bytes of our buffers on it.
    #[wasm_bindgen(getter)]
    pub fn memory(&self) -> f64 {
        self.gpu.memory().live() as f64
    }

    /// The most bytes of our buffers at once.
    #[wasm_bindgen(getter, js_name = peakMemory)]
    pub fn peak_memory(&self) -> f64 {
        self.gpu.memory().peak() as f64
    }

    /// How many buffers were ever made.
    #[wasm_bindgen(getter)]
    pub fn allocations(&self) -> f64 {
        self.gpu.memory().allocations() as f64
    }

    /// Resolves with the reason when the device is lost, with `destroyed` after [`destroy`](Self::destroy). Never rejects.
    #[wasm_bindgen(unchecked_return_type = "Promise<string>")]
    pub fn lost(&self) -> Promise {
        self.lost.clone()
    }

    /// Destroy the WebGPU device, and with it every buffer on it.
    pub fn destroy(&self) {
        self.gpu.device().destroy();
    }
}

impl Device {
    /// The device itself.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }
}

/// What JavaScript has under these names, one in the other.
fn find(names: &[&str]) -> Option<JsValue> {
    let global: JsValue = js_sys::global().into();
    let found = names.iter().try_fold(global, |object, name| {
        Reflect::get(&object, &JsValue::from_str(name)).ok()
    })?;
    (!found.is_undefined() && !found.is_null()).then_some(found)
}

/// Why there is no adapter.
async fn no_webgpu() -> Fault {
    let why = match find(&["navigator", "gpu"]) {
        Some(_) => "this browser has WebGPU, but no GPU that it would use here",
        None => {
            "this browser offers no WebGPU here: it takes a recent Chrome, Edge, Firefox or Safari, and a page that comes over HTTPS \
             or from this machine"
        }
    };
    Fault::new("NoWebGpu", why)
}

/// The adapter by its vendor and architecture: all that browsers commonly tell.
async fn adapter_name() -> Option<String> {
    let gpu = find(&["navigator", "gpu"])?;
    let request = Reflect::get(&gpu, &"requestAdapter".into()).ok()?;
    let options = js_sys::Object::new();
    Reflect::set(&options, &"powerPreference".into(), &"high-performance".into()).ok()?;
    let adapter = request
        .dyn_into::<js_sys::Function>()
        .ok()?
        .call1(&gpu, &options)
        .ok()?;
    let adapter = JsFuture::from(adapter.dyn_into::<Promise>().ok()?).await.ok()?;
    let info = Reflect::get(&adapter, &"info".into()).ok()?;
    let field = |name: &str| {
        Reflect::get(&info, &name.into())
            .ok()
            .and_then(|field| field.as_string())
    };
    let parts: Vec<String> = ["vendor", "architecture", "device"]
        .into_iter()
        .filter_map(field)
        .collect();
    Some(parts.join(" ").trim().to_owned())
}
