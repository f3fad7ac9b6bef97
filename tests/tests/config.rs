//! `config.json` in, a checked configuration out.

use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::PathBuf;
use wgpu_sft::model::{Family, ModelConfig, RopeScaling};

/// A file under `tests/fixtures`.
pub fn fixture(path: &str) -> Vec<u8> {
    let full = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    std::fs::read(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

/// A text file under `tests/fixtures`.
pub fn fixture_text(path: &str) -> String {
    String::from_utf8(fixture(path)).unwrap()
}

const GOLDEN: [(&str, Family); 4] = [
    ("llama_tied_gqa", Family::Llama),
    ("qwen2_bias", Family::Qwen2),
    ("qwen3_qknorm", Family::Qwen3),
    ("granite_multipliers", Family::Granite),
];

#[test]
fn golden_configurations_name_the_tensors_that_transformers_stored() {
    for (name, family) in GOLDEN {
        let config = ModelConfig::from_json(&fixture_text(&format!("golden/{name}/config.json"))).unwrap();
        assert_eq!(config.family, family);
        let bytes = fixture(&format!("golden/{name}/model.safetensors"));
        let mut stored: Vec<_> = SafeTensors::deserialize(&bytes)
            .unwrap()
            .iter()
            .map(|(n, t)| (n.to_owned(), t.shape().to_vec()))
            .collect();
        let mut ours = config.tensors();
        stored.sort();
        ours.sort();
        assert_eq!(ours, stored, "{name}");
        // What is written reads back as the same model.
        assert_eq!(
            ModelConfig::from_json(&config.to_json("float32").to_string()).unwrap(),
            config,
            "{name}"
        );
    }
}

#[test]
fn golden_fields_are_read() {
    let llama = ModelConfig::from_json(&fixture_text("golden/llama_tied_gqa/config.json")).unwrap();
    assert_eq!(
        (llama.head_dim, llama.num_key_value_heads, llama.rms_norm_eps),
        (8, 2, 1e-5)
    );
    assert_eq!(
        (llama.bos_token_id, &llama.eos_token_ids[..], llama.pad_token_id),
        (Some(1), &[2][..], Some(2))
    );
    assert!(llama.tie_word_embeddings && !llama.attention_bias && !llama.qk_norm);
    let qwen2 = ModelConfig::from_json(&fixture_text("golden/qwen2_bias/config.json")).unwrap();
    assert!(qwen2.attention_bias && !qwen2.attention_output_bias && !qwen2.mlp_bias);
    let qwen3 = ModelConfig::from_json(&fixture_text("golden/qwen3_qknorm/config.json")).unwrap();
    assert_eq!((qwen3.head_dim, qwen3.rope.theta), (16, 1e6));
    assert!(qwen3.qk_norm && !qwen3.attention_bias);
    assert_eq!(factors(&qwen3), [1.0, 0.25, 1.0, 1.0]);
    let granite = ModelConfig::from_json(&fixture_text("golden/granite_multipliers/config.json")).unwrap();
    assert_eq!(factors(&granite), [2.5, 0.6, 0.45, 1.75]);
}

fn factors(config: &ModelConfig) -> [f64; 4] {
    [
        config.embedding_multiplier,
        config.attention_multiplier,
        config.residual_multiplier,
        config.logits_scaling,
    ]
}

/// A Llama configuration with some fields changed; null removes one.
fn llama(changes: Value) -> wgpu_sft::Result<ModelConfig> {
    let mut root = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 8,
    });
    for (field, value) in changes.as_object().unwrap() {
        root[field] = value.clone();
        if value == "absent" {
            root.as_object_mut().unwrap().remove(field);
        }
    }
    ModelConfig::from_json(&root.to_string())
}

