//! A model on the device, to be asked or examined.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;

use crate::device::Device;
use crate::error::Result;
use crate::io::Reader;
use crate::source::Source;

/// A model's weights on a device.
#[wasm_bindgen]
pub struct Model {
    loaded: RefCell<Option<Rc<wgpu_sft::model::Model>>>,
}

#[wasm_bindgen]
impl Model {
    /// Put a model on a device, read only. `adapter` is `adapter_config.json` and `adapter_model.safetensors`; `dtype` how its
    /// matrices are stored, `f32`, `f16` or `bf16`: as in the files where it says nothing, in bf16 where those are quantised.
    /// `on_progress` is told the bytes that are read, of all. Errors: what of the files is wrong, a weight that no buffer
    /// holds, a device out of memory; what `on_progress` throws.
    pub async fn load(
        device: &Device,
        source: &Source,
        adapter: Option<Vec<Reader>>,
        dtype: Option<String>,
        #[wasm_bindgen(unchecked_param_type = "(done: number, total: number) => void")] on_progress: Function,
    ) -> Result<Model> {
        let adapter = match adapter {
            Some(files) => Some(source.adapter(&files).await?),
            None => None,
        };
        let usage = source.frozen(dtype.as_deref())?;
        let progress = |done: u64, total: u64| {
            on_progress.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into())?;
            Ok(())
        };
        let mut model = source.load(device.gpu(), usage, progress).await?;
        if let Some(adapter) = adapter {
            model.load_adapter(&adapter.config, &adapter.pairs)?;
        }
        Ok(Self {
            loaded: RefCell::new(Some(Rc::new(model))),
        })
    }

    /// Destroy its buffers: now, or as soon as what uses it now has ended. Using it afterwards is an error, doing this again none.
    pub fn destroy(&self) {
        self.loaded.take();
    }
}

impl Model {
    /// The model itself.
    pub(crate) fn get(&self) -> Result<Rc<wgpu_sft::model::Model>> {
        let model = self.loaded.borrow().clone();
        Ok(model.ok_or_else(|| Error::config("model", "was destroyed"))?)
    }
}
