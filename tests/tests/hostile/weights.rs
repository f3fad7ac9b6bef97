//! Weights, and what describes models, made by hand: what they claim cannot be.

use super::{refused, run, sound};

/// A safetensors file: its header, and so many bytes of data.
fn weights(header: impl ToString, data: usize) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn safetensors_whose_tensors_cannot_lie_so() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!("{{\"a\": {{\"dtype\": \"{dtype}\", \"shape\": {shape}, \"data_offsets\": {offsets}}}}}")
    };
    let two = |second: &str| {
        format!(
            "{}, \"b\": {{\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": {second}}}}}",
            one("F32", "[1]", "[0, 4]").trim_end_matches('}').to_owned() + "}"
        )
    };
    refused(
        "safetensors",
        weights(two("[0, 4]"), 8),
        &["safetensors header", "offset", "`"],
    );
    refused(
        "safetensors",
        weights(two("[2, 6]"), 8),
        &["safetensors header", "offset", "`"],
    );
    refused(
        "safetensors",
        weights(two("[8, 12]"), 12),
        &["safetensors header", "offset", "`"],
    );
    refused("safetensors", weights(two("[8, 4]"), 8), &["safetensors header", "`"]);
    for (shape, offsets) in [
        ("[1]", "[4, 0]"),
        ("[1]", "[0, 8]"),
        ("[2]", "[0, 4]"),
        ("[4611686018427387904]", "[0, 4]"),
        ("[4294967296, 4294967296]", "[0, 0]"),
        ("[18446744073709551615, 18446744073709551615]", "[0, 4]"),
        ("[1]", "[0, 18446744073709551615]"),
        ("[1]", "[18446744073709551612, 18446744073709551615]"),
        ("[1]", "[0, 18446744073709551616]"),
        ("[-1]", "[0, 4]"),
        ("[1e999]", "[0, 4]"),
        ("[1.5]", "[0, 4]"),
        ("[1]", "[0]"),
        ("null", "[0, 4]"),
    ] {
        refused(
            "safetensors",
            weights(one("F32", shape, offsets), 4),
            &["safetensors header: "],
        );
    }
    refused(
        "safetensors",
        weights(one("F99", "[1]", "[0, 4]"), 4),
        &["safetensors header", "F99"],
    );
    let entry = "\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}";
    refused(
        "safetensors",
        weights(format!("{{{entry}, {entry}}}"), 4),
        &["safetensors header", "\"a\" is there twice"],
    );
    refused("safetensors", weights("[".repeat(100_000), 0), &["safetensors header"]);
    refused(
        "safetensors",
        weights(format!("{{\"a\": {}", "[".repeat(100_000)), 0),
        &["safetensors header"],
    );
    for length in [1 << 32, 1 << 62, 1 << 63, u64::MAX, u64::MAX - 7] {
        refused("safetensors", length.to_le_bytes(), &["safetensors header"]);
    }
    refused("safetensors", weights("\u{FEFF}{}", 0), &["safetensors header"]);
    refused(
        "safetensors",
        weights("{\"__metadata__\": {\"a\": 1}}", 0),
        &["safetensors header"],
    );
}

#[test]
fn an_index_that_leads_elsewhere() {
    for name in ["../a", "/etc/passwd", "a/b", "a\\\\b", "C:a", "", ".a", "a\\u0000b"] {
        let text = format!("{{\"weight_map\": {{\"t\": \"{name}\"}}}}");
        refused(
            "index",
            text,
            &["model.safetensors.index.json: ", "not a plain file name"],
        );
    }
    refused(
        "index",
        "{\"weight_map\": {\"t\": 1}}",
        &["model.safetensors.index.json: t"],
    );
    refused(
        "index",
        "[".repeat(100_000),
        &["model.safetensors.index.json: ", "recursion"],
    );
    refused("index", [0xFF, 0xFE, b'{', 0], &["utf-8"]);
}

/// A GGUF file of these pairs and tensors, each written out.
fn gguf(pairs: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let counts = [tensors.len() as u64, pairs.len() as u64].map(u64::to_le_bytes);
    let mut out = [
        b"GGUF\x03\0\0\0",
        counts.concat().as_slice(),
        &pairs.concat(),
        &tensors.concat(),
    ]
    .concat();
    out.resize(out.len().next_multiple_of(32) + data, 0);
    out
}

