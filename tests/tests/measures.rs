//! Measures against what the reference packages said (`tests/interop/measures.py`), and statistics against simulations.

mod classify;
mod ifeval;
mod overlap;
mod stats;
mod text;

use serde_json::Value;
use wgpu_sft_tests::json;

/// A recorded file.
fn recorded(name: &str) -> Value {
    json(&format!("eval/{name}.json"))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers(value: &Value) -> Vec<f64> {
    items(value).iter().map(number).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn texts(value: &Value) -> Vec<String> {
    items(value).iter().map(|v| text(v).to_string()).collect()
}

/// Recorded numbers have nine decimals.
#[track_caller]
fn close(ours: f64, theirs: &Value, what: &str) {
    let theirs = number(theirs);
    assert!((ours - theirs).abs() < 1e-7, "{what}: {ours}, not {theirs}");
}
