//! GGUF files that the reference `gguf` package wrote: see `fixtures/gguf/make.py`.

use crate::config::{fixture, fixture_text};
use safetensors::SafeTensors;
use serde_json::Value;
use std::str::FromStr;
use tokenizers::Tokenizer;
use wgpu_sft::Error;
use wgpu_sft::formats::{Gguf, TensorEntry};
use wgpu_sft::model::{ModelConfig, RopeScaling};

/// A tokenizer built from a `tokenizer.json` value.
pub fn tokenizer(json: &Value) -> Tokenizer {
    Tokenizer::from_str(&json.to_string()).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Every tensor of a GGUF file equals the one of the same name in a safetensors file, bit for bit.
fn assert_same_tensors(gguf: &str, safetensors: &str) {
    let (file, reference) = (fixture(gguf), fixture(safetensors));
    let reference = SafeTensors::deserialize(&reference).unwrap();
    let parsed = Gguf::parse(&file).unwrap();
    let (config, tensors) = (parsed.config().unwrap(), parsed.tensors().unwrap());
    let needed: Vec<&TensorEntry> = tensors.for_model(&config).unwrap();
    assert_eq!(needed.len(), reference.len(), "{gguf}");
    for entry in needed {
        let want = reference.tensor(&entry.name).unwrap();
        assert_eq!(entry.shape, want.shape(), "{}", entry.name);
        let (got, want) = (entry.decode(&file).unwrap(), floats(want.data()));
        let differ = got.iter().zip(&want).position(|(g, w)| g.to_bits() != w.to_bits());
        assert_eq!(
            (got.len(), differ),
            (want.len(), None),
            "{} ({:?})",
            entry.name,
            entry.dtype
        );
    }
}

#[test]
fn every_type_decodes_as_the_reference_does_with_rows_unpermuted() {
    assert_same_tensors("gguf/types.gguf", "gguf/types.safetensors");
    let dtypes: std::collections::HashSet<_> = Gguf::parse(&fixture("gguf/types.gguf"))
        .unwrap()
        .tensors()
        .unwrap()
        .entries
        .iter()
        .map(|e| e.dtype)
        .collect();
    assert_eq!(dtypes.len(), 8, "every supported type is in the file");
}

#[test]
fn golden_models_survive_conversion() {
    for (gguf, golden) in [
        ("llama", "llama_tied_gqa"),
        ("qwen2", "qwen2_bias"),
        ("qwen3", "qwen3_qknorm"),
        ("granite", "granite_multipliers"),
    ] {
        assert_same_tensors(
            &format!("gguf/{gguf}.gguf"),
            &format!("golden/{golden}/model.safetensors"),
        );
        let want = ModelConfig::from_json(&fixture_text(&format!("golden/{golden}/config.json"))).unwrap();
        let got = Gguf::parse(&fixture(&format!("gguf/{gguf}.gguf")))
            .unwrap()
            .config()
            .unwrap();
        assert_eq!(got, want, "{gguf}");
    }
}

#[test]
fn llama_3_frequency_factors_become_their_settings() {
    let config = Gguf::parse(&fixture("gguf/types.gguf")).unwrap().config().unwrap();
    let want = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(config.rope.scaling, want);
    assert!(config.attention_bias && config.attention_output_bias && !config.tie_word_embeddings);
}

#[test]
fn the_tokenizer_is_the_one_that_was_converted() {
    let gguf = Gguf::parse(&fixture("gguf/llama.gguf")).unwrap();
    let ours = tokenizer(&gguf.tokenizer_json().unwrap());
    let original = Tokenizer::from_str(&fixture_text("golden/llama_tied_gqa/tokenizer.json")).unwrap();
    let cases: Value = serde_json::from_str(&fixture_text("golden/smollm2/tok_cases_expected.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let encode = |t: &Tokenizer| t.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(encode(&ours), encode(&original), "{text:?}");
        let ids = encode(&ours);
        assert_eq!(ours.decode(&ids, false).unwrap(), original.decode(&ids, false).unwrap());
    }
    let settings: Value = serde_json::from_str(&fixture_text("golden/llama_tied_gqa/tokenizer_config.json")).unwrap();
    let fields = gguf.tokenizer_config().unwrap();
    for field in [
        "bos_token",
        "eos_token",
        "pad_token",
        "unk_token",
        "chat_template",
        "model_max_length",
    ] {
        assert_eq!(fields[field], settings[field], "{field}");
    }
    assert_eq!(gguf.chat_template().unwrap(), settings["chat_template"].as_str());
}

#[test]
fn sentencepiece_vocabularies_encode_as_sentencepiece_does() {
    let gguf = Gguf::parse(&fixture("gguf/spm.gguf")).unwrap();
    let ours = tokenizer(&gguf.tokenizer_json().unwrap());
    let cases: Value = serde_json::from_str(&fixture_text("gguf/spm.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let want: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(ours.encode(text, false).unwrap().get_ids(), want, "{text:?}");
        assert_eq!(
            ours.decode(&want, true).unwrap(),
            case["decoded"].as_str().unwrap(),
            "{text:?}"
        );
    }
    // With special tokens, a text starts with <s>; between special tokens text gets its space again.
    assert_eq!(ours.encode("a", true).unwrap().get_ids()[0], 1);
    let ids = ours.encode("</s>the", false).unwrap();
    assert_eq!(
        ids.get_ids(),
        [&[2], ours.encode("the", false).unwrap().get_ids()].concat()
    );
}

/// Writes little GGUF files, byte by byte, with nothing shared with the reader.
struct Writer {
    pairs: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    data: usize,
}

impl Writer {
    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// One layer of a Llama model without a tokenizer: width 8, one head, all f32.
    fn llama() -> Self {
        let mut w = Self {
            pairs: vec![],
            tensors: vec![],
            data: 0,
        };
        w.set("general.architecture", 8, Self::text("llama"));
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 64),
            ("embedding_length", 8),
            ("feed_forward_length", 8),
            ("attention.head_count", 1),
        ] {
            w.set(&format!("llama.{key}"), 4, u32::to_le_bytes(value).to_vec());
        }
        w.set(
            "llama.attention.layer_norm_rms_epsilon",
            6,
            1e-5f32.to_le_bytes().to_vec(),
        );
        w.add("token_embd.weight", &[8, 300], 0);
        w
    }

    fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.pairs.retain(|(other, _)| other != key);
        self.pairs
            .push((key.to_owned(), [kind.to_le_bytes().to_vec(), value].concat()));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        let mut value = [8u32.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec()].concat();
        texts.iter().for_each(|text| value.extend(Self::text(text)));
        self.set(key, 9, value);
    }

    /// An f32-sized tensor of type `kind`, sizes fastest first.
    fn add(&mut self, name: &str, sizes: &[u64], kind: u32) {
        self.tensors
            .push((name.to_owned(), sizes.to_vec(), kind, self.data as u64));
        self.data += (sizes.iter().product::<u64>() as usize * 4).next_multiple_of(32);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            out.extend(Self::text(key));
            out.extend(value);
        }
        for (name, sizes, kind, offset) in &self.tensors {
            out.extend(Self::text(name));
            out.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32) + self.data, 0);
        out
    }
}

