//! Files made by hand: what they claim cannot be.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::basic;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use wgpu_sft::data::{Reading, Source, Tokenizer, TokenizerConfig};

use super::fuzzed::{Parser, counting};
use super::{PATIENCE, refused, run, sound};

#[test]
fn rows_that_take_time_or_memory() {
    // A header of fifty thousand columns, each to be told from the others.
    let header: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();
    let begun = Instant::now();
    refused("rows", header.join(",") + "\n1,2\n", &["line 2", "has 2 cells"]);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    refused("rows", "a,\"b\nc,d\n", &["line 1", "never closed"]);
    refused("rows", "prompt,completion\n\"a\"b,c\n", &["line 2", "cell 1"]);
    refused(
        "rows",
        "{\"prompt\": \"a\", \"completion\": 1e999}",
        &["line 1", "number out of range"],
    );
    refused("rows", "{\"input_ids\": [-1]}", &["line 1", "\"input_ids\"[0]"]);
    refused("rows", "{\"input_ids\": [4294967296]}", &["line 1", "\"input_ids\"[0]"]);
    refused(
        "rows",
        "{\"input_ids\": [18446744073709551616]}",
        &["line 1", "\"input_ids\"[0]"],
    );
    refused("rows", "\0\0\0", &["line 1"]);
    for text in ["{\"messages\": \"", "{\"history\": \"", "{\"tools\": \""] {
        refused("rows", format!("{text}{}\"}}", "[".repeat(100_000)), &["line 1"]);
    }
}

/// 64 MiB of zeros that gzip has in 64 kB: as a row of numbers, as a row of text, as blank lines.
#[test]
fn packed_bombs_are_bounded() {
    let bomb = |begin: &str, fill: &str, end: &str| {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        out.write_all(begin.as_bytes()).expect("memory");
        for _ in 0..64 {
            out.write_all(fill.repeat((1 << 20) / fill.len() - 2).as_bytes())
                .expect("memory");
        }
        out.write_all(end.as_bytes()).expect("memory");
        out.finish().expect("memory")
    };
    for (file, words, most) in [
        (
            bomb("{\"input_ids\": [", "0,", "0]}"),
            "line 1: holds more than the 4194304 values",
            200,
        ),
        (
            bomb("[{\"input_ids\": [", "0,", "0]}]"),
            "line 1: row 1: holds more than the 4194304 values",
            200,
        ),
        (bomb("{\"text\": [\n", "[],", "0]}"), "line 1: holds more than", 200),
        (bomb("", "\n", "{}"), "line 67108737: is an empty object", 8),
        (bomb("a,b\n", ",", "\n"), "line 2: has 67108737 cells", 200),
        (bomb("a,", ",", "\n"), "line 1: has 67108738 columns", 200),
    ] {
        let mut first = None;
        let read = || {
            Source::new(&file[..], "")?.for_each(&Reading::default(), |_, row| {
                if let Err(error) = row {
                    first.get_or_insert(error.to_string());
                }
                Ok(())
            })
        };
        let (read, peak) = counting::peak(read);
        let why = first.or(read.err().map(|e| e.to_string())).unwrap_or_default();
        assert!(why.contains(words), "{why:?} does not say {words:?}");
        assert!(peak < most << 20, "{words}: {} MiB", peak >> 20);
    }
}

