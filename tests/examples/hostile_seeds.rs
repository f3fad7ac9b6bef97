//! Writes `tests/fixtures/hostile/PARSER/sound-*`: small files that each parser takes, which tests damage and fuzzing begins with.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use wgpu_sft::formats::safetensors::{TensorSpec, serialize};
use wgpu_sft::formats::{Dtype, peft};
use wgpu_sft::model::ModelConfig;
use wgpu_sft::report::{Run, Session};
use wgpu_sft::train::checkpoint::Device;
use wgpu_sft_tests::{bytes, fixture};

fn put(parser: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = fixture("hostile").join(parser);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("sound-{name}")), bytes).expect("a file");
}

fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// Metadata and tensors of a GGUF file, byte by byte.
fn gguf(tokens: bool) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut pairs: Vec<Vec<u8>> = Vec::new();
    let mut pair =
        |key: &str, kind: u32, value: &[u8]| pairs.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
    pair("general.architecture", 8, &text("llama"));
    let sizes = [
        ("block_count", 1u32),
        ("context_length", 64),
        ("embedding_length", 8),
        ("feed_forward_length", 8),
    ];
    for (key, value) in sizes
        .into_iter()
        .chain([("attention.head_count", 1), ("rope.dimension_count", 8)])
    {
        pair(&format!("llama.{key}"), 4, &value.to_le_bytes());
    }
    pair("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    let pieces = ["<unk>", "<s>", "</s>", "a", "b", "ab", "▁", "▁a"];
    if tokens {
        let list = |kind: u32, items: Vec<Vec<u8>>| {
            [
                &kind.to_le_bytes()[..],
                &(items.len() as u64).to_le_bytes(),
                &items.concat(),
            ]
            .concat()
        };
        pair("tokenizer.ggml.model", 8, &text("llama"));
        pair("tokenizer.ggml.tokens", 9, &list(8, pieces.map(text).to_vec()));
        let scores = (0..pieces.len()).map(|i| (-(i as f32)).to_le_bytes().to_vec());
        pair("tokenizer.ggml.scores", 9, &list(6, scores.collect()));
        let kinds = [2i32, 3, 3, 1, 1, 1, 1, 1].map(|kind| kind.to_le_bytes().to_vec());
        pair("tokenizer.ggml.token_type", 9, &list(5, kinds.to_vec()));
        pair("tokenizer.ggml.bos_token_id", 4, &1u32.to_le_bytes());
        pair("tokenizer.ggml.eos_token_id", 4, &2u32.to_le_bytes());
        pair(
            "tokenizer.chat_template",
            8,
            &text("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"),
        );
    } else {
        pair("tokenizer.ggml.model", 8, &text("gpt2"));
    }
    let block = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![8u64, 8]),
        ("output_norm.weight".to_owned(), vec![8]),
    ];
    tensors.extend(block.map(|name| (format!("blk.0.{name}.weight"), vec![8, 8])));
    tensors.extend(["attn_norm", "ffn_norm"].map(|name| (format!("blk.0.{name}.weight"), vec![8])));
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    out.extend(pairs.concat());
    let mut offset = 0u64;
    for (name, sizes) in &tensors {
        out.extend(text(name));
        out.extend((sizes.len() as u32).to_le_bytes());
        sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(1u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (2 * sizes.iter().product::<u64>()).next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32) + offset as usize, 0);
    out
}

/// Two rows of texts, or of a list of numbers.
fn parquet(codec: Compression, lists: bool) -> Vec<u8> {
    let schema = match lists {
        true => "message m { optional group input_ids (LIST) { repeated group list { optional int32 element; } } }",
        false => "message m { required binary prompt (UTF8); optional binary completion (UTF8); }",
    };
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
    let mut out = Vec::new();
    let mut file = SerializedFileWriter::new(&mut out, schema, properties).expect("a writer");
    let mut group = file.next_row_group().expect("a row group");
    while let Some(mut column) = group.next_column().expect("a column") {
        match lists {
            true => {
                let column = column.typed::<Int32Type>();
                column
                    .write_batch(&[3, 4, 5, 6], Some(&[3; 4]), Some(&[0, 1, 1, 0]))
                    .expect("numbers");
            }
            false => {
                let texts = ["one and one", "two"].map(|text| ByteArray::from(text.as_bytes().to_vec()));
                let column = column.typed::<ByteArrayType>();
                column.write_batch(&texts, Some(&[1, 1]), None).expect("texts");
            }
        }
        column.close().expect("a column");
    }
    group.close().expect("a row group");
    file.close().expect("a file");
    out
}

fn tokenizer(model: Value, more: Value) -> String {
    let mut all = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model});
    for (field, value) in more.as_object().expect("an object") {
        all[field] = value.clone();
    }
    all.to_string()
}

