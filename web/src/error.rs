//! What goes wrong, as JavaScript sees it: an `Error` whose `name` is the kind and whose message is one sentence.

use wasm_bindgen::prelude::*;
use wgpu_sft::Error;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Fault>;

/// What is thrown to JavaScript: an `Error` of ours, or what JavaScript threw, as it was.
#[derive(Debug)]
pub struct Fault(JsValue);

impl Fault {
    /// An `Error` of that name.
    pub fn new(name: &str, message: &str) -> Self {
        let error = js_sys::Error::new(message);
        error.set_name(name);
        Self(error.into())
    }
}

/// What the core's kinds of error are called.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Data { .. } => "Data",
        Error::Template { .. } => "Template",
        Error::Config { .. } => "Config",
        Error::Weights { .. } => "Weights",
        Error::TooLarge { .. } => "TooLarge",
        Error::Diverged { .. } => "Diverged",
        Error::Gpu { .. } => "Gpu",
        Error::Checkpoint { .. } => "Checkpoint",
        Error::Busy => "Busy",
        _ => "Error",
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), &error.to_string())
    }
}

/// Only our own types are made into JSON, and numbers alone could fail.
impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::new("Config", &error.to_string())
    }
}

impl From<JsValue> for Fault {
    fn from(value: JsValue) -> Self {
        Self(value)
    }
}

impl From<Fault> for JsValue {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

/// Say which file an error is about: the core opens none, so it knows no names.
pub trait Within<T> {
    /// The same, its message beginning with `name`.
    fn within(self, name: &str) -> Result<T>;
}

impl<T> Within<T> for wgpu_sft::Result<T> {
    fn within(self, name: &str) -> Result<T> {
        self.map_err(|error| Fault::new(kind(&error), &format!("{name}: {error}")))
    }
}
