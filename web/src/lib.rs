//! wgpu-sft in a browser tab: what JavaScript calls, inside a module worker.
#![cfg(target_arch = "wasm32")]
// JavaScript has no section for errors: the text of each item says them.
#![allow(clippy::missing_errors_doc)]

mod chat;
mod data;
mod device;
mod error;
mod io;
mod keep;
mod model;
mod plan;
mod run;
mod source;
mod suites;
mod tensor_file;

use js_sys::Function;
use wasm_bindgen::prelude::*;
use wgpu_sft::bench::Job;
use wgpu_sft::check::CaseResult;
use wgpu_sft::gpu::{Gpu, GpuOptions, Storage};
use wgpu_sft::model::ModelConfig;
use wgpu_sft::train::{LoraConfig, Method, Settings};

use error::Result;

/// Settings by the keys of `train.toml`, as JSON; none where there is no text.
fn parse_settings(text: Option<&str>) -> Result<Settings> {
    let settings = serde_json::from_str(text.unwrap_or("{}"));
    Ok(settings.map_err(|e| wgpu_sft::Error::config("settings", e.to_string()))?)
}

/// How one case of the kernels' table came out on this device.
#[wasm_bindgen(getter_with_clone)]
pub struct Case {
    /// The kernel and the case.
    pub name: String,
    /// The kernel family it ran in.
    pub family: String,
    /// Largest difference from the twin, divided by the twin's largest magnitude. NaN where the kernel wrote none.
    pub max_error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether the case passed.
    pub passed: bool,
}

/// Show a panic in the browser's console, once per module.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| web_sys::console::error_1(&info.to_string().into())));
}

/// Run the kernels' case table on this browser's GPU, calling `on_case` with each [`Case`].
///
/// `family` is the kernel family to use instead of the one that suits the adapter; `filter` keeps the kernels whose name
/// contains it. Errors: an unknown family, no WebGPU adapter, a shader that does not compile, or a failed device.
#[wasm_bindgen]
pub async fn check(family: Option<String>, filter: Option<String>, on_case: Function) -> Result<()> {
    let family = family.map(|f| f.parse()).transpose()?;
    let gpu = Gpu::request(&GpuOptions {
        family,
        ..GpuOptions::default()
    })
    .await?;
    let mut thrown = None;
    wgpu_sft::check::run(&gpu, filter.as_deref(), |case| {
        let case = Case::from(case).into();
        thrown = thrown.take().or(on_case.call1(&JsValue::NULL, &case).err());
    })
    .await?;
    thrown.map_or(Ok(()), |thrown| Err(thrown.into()))
}

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker began, finer than a `Date`'s.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Time `steps` optimizer steps of `tokens` tokens on a model with random weights, and give the report of
/// `wgpu-sft bench --json`.
///
/// `config` is the model's `config.json`; `full` trains every weight instead of an adapter; `family` is as in [`check`].
/// Errors: a wrong configuration, an unknown family, no WebGPU adapter, a failed device.
#[wasm_bindgen]
pub async fn bench(config: &str, full: bool, tokens: u32, steps: u32, family: Option<String>) -> Result<String> {
    let job = Job {
        config: ModelConfig::from_json(config)?,
        method: if full { Method::Full } else { Method::Lora },
        lora: LoraConfig::default(),
        frozen: Storage::Bf16,
        activations: Storage::F32,
        tokens,
        steps,
    };
    let gpu = Gpu::request(&GpuOptions {
        family: family.map(|f| f.parse()).transpose()?,
        ..GpuOptions::default()
    })
    .await?;
    let model = job.random_model(&gpu).await?;
    let (report, _) = job.run(model, || now() / 1000.0).await?;
    Ok(serde_json::to_string(&report)?)
}

impl From<&CaseResult> for Case {
    fn from(case: &CaseResult) -> Self {
        Self {
            name: case.name.clone(),
            family: case.family.clone(),
            max_error: case.max_error,
            tolerance: case.tolerance,
            passed: case.passed,
        }
    }
}
