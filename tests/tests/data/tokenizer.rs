//! Tokenizers: ids against Hugging Face's Python build, settings, streaming.

use serde_json::Value;
use wgpu_sft::Error;
use wgpu_sft::data::{Tokenizer, TokenizerConfig};

const BPE: &[u8] = include_bytes!("../../fixtures/chat/tokenizer.json");
const SENTENCEPIECE: &[u8] = include_bytes!("../../fixtures/chat/sentencepiece.json");

pub fn expected() -> Value {
    serde_json::from_str(include_str!("../../fixtures/chat/expected.json")).unwrap()
}

pub fn config(bos: Option<&str>, add_bos_token: Option<bool>) -> TokenizerConfig {
    TokenizerConfig {
        bos_token: bos.map(str::to_owned),
        eos_token: Some("</s>".into()),
        add_bos_token,
        ..TokenizerConfig::default()
    }
}

pub fn bpe() -> Tokenizer {
    Tokenizer::from_json(BPE, config(Some("<s>"), None)).unwrap()
}

pub fn sentencepiece() -> Tokenizer {
    Tokenizer::from_json(SENTENCEPIECE, config(Some("<s>"), None)).unwrap()
}

/// The file asks for truncation to 4 tokens and padding to 64; neither may happen.
#[test]
fn ids_are_those_of_the_python_build() {
    let tokenizer = sentencepiece();
    for case in expected()["sentencepiece"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let framed: Vec<u32> = serde_json::from_value(case["framed"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
        // A text that brings its BOS gets no second one.
        let once = if text.starts_with("<s>") { &framed[1..] } else { &framed };
        assert_eq!(tokenizer.encode(text, true).unwrap(), once, "{text:?}");
        assert_eq!(
            tokenizer.decode(&framed, true).unwrap(),
            case["decoded"].as_str().unwrap(),
            "{text:?}"
        );
    }
    assert_eq!(bpe().encode("a", true).unwrap(), bpe().encode("a", false).unwrap());
}

#[test]
fn add_bos_token_overrules_the_file() {
    let with = |bytes, bos, add| Tokenizer::from_json(bytes, config(bos, add));
    assert_eq!(
        with(BPE, Some("<s>"), Some(true)).unwrap().encode("a", true).unwrap()[0],
        0
    );
    let without = with(SENTENCEPIECE, Some("<s>"), Some(false)).unwrap();
    assert_eq!(without.encode("a", true).unwrap(), without.encode("a", false).unwrap());
    let refused = |tokenizer: wgpu_sft::Result<Tokenizer>| match tokenizer.err() {
        Some(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(with(BPE, None, Some(true))), "add_bos_token");
    assert_eq!(refused(with(BPE, Some("<nowhere>"), None)), "bos_token");
    assert_eq!(refused(with(&BPE[..BPE.len() / 2], None, None)), "tokenizer.json");
    assert_eq!(refused(with(b"{}", None, None)), "tokenizer.json");
}

#[test]
fn the_vocabulary_is_known() {
    let tokenizer = bpe();
    assert_eq!(tokenizer.vocab_size(), 604);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(0), Some(1)));
    assert_eq!(tokenizer.token_to_id("<|im_end|>"), Some(3));
    assert_eq!(tokenizer.id_to_token(3).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.id_to_token(604), None);
    assert!(tokenizer.is_special(3) && !tokenizer.is_special(300));
}

#[test]
fn a_continuation_gets_no_space_in_front() {
    let tokenizer = sentencepiece();
    let ids = [
        tokenizer.encode("the", true).unwrap(),
        tokenizer.encode_continuation("rat").unwrap(),
    ]
    .concat();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "therat");
    assert_eq!(
        bpe().encode_continuation("the").unwrap(),
        bpe().encode("the", false).unwrap()
    );
}

#[test]
fn streams_show_whole_characters_and_nothing_twice() {
    for tokenizer in [bpe(), sentencepiece()] {
        for text in ["héllo 🌍🌎 wörld 日本語", "the cat sat", "a\n b  c", "🌍"] {
            let mut stream = tokenizer.stream(true);
            let mut shown = String::new();
            for id in tokenizer.encode(text, true).unwrap() {
                let piece = stream.push(id).unwrap();
                assert!(!piece.contains('\u{FFFD}'), "{text:?}: {piece:?}");
                shown += &piece;
            }
            shown += &stream.finish().unwrap();
            assert_eq!(shown, text);
        }
        // Half a character at the end, and bytes that never become one.
        let globe = tokenizer.encode("🌍", false).unwrap();
        let mut stream = tokenizer.stream(true);
        let shown: String = globe[..globe.len() - 1]
            .iter()
            .map(|&id| stream.push(id).unwrap())
            .collect();
        assert_eq!(shown.trim(), "");
        assert!(stream.finish().unwrap().contains('\u{FFFD}'));
        let mut stream = tokenizer.stream(true);
        let first = globe[globe.len() - 1];
        let shown: String = (0..100).map(|_| stream.push(first).unwrap()).collect();
        assert!(shown.contains('\u{FFFD}'), "held back for ever");
    }
}

#[test]
fn tokenizer_config_is_read_in_its_spellings() {
    let parse = |json: &str| TokenizerConfig::from_json(json.as_bytes());
    let config = parse(
        r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
            "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}], "other": 1}"#,
    )
    .unwrap();
    assert_eq!(config.bos_token.as_deref(), Some("<s>"));
    assert_eq!(config.eos_token.as_deref(), Some("</s>"));
    assert_eq!((config.pad_token, config.unk_token), (None, None));
    assert_eq!(config.add_bos_token, Some(true));
    assert_eq!(config.chat_template.as_deref(), Some("d"));
    for (json, field) in [
        ("[]", "tokenizer_config.json"),
        ("{", "tokenizer_config.json"),
        (r#"{"eos_token": 3}"#, "eos_token"),
        (r#"{"add_bos_token": "yes"}"#, "add_bos_token"),
        (r#"{"chat_template": 1}"#, "chat_template"),
        (
            r#"{"chat_template": [{"name": "other", "template": "t"}]}"#,
            "chat_template",
        ),
    ] {
        assert!(
            matches!(parse(json), Err(Error::Config { field: got, .. }) if got == field),
            "{json}"
        );
    }
}