#[test]
fn parquet_that_lies() {
    let mark = b"PAR1";
    refused("parquet", mark, &["not a Parquet file", "too short"]);
    refused(
        "parquet",
        [&mark[..], &u32::MAX.to_le_bytes(), mark].concat(),
        &["its footer is longer"],
    );
    // A column in a column, and so on: each has a name and one child.
    let mut footer = vec![0x15, 0x02, 0x19, 0xFC];
    footer.extend([0xA0, 0x8D, 0x06]);
    footer.extend([0x48, 1, b'a', 0x15, 2, 0].repeat(100_000));
    footer.push(0);
    let file = [&mark[..], &footer, &(footer.len() as u32).to_le_bytes(), mark].concat();
    refused("parquet", file, &["columns lie more than 64 deep"]);
    // Lists in lists in the footer, in a field that nobody reads.
    let footer = [[0x99u8].to_vec(), [0x19].repeat(1_000_000)].concat();
    let file = [&mark[..], &footer, &(footer.len() as u32).to_le_bytes(), mark].concat();
    refused("parquet", file, &["too deep in itself"]);
    // One text of so many MiB, which Brotli has in a few bytes.
    for (size, fits) in [(8, true), (40, false)] {
        let schema = Arc::new(parse_message_type("message m { required binary text (UTF8); }").expect("a schema"));
        let properties = WriterProperties::builder().set_compression(basic::Compression::BROTLI(Default::default()));
        let properties = properties
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None);
        let mut out = Vec::new();
        let mut file = SerializedFileWriter::new(&mut out, schema, Arc::new(properties.build())).expect("a writer");
        let mut group = file.next_row_group().expect("a row group");
        let mut column = group.next_column().expect("a column").expect("one");
        let text = ByteArray::from(vec![b'a'; size << 20]);
        column
            .typed::<ByteArrayType>()
            .write_batch(&[text], None, None)
            .expect("a text");
        column.close().expect("a column");
        group.close().expect("a row group");
        file.close().expect("a file");
        assert!(out.len() < 8192, "{}", out.len());
        match fits {
            true => assert_eq!(run("parquet", "8 MiB", &out), Ok(())),
            false => refused(
                "parquet",
                &out,
                &["row group 1, column \"text\"", "the page at byte 4", "packed"],
            ),
        }
    }
}

#[test]
fn tokenizers_that_cannot_be() {
    let sound = |name: &str| -> Value { serde_json::from_slice(&sound("tokenizer", name)).expect("JSON") };
    let with = |name: &str, path: &str, value: Value| {
        let mut json = sound(name);
        *json.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        json.to_string()
    };
    let refuse = |file: String, words: &[&str]| refused("tokenizer", file, words);
    // A prefix that the second half of a merge does not have would be cut off it.
    let mut prefixed = sound("bpe");
    prefixed["model"]["continuing_subword_prefix"] = json!("####");
    refuse(prefixed.to_string(), &["tokenizer.json: ", "continuing_subword_prefix"]);
    refuse(
        with("bpe", "/model/merges", json!([["a", "zz"]])),
        &["tokenizer.json: ", "zz"],
    );
    refuse(
        with("bpe", "/model/merges", json!([["ab", "ab"]])),
        &["tokenizer.json: ", "abab"],
    );
    refuse(with("bpe", "/model/merges", json!([["a"]])), &["tokenizer.json: "]);
    for id in [json!(1u64 << 32), json!(-1), json!(1.5), json!("1")] {
        refuse(with("bpe", "/model/vocab/a", id), &["tokenizer.json: "]);
    }
    for (path, value, words) in [
        (
            "/post_processor/special_tokens",
            json!({}),
            "special_tokens have no \"<s>\"",
        ),
        (
            "/post_processor/special_tokens/<s>/ids",
            json!([]),
            "special_tokens have no \"<s>\"",
        ),
        ("/post_processor/single/1/Sequence/id", json!("B"), "the text, A, once"),
        (
            "/post_processor/single/1",
            json!({"SpecialToken": {"id": "<s>", "type_id": 0}}),
            "the text, A, once",
        ),
    ] {
        refuse(with("bpe", path, value), &["tokenizer.json: ", words]);
    }
    let charsmap = |map: &[u8]| {
        let map = BASE64.encode(map);
        with(
            "bpe",
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": map}),
        )
    };
    refuse(charsmap(&[0; 3]), &["tokenizer.json: ", "leads out of itself"]);
    // SentencePiece's own, of four rules: "ﬁ" is "fi", a full-width A an A, "Å" in two code points one, and a space of no width nothing.
    let map = BASE64
        .decode(include_str!("../../fixtures/hostile/charsmap.base64").trim())
        .unwrap();
    let tokenizer = Tokenizer::from_json(charsmap(&map).as_bytes(), TokenizerConfig::default()).unwrap();
    for [text, plain] in [["ﬁ", "fi"], ["\u{200b}aＡ", "aA"], ["A\u{30a}", "Å"]] {
        assert_eq!(
            tokenizer.encode(text, false).unwrap(),
            tokenizer.encode(plain, false).unwrap(),
            "{text}"
        );
    }
    for at in 0..map.len() {
        for byte in [0, 1, 2, 127, 255] {
            let mut broken = map.clone();
            broken[at] = byte;
            let _ = run("tokenizer", "a damaged map of characters", charsmap(&broken).as_bytes());
        }
        let _ = run(
            "tokenizer",
            "a map of characters cut off",
            charsmap(&map[..at]).as_bytes(),
        );
    }
    let grow = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(20)});
    let grown = json!({"type": "Sequence", "normalizers": [grow, grow, grow, grow, grow, grow]});
    refuse(
        with("bpe", "/normalizer", grown),
        &["tokenizer.json: ", "times as long"],
    );
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let grown = json!({"type": "Sequence", "pretokenizers": vec![bytes; 40]});
    refuse(
        with("bpe", "/pre_tokenizer", grown),
        &["tokenizer.json: ", "times as long"],
    );
    let strip = json!({"type": "Strip", "content": "a", "start": 0, "stop": 1});
    refuse(with("bpe", "/decoder", strip), &["tokenizer.json: ", "strips the ends"]);
    let slow = json!({"type": "Replace", "pattern": {"Regex": "(?=(a+)+b)"}, "content": ""});
    refuse(
        with("bpe", "/decoder", slow),
        &["tokenizer.json: ", "the decoder's expression"],
    );
    for expression in ["(a{1000}){1000}", "(((", "(?<x>a)\\k<y>", &"(".repeat(100_000)] {
        refuse(
            with("bpe", "/pre_tokenizer/pretokenizers/0/pattern/Regex", json!(expression)),
            &["tokenizer.json: "],
        );
    }
    refuse(with("unigram", "/model/unk_id", json!(99)), &["tokenizer.json: "]);
    refuse("[".repeat(100_000), &["tokenizer.json: "]);
    refuse(String::new(), &["tokenizer.json: "]);
}

