//! A training run in a browser tab: its folder has the layout of a native run's, so that either goes on with the other's checkpoints.

mod begin;
mod course;
mod evaluations;
mod files;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::data::{Example, Tally};
use wgpu_sft::eval::{Examiner, Prepared};
use wgpu_sft::formats::ModelFiles;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::report::{self, Outcome};
use wgpu_sft::train::checkpoint::Counters;
use wgpu_sft::train::{Course, Settings, Trainer, Watch};

use crate::error::Result;
use crate::io::Folder;

/// A training run. One piece of work at a time: [`Run::advance`] is awaited before it is called again.
#[wasm_bindgen]
pub struct Run {
    /// None while something is under way, and once it is destroyed.
    active: RefCell<Option<Active>>,
    about: String,
    stop_evaluating: Rc<Cell<bool>>,
    destroyed: Cell<bool>,
}

/// Rows as tokens, and what is known of them.
pub(crate) struct Rows {
    pub examples: Vec<Example>,
    pub tally: Tally,
}

/// Everything that a run holds.
pub(crate) struct Active {
    gpu: Gpu,
    folder: Folder,
    settings: Settings,
    model: Rc<ModelFiles>,
    rows: Rows,
    eval_rows: Option<Rows>,
    suites: Vec<Prepared>,
    watch: Option<Watch>,
    course: Course,
    trainer: Trainer,
    examiner: Option<Examiner>,
    counters: Counters,
    record: report::Run,
    metrics: String,
    samples: String,
    submitted: u64,
    finished: u64,
    /// Steps whose end was told to whoever asked for something else.
    told: VecDeque<Value>,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    /// Whether an evaluation asks for a checkpoint.
    must_save: bool,
    ended: bool,
    /// When the last step ended, where nothing else was done since; in seconds.
    last_end: Option<f64>,
    /// When the line before the last and the last of the log were written, and the tokens seen by then.
    since: [(f64, u64); 2],
    stop_evaluating: Rc<Cell<bool>>,
    /// Told what takes its time.
    on_progress: Function,
}

#[wasm_bindgen]
impl Run {
    /// What it is, as JSON: `total_steps`, `step` (steps that are done), `steps_per_epoch`, `rows`, `eval_rows`, `tokens`, `targets`,
    /// `trained_parameters`, `kernels`, `memory`, `warnings`.
    #[wasm_bindgen(getter)]
    pub fn about(&self) -> String {
        self.about.clone()
    }

    /// Do the next piece of work and tell it, as the JSON of one event: `step`, `evaluation`, `saved` or, at the end, `finished`. An
    /// evaluation that was stopped is no event: `paused` says so. Errors: `Diverged`, `Gpu`, what the folder throws.
    pub async fn advance(&self) -> Result<String> {
        let mut active = self.take()?;
        let event = active.advance().await;
        self.put_back(active);
        Ok(event?.to_string())
    }

    /// Make a checkpoint after the steps that are done or under way, whose events are given as a JSON list. Errors: as
    /// [`Run::advance`]'s; the run goes on all the same, unless the device failed.
    pub async fn save(&self) -> Result<String> {
        let mut active = self.take()?;
        let saved = active.pause().await;
        // Where it failed they are told by what comes next.
        let events = saved.map(|()| active.told.drain(..).collect());
        self.put_back(active);
        Ok(Value::Array(events?).to_string())
    }

    /// Write down that the run ended by an error, `outcome` being `diverged` or `failed`, as far as that is possible. Errors: what the
    /// folder throws.
    pub async fn fail(&self, outcome: &str, message: &str) -> Result<()> {
        let mut active = self.take()?;
        let outcome = match outcome {
            "diverged" => Outcome::Diverged,
            _ => Outcome::Failed,
        };
        active.close_session(outcome);
        if let Some(session) = active.record.sessions.last_mut() {
            session.error = Some(message.to_owned());
        }
        let written = active.write_report(None).await;
        self.put_back(active);
        written
    }

    /// Let the evaluation under way end early. It is made again when the run goes on.
    #[wasm_bindgen(js_name = stopEvaluating)]
    pub fn stop_evaluating(&self) {
        self.stop_evaluating.set(true);
    }

    /// Free what it holds, its buffers on the device too: now, or when what is under way has ended.
    pub fn destroy(&self) {
        self.destroyed.set(true);
        self.active.borrow_mut().take();
    }
}

impl Run {
    fn new(active: Active, about: &Value) -> Self {
        Self {
            about: about.to_string(),
            stop_evaluating: active.stop_evaluating.clone(),
            active: RefCell::new(Some(active)),
            destroyed: Cell::new(false),
        }
    }

    fn take(&self) -> Result<Active> {
        let why = match self.destroyed.get() {
            true => "was destroyed",
            false => "is at work already: wait for what was asked for last",
        };
        let active = self.active.borrow_mut().take();
        Ok(active.ok_or_else(|| Error::config("run", why))?)
    }

    fn put_back(&self, active: Active) {
        if !self.destroyed.get() {
            *self.active.borrow_mut() = Some(active);
        }
    }
}

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since 1970.
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// Tell what is being done, how much of it, and of how much.
fn tell(on_progress: &Function, what: &str, done: u64, total: u64) -> Result<()> {
    on_progress.call3(
        &JsValue::NULL,
        &what.into(),
        &(done as f64).into(),
        &(total as f64).into(),
    )?;
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn clock() -> u64 {
    (date_now() / 1000.0) as u64
}

/// Seconds since the worker began, finer than a clock's.
pub(crate) fn seconds() -> f64 {
    crate::now() / 1000.0
}

/// An event of type `kind`, with these fields.
pub(crate) fn event(kind: &str, fields: Value) -> Value {
    let mut event = json!({ "type": kind });
    if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
        event.extend(fields);
    }
    event
}
