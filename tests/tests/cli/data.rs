//! `wgpu-sft data`: reports, cleaned files and splits.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use wgpu_sft_tests::made_rows::alpaca;

use super::{Bench, golden};

/// Rows as lines; their keys in an order and with spaces that no serialiser would choose.
fn lines(rows: std::ops::Range<u32>) -> Vec<String> {
    let line = |row: u32| {
        let json = alpaca(3, row);
        format!(
            "{{ \"output\":{},  \"instruction\" : {}, \"input\": {}, \"extra\":[1,{row}] }}",
            json["output"], json["instruction"], json["input"]
        )
    };
    rows.map(line).collect()
}

fn file(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_check_says_what_is_wrong_and_fails_if_it_is_serious() {
    let bench = Bench::new();
    let mut rows = lines(0..60);
    bench.write("good.jsonl", &file(&rows));
    let out = bench.run(&["data", "check", "good.jsonl"]).fine();
    for part in [
        "good.jsonl: 60 rows",
        "alpaca 60 (100.0 %)",
        "words: half of the rows",
        "nothing serious was found",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }

    rows.insert(
        4,
        r#"{"instruction": "Say <script>alert(1)</script>", "output": ""}"#.into(),
    );
    rows.insert(7, "{\"instruction\": ".into());
    bench.write("bad.jsonl", &file(&rows));
    let ended = bench.run(&[
        "data",
        "check",
        "bad.jsonl",
        "--html",
        "page.html",
        "--max-length",
        "5000",
    ]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    for part in [
        "error unreadable: 1 (1.6 %) rows that cannot be read",
        "bad.jsonl:8",
        "error empty-answer",
        "bad.jsonl:5  Say <script>",
        "  → ",
    ] {
        assert!(ended.out.contains(part), "{part:?} is not in {}", ended.out);
    }
    let page = String::from_utf8(bench.read("page.html")).unwrap();
    assert!(page.contains("Say &lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script"));

    let ended = bench.run(&["data", "check", "bad.jsonl", "--eval-data", "good.jsonl", "--json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let want = [
        "version",
        "rows",
        "sources",
        "shapes",
        "tasks",
        "length",
        "languages",
        "similarity",
        "overlap",
        "flagged_terms",
        "representation",
        "findings",
    ];
    assert_eq!(keys, want, "the JSON's fields are stable");
    assert_eq!((&report["version"], &report["rows"]), (&1.into(), &122.into()));
    let found = |code: &str| {
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| finding["code"] == code)
            .cloned()
    };
    let same = found("eval-duplicate").unwrap();
    assert_eq!((&same["severity"], &same["count"]), (&"error".into(), &60.into()));
    assert_eq!(same["examples"][0]["like"]["file"], "good.jsonl");
    let unreadable = &found("unreadable").unwrap()["examples"][0];
    assert_eq!(
        (&unreadable["file"], &unreadable["line"]),
        (&"bad.jsonl".into(), &8.into())
    );
}

#[test]
fn a_model_counts_tokens_and_targets() {
    let bench = Bench::new();
    bench.write(
        "ids.jsonl",
        "{\"input_ids\": [5, 6, 7]}\n{\"input_ids\": [5, 6, 7, 8, 9, 10]}\n{\"input_ids\": [5, 8], \"labels\": [-100, -100]}\n{\"input_ids\": [5, 999999]}\n",
    );
    let model = golden("llama_tied_gqa");
    let ended = bench.run(&[
        "data",
        "check",
        "ids.jsonl",
        "--model",
        &model,
        "--max-length",
        "5",
        "--json",
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&report["length"]["unit"], &report["length"]["over"]),
        (&"tokens".into(), &1.into())
    );
    let lines = |code: &str| -> Vec<u64> {
        let finding = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| finding["code"] == code);
        let examples = finding.map_or(&Value::Null, |finding| &finding["examples"]).as_array();
        examples
            .into_iter()
            .flatten()
            .map(|example| example["line"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        (lines("overlong"), lines("zero-target"), lines("unpreparable")),
        (vec![2], vec![3], vec![4])
    );
}

#[test]
fn cleaning_keeps_lines_as_they_are_and_says_why_others_go() {
    let bench = Bench::new();
    let mut rows = lines(0..30);
    rows.push(rows[3].clone());
    rows.push(r#"{"instruction": "Say nothing.", "output": " "}"#.into());
    rows.push("not JSON".into());
    bench.write("rows.jsonl", &format!("\n{}", file(&rows)));
    bench.write("more.json", "[{\"prompt\": \"Count to three, please.\", \"completion\": \"One, two, three.\"},\n {\"prompt\": \"Count on.\", \"completion\": \"\"}]");
    let clean = [
        "data",
        "clean",
        "rows.jsonl",
        "more.json",
        "--output",
        "kept.jsonl",
        "--dropped",
        "dropped.jsonl",
    ];
    let out = bench.run(&clean).fine();
    assert!(
        out.contains("kept 31 rows in kept.jsonl, dropped 4 to dropped.jsonl"),
        "{out}"
    );
    let kept = String::from_utf8(bench.read("kept.jsonl")).unwrap();
    let last = "{\"prompt\":\"Count to three, please.\",\"completion\":\"One, two, three.\"}\n";
    assert_eq!(kept, file(&rows[..30]) + last, "lines are as they were");
    let dropped = String::from_utf8(bench.read("dropped.jsonl")).unwrap();
    let dropped: Vec<Value> = dropped
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<(&str, u64, &str)> = dropped
        .iter()
        .map(|row| {
            (
                row["source"].as_str().unwrap(),
                row["line"].as_u64().unwrap(),
                row["reasons"][0].as_str().unwrap(),
            )
        })
        .collect();
    let want = [
        ("rows.jsonl", 32, "exact-duplicate"),
        ("rows.jsonl", 33, "empty-answer"),
        ("rows.jsonl", 34, "unreadable"),
        ("more.json", 2, "empty-answer"),
    ];
    assert_eq!(told, want);
    assert_eq!(
        (&dropped[0]["row"]["extra"][1], &dropped[2]["row"]),
        (&3.into(), &"not JSON".into())
    );
    assert_eq!(dropped[3]["row"]["prompt"], "Count on.");

    // What is there stays there, whatever is asked for.
    let before = bench.read("kept.jsonl");
    bench
        .run(&clean)
        .refused(&["kept.jsonl", "exists already", "--overwrite"]);
    let onto_input = [
        "data",
        "clean",
        "rows.jsonl",
        "--output",
        "rows.jsonl",
        "--dropped",
        "d.jsonl",
        "--overwrite",
    ];
    bench
        .run(&onto_input)
        .refused(&["rows.jsonl", "never changed in place"]);
    assert_eq!(bench.read("kept.jsonl"), before);
    bench
        .run(&[&clean[..], &["--overwrite", "--drop", "empty-answer"]].concat())
        .fine();
    assert_eq!(
        String::from_utf8(bench.read("dropped.jsonl")).unwrap().lines().count(),
        2
    );
    let unknown = [&clean[..], &["--overwrite", "--drop", "boring"]].concat();
    bench
        .run(&unknown)
        .refused(&["\"boring\" is none of", "near-duplicate"]);
    bench
        .run(&["data", "clean", "-", "--output", "a", "--dropped", "b"])
        .refused(&["standard input"]);
    let leftovers: Vec<_> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        leftovers.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")),
        "{leftovers:?}"
    );
    assert!(!bench.path("d.jsonl").exists());
}

#[test]
fn a_split_is_reproducible_whatever_the_order_of_the_lines() {
    let bench = Bench::new();
    let rows = lines(0..80);
    bench.write("rows.jsonl", &file(&rows));
    let turned: Vec<String> = rows.iter().rev().cloned().collect();
    bench.write("turned.jsonl", &file(&turned));
    let split = |input: &str, eval: &str, more: &[&str]| -> BTreeSet<String> {
        let command = [
            "data",
            "split",
            input,
            "--train",
            "train.jsonl",
            "--eval",
            eval,
            "--overwrite",
        ];
        bench.run(&[&command[..], more].concat()).fine();
        let read = |name: &str| -> BTreeSet<String> {
            String::from_utf8(bench.read(name))
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect()
        };
        let (train, eval) = (read("train.jsonl"), read(eval));
        assert!(train.is_disjoint(&eval));
        assert_eq!(
            train.union(&eval).cloned().collect::<BTreeSet<_>>(),
            rows.iter().cloned().collect(),
            "each line as it was"
        );
        eval
    };
    let first = split("rows.jsonl", "a.jsonl", &["--eval-rows", "16"]);
    assert_eq!(first.len(), 16);
    assert_eq!(split("turned.jsonl", "b.jsonl", &["--eval-fraction", "0.2"]), first);
    assert_ne!(
        split("rows.jsonl", "c.jsonl", &["--eval-rows", "16", "--seed", "7"]),
        first
    );
    let by_task = split("rows.jsonl", "d.jsonl", &["--by", "task", "--tasks", "summarising"]);
    assert!(
        !by_task.is_empty() && by_task.iter().all(|line| line.contains("Summarize the following")),
        "{by_task:?}"
    );
    assert_eq!(split("rows.jsonl", "e.jsonl", &["--by", "cluster"]).len(), 8);

    let refuse = |more: &[&str], reasons: &[&str]| {
        let command = ["data", "split", "rows.jsonl", "--train", "x.jsonl", "--eval", "y.jsonl"];
        bench.run(&[&command[..], more].concat()).refused(reasons);
        assert!(!bench.path("x.jsonl").exists() && !bench.path("y.jsonl").exists());
    };
    refuse(
        &["--by", "task", "--tasks", "cooking"],
        &["tasks", "\"cooking\"", "summarising"],
    );
    refuse(&["--tasks", "code"], &["--by task"]);
    refuse(&["--eval-rows", "80"], &["eval_rows", "80 of 80"]);
    bench.write("broken.jsonl", "{\"text\": \"a\"}\n{\n");
    let broken = [
        "data",
        "split",
        "broken.jsonl",
        "--train",
        "x.jsonl",
        "--eval",
        "y.jsonl",
    ];
    bench.run(&broken).refused(&["broken.jsonl: line 2", "data clean"]);
}

#[test]
fn the_bundled_rows_pass() {
    let bench = Bench::new();
    let demo = |name: &str| format!("{}/../demo/{name}", env!("CARGO_MANIFEST_DIR"));
    let out = bench
        .run(&[
            "data",
            "check",
            &demo("train.jsonl"),
            "--eval-data",
            &demo("heldout.jsonl"),
        ])
        .fine();
    assert!(out.contains("nothing serious was found"), "{out}");
}

#[test]
fn a_preview_shows_what_is_learnt() {
    let bench = Bench::new();
    bench.write(
        "rows.jsonl",
        "{\"input_ids\": [5, 6, 7], \"labels\": [-100, 6, -100], \"task\": \"sums\"}\n\n{\"input_ids\": [8, 9]}\n",
    );
    let out = bench.run(&["data", "preview", "rows.jsonl"]).fine();
    assert!(
        out.contains("rows.jsonl:1 · tokens · sums · 3 tokens, 1 learnt\n5 ⟦6 ⟧7"),
        "{out}"
    );
    assert!(
        out.contains("rows.jsonl:3 · tokens · 2 tokens, 1 learnt\n8 ⟦9 ⟧"),
        "{out}"
    );
    let out = bench
        .run(&["data", "preview", "rows.jsonl", "--from", "2", "--rows", "1", "--ids"])
        .fine();
    assert!(out.contains("8 ‹8›⟦9 ‹9›⟧") && !out.contains("sums"), "{out}");
    let out = bench.run(&["data", "preview", "rows.jsonl", "--json"]).fine();
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["pieces"][1]["learnt"], true);
    bench
        .run(&["data", "preview", "rows.jsonl", "--html", "page.html"])
        .fine();
    let page = String::from_utf8(bench.read("page.html")).unwrap();
    assert!(page.contains("<span class=\"l\" data-ids=\"6\">6 </span>"));
    let colored = bench
        .run(&["data", "preview", "rows.jsonl", "--color", "always"])
        .fine();
    assert!(colored.contains("\u{1b}[1;30;102m6 \u{1b}[0m"), "{colored:?}");
    bench.write("text.jsonl", "{\"text\": \"words\"}\n");
    bench
        .run(&["data", "preview", "text.jsonl"])
        .refused(&["text.jsonl", "--model"]);
    bench
        .run(&["data", "preview", "rows.jsonl", "--from", "9"])
        .refused(&["no row from 9 on"]);
}
