//! Element types, safetensors, PEFT adapters and the files of a Hugging Face folder.

use crate::config::{fixture, fixture_text};
use ::safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wgpu_sft::Error;
use wgpu_sft::formats::peft::{self, AdapterConfig, LoraPair, TargetModules};
use wgpu_sft::formats::safetensors::{Index, Layout, TensorSpec, serialize, tensors};
use wgpu_sft::formats::{Dtype, hf};
use wgpu_sft::model::ModelConfig;

fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

fn golden(name: &str) -> (ModelConfig, Vec<u8>) {
    let config = ModelConfig::from_json(&fixture_text(&format!("golden/{name}/config.json"))).unwrap();
    (config, fixture(&format!("golden/{name}/model.safetensors")))
}

#[test]
fn narrow_types_round_to_nearest_even_and_refuse_what_overflows() {
    // 1 + 2⁻¹¹ lies halfway between two f16; the even one is below. 1 + 3·2⁻¹¹: above.
    let values = [
        1.0,
        1.0 + 2f32.powi(-11),
        1.0 + 3.0 * 2f32.powi(-11),
        65504.0,
        5.960_464_5e-8,
        -0.0,
    ];
    let bits: Vec<u16> = Dtype::F16
        .encode(&values)
        .unwrap()
        .chunks(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]))
        .collect();
    assert_eq!(bits, [0x3C00, 0x3C00, 0x3C02, 0x7BFF, 0x0001, 0x8000]);
    let values = [1.0, 1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), -3.0];
    let bits: Vec<u16> = Dtype::Bf16
        .encode(&values)
        .unwrap()
        .chunks(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]))
        .collect();
    assert_eq!(bits, [0x3F80, 0x3F80, 0x3F82, 0xC040]);
    assert!(Dtype::F16.encode(&[65520.0]).is_err());
    assert!(Dtype::Bf16.encode(&[f32::MAX]).is_err());
    assert!(Dtype::Q8_0.encode(&[1.0]).is_err());
    let mut out = vec![];
    assert!(Dtype::Q8_0.decode(&[0; 33], &mut out).is_err());
    assert!(Dtype::Q4_1.bytes_for(33).is_err());
    assert!(Dtype::F32.bytes_for(usize::MAX).is_err());
    assert_eq!(Dtype::Q5_1.bytes_for(64).unwrap(), 48);
}

#[test]
fn a_folder_is_read_and_what_does_not_fit_the_model_is_named() {
    let (config, file) = golden("qwen2_bias");
    let all = tensors(&[&file], None).unwrap();
    let needed = all.for_model(&config).unwrap();
    let reference = SafeTensors::deserialize(&file).unwrap();
    for entry in &needed {
        assert_eq!(
            entry.read(&file).unwrap(),
            reference.tensor(&entry.name).unwrap().data(),
            "{}",
            entry.name
        );
    }
    // Biases that the configuration does not know would be left out silently.
    let mut without = config.clone();
    without.attention_bias = false;
    let error = all.for_model(&without).unwrap_err().to_string();
    assert!(
        error.contains("k_proj.bias: the model as configured has no such tensor"),
        "{error}"
    );
    let mut untied = config.clone();
    untied.tie_word_embeddings = false;
    let error = all.for_model(&untied).unwrap_err().to_string();
    assert_eq!(error, "lm_head.weight: missing from the checkpoint");
    let mut wider = config;
    wider.intermediate_size += 8;
    let error = all.for_model(&wider).unwrap_err().to_string();
    assert_eq!(
        error,
        "model.layers.0.mlp.gate_proj.weight: shape [72, 48], the model's is [80, 48]"
    );
}

#[test]
fn a_bare_base_model_and_a_stored_tied_head_are_understood() {
    let (config, file) = golden("llama_tied_gqa");
    let renamed = |rename: &dyn Fn(&str) -> String, extra: &[(TensorSpec, Vec<u8>)]| {
        let reference = SafeTensors::deserialize(&file).unwrap();
        let mut list: Vec<_> = reference
            .iter()
            .map(|(name, t)| (spec(&rename(name), Dtype::F32, t.shape()), t.data().to_vec()))
            .collect();
        list.extend_from_slice(extra);
        serialize(&list, None).unwrap()
    };
    let bare = renamed(&|name| name.trim_start_matches("model.").to_owned(), &[]);
    assert!(tensors(&[&bare], None).unwrap().for_model(&config).is_ok());
    let head = (spec("lm_head.weight", Dtype::F32, &[1]), vec![0; 4]);
    let with_head = renamed(&str::to_owned, &[head]);
    assert!(tensors(&[&with_head], None).unwrap().for_model(&config).is_ok());
    let twice = (spec("norm.weight", Dtype::F32, &[1]), vec![0; 4]);
    let error = tensors(&[&renamed(&str::to_owned, &[twice])], None).unwrap_err();
    assert_eq!(error.to_string(), "model.norm.weight: stored twice");
}