fn word(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&word(key)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, sizes: &[u64], offset: u64) -> Vec<u8> {
    let sizes_written: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    let rank = (sizes.len() as u32).to_le_bytes();
    [
        &word(name)[..],
        &rank,
        &sizes_written,
        &0u32.to_le_bytes(),
        &offset.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn gguf_that_counts_what_is_not_there() {
    let head =
        |tensors: u64, pairs: u64| [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &pairs.to_le_bytes()].concat();
    for count in [1 << 31, 1 << 62, 1 << 63, u64::MAX] {
        refused("gguf", head(count, 0), &["GGUF header: "]);
        refused("gguf", head(0, count), &["GGUF header: "]);
        refused(
            "gguf",
            gguf(&[pair("a", 8, &count.to_le_bytes())], &[], 0),
            &["GGUF header: "],
        );
        let list = |kind: u32| {
            [
                &kind.to_le_bytes()[..],
                &(count + 64).saturating_add(count).to_le_bytes(),
            ]
            .concat()
        };
        for kind in [0, 4, 6, 7, 8, 9, 10, 12] {
            if count < u64::MAX {
                refused("gguf", gguf(&[pair("a", 9, &list(kind))], &[], 0), &["GGUF header: "]);
            }
        }
    }
    let deep = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()]
        .concat()
        .repeat(1_000_000);
    refused(
        "gguf",
        gguf(&[pair("a", 9, &deep)], &[], 0),
        &["a: ", "nested too deeply"],
    );
    refused(
        "gguf",
        gguf(&[pair("a", 4, &[0; 4]), pair("a", 4, &[0; 4])], &[], 0),
        &["a: given twice"],
    );
    refused(
        "gguf",
        gguf(&[pair("a", 77, &[0; 4])], &[], 0),
        &["a: unknown metadata type 77"],
    );
    let text = [2u64.to_le_bytes().to_vec(), b"\xFF\xFE".to_vec()].concat();
    refused("gguf", gguf(&[pair("a", 8, &text)], &[], 0), &["not UTF-8"]);
}

#[test]
fn gguf_whose_tensors_cannot_lie_so() {
    let file = |tensors: &[Vec<u8>]| gguf(&[], tensors, 64);
    refused(
        "gguf",
        file(&[tensor("a", &[16], 0), tensor("b", &[8], 32)]),
        &["b: begins at byte", "inside of a"],
    );
    refused(
        "gguf",
        file(&[tensor("a", &[16], 0), tensor("b", &[16], 0)]),
        &["inside of"],
    );
    refused(
        "gguf",
        file(&[tensor("a", &[16], 0), tensor("a", &[16], 0)]),
        &["a: stored twice"],
    );
    for (sizes, offset) in [
        (&[1 << 62][..], 0),
        (&[1 << 32, 1 << 32], 0),
        (&[u64::MAX, u64::MAX], 0),
        (&[u64::MAX], 0),
        (&[1 << 63, 2], 0),
        (&[8], 96),
        (&[8], 1 << 63),
        (&[8], u64::MAX - 31),
        (&[8], u64::MAX),
        (&[8], 1),
    ] {
        refused("gguf", file(&[tensor("a", sizes, offset)]), &["a: "]);
    }
}

/// A head of 2^60 numbers, of which the frequencies would be made.
#[test]
fn gguf_with_a_head_beyond_all_measure() {
    let number = |key: &str, value: u64| pair(key, 10, &value.to_le_bytes());
    for size in [264, 1 << 32, 1 << 60, u64::MAX] {
        let mut pairs = vec![
            pair("general.architecture", 8, &word("llama")),
            pair("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes()),
        ];
        for (key, value) in [
            ("context_length", 8),
            ("embedding_length", 8),
            ("attention.head_count", 1),
            ("block_count", 1),
        ] {
            pairs.push(number(&format!("llama.{key}"), value));
        }
        pairs.push(number("llama.attention.key_length", size));
        let tensors = [
            tensor("token_embd.weight", &[8, 1], 0),
            tensor("rope_freqs.weight", &[4], 32),
        ];
        refused(
            "gguf",
            gguf(&pairs, &tensors, 64),
            &["llama.attention.key_length", &size.to_string()],
        );
    }
}

#[test]
fn models_out_of_range() {
    let text = String::from_utf8(sound("config", "rope")).expect("text");
    assert_eq!(run("config", "as it is", text.as_bytes()), Ok(()));
    for (from, to, field) in [
        ("\"hidden_size\": 64", "\"hidden_size\": 0", "hidden_size"),
        ("\"hidden_size\": 64", "\"hidden_size\": 65", "head_dim"),
        ("\"hidden_size\": 64", "\"hidden_size\": -64", "hidden_size"),
        (
            "\"hidden_size\": 64",
            "\"hidden_size\": 18446744073709551615",
            "hidden_size",
        ),
        ("\"num_attention_heads\": 8", "\"num_attention_heads\": 0", "head_dim"),
        (
            "\"num_attention_heads\": 8",
            "\"num_attention_heads\": 9223372036854775808, \"head_dim\": 8",
            "num_attention_heads",
        ),
        (
            "\"num_attention_heads\": 8",
            "\"num_attention_heads\": 8, \"num_key_value_heads\": 3",
            "num_key_value_heads",
        ),
        (
            "\"num_attention_heads\": 8",
            "\"num_attention_heads\": 8, \"head_dim\": 18446744073709551615",
            "head_dim",
        ),
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 4097",
            "num_hidden_layers",
        ),
        ("\"vocab_size\": 100", "\"vocab_size\": 1e999", "config.json"),
        ("\"vocab_size\": 100", "\"vocab_size\": 16777217", "vocab_size"),
        ("\"factor\": 8.0", "\"factor\": 0", "factor"),
        ("\"factor\": 8.0", "\"factor\": \"NaN\"", "factor"),
        ("\"rope_theta\": 500000.0", "\"rope_theta\": -1", "rope_theta"),
        ("\"rope_theta\": 500000.0", "\"rms_norm_eps\": NaN", "config.json"),
        ("[2, 3]", "[2, 100]", "eos_token_id"),
        ("[2, 3]", "[2, 4294967296]", "eos_token_id"),
    ] {
        let damaged = text.replace(from, to);
        assert_ne!(damaged, text, "{from}");
        refused("config", damaged, &[field]);
    }
}
