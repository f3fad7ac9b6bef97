//! What a checkpoint knows of its run: it comes back as it was, and refuses runs that are not the one saved.

use std::collections::BTreeMap;

use wgpu_sft::Error;
use wgpu_sft::gpu::{Family, Storage};
use wgpu_sft::ops::matmul::{Class, Layout, Tile};
use wgpu_sft::train::checkpoint::{Counters, Device, FileDigest, Identity, SCHEMA, State};
use wgpu_sft::train::{Method, TrainConfig};

fn state() -> State {
    // Numbers that decimal text must carry exactly.
    let config = TrainConfig {
        learning_rate: Some(0.1 + 0.2),
        adam_epsilon: 1.0 / 3.0 * 1e-8,
        ..TrainConfig::default()
    };
    State {
        schema: SCHEMA,
        step: 7,
        epoch: 7.0 / 3.0,
        identity: Identity {
            config: config.canonical(),
            total_steps: 9,
            data: "rows".into(),
            tokenizer: Some("words".into()),
            model: "weights".into(),
            dtype: "bf16".into(),
            micro_batch_tokens: 256,
            kernels: "tiled".into(),
        },
        counters: Counters {
            targets: 5,
            tokens: 6,
            loss_sum: 1e9 / 7.0,
            loss_targets: 3,
            ..Counters::default()
        },
        device: Device {
            name: "a GPU".into(),
            driver: "a driver 1.2".into(),
            backend: "vulkan".into(),
        },
        tiles: vec![(
            Class::new(Layout::Nt, Storage::Bf16, [100, 200, 300]),
            Tile::all(Family::Tiled)[0],
        )],
        files: BTreeMap::from([("optimizer.safetensors".into(), FileDigest::of(b"moments"))]),
    }
}

fn refusal(now: impl FnOnce(&mut Identity)) -> String {
    let saved = State::from_json(state().to_json().unwrap().as_bytes()).unwrap();
    let mut identity = state().identity;
    now(&mut identity);
    match saved.check(&identity) {
        Err(Error::Checkpoint { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_run_may_go_on() {
    let saved = State::from_json(state().to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(
        (saved.step, saved.counters.targets, &saved.device),
        (7, 5, &state().device)
    );
    saved.check(&state().identity).unwrap();
}

#[test]
fn two_spellings_of_one_run_are_the_same() {
    let saved = state();
    let mut now = state().identity;
    now.config = TrainConfig {
        batch_size: 2,
        gradient_accumulation_steps: 4,
        max_steps: Some(9),
        ..saved.identity.config.clone()
    };
    now.config = now.config.canonical();
    saved.check(&now).unwrap();
}

#[test]
fn every_difference_is_named() {
    assert!(refusal(|now| now.data = "others".into()).contains("the rows"));
    assert!(refusal(|now| now.tokenizer = None).contains("the tokenizer or chat template"));
    assert!(refusal(|now| now.model = "others".into()).contains("the model"));
    assert!(refusal(|now| now.total_steps = 12).contains("total_steps (it was 9, now 12)"));
    assert!(refusal(|now| now.micro_batch_tokens = 128).contains("micro_batch_tokens (it was 256, now 128)"));
    assert!(refusal(|now| now.dtype = "f32".into()).contains("dtype"));
    assert!(refusal(|now| now.kernels = "register".into()).contains("kernels"));
    assert!(refusal(|now| now.config.method = Method::Full).contains("method"));
    assert!(refusal(|now| now.config.lora.r = 8).contains("lora_r (it was 16, now 8)"));
    assert!(refusal(|now| now.config.lora.lora_alpha = 8.0).contains("lora_alpha"));
    assert!(
        refusal(|now| now.config.activations = Storage::Bf16).contains("activations (it was \"f32\", now \"bf16\")")
    );
    let both = refusal(|now| (now.config.seed, now.config.shuffle) = (1, false));
    assert!(
        both.contains("seed (it was 42, now 1)") && both.contains("shuffle"),
        "{both}"
    );
}

#[test]
fn damage_is_found() {
    let good = state().to_json().unwrap();
    let refused = |text: String| match State::from_json(text.as_bytes()) {
        Err(Error::Checkpoint { why }) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(good[..good.len() / 2].to_owned()).contains("damaged"));
    assert!(refused(good.replace("\"schema\": 1", "\"schema\": 99")).contains("version 99"));
    assert!(refused(good.replace("\"schema\": 1,", "")).contains("no schema"));
    assert!(refused(good.replace("\"step\": 7", "\"step\": 10")).contains("step 10 of 9"));
    assert!(refused(good.replace("\"epoch\"", "\"era\"")).contains("era"));

    let state = state();
    state.check_file("optimizer.safetensors", b"moments").unwrap();
    let wrong = state
        .check_file("optimizer.safetensors", b"moment?")
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("optimizer.safetensors is damaged"), "{wrong}");
    assert!(state.check_file("other", b"").is_err());
}