#[test]
fn absent_fields_have_the_defaults_of_transformers() {
    let config = llama(json!({})).unwrap();
    assert_eq!(
        (
            config.num_key_value_heads,
            config.head_dim,
            config.max_position_embeddings
        ),
        (8, 8, 2048)
    );
    assert_eq!(
        (config.rms_norm_eps, config.rope.theta, config.initializer_range),
        (1e-6, 10_000.0, 0.02)
    );
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids, config.pad_token_id),
        (Some(1), vec![2], None)
    );
    assert!(!config.tie_word_embeddings);
    let qwen = json!({"model_type": "qwen3", "architectures": "absent", "num_attention_heads": 32, "hidden_size": 512});
    let config = llama(qwen).unwrap();
    assert_eq!(
        (config.head_dim, config.num_key_value_heads, config.bos_token_id),
        (128, 32, None)
    );
    assert!(config.eos_token_ids.is_empty());
    let granite = llama(json!({"model_type": "granite", "architectures": "absent"})).unwrap();
    assert_eq!(
        (granite.num_key_value_heads, granite.max_position_embeddings),
        (8, 2048)
    );
    assert_eq!(
        (granite.bos_token_id, granite.eos_token_ids.clone()),
        (Some(1), vec![2])
    );
    // Not `1 / sqrt(head_dim)`.
    assert_eq!(factors(&granite), [1.0; 4]);
    // Only Granite's class knows them.
    let llama_with = llama(json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.5})).unwrap();
    assert_eq!(factors(&llama_with), [1.0, 8f64.sqrt().recip(), 1.0, 1.0]);
    let eos = llama(json!({"eos_token_id": [5, 7], "bos_token_id": null, "pad_token_id": -1})).unwrap();
    assert_eq!(
        (eos.eos_token_ids, eos.bos_token_id, eos.pad_token_id),
        (vec![5, 7], None, None)
    );
}

#[test]
fn llama_biases_cover_all_projections() {
    let config = llama(json!({"attention_bias": true, "mlp_bias": true})).unwrap();
    let names: Vec<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
    for module in ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"] {
        assert!(names.contains(&format!("model.layers.1.{module}.bias")), "{module}");
    }
    assert_eq!(names.last().unwrap(), "lm_head.weight");
    assert_eq!(
        ModelConfig::from_json(&config.to_json("float32").to_string()).unwrap(),
        config
    );
}

#[test]
fn rotary_settings_are_read_in_both_spellings() {
    let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let old = llama(json!({"rope_theta": 500000.0, "rope_scaling": scaling})).unwrap();
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(500000.0);
    let new = llama(json!({"rope_parameters": parameters})).unwrap();
    assert_eq!(old, new);
    let written = ModelConfig::from_json(&old.to_json("bfloat16").to_string()).unwrap();
    assert_eq!(written.rope, old.rope);
    let linear = llama(json!({"rope_scaling": {"type": "linear", "factor": 4.0}})).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert_eq!(linear.rope.inverse_frequencies(8)[0], 0.25);
    let plain = llama(json!({"rope_theta": 100.0})).unwrap().rope.inverse_frequencies(4);
    assert_eq!(plain.len(), 2);
    assert!((plain[1] - 0.1).abs() < 1e-16);
    // Values of transformers' `_compute_llama3_parameters` for Llama 3.2, worked out in numpy in f64.
    let want = [
        (0, 1.0),
        (1, 0.6636012376960885),
        (13, 0.004839421345719893),
        (14, 0.0032114459947525913),
        (15, 0.001290547928209264),
        (16, 0.00042955679655936815),
        (17, 9.70828780262767e-05),
        (18, 1.9461638184831125e-05),
        (31, 9.418306725434911e-08),
    ];
    let got = old.rope.inverse_frequencies(64);
    assert_eq!(got.len(), 32);
    for (i, want) in want {
        assert!(
            (got[i] / want - 1.0_f64).abs() < 1e-14,
            "{i}: {} against {want}",
            got[i]
        );
    }
}