#[test]
fn adapters_that_cannot_be() {
    let file = sound("adapter", "keys");
    let end = file.iter().position(|byte| *byte == 0).expect("NUL");
    let with = |field: &str, value: Value| {
        let mut json: Value = serde_json::from_slice(&file[..end]).expect("JSON");
        json[field] = value;
        [json.to_string().as_bytes(), &file[end..]].concat()
    };
    assert_eq!(run("adapter", "as it is", &file), Ok(()));
    for rank in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(16385),
        json!(1u64 << 63),
        json!("8"),
    ] {
        refused("adapter", with("r", rank), &["r: "]);
    }
    refused(
        "adapter",
        with("r", json!(2)),
        &["lora_A.weight: shape [1, ", "expected [2, "],
    );
    refused(
        "adapter",
        with("target_modules", json!("(a+)+$")),
        &["target_modules: ", "regular expression"],
    );
    refused(
        "adapter",
        with("target_modules", json!(["k_proj", "v_proj"])),
        &["v_proj", "missing"],
    );
    refused(
        "adapter",
        with("target_modules", json!(["q_proj"])),
        &["q_proj", "missing"],
    );
    refused("adapter", with("lora_dropout", json!(1)), &["lora_dropout: "]);
    refused("adapter", with("rank_pattern", json!({"a": 1})), &["rank_pattern: "]);
    let text = String::from_utf8_lossy(&file[..end]).replace("\"lora_alpha\": 2", "\"lora_alpha\": 1e999");
    refused("adapter", text, &["adapter_config.json: number out of range"]);
    let mut infinite = file.clone();
    let last = infinite.len();
    infinite[last - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused("adapter", infinite, &["lora_", "holds NaN"]);
    // The same name again and again, and names that no layer has.
    let begun = Instant::now();
    assert_eq!(
        run(
            "adapter",
            "many names",
            &with("target_modules", json!(vec!["k_proj"; 300_000]))
        ),
        Ok(())
    );
    let others: Vec<String> = (0..300_000).map(|i| format!("layers.{i}")).collect();
    refused(
        "adapter",
        with("target_modules", json!(others)),
        &["target_modules: ", "no linear layer"],
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn checkpoints_that_lead_elsewhere() {
    let text = String::from_utf8(sound("checkpoint", "state")).expect("text");
    assert_eq!(run("checkpoint", "as it is", text.as_bytes()), Ok(()));
    for name in ["../../x", "/etc/passwd", "a/b", "..", "C:\\\\x", ""] {
        let damaged = text.replace("optimizer.safetensors", name);
        refused(
            "checkpoint",
            damaged,
            &["checkpoint: state.json is damaged", "not a plain file name"],
        );
    }
    for (from, to, words) in [
        (
            "\"step\":2",
            "\"step\":18446744073709551615",
            "step 18446744073709551615 of 4",
        ),
        ("\"step\":2", "\"step\":18446744073709551616", "damaged"),
        ("\"step\":2", "\"step\":-1", "damaged"),
        ("\"schema\":1", "\"schema\":2", "version 2"),
        ("\"epoch\":0.5", "\"epoch\":1e999", "damaged"),
        ("\"bytes\":8", "\"bytes\":-8", "damaged"),
        ("\"targets\":5", "\"targets\":5,\"targets\":5", ""),
    ] {
        let damaged = text.replace(from, to);
        assert_ne!(damaged, text, "{from}");
        match words {
            "" => assert!(
                run("checkpoint", from, damaged.as_bytes()).is_ok(),
                "a name that is there twice counts once"
            ),
            words => refused("checkpoint", damaged, &["checkpoint: ", words]),
        }
    }
}

#[test]
fn settings_suites_and_reports_out_of_range() {
    for (setting, field) in [
        ("batch-size = -1", "batch-size"),
        ("batch-size = 99999999999999999999", "line 1"),
        ("learning-rate = inf", "learning_rate"),
        ("learning-rate = nan", "learning_rate"),
        ("num-train-epochs = -0.0", "num_train_epochs"),
        ("lora-r = 0", "lora_r"),
        ("memory-limit = \"1e400 GiB\"", "memory_limit"),
        ("a = 1\na = 2", "duplicate"),
        ("batch-size = 1\nbatch_size = 2", "twice"),
    ] {
        refused("settings", setting, &[field]);
    }
    refused("settings", format!("a = {}", "[".repeat(100_000)), &["recursion"]);
    refused("suite", format!("suite = {}", "[".repeat(100_000)), &["recursion"]);
    refused(
        "suite",
        "[[suite]]\nname = \"a\"\ndata = \"b\"\nmeasure = \"loss\"\nlimit = -1",
        &["line 5"],
    );
    let rows = "[[suite]]\nname = \"a\"\ndata = \"b\"\nmeasure = \"ifeval\"\n\0";
    let row = "{\"prompt\": \"a\", \"instruction_id_list\": [\"keywords:existence\"], \"kwargs\": [{\"keywords\": [\"(a{1000}){1000}\"]}]}";
    refused("suite", format!("{rows}{row}"), &["line 1", "kwargs"]);
    let report = String::from_utf8(sound("report", "run")).expect("text");
    for (from, to) in [
        ("\"started\": 1700000000", "\"started\": 18446744073709551615"),
        ("\"weights\": 0", "\"weights\": 18446744073709551615"),
        ("\"activations\": 0", "\"activations\": 18446744073709551615"),
        ("\"total_steps\": 4", "\"total_steps\": 18446744073709551615"),
        ("\"loss\": 2.5", "\"loss\": 1.7e308"),
        ("\"step\": 2", "\"step\": 18446744073709551615"),
    ] {
        let damaged = report.replace(from, to);
        assert_ne!(damaged, report, "{from}");
        assert_eq!(run("report", to, damaged.as_bytes()), Ok(()), "{to}");
    }
    refused(
        "report",
        report.replace("\"step\": 2", "\"step\": -2"),
        &["metrics.jsonl: line 2"],
    );
    refused(
        "report",
        report.replace("\"schema\": 1", "\"schema\": 9"),
        &["run.json is of version 9"],
    );
}

/// The measure of all this: it sees memory that is taken, on this thread alone.
#[test]
fn memory_is_counted() {
    let (kept, peak) = counting::peak(|| {
        drop(vec![1u8; 3 << 20]);
        vec![1u8; 1 << 20]
    });
    assert!((3 << 20..4 << 20).contains(&peak), "{peak}");
    let (_, other) = counting::peak(|| {
        let thread = std::thread::spawn(|| drop(vec![1u8; 9 << 20]));
        thread.join().expect("a thread");
    });
    assert!(other < 1 << 20 && kept.len() == 1 << 20, "{other}");
    let greedy = Parser {
        name: "greedy",
        parse: |bytes| Err(format!("{:?}", vec![1u8; bytes.len() * 3].len())),
        memory: (2, 4096),
    };
    assert!(std::panic::catch_unwind(|| greedy.run(&[0; 1 << 16])).is_err());
}
