//! The real SmolLM2-135M-Instruct, from the GGUF file that `WGPU_SFT_SMOLLM2` names: `make test-smollm2` fetches it.

use crate::config::fixture_text;
use crate::gguf::tokenizer;
use serde_json::Value;
use wgpu_sft::formats::Gguf;
use wgpu_sft::model::{Family, RopeScaling};

/// The bytes of the model file.
pub fn model_file() -> Vec<u8> {
    let path = std::env::var("WGPU_SFT_SMOLLM2")
        .expect("WGPU_SFT_SMOLLM2 must name the SmolLM2-135M-Instruct GGUF file: run `make test-smollm2`");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn configuration_and_tensors() {
    let file = model_file();
    let gguf = Gguf::parse(&file).unwrap();
    let config = gguf.config().unwrap();
    assert_eq!(config.family, Family::Llama);
    assert_eq!(
        (config.vocab_size, config.hidden_size, config.intermediate_size),
        (49152, 576, 1536)
    );
    assert_eq!(
        (
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads
        ),
        (30, 9, 3)
    );
    assert_eq!(
        (config.head_dim, config.rms_norm_eps, config.rope.theta),
        (64, 1e-5, 100_000.0)
    );
    assert_eq!(
        (config.rope.scaling.clone(), config.tie_word_embeddings),
        (RopeScaling::None, true)
    );
    assert_eq!((config.bos_token_id, &config.eos_token_ids[..]), (Some(1), &[2][..]));
    let tensors = gguf.tensors().unwrap();
    // Sums of bits × place (from 1), modulo 2⁶⁴, of what the gguf package decodes: `fixtures/gguf/make.py`.
    let want: Value = serde_json::from_str(&fixture_text("gguf/smollm2.json")).unwrap();
    let needed = tensors.for_model(&config).unwrap();
    assert_eq!((needed.len(), want.as_object().unwrap().len()), (272, 272));
    for entry in needed {
        let values = entry.decode(&file).unwrap();
        let sum = values
            .iter()
            .zip(1u64..)
            .fold(0u64, |s, (v, i)| s.wrapping_add(i.wrapping_mul(v.to_bits() as u64)));
        assert_eq!(Some(sum), want[&entry.name].as_u64(), "{}", entry.name);
    }
}

#[test]
fn tokenizer_agrees_with_llama_cpp() {
    let ours = tokenizer(&Gguf::parse(&model_file()).unwrap().tokenizer_json().unwrap());
    let cases: Value = serde_json::from_str(&fixture_text("golden/smollm2/tok_cases_expected.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 218);
    for case in cases {
        let (text, want) = (case["text"].as_str().unwrap(), case["ids"].as_array().unwrap());
        let got = ours.encode(text, false).unwrap();
        let want: Vec<u32> = want.iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(got.get_ids(), want, "{text:?}");
        assert_eq!(ours.decode(&want, false).unwrap(), text);
    }
}
