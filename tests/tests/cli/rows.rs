//! Files of rows as the command line takes them.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::basic;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use super::{Bench, golden, rows};

/// What `eval --json` says of these files, and standard error.
fn eval(bench: &Bench, files: &[&str], more: &[&str]) -> (Value, String) {
    let model = golden("llama_tied_gqa");
    let ended = bench.run(&[&["eval", "--json", "--model", &model, "--data"], files, more].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    (serde_json::from_str(&ended.out).unwrap(), ended.err)
}

/// A Parquet file of one list of structs of two strings a row: `{NAME: [{FIRST: ..., SECOND: ...}, ...]}`.
fn nested(file: File, names: [&str; 3], rows: &[&[[&str; 2]]], compression: basic::Compression) {
    let [name, first, second] = names;
    let schema = format!(
        "message schema {{ optional group {name} (LIST) {{ repeated group list {{ optional group element {{
            optional binary {first} (STRING); optional binary {second} (STRING); }} }} }} }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in 0..2 {
        let cells = rows
            .iter()
            .flat_map(|row| row.iter().map(|cell| ByteArray::from(cell[column])));
        let cells: Vec<_> = cells.collect();
        let repeats: Vec<i16> = rows
            .iter()
            .flat_map(|row| (0..row.len()).map(|at| i16::from(at > 0)))
            .collect();
        let mut writer = group.next_column().unwrap().unwrap();
        let defined = vec![4; cells.len()];
        writer
            .typed::<ByteArrayType>()
            .write_batch(&cells, Some(&defined), Some(&repeats))
            .unwrap();
        writer.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn every_format_holds_the_same_rows() {
    let bench = Bench::new();
    let chats: [&[[&str; 2]]; 2] = [
        &[["system", "s"], ["user", "Hi"], ["assistant", "42!"]],
        &[["system", "Be kind."], ["user", "a"], ["assistant", "b"]],
    ];
    let json: Vec<Value> = chats
        .iter()
        .map(|chat| {
            let message = |[role, content]: &[&str; 2]| serde_json::json!({"role": role, "content": content});
            serde_json::json!({"messages": chat.iter().map(message).collect::<Vec<_>>()})
        })
        .collect();
    let jsonl = json.iter().map(|row| format!("{row}\n")).collect::<String>();
    bench.write("a.jsonl", &jsonl);
    bench.write("a.json", &serde_json::to_string_pretty(&json).unwrap());
    bench.write(
        "a_object.json",
        &serde_json::json!({"version": 1, "data": json}).to_string(),
    );
    let cell = |row: &Value| format!("\"{}\"\n", row["messages"].to_string().replace('"', "\"\""));
    bench.write(
        "a.csv",
        &format!("messages\n{}", json.iter().map(cell).collect::<String>()),
    );
    let mut packed = GzEncoder::new(File::create(bench.path("a.jsonl.gz")).unwrap(), Compression::fast());
    packed.write_all(jsonl.as_bytes()).unwrap();
    packed.finish().unwrap();
    let codecs = [
        ("plain", basic::Compression::UNCOMPRESSED),
        ("snappy", basic::Compression::SNAPPY),
        ("gzip", basic::Compression::GZIP(Default::default())),
        ("lz4", basic::Compression::LZ4_RAW),
        ("brotli", basic::Compression::BROTLI(Default::default())),
    ];
    for (name, codec) in codecs {
        let file = File::create(bench.path(&format!("{name}.parquet"))).unwrap();
        nested(file, ["messages", "role", "content"], &chats, codec);
    }
    let (want, _) = eval(&bench, &["a.jsonl"], &[]);
    assert_eq!(want["rows"], 2);
    let others = ["a.json", "a_object.json", "a.csv", "a.jsonl.gz"];
    for file in others
        .map(str::to_owned)
        .into_iter()
        .chain(codecs.map(|(name, _)| format!("{name}.parquet")))
    {
        assert_eq!(eval(&bench, &[&file], &[]).0, want, "{file}");
    }
    // From standard input too, told by its bytes.
    for file in ["a.jsonl", "a.jsonl.gz", "a.json", "snappy.parquet"] {
        let model = golden("llama_tied_gqa");
        let mut command = bench.command(&["eval", "--json", "--model", &model, "--data", "-"]);
        let out = command.stdin(File::open(bench.path(file)).unwrap()).output().unwrap();
        let got: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{file}: {out:?}"));
        assert_eq!(got, want, "{file}");
    }
    // ShareGPT's turns, from Parquet.
    let file = File::create(bench.path("turns.parquet")).unwrap();
    nested(
        file,
        ["conversations", "from", "value"],
        &[&[["system", "s"], ["human", "Hi"], ["gpt", "b"]]],
        basic::Compression::SNAPPY,
    );
    assert_eq!(eval(&bench, &["turns.parquet"], &[]).0["rows"], 1);
    let model = golden("llama_tied_gqa");
    let refused = |file: &str, reasons: &[&str]| {
        bench.run(&["eval", "--model", &model, "--data", file]).refused(reasons);
    };
    let file = File::create(bench.path("bad.parquet")).unwrap();
    nested(
        file,
        ["chat", "from", "value"],
        &[&[["human", "Hi"]]],
        basic::Compression::SNAPPY,
    );
    refused("bad.parquet", &["bad.parquet", "row 1", "its keys are: \"chat\""]);
    let whole = fs::read(bench.path("snappy.parquet")).unwrap();
    fs::write(bench.path("short.parquet"), &whole[..whole.len() / 2]).unwrap();
    refused("short.parquet", &["short.parquet", "Parquet"]);
    bench.write("bad.jsonl", "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, }\n");
    refused("bad.jsonl", &["bad.jsonl", "line 2", "column 19"]);
}

#[test]
fn files_are_mixed_by_weight_and_task() {
    let bench = Bench::new();
    let named: String = (0..6)
        .map(|i| {
            format!(
                "{{\"input_ids\": [5, 6, {}], \"task\": \"{}\"}}\n",
                7 + i,
                if i < 5 { "qa" } else { "code" }
            )
        })
        .collect();
    bench.write("named.jsonl", &named);
    bench.write("run.toml", "data = [\"rows.jsonl\", \"named.jsonl:0.5\"]\n");
    let model = golden("llama_tied_gqa");
    let train = |more: &[&str]| {
        let fixed = [
            "train",
            "--model",
            &model,
            "--output-dir",
            "out",
            "--batch-size",
            "5",
            "--dry-run",
        ];
        bench.run(&[&fixed, more].concat())
    };
    let out = train(&["--data", "rows.jsonl:2", "named.jsonl"]).fine();
    for said in [
        "rows: 28 of 28",
        "rows.jsonl: 22 rows (22 tokens), 22 examples, weight 2",
        "named.jsonl: 6 rows (6 tokens), 6 examples\n",
        "tasks in an epoch: unnamed 44, qa 5, code 1",
        "steps: 30 of 5 examples, 3.00 epochs",
        "packing: ",
    ] {
        assert!(out.contains(said), "{said:?} is not in {out}");
    }
    let out = train(&["--config", "run.toml", "--mix", "balanced"]).fine();
    // Where tasks decide, rows that name none get one that is guessed: ids say nothing.
    assert!(out.contains("tasks in an epoch: code 8, other 8, qa 8"), "{out}");
    assert!(out.contains("steps: 15 of 5 examples"), "{out}");
    // What others call by another name is another task, which is said.
    bench.write("chat.jsonl", "{\"input_ids\": [5, 6], \"task\": \"chat\"}\n");
    let two = train(&["--data", "rows.jsonl", "chat.jsonl", "--mix", "sqrt"]);
    assert!(two.err.contains("\"chat\" and \"other\""), "{}", two.err);
    two.fine();
    let again = train(&["--data", "rows.jsonl", "--data", "named.jsonl"]).fine();
    assert!(again.contains("rows: 28 of 28"), "{again}");
    let refused = |more: &[&str], reasons: &[&str]| train(more).refused(reasons);
    refused(&["--data", "rows.jsonl", "rows.jsonl"], &["rows.jsonl is there twice"]);
    refused(&["--data", "rows.jsonl:0"], &["data", "a weight of 0"]);
    refused(
        &["--data", "rows.jsonl", "--eval-data", "named.jsonl:2"],
        &["eval_data", "named.jsonl has a weight"],
    );
    refused(&["--data", "rows.jsonl", "--mix", "even"], &["mix", "even"]);
    refused(
        &["--data", "rows.jsonl", "--columns", "prompt"],
        &["columns", "FIELD=COLUMN"],
    );
    refused(&["--data", "rows.jsonl", "--shape", "rows"], &["shape", "sharegpt"]);
    refused(
        &["--data", "rows.jsonl", "--alpaca-style", "x"],
        &["alpaca_style", "alpaca-chat"],
    );
    assert!(!bench.path("out").exists());
}

/// A run that is interrupted goes on with the rows whose turn it is, and not with others.
#[test]
fn mixed_rows_resume() {
    let bench = Bench::new();
    let both = ["rows.jsonl:1.5", "held_out.jsonl:0.5"];
    let model = golden("llama_tied_gqa");
    let train = |folder: &str, data: [&str; 2], more: &[&str]| {
        let fixed = [
            "train",
            "--model",
            &model,
            "--output-dir",
            folder,
            "--batch-size",
            "7",
            "--logging-steps",
            "1",
        ];
        let rest = ["--save-steps", "8", "--max-steps", "12", "--data", data[0], data[1]];
        bench.run(&[&fixed[..], &rest, more].concat())
    };
    train("whole", both, &[]).fine();
    train("part", both, &[]).fine();
    fs::remove_dir_all(bench.path("part/checkpoint-12")).unwrap();
    train("part", both, &["--resume"]).fine();
    bench.assert_same("whole", "part", &["adapter_model.safetensors"]);
    assert_eq!(bench.log("whole/metrics.jsonl"), bench.log("part/metrics.jsonl"));
    assert!(
        bench.log("whole/metrics.jsonl")[0]["packing"]
            .as_f64()
            .is_some_and(|share| share > 0.0 && share <= 1.0)
    );
    fs::remove_dir_all(bench.path("part/checkpoint-12")).unwrap();
    train("part", ["rows.jsonl:1.5", "held_out.jsonl"], &["--resume"]).refused(&["the rows"]);
}

#[test]
fn bad_rows_are_skipped_when_asked() {
    let bench = Bench::new();
    let bad: String = (0..12).map(|i| format!("{{\"input_ids\": [{i}\n")).collect();
    bench.write("rows.jsonl", &format!("{}{bad}", rows(4, 1)));
    bench
        .train("out", &["--max-steps", "1"])
        .refused(&["rows.jsonl", "line 5", "column"]);
    let ended = bench.train("out", &["--max-steps", "1", "--skip-bad-rows"]);
    let said = ended.err.clone();
    let out = ended.fine();
    assert!(
        out.contains("rows: 4 of 16") && out.contains("12 bad, left out"),
        "{out}"
    );
    for line in [
        "rows.jsonl: 12 of 16 rows",
        "line 5: not JSON",
        "line 14: not JSON",
        "and 2 more",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    assert!(!said.contains("line 15"), "{said}");
    let (result, said) = eval(&bench, &["rows.jsonl"], &["--skip-bad-rows"]);
    assert!(result["rows"] == 4 && said.contains("12 of 16"), "{said}");
}

#[test]
fn columns_and_shapes_are_told() {
    let bench = Bench::new();
    bench.write("qa.csv", "question,answer\nHi,Hello\n");
    bench.write("pc.jsonl", "{\"prompt\": \"Hi\", \"completion\": \"Hello\"}\n");
    bench.write("text.jsonl", &format!("{{\"text\": \"{}\"}}\n", "a b c d ".repeat(40)));
    let (want, _) = eval(&bench, &["pc.jsonl"], &[]);
    assert_eq!(
        eval(&bench, &["qa.csv"], &["--columns", "prompt=question,completion=answer"]).0,
        want
    );
    let model = golden("llama_tied_gqa");
    bench.run(&["eval", "--model", &model, "--data", "qa.csv"]).refused(&[
        "qa.csv",
        "line 2",
        "prompt=question,completion=answer",
    ]);
    bench
        .run(&["eval", "--model", &model, "--data", "text.jsonl"])
        .refused(&["text.jsonl", "split"]);
    let (split, _) = eval(&bench, &["text.jsonl"], &["--overlong", "split", "--max-length", "16"]);
    assert!(split["rows"].as_u64().unwrap() > 5, "{split}");
    bench.write(
        "alpaca.json",
        "[{\"instruction\": \"Hi\", \"system\": \"s\", \"output\": \"b\"}]",
    );
    let chat = eval(&bench, &["alpaca.json"], &[]).0;
    let stanford = bench.run(&[
        "eval",
        "--json",
        "--model",
        &model,
        "--data",
        "alpaca.json",
        "--alpaca-style",
        "alpaca",
    ]);
    stanford.refused(&["alpaca.json", "row 1", "set alpaca_style to alpaca-chat"]);
    assert_eq!(chat["rows"], 1);
}

/// The most memory that a dry run over a file takes, in bytes.
fn peak(bench: &Bench, file: &str) -> u64 {
    let model = golden("llama_tied_gqa");
    let run = [
        "train",
        "--model",
        &model,
        "--output-dir",
        "out",
        "--dry-run",
        "--batch-size",
        "512",
        "--data",
        file,
    ];
    let mut child: std::process::Child = Command::new(super::binary())
        .args(run)
        .current_dir(bench.folder.path())
        .env("XDG_CACHE_HOME", bench.path("cache"))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = format!("/proc/{}/status", child.id());
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|n| n.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(ended.success() && peak > 0);
    peak
}

/// Rows are read, tokenised and packed without being held: what stays of each are a few numbers.
#[test]
fn rows_are_not_held_in_memory() {
    const MORE: u64 = 100_000;
    let bench = Bench::new();
    let row = |i: u64| {
        let ids: Vec<u64> = (0..60).map(|at| 5 + (i * 7 + at * at) % 250).collect();
        format!("{{\"input_ids\": {ids:?}, \"note\": \"{}\"}}\n", "x".repeat(100))
    };
    let few: String = (0..5_000).map(row).collect();
    bench.write("few.jsonl", &few);
    let mut many = File::create(bench.path("many.jsonl")).unwrap();
    for _ in 0..(MORE + 5_000) / 5_000 {
        many.write_all(few.as_bytes()).unwrap();
    }
    drop(many);
    let (few, many) = (peak(&bench, "few.jsonl"), peak(&bench, "many.jsonl"));
    // 8 MiB of tokens stay in memory before there is a file; 60 ids and labels of a row would take 480 bytes.
    let each = many.saturating_sub(few + (8 << 20)) / MORE;
    assert!(
        each <= 100,
        "{each} bytes a row: {few} bytes for 5,000 rows, {many} for 105,000"
    );
}