fn main() {
    let tensors = [
        ("a", Dtype::F32, &[2, 3][..], 24),
        ("b.weight", Dtype::Bf16, &[4], 8),
        ("layers.0.c", Dtype::F16, &[0, 2], 0),
    ];
    let tensors = tensors.map(|(name, dtype, shape, bytes)| (spec(name, dtype, shape), vec![1; bytes]));
    put(
        "safetensors",
        "three",
        serialize(&tensors, Some(("note", "é"))).expect("a file"),
    );
    put("safetensors", "none", serialize(&[], None).expect("a file"));
    put("index", "none", r#"{"metadata": {"total_size": 0}, "weight_map": {}}"#);
    put(
        "index",
        "three",
        r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#,
    );
    put("gguf", "words", gguf(true));
    put("gguf", "bare", gguf(false));
    for (name, text) in [
        (
            "jsonl",
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"\\u00e9\", \"completion\": \"\", \"task\": \"t\"}\n",
        ),
        (
            "messages",
            "[{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"b\"}]}]},\n {\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}], \"tools\": \"[]\"}]",
        ),
        (
            "object",
            "{\"version\": 1, \"data\": [{\"instruction\": \"a\", \"input\": \"\", \"output\": \"b\", \"history\": [[\"c\", \"d\"]]}]}",
        ),
        (
            "lines",
            "{\n\"input_ids\": [1, 2, 3],\n\"labels\": [-100, 2, 3],\n\"attention_mask\": [1, 1, 1]}\n{\"input_ids\": \"[4, 5]\"}",
        ),
        (
            "segments",
            "{\"segments\": [{\"label\": true, \"text\": \"a\"}, {\"label\": false, \"text\": \"b\"}]}",
        ),
        (
            "csv",
            "\u{FEFF}prompt,completion,task\r\na,\"b, \"\"c\"\"\nd\",\r\n\r\n\"\",é,code\r\n",
        ),
    ] {
        put("rows", name, text);
    }
    put(
        "columns",
        "two",
        "prompt=question,completion=answer\0{\"question\": \"a\", \"answer\": \"b\", \"prompt\": 1}\n",
    );
    for (name, codec) in [
        ("plain", Compression::UNCOMPRESSED),
        ("snappy", Compression::SNAPPY),
        ("gzip", Compression::GZIP(Default::default())),
    ] {
        put("parquet", name, parquet(codec, false));
    }
    put("parquet", "lists", parquet(Compression::LZ4_RAW, true));
    let bytes_of_words =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "<s>", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġa": 5}, "merges": [["a", "b"], ["Ġ", "a"]]});
    let added = json!([{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": true, "normalized": false, "special": true}]);
    let frame = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}});
    let split = json!({"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": false});
    let sequence = json!({"type": "Sequence", "pretokenizers": [split, bytes_of_words]});
    put(
        "tokenizer",
        "bpe",
        tokenizer(
            bpe,
            json!({"added_tokens": added, "pre_tokenizer": sequence, "post_processor": frame, "decoder": bytes_of_words}),
        ),
    );
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.5], ["ab", -1.5], ["▁", -3.0]], "byte_fallback": false});
    let normalizer = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "NFC"}]});
    let decoder = json!({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    put(
        "tokenizer",
        "unigram",
        tokenizer(
            unigram,
            json!({"normalizer": normalizer, "decoder": decoder, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}}),
        ),
    );
    let pieces = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}});
    put(
        "tokenizer",
        "pieces",
        tokenizer(
            pieces,
            json!({"pre_tokenizer": {"type": "Whitespace"}, "normalizer": {"type": "Lowercase"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}}),
        ),
    );
    put(
        "tokenizer",
        "words",
        tokenizer(
            json!({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 7}}),
            json!({}),
        ),
    );
    put(
        "tokenizer_config",
        "tokens",
        r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true, "chat_template": [{"name": "default", "template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"}]}"#,
    );
    for family in ["llama_tied_gqa", "qwen3_qknorm"] {
        put("config", family, bytes(&format!("golden/{family}/config.json")));
    }
    put(
        "config",
        "rope",
        r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 100, "eos_token_id": [2, 3], "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, "rope_theta": 500000.0}"#,
    );
    for name in ["chatml", "llama2", "llama3_1", "qwen2_5", "smollm2"] {
        put("template", name, bytes(&format!("chat/templates/{name}.jinja")));
    }
    put(
        "template",
        "turns",
        "{%- set ns = namespace(n=0) -%}{% macro say(m) %}{{ m.role ~ ': ' + m.content | trim * 1 }}{% endmacro %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ say(m) }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}{{ tools | tojson(indent=2) if tools }}assistant: {% endif %}",
    );
    let model = ModelConfig::from_json(&String::from_utf8(bytes("golden/llama_tied_gqa/config.json")).expect("text"))
        .expect("a model");
    let lora = peft::AdapterConfig {
        r: 1,
        lora_alpha: 2.0,
        lora_dropout: 0.0,
        target_modules: peft::TargetModules::Names(vec!["k_proj".into()]),
        use_rslora: false,
        base_model_name_or_path: None,
    };
    let tensors = peft::tensors(&lora, &model)
        .expect("tensors")
        .into_iter()
        .map(|(name, shape)| {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            (spec(&name, Dtype::F32, &shape), bytes)
        });
    let weights = serialize(&tensors.collect::<Vec<_>>(), None).expect("a file");
    put("adapter", "keys", [lora.to_json().as_bytes(), b"\0", &weights].concat());
    let state = json!({"schema": 1, "step": 2, "epoch": 0.5, "identity": {"config": wgpu_sft::train::TrainConfig::default().canonical(), "total_steps": 4, "data": "d", "tokenizer": "t", "model": "m", "dtype": "bf16", "micro_batch_tokens": 64, "kernels": "tiled"},
        "counters": {"targets": 5, "tokens": 6, "loss_sum": 1.5, "loss_targets": 3}, "device": {"name": "n", "driver": "d", "backend": "vulkan"}, "files": {"optimizer.safetensors": {"bytes": 8, "blake3": "00"}}});
    put("checkpoint", "state", state.to_string());
    put(
        "settings",
        "few",
        "model = \"m\"\ndata = [\"a.jsonl:2\", \"b.csv\"]\noutput-dir = \"o\"\nmethod = \"full\"\nlearning_rate = 1e-3\n",
    );
    put(
        "settings",
        "many",
        "max-length = 64\noverlong = \"truncate\"\ntrain-on = \"last\"\ncolumns = \"prompt=q\"\nshape = \"text\"\nmix = \"sqrt\"\nlora-r = 4\nlora-alpha = 8\nlora-dropout = 0.1\nlora-target-modules = [\"q_proj\"]\nlr-scheduler-type = \"linear\"\nwarmup-steps = 0.1\nweight-decay = 0.01\nadam-beta1 = 0.8\nmax-grad-norm = 0\nbatch-size = 3\ngradient-accumulation-steps = 2\nnum-train-epochs = 1.5\nmax-steps = 9\nseed = 7\nno-shuffle = true\nlogging-steps = 1\neval-steps = 2\nsave-steps = 3\nmemory-limit = \"6GiB\"\nrecompute = \"on\"\nactivations = \"bf16\"\ndtype = \"f16\"\nreport-to = \"all\"\n",
    );
    put(
        "suite",
        "two",
        "[[suite]]\nname = \"a\"\ndata = \"a.jsonl\"\nmeasure = [\"exact_match\", \"rougeL\"]\nlimit = 3\nstop = [\"\\n\"]\ntemperature = 0.5\n\n[[suite]]\nname = \"b\"\ndata = \"b.jsonl\"\nmeasure = \"acc\"\n\0{\"prompt\": \"a\", \"completion\": \"b\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n{\"question\": \"a\", \"choices\": {\"text\": [\"b\", \"c\"], \"label\": [\"A\", \"B\"]}, \"answerKey\": \"B\", \"answers\": {\"text\": [\"c\"]}}",
    );
    put(
        "suite",
        "ifeval",
        "[[suite]]\nname = \"i\"\ndata = \"i.jsonl\"\nmeasure = \"ifeval\"\n\0{\"prompt\": \"a\", \"instruction_id_list\": [\"length_constraints:number_words\", \"keywords:existence\"], \"kwargs\": [{\"relation\": \"at least\", \"num_words\": 3}, {\"keywords\": [\"a.b\"]}]}",
    );
    let run = Run {
        schema: 1,
        model: "m".into(),
        total_steps: 4,
        sessions: vec![Session {
            device: Device::default(),
            started: 1_700_000_000,
            ended: Some(1_700_000_100),
            ..Session::default()
        }],
        ..Run::default()
    };
    let log = "{\"step\": 1, \"epoch\": 0.5, \"loss\": 2.5, \"grad_norm\": 1.0, \"learning_rate\": 0.1, \"targets\": 3, \"tokens\": 4}\n{\"step\": 2, \"loss\": null, \"eval_loss\": 2.0}\n";
    let samples = "{\"step\": 0, \"suite\": \"s\", \"prompt\": \"p\", \"reference\": \"r\", \"answer\": \"<b>\"}\n";
    put(
        "report",
        "run",
        [run.to_json().expect("JSON").as_str(), log, samples].join("\0"),
    );
}