/// What a reader of the whole file would do with it.
fn open(bytes: &[u8]) -> wgpu_sft::Result<()> {
    let gguf = Gguf::parse(bytes)?;
    gguf.config()?;
    gguf.tensors()?;
    Ok(())
}

#[test]
fn text_is_split_into_words_as_each_family_does() {
    // Digits that would all join, a contraction in capitals, and a letter with a separate accent.
    let tokens = [
        "1", "2", "3", "4", "'", "S", "12", "123", "1234", "'S", "e", "Ì", "ģ", "Ã", "©", "Ã©",
    ]
    .map(str::to_owned);
    let merges = ["1 2", "12 3", "123 4", "' S", "Ã ©"].map(str::to_owned);
    let cases: [(&str, &[&str]); 6] = [
        ("smollm", &["1", "2", "3", "4", "'", "S", "e", "Ì", "ģ"]),
        ("refact", &["1", "2", "3", "4", "'", "S", "e", "Ì", "ģ"]),
        ("llama-bpe", &["123", "4", "'S", "e", "Ì", "ģ"]),
        ("qwen2", &["1", "2", "3", "4", "'S", "Ã©"]),
        ("gpt-2", &["1234", "'", "S", "e", "Ì", "ģ"]),
        ("default", &["123", "4", "'", "S", "e", "Ì", "ģ"]),
    ];
    for (pre, want) in cases {
        let mut w = Writer::llama();
        w.set("tokenizer.ggml.model", 8, Writer::text("gpt2"));
        w.set("tokenizer.ggml.pre", 8, Writer::text(pre));
        w.texts("tokenizer.ggml.tokens", &tokens);
        w.texts("tokenizer.ggml.merges", &merges);
        w.set("tokenizer.ggml.add_bos_token", 7, vec![0]);
        let json = Gguf::parse(&w.bytes()).unwrap().tokenizer_json().unwrap();
        let encoded = tokenizer(&json).encode("1234'Se\u{301}", false).unwrap();
        assert_eq!(encoded.get_tokens(), want, "{pre}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    assert!(
        open(&Writer::llama().bytes()).is_ok(),
        "the file that the cases spoil is sound"
    );
    type Spoil = fn(&mut Writer);
    let cases: [(&str, Spoil); 17] = [
        ("general.architecture: gemma is not", |w| {
            w.set("general.architecture", 8, Writer::text("gemma"))
        }),
        ("llama.expert_count", |w| {
            w.set("llama.expert_count", 4, vec![8, 0, 0, 0])
        }),
        ("llama.rope.scaling.type: yarn", |w| {
            w.set("llama.rope.scaling.type", 8, Writer::text("yarn"))
        }),
        ("llama.rope.dimension_count", |w| {
            w.set("llama.rope.dimension_count", 4, vec![4, 0, 0, 0])
        }),
        ("llama.attention.sliding_window", |w| {
            w.set("llama.attention.sliding_window", 4, vec![8, 0, 0, 0])
        }),
        ("llama.block_count: not a whole", |w| {
            w.set("llama.block_count", 8, Writer::text("one"))
        }),
        ("llama.context_length: missing", |w| {
            w.pairs.retain(|(key, _)| key != "llama.context_length")
        }),
        ("head_dim", |w| w.set("llama.attention.head_count", 4, vec![2, 0, 0, 0])),
        ("split.count", |w| w.set("split.count", 2, vec![2, 0])),
        ("general.alignment", |w| w.set("general.alignment", 4, vec![0, 0, 0, 0])),
        ("general.alignment", |w| {
            w.set("general.alignment", 4, vec![33, 0, 0, 0])
        }),
        ("odd: unknown metadata type 77", |w| w.set("odd", 77, vec![0; 4])),
        ("blk.0.attn_q_norm2.weight: no llama", |w| {
            w.add("blk.0.attn_q_norm2.weight", &[8], 0)
        }),
        ("token_embd.weight: stored twice", |w| {
            w.add("token_embd.weight", &[8, 300], 0)
        }),
        ("output.weight: rows of 8 elements", |w| {
            w.add("output.weight", &[8, 300], 8)
        }),
        ("tokenizer.ggml.tokens: 301 tokens", |w| {
            w.texts("tokenizer.ggml.tokens", &vec!["a".to_owned(); 301])
        }),
        ("rope_freqs.weight: not the", |w| w.add("rope_freqs.weight", &[4], 0)),
    ];
    for (want, spoil) in cases {
        let mut w = Writer::llama();
        spoil(&mut w);
        let error = open(&w.bytes()).expect_err(want).to_string();
        assert!(error.starts_with(want), "{error} does not start with {want}");
    }
    // Another element type matters once the tensor is needed.
    let mut w = Writer::llama();
    w.add("output.weight", &[8, 300], 12);
    let gguf = Gguf::parse(&w.bytes()).unwrap();
    let tensors = gguf.tensors().unwrap();
    let error = tensors.get("lm_head.weight").unwrap_err();
    assert_eq!(
        error.to_string(),
        "lm_head.weight: stored as Q4_K, which is not supported"
    );
    assert!(
        tensors.for_model(&gguf.config().unwrap()).is_err(),
        "the other tensors are missing"
    );
}

#[test]
fn tokenizers_that_are_not_known_are_refused() {
    for (model, pre, want) in [
        ("gpt2", "tekken", "tokenizer.ggml.pre"),
        ("gpt2", "", "tokenizer.ggml.pre"),
        ("bert", "default", "tokenizer.ggml.model"),
        ("llama", "default", "tokenizer.ggml.scores"),
        ("gpt2", "smollm", "tokenizer.ggml.merges"),
    ] {
        let mut w = Writer::llama();
        w.set("tokenizer.ggml.model", 8, Writer::text(model));
        w.set("tokenizer.ggml.pre", 8, Writer::text(pre));
        w.texts("tokenizer.ggml.tokens", &["a".to_owned(), "b".to_owned()]);
        match Gguf::parse(&w.bytes()).unwrap().tokenizer_json() {
            Err(Error::Config { field, .. }) => assert_eq!(field, want, "{model} {pre}"),
            other => panic!("{model} {pre}: {other:?}"),
        }
    }
}

#[test]
fn damaged_files_are_errors_and_nothing_else() {
    let whole = fixture("gguf/types.gguf");
    // The last 64 bytes may be padding.
    for length in (0..whole.len() - 64).step_by(97) {
        assert!(open(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    // Every byte of the header, set to its worst: read or refused, but never a panic or a huge allocation.
    let header = whole.len().min(3000);
    for at in 0..header {
        for value in [0, 0x7F, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = open(&bytes);
        }
    }
}