#[test]
fn what_is_not_supported_is_refused_by_field() {
    let granite = |mut changes: Value| {
        changes["model_type"] = json!("granite");
        changes["architectures"] = json!("absent");
        changes
    };
    let cases = [
        ("model_type", json!({"model_type": "gemma"})),
        (
            "model_type",
            json!({"model_type": "absent", "architectures": ["FooForCausalLM"]}),
        ),
        (
            "architectures",
            json!({"architectures": ["LlamaForSequenceClassification"]}),
        ),
        (
            "sliding_window",
            json!({"model_type": "mistral", "architectures": "absent"}),
        ),
        (
            "sliding_window",
            json!({"model_type": "qwen2", "architectures": "absent", "use_sliding_window": true}),
        ),
        (
            "layer_types",
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
        ),
        ("num_local_experts", json!({"num_local_experts": 8})),
        ("quantization_config", json!({"quantization_config": {"bits": 4}})),
        ("hidden_act", json!({"hidden_act": "gelu"})),
        ("pretraining_tp", json!({"pretraining_tp": 2})),
        ("attention_bias", granite(json!({"attention_bias": true}))),
        ("mlp_bias", granite(json!({"mlp_bias": true}))),
        ("residual_multiplier", granite(json!({"residual_multiplier": 0}))),
        ("logits_scaling", granite(json!({"logits_scaling": "eight"}))),
        ("attention_dropout", json!({"attention_dropout": 0.1})),
        (
            "rope_scaling.rope_type",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
        ),
        (
            "rope_scaling.type",
            json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}),
        ),
        (
            "rope_parameters.factor",
            json!({"rope_parameters": {"rope_type": "linear"}}),
        ),
        ("partial_rotary_factor", json!({"partial_rotary_factor": 0.5})),
        ("rope_theta", json!({"rope_theta": -1.0})),
        ("head_dim", json!({"head_dim": 12})),
        ("head_dim", json!({"head_dim": 264})),
        ("head_dim", json!({"num_attention_heads": 7})),
        ("num_key_value_heads", json!({"num_key_value_heads": 3})),
        ("num_key_value_heads", json!({"num_key_value_heads": 0})),
        ("hidden_size", json!({"hidden_size": 66, "head_dim": 8})),
        ("intermediate_size", json!({"intermediate_size": 130})),
        ("hidden_size", json!({"hidden_size": "absent"})),
        ("hidden_size", json!({"hidden_size": -64})),
        ("hidden_size", json!({"hidden_size": 64.5})),
        ("num_hidden_layers", json!({"num_hidden_layers": 4_000_000_000_u64})),
        (
            "num_attention_heads",
            json!({"num_attention_heads": 1_000_000, "head_dim": 256}),
        ),
        ("vocab_size", json!({"vocab_size": 0})),
        ("rms_norm_eps", json!({"rms_norm_eps": 0.0})),
        ("eos_token_id", json!({"eos_token_id": 100})),
        ("eos_token_id", json!({"eos_token_id": "two"})),
        ("tie_word_embeddings", json!({"tie_word_embeddings": 1})),
    ];
    for (field, changes) in cases {
        match llama(changes.clone()) {
            Err(wgpu_sft::Error::Config { field: named, .. }) => assert_eq!(named, field, "{changes}"),
            other => panic!("{changes}: {other:?}"),
        }
    }
    for text in ["", "[]", "{", "null"] {
        assert!(ModelConfig::from_json(text).is_err(), "{text:?}");
    }
    let gpt2 = ModelConfig::from_json(&fixture_text("golden/gpt2_tiny/config.json")).unwrap_err();
    assert!(
        gpt2.to_string().starts_with("model_type: gpt2 is not supported"),
        "{gpt2}"
    );
}

#[test]
fn mistral_without_a_window_in_use_is_read() {
    let base = json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "num_key_value_heads": 2});
    for window in [json!(null), json!(131_072)] {
        let mut changes = base.clone();
        changes["sliding_window"] = window;
        let config = llama(changes).unwrap();
        assert_eq!(
            (config.family, config.max_position_embeddings),
            (Family::Mistral, 131_072)
        );
        assert_eq!(
            ModelConfig::from_json(&config.to_json("float32").to_string()).unwrap(),
            config
        );
    }
}
