//! Each kind of error, provoked from outside, with what it must name.

use crate::config::fixture_text;
use wgpu_sft::data::{ChatTemplate, Row, TokenizerConfig, for_each_row};
use wgpu_sft::formats::safetensors;
use wgpu_sft::gpu::{Counts, Family, Gpu, GpuOptions, Grid, Kernel, PlanBuilder, Rows, Scalars};
use wgpu_sft::model::ModelConfig;
use wgpu_sft::{Error, Result};

/// What a person reads: no line breaks in front, no `Debug` text, every part given.
fn says<T>(result: Result<T>, parts: &[&str]) -> Error {
    let error = result.err().expect("an error");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    error
}

fn gpu() -> Gpu {
    pollster::block_on(Gpu::request(&GpuOptions::default())).expect("an adapter")
}

#[test]
fn data_names_the_line() {
    let file = b"{\"prompt\": \"a\", \"completion\": \"b\"}\n\n{\"prompt\": \"a\"";
    let error = says(for_each_row(file, |_, _: Row| Ok(())), &["line 3: "]);
    assert!(matches!(error, Error::Data { line: Some(3), .. }), "{error:?}");
    let alone = says(Row::from_json(&serde_json::json!({"text": "a"})), &[]);
    assert!(matches!(alone, Error::Data { line: None, .. }), "{alone:?}");
    assert!(!alone.to_string().contains("line"), "{alone}");
}

#[test]
fn template_says_what_is_wrong() {
    let source = "{% for message in messages %}\n{{ message.content }}";
    let error = says(
        ChatTemplate::new(source, &TokenizerConfig::default(), None),
        &["chat template: "],
    );
    assert!(matches!(error, Error::Template { .. }), "{error:?}");
}

#[test]
fn config_names_the_field() {
    let text = fixture_text("golden/llama_tied_gqa/config.json");
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["num_attention_heads"] = "four".into();
    let error = says(
        ModelConfig::from_json(&json.to_string()),
        &["num_attention_heads: ", "four"],
    );
    assert!(
        matches!(&error, Error::Config { field, .. } if field == "num_attention_heads"),
        "{error:?}"
    );
    let error = says("fast".parse::<Family>(), &["kernels: ", "\"fast\"", "tiled"]);
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
}

#[test]
fn weights_name_the_tensor() {
    let file = safetensors::serialize(&[], None).unwrap();
    let config = ModelConfig::from_json(&fixture_text("golden/llama_tied_gqa/config.json")).unwrap();
    let empty = safetensors::tensors(&[&file], None).unwrap();
    let error = says(empty.for_model(&config), &["model."]);
    assert!(
        matches!(&error, Error::Weights { name, .. } if name.starts_with("model.")),
        "{error:?}"
    );
    let error = says(safetensors::tensors(&[b"not safetensors"], None), &[]);
    assert!(matches!(error, Error::Weights { .. }), "{error:?}");
}

#[test]
fn gpu_names_the_adapters_there_are() {
    let there = gpu().info().name.clone();
    for device in ["no such adapter", "4000000000"] {
        let options = GpuOptions {
            device: Some(device.into()),
            ..GpuOptions::default()
        };
        let error = says(
            pollster::block_on(Gpu::request(&options)),
            &["GPU, choosing an adapter: ", device, &there],
        );
        assert!(matches!(error, Error::Gpu { .. }), "{error:?}");
    }
}

#[test]
fn gpu_names_the_plan_whose_shader_fails() {
    let gpu = gpu();
    let mut plan = PlanBuilder::new(&gpu, "doomed");
    let source = "@group(0) @binding(1) var<uniform> rows: u32;\n@compute @workgroup_size(1)\nfn main() { let x: f32 = rows; }\n";
    plan.dispatch(
        &Kernel::new("broken", source, &[]),
        &(),
        Rows::fixed(1),
        Grid::Fixed([1; 3]),
        &[],
        0,
    );
    let error = says(
        pollster::block_on(plan.finish()),
        &["GPU, building the plan \"doomed\": "],
    );
    assert!(matches!(error, Error::Gpu { .. }), "{error:?}");
    // The device is none the worse for it.
    let tensor = gpu.upload("fine", &[1.0, 2.0]);
    let mut plan = PlanBuilder::new(&gpu, "fine");
    plan.clear(&tensor);
    let plan = pollster::block_on(plan.finish()).unwrap();
    plan.run(&Counts::default(), &Scalars::default());
    assert_eq!(pollster::block_on(gpu.read(&tensor)).unwrap(), [0.0, 0.0]);
}