#[test]
fn types_that_are_not_supported_matter_only_where_they_are_read() {
    let header = br#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend([0; 12]);
    let all = tensors(&[&file], None).unwrap();
    assert!(all.get("b").is_ok());
    assert_eq!(
        all.get("a").unwrap_err().to_string(),
        "a: stored as I64, which is not supported"
    );
}

#[test]
fn damaged_safetensors_are_errors() {
    let (_, file) = golden("llama_tied_gqa");
    for length in [0, 1, 7, 8, 100, 2000, file.len() - 1] {
        assert!(tensors(&[&file[..length]], None).is_err(), "{length}");
    }
    for at in 0..1000 {
        let mut bytes = file.clone();
        bytes[at] = 0xFF;
        let _ = tensors(&[&bytes], None);
    }
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend([b' '; 64]);
    assert!(tensors(&[&huge], None).is_err());
    // An entry whose file has since shrunk.
    let all = tensors(&[&file], None).unwrap();
    assert!(all.get("model.norm.weight").unwrap().read(&file[..1000]).is_err());
}

#[test]
fn shards_are_read_as_the_index_says() {
    let one = serialize(&[(spec("model.norm.weight", Dtype::F32, &[2]), vec![1; 8])], None).unwrap();
    let two = serialize(&[(spec("lm_head.weight", Dtype::F16, &[3]), vec![2; 6])], None).unwrap();
    let text = r#"{"metadata":{"total_size":14},"weight_map":{"model.norm.weight":"m-1.safetensors","lm_head.weight":"m-2.safetensors"}}"#;
    let index = Index::parse(text).unwrap();
    assert_eq!(index.shards, ["m-1.safetensors", "m-2.safetensors"]);
    let all = tensors(&[&one, &two], Some(&index)).unwrap();
    let head = all.get("lm_head.weight").unwrap();
    assert_eq!((head.file, head.read(&two).unwrap().as_ref()), (1, &[2u8; 6][..]));
    let error = tensors(&[&one, &one], Some(&index)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "lm_head.weight: not in m-2.safetensors, where the index says it is"
    );
    for bad in ["../x", "/etc/x", "a/b", "", ".x", "c:x"] {
        let text = json!({"weight_map": {"a": bad}}).to_string();
        assert!(Index::parse(&text).is_err(), "{bad:?}");
    }
    for bad in ["", "[]", "{}", r#"{"weight_map":{"a":1}}"#] {
        assert!(Index::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn files_are_written_as_the_reference_crate_writes_them() {
    let list = [
        (spec("b", Dtype::F32, &[2, 1]), vec![1; 8]),
        (spec("c", Dtype::F16, &[1]), vec![2; 2]),
        (spec("a", Dtype::F32, &[0]), vec![]),
        (spec("d", Dtype::Bf16, &[2]), vec![3; 4]),
    ];
    let ours = serialize(&list, None).unwrap();
    let views: Vec<_> = list
        .iter()
        .map(|(spec, bytes)| {
            let dtype = match spec.dtype {
                Dtype::F32 => ::safetensors::Dtype::F32,
                Dtype::F16 => ::safetensors::Dtype::F16,
                _ => ::safetensors::Dtype::BF16,
            };
            let view = ::safetensors::tensor::TensorView::new(dtype, spec.shape.clone(), bytes).unwrap();
            (spec.name.clone(), view)
        })
        .collect();
    let format = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    assert_eq!(ours, ::safetensors::serialize(views, Some(format)).unwrap());

    let with = serialize(&list, Some(("wgpu-sft", r#"{"step":3}"#))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&with).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(
        (metadata["format"].as_str(), metadata["wgpu-sft"].as_str()),
        ("pt", r#"{"step":3}"#)
    );

    // Streamed: the header, then the tensors in the order given.
    let specs: Vec<TensorSpec> = list.iter().map(|(spec, _)| spec.clone()).collect();
    let layout = Layout::new(&specs, None).unwrap();
    let mut streamed = layout.header.clone();
    layout
        .order
        .iter()
        .for_each(|&i| streamed.extend_from_slice(&list[i].1));
    assert_eq!((streamed.len() as u64, &streamed), (layout.file_bytes(), &ours));

    assert!(serialize(&[(spec("q", Dtype::Q8_0, &[32]), vec![0; 34])], None).is_err());
    assert!(serialize(&[(spec("s", Dtype::F32, &[2]), vec![0; 4])], None).is_err());
    assert!(Layout::new(&[spec("t", Dtype::F32, &[1]), spec("t", Dtype::F32, &[1])], None).is_err());
    assert!(Layout::new(&[spec("u", Dtype::F32, &[usize::MAX, 2])], None).is_err());
}

/// As PEFT 0.17 writes it.
const PEFT_CONFIG: &str = r#"{
  "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M", "bias": "none",
  "corda_config": null, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
  "init_lora_weights": true, "layer_replication": null, "layers_pattern": null, "layers_to_transform": null,
  "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.05, "megatron_config": null,
  "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA", "qalora_group_size": 16, "r": 4,
  "rank_pattern": {}, "revision": null, "target_modules": ["v_proj", "q_proj"], "target_parameters": null,
  "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false, "use_rslora": false
}"#;

fn peft_with(field: &str, value: Value) -> wgpu_sft::Result<AdapterConfig> {
    let mut root: Value = serde_json::from_str(PEFT_CONFIG).unwrap();
    root[field] = value;
    AdapterConfig::from_json(&root.to_string())
}

#[test]
fn adapter_settings_are_read_written_and_checked() {
    let config = AdapterConfig::from_json(PEFT_CONFIG).unwrap();
    assert_eq!(
        (config.r, config.lora_alpha, config.lora_dropout, config.scale()),
        (4, 16.0, 0.05, 4.0)
    );
    assert_eq!(peft_with("use_rslora", json!(true)).unwrap().scale(), 8.0);
    assert_eq!(AdapterConfig::from_json(&config.to_json()).unwrap(), config);
    let written: Value = serde_json::from_str(&config.to_json()).unwrap();
    assert!(written["lora_alpha"].is_i64() && written["inference_mode"] == true && written["task_type"] == "CAUSAL_LM");
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("bias", json!("all")),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 8})),
        ("alpha_pattern", json!({"q_proj": 8})),
        ("layers_to_transform", json!([0])),
        ("init_lora_weights", json!("pissa")),
        ("target_modules", json!(".*_proj")),
        ("target_modules", json!([])),
        ("target_modules", json!(null)),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("lora_alpha", json!("x")),
        ("lora_dropout", json!(1.0)),
        ("some_new_setting", json!(3)),
    ] {
        match peft_with(field, value.clone()) {
            Err(Error::Config { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field} {value}: {other:?}"),
        }
    }
}

#[test]
fn target_modules_have_the_meaning_of_peft() {
    let (model, _) = golden("qwen3_qknorm");
    let paths = |targets: Value| -> wgpu_sft::Result<Vec<String>> {
        let modules = peft_with("target_modules", targets)?.modules(&model)?;
        Ok(modules.into_iter().map(|module| module.path).collect())
    };
    let all = paths(json!("all-linear")).unwrap();
    assert_eq!((all.len(), all[0].as_str()), (14, "model.layers.0.self_attn.q_proj"));
    assert_eq!(paths(json!(["v_proj", "q_proj"])).unwrap().len(), 4);
    assert_eq!(
        paths(json!(["layers.1.mlp.up_proj"])).unwrap(),
        ["model.layers.1.mlp.up_proj"]
    );
    for bad in [
        "proj",
        "lm_head",
        "embed_tokens",
        "model.embed_tokens",
        "nothing",
        "",
        "q_norm",
    ] {
        assert!(paths(json!([bad])).is_err(), "{bad:?}");
    }
    let linear = &peft_with("target_modules", json!(["q_proj"]))
        .unwrap()
        .modules(&model)
        .unwrap()[0];
    assert_eq!((linear.in_features, linear.out_features), (40, 64));
    // All layers by name, as written, mean all layers.
    let every = AdapterConfig {
        target_modules: TargetModules::AllLinear,
        ..AdapterConfig::from_json(PEFT_CONFIG).unwrap()
    };
    let read = AdapterConfig::from_json(&every.to_json()).unwrap();
    assert_eq!(read.modules(&model).unwrap(), every.modules(&model).unwrap());
}

#[test]
fn adapters_keep_their_names_shapes_and_values() {
    let (model, _) = golden("llama_tied_gqa");
    let config = AdapterConfig::from_json(PEFT_CONFIG).unwrap();
    let mut pairs = BTreeMap::new();
    for (i, m) in config.modules(&model).unwrap().into_iter().enumerate() {
        let a = (0..config.r * m.in_features).map(|j| (i + j) as f32 * 0.25).collect();
        let b = (0..config.r * m.out_features).map(|j| -((i * j) as f32)).collect();
        pairs.insert(m.path, LoraPair { a, b });
    }
    let file = peft::write(&pairs, &config, &model).unwrap();
    let stored = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(stored.len(), 8);
    let b = stored
        .tensor("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight")
        .unwrap();
    assert_eq!((b.shape(), b.dtype()), (&[16, 4][..], ::safetensors::Dtype::F32));
    assert_eq!(peft::read(&file, &config, &model).unwrap(), pairs);

    let narrower = peft_with("target_modules", json!(["q_proj"])).unwrap();
    let error = peft::read(&file, &narrower, &model).unwrap_err().to_string();
    assert!(
        error.contains("v_proj.lora_A.weight: adapter_config.json does not name"),
        "{error}"
    );
    let wider = peft_with("target_modules", json!(["q_proj", "v_proj", "o_proj"])).unwrap();
    let error = peft::read(&file, &wider, &model).unwrap_err().to_string();
    assert!(error.contains("o_proj.lora_A.weight: missing"), "{error}");
    let error = peft::read(&file, &peft_with("r", json!(8)).unwrap(), &model)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("q_proj.lora_A.weight: shape [4, 32], expected [8, 32]"),
        "{error}"
    );
    assert!(peft::write(&pairs, &wider, &model).is_err());
    pairs.values_mut().next().unwrap().a[3] = f32::NAN;
    let error = peft::read(&peft::write(&pairs, &config, &model).unwrap(), &config, &model)
        .unwrap_err()
        .to_string();
    assert!(error.contains("q_proj.lora_A.weight: holds NaN"), "{error}");
}

#[test]
fn model_folders_say_type_and_terminators() {
    let (config, _) = golden("llama_tied_gqa");
    let source = fixture_text("golden/llama_tied_gqa/config.json");
    let text = hf::config_json(Some(&source), &config, Dtype::Bf16).unwrap();
    let mut want: Value = serde_json::from_str(&source).unwrap();
    want["torch_dtype"] = json!("bfloat16");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
    assert!(text.starts_with("{\n  \"architectures\": [") && text.ends_with("}\n"));
    let v5: Value = serde_json::from_str(
        &hf::config_json(
            Some(&fixture_text("golden/qwen3_qknorm/config.json")),
            &config,
            Dtype::F16,
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!((&v5["dtype"], v5.get("torch_dtype")), (&json!("float16"), None));
    let fresh: Value = serde_json::from_str(&hf::config_json(None, &config, Dtype::F16).unwrap()).unwrap();
    assert_eq!(
        (&fresh["architectures"], &fresh["torch_dtype"]),
        (&json!(["LlamaForCausalLM"]), &json!("float16"))
    );
    assert!(hf::config_json(None, &config, Dtype::Q4_0).is_err());
    assert!(hf::config_json(Some("[]"), &config, Dtype::F32).is_err());

    let eos = |source: Option<&str>, more: &[u32]| -> Value {
        let text = hf::generation_config_json(source, &config, more).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["eos_token_id"].clone()
    };
    assert_eq!(eos(None, &[]), json!(2));
    assert_eq!(eos(None, &[7, 2]), json!([2, 7]));
    assert_eq!(
        eos(Some(r#"{"eos_token_id":9,"temperature":0.5}"#), &[7]),
        json!([9, 2, 7])
    );
    assert_eq!(eos(Some(r#"{"eos_token_id":[2,3]}"#), &[]), json!([2, 3]));
    assert!(hf::generation_config_json(Some(r#"{"eos_token_id":"x"}"#), &config, &[]).is_err());
}

#[test]
fn shards_hold_what_fits() {
    assert_eq!(hf::shards(&[3, 3, 3, 10, 1], 6), [0..2, 2..3, 3..4, 4..5]);
    assert_eq!(hf::shards(&[1, 2, 97, 1], 100), [0..3, 3..4]);
    assert_eq!(hf::shard_name(0, 1), "model.safetensors");
    assert_eq!(hf::shard_name(1, 3), "model-00002-of-00003.safetensors");
    let map = BTreeMap::from([("a".to_owned(), "model-00001-of-00002.safetensors".to_owned())]);
    let index: Value = serde_json::from_str(&hf::index_json(&map, 12)).unwrap();
    assert_eq!(index["metadata"]["total_size"], 12);
    assert_eq!(
        Index::parse(&index.to_string()).unwrap().shards,
        ["model-00001-of-00002.safetensors"]
    );
}
