//! Checks find the flaws that are planted, in these rows and in no others.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wgpu_sft::data::quality::{
    CheckOptions, Checked, Checker, Code, Codes, Record, RowFacts, Severity, TokenFacts, default_drops, drops,
};
use wgpu_sft::data::{Example, IGNORE, Reading, Row, for_each_row};
use wgpu_sft_tests::made_rows::alpaca;

/// Check held-out rows, then training rows.
pub fn check(held_out: &[Value], training: &[Value]) -> Checked {
    let mut checker = Checker::new(CheckOptions { max_length: Some(1000) });
    for (rows, name) in [(held_out, "eval.jsonl"), (training, "train.jsonl")] {
        if rows.is_empty() {
            continue;
        }
        let source = checker.source(name, name == "eval.jsonl").unwrap();
        for (line, json) in (1..).zip(rows) {
            let row = Row::from_json(json, &Reading::default()).unwrap();
            let facts = RowFacts::of(&Record::from(&row), None, checker.options());
            checker.add(source, line, facts).unwrap();
        }
    }
    checker.finish()
}

pub fn clean(n: u32) -> Vec<Value> {
    (0..n).map(|row| alpaca(5, row)).collect()
}

pub fn asked(instruction: &str, output: &str) -> Value {
    json!({"instruction": instruction, "input": "", "output": output})
}

/// What was found in each row, by line, where anything was.
pub fn found(checked: &Checked) -> BTreeMap<usize, Vec<&'static str>> {
    let names = |codes: Codes| codes.iter().map(Code::name).collect::<Vec<_>>();
    let rows = checked.rows.iter().filter(|row| !row.codes.is_empty());
    rows.map(|row| (row.line, names(row.codes))).collect()
}

#[test]
fn clean_rows_are_quiet() {
    let checked = check(
        &clean(40)[..],
        &(100..500).map(|row| alpaca(5, row)).collect::<Vec<_>>(),
    );
    let loud: Vec<_> = checked
        .report
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note)
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert_eq!(checked.report.rows, 440);
    assert_eq!(checked.report.sources[1].rows, 400);
    assert!(!checked.report.is_serious());
}

#[test]
fn the_bundled_rows_are_quiet() {
    let read = |name: &str| {
        let path = format!("{}/../demo/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut rows = Vec::new();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            rows.push(serde_json::from_str(line).unwrap());
        }
        rows
    };
    let checked = check(&read("heldout.jsonl"), &read("train.jsonl"));
    assert!(checked.report.findings.is_empty(), "{:#?}", checked.report.findings);
    assert_eq!(checked.report.tasks.iter().map(|task| task.guessed).sum::<usize>(), 0);
}

#[test]
fn repeats_and_contradictions_are_told_apart() {
    let mut rows = clean(60);
    let answer = |row: &Value| row["output"].as_str().unwrap().to_owned();
    // 61: the same but for letters and spaces. 62: nearly the same. 63: another answer. 64: the answer of 63 again.
    let shouted = rows[3]["output"].as_str().unwrap().to_uppercase().replace(' ', "  ");
    rows.push(json!({"instruction": rows[3]["instruction"], "input": rows[3]["input"], "output": shouted}));
    let longest = (0..60).max_by_key(|&row| answer(&rows[row]).len()).unwrap();
    let nearly = format!("{} It does.", answer(&rows[longest]));
    rows.push(json!({"instruction": rows[longest]["instruction"], "input": rows[longest]["input"], "output": nearly}));
    let other = json!({"instruction": rows[7]["instruction"], "input": rows[7]["input"], "output": "Nobody knows, and few have asked."});
    rows.extend([other.clone(), other]);
    let checked = check(&[], &rows);
    let want = [
        (61, vec!["exact-duplicate"]),
        (62, vec!["near-duplicate"]),
        (63, vec!["conflicting-answer"]),
        (64, vec!["exact-duplicate"]),
    ];
    assert_eq!(found(&checked), BTreeMap::from(want));
    let example = &checked.report.finding(Code::NearDuplicate).unwrap().examples[0];
    assert_eq!(
        (example.place.line, example.like.as_ref().unwrap().line),
        (62, longest + 1)
    );
    assert_eq!(
        checked.report.finding(Code::ExactDuplicate).unwrap().examples[0]
            .like
            .as_ref()
            .unwrap()
            .line,
        4
    );
}

#[test]
fn held_out_rows_in_training_are_found() {
    let held_out = clean(30);
    let mut training: Vec<Value> = (100..200).map(|row| alpaca(5, row)).collect();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    training.insert(10, held_out[2].clone()); // line 11
    let question = json!({"instruction": held_out[5]["instruction"], "input": held_out[5]["input"], "output": "It cannot be told."});
    training.insert(20, question); // line 21
    let longest = held_out.iter().max_by_key(|row| text(row, "output").len()).unwrap();
    let nearly = json!({
        "instruction": format!("{} Be brief.", text(longest, "instruction")), "input": longest["input"], "output": longest["output"],
    });
    training.insert(30, nearly); // line 31
    // The answer of a held-out row within another text: too little of it to be nearly the same, too much to be chance.
    let leaked = &held_out[9];
    let around = |row: u32| text(&alpaca(6, row), "output");
    let document = format!(
        "{} {} {} {}",
        around(1),
        around(2),
        text(leaked, "output"),
        text(leaked, "input")
    );
    training.insert(
        40,
        asked(
            "Tell me everything that is known.",
            &format!("{document} {} {}", around(3), around(4)),
        ),
    );

    let checked = check(&held_out, &training);
    let lines = |code: Code, side: usize| -> Vec<usize> {
        let rows = checked
            .rows
            .iter()
            .filter(|row| row.source == side && row.codes.contains(code));
        rows.map(|row| row.line).collect()
    };
    assert_eq!(lines(Code::EvalDuplicate, 1), [11, 21]);
    assert_eq!(lines(Code::EvalNearDuplicate, 1), [31]);
    let place = held_out.iter().position(|row| row == longest).unwrap() + 1;
    let mut overlapping = vec![3, 10, place];
    overlapping.sort_unstable();
    let got = lines(Code::EvalOverlap, 0);
    assert!(
        overlapping.iter().all(|line| got.contains(line)),
        "{got:?}, not all of {overlapping:?}"
    );
    // The question that was copied with another answer may be long enough to count as well.
    assert!(
        got.iter().all(|line| overlapping.contains(line) || *line == 6),
        "{got:?}"
    );
    let overlap = checked.report.overlap.as_ref().unwrap();
    assert_eq!(
        (overlap.held_out_rows, overlap.duplicates, overlap.near_duplicates),
        (30, 2, 1)
    );
    assert!(overlap.mean_share > 0.05 && overlap.mean_share < 0.3, "{overlap:?}");

    let dropped: Vec<usize> = drops(&checked, default_drops())
        .iter()
        .map(|dropped| checked.rows[dropped.row].line)
        .collect();
    assert_eq!(dropped, [11, 21, 31], "training rows only");

    let mut checker = Checker::new(CheckOptions::default());
    let first = checker.source("train.jsonl", false).unwrap();
    checker.reject(first, 1, Code::Unreadable, "no row").unwrap();
    assert!(checker.source("eval.jsonl", true).is_err(), "held-out rows come first");
}

#[test]
fn tokens_show_what_is_learnt() {
    const BOS: u32 = 1;
    const EOS: u32 = 2;
    const NEWLINE: u32 = 9;
    let cases: [(&[u32], &[i32], &[&str]); 7] = [
        (&[BOS, 5, 6, EOS], &[IGNORE, IGNORE, 6, 2], &[]),
        (&[BOS, 5, 6, EOS, NEWLINE], &[IGNORE, IGNORE, 6, 2, 9], &[]),
        (&[BOS, BOS, 7, EOS], &[IGNORE, IGNORE, 7, 2], &["double-bos"]),
        (
            &[BOS, 5, 8, EOS],
            &[IGNORE, IGNORE, 8, IGNORE],
            &["unsupervised-terminator"],
        ),
        (&[BOS, 5, EOS, 8], &[IGNORE, IGNORE, 2, 8], &["unsupervised-terminator"]),
        (&[BOS, 6, 6, EOS], &[IGNORE; 4], &["zero-target"]),
        (&[BOS, 5, 5, 5, 5, EOS], &[IGNORE, 5, 5, 5, 5, 2], &["overlong"]),
    ];
    let mut checker = Checker::new(CheckOptions { max_length: Some(5) });
    let source = checker.source("rows.jsonl", false).unwrap();
    for (line, (ids, labels, _)) in (1..).zip(&cases) {
        let example = Example {
            ids: ids.to_vec(),
            labels: labels.to_vec(),
        };
        let tokens = TokenFacts::of(&example, Some(BOS), &[EOS], |id| id == NEWLINE);
        let record = Record {
            shape: "tokens".into(),
            ids: ids.to_vec(),
            ..Record::default()
        };
        let facts = RowFacts::of(&record, Some(tokens), checker.options());
        checker.add(source, line, facts).unwrap();
    }
    let checked = checker.finish();
    let want = (1..)
        .zip(&cases)
        .filter(|(_, case)| !case.2.is_empty())
        .map(|(line, case)| (line, case.2.to_vec()));
    assert_eq!(found(&checked), want.collect());
    let length = checked.report.length.as_ref().unwrap();
    assert_eq!((length.unit.as_str(), length.longest, length.over), ("tokens", 6, 1));
    assert_eq!(length.histogram.iter().map(|bin| bin.rows).sum::<usize>(), 7);
}

#[test]
fn cleaning_keeps_one_of_each_cluster() {
    let long = alpaca(5, 3);
    let mut flawed = long.clone();
    flawed["output"] = format!(
        "{} Write to kim@harbour-office.net, key ghp_16C7e42F292c6912E7710c838347Ae178B4a.",
        long["output"].as_str().unwrap()
    )
    .into();
    // 1 has a key, 2 and 3 nearly repeat it, 4 repeats 2, 5 stands alone and 6 is empty.
    let mut third = long.clone();
    third["output"] = format!("{} So it is.", long["output"].as_str().unwrap()).into();
    let rows = [
        flawed,
        long.clone(),
        third,
        long,
        alpaca(5, 4),
        asked("Say nothing, please.", ""),
    ];
    let checked = check(&[], &rows);
    let dropped = |codes: Codes| -> Vec<(usize, Vec<&str>)> {
        let rows = drops(&checked, codes);
        rows.iter()
            .map(|row| (row.row + 1, row.reasons.iter().map(|code| code.name()).collect()))
            .collect()
    };
    let want = [
        (1, vec!["secret-key"]),
        (3, vec!["near-duplicate"]),
        (4, vec!["exact-duplicate"]),
        (6, vec!["empty-answer"]),
    ];
    assert_eq!(dropped(default_drops()), want);
    assert_eq!(
        dropped([Code::PersonalData].into_iter().collect()),
        [(1, vec!["personal-data"])]
    );
    assert_eq!(
        dropped([Code::ExactDuplicate].into_iter().collect()),
        [(4, vec!["exact-duplicate"])]
    );
}

#[test]
fn a_page_escapes_what_rows_say() {
    let attack = "<script>alert('x')</script><img src=x onerror=\"alert(1)\">";
    let mut row = asked(&format!("What is {attack}?"), "Bad &amp; ugly.");
    row["task"] = attack.into();
    let mut checker = Checker::new(CheckOptions::default());
    let source = checker.source(&format!("{attack}.jsonl"), false).unwrap();
    let row = Row::from_json(&row, &Reading::default()).unwrap();
    for line in 1..3 {
        let facts = RowFacts::of(&Record::from(&row), None, checker.options());
        checker.add(source, line, facts).unwrap();
    }
    checker.reject(source, 3, Code::Unreadable, attack).unwrap();
    let checked = checker.finish();
    let page = checked.report.to_html();
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
        "the text itself is shown"
    );
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "nothing is fetched"
    );
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
    assert_eq!(checked.report.finding(Code::Unreadable).unwrap().count, 1);
    let again: wgpu_sft::data::quality::CheckReport =
        serde_json::from_str(&serde_json::to_string(&checked.report).unwrap()).unwrap();
    assert_eq!(again, checked.report, "the JSON can be read again");
}

#[test]
fn every_shape_is_looked_at() {
    let rows = [
        json!({"instruction": "Say hi to Ann.", "context": "Ann is here.", "response": "Hi, Ann!", "category": "open_qa"}),
        json!({"prompt": "Say hi to Ben.", "completion": "Hi, Ben!"}),
        json!({"conversations": [{"from": "human", "value": "Say hi to Cem."}, {"from": "gpt", "value": "Hi, Cem!"}], "task": "greeting"}),
        json!({"text": "Dan says hi to everyone he meets on his way."}),
        json!({"segments": [{"label": false, "text": "Say hi to Eve."}, {"label": true, "text": "Hi, Eve!"}]}),
        json!({"input_ids": [5, 6, 7]}),
    ];
    let checked = check(&[], &rows);
    assert!(checked.report.findings.is_empty(), "{:#?}", checked.report.findings);
    assert_eq!(checked.report.shapes.len(), 6);
    let tasks: Vec<(&str, usize)> = checked
        .report
        .tasks
        .iter()
        .map(|task| (task.name.as_str(), task.guessed))
        .collect();
    for own in [("greeting", 0), ("open_qa", 0)] {
        assert!(tasks.contains(&own), "a row's own word is kept: {tasks:?}");
    }
    // Tokens repeat each other as texts do.
    let again = check(
        &[],
        &[
            json!({"input_ids": [5, 6, 7]}),
            json!({"input_ids": [5, 6, 7]}),
            json!({"input_ids": [5, 67]}),
        ],
    );
    assert_eq!(found(&again), BTreeMap::from([(2, vec!["exact-duplicate"])]));
}

#[test]
fn hostile_rows_are_looked_at_too() {
    let mut odd = vec![
        String::new(),
        " ".into(),
        "\0".repeat(50),
        "(".repeat(2000),
        "```".into(),
        "a@".repeat(500),
        "+1".repeat(500),
    ];
    odd.extend(
        [
            "@.@",
            "-----BEGIN ",
            "é̀\u{200D}👩‍👩‍👧 DE",
            "GB82",
            "…",
            "sk-",
            "&#",
            "\\u",
            "\\ud8",
            "🙂".repeat(300).as_str(),
            "ß".repeat(700).as_str(),
        ]
        .map(String::from),
    );
    let rows: Vec<Value> = odd.iter().flat_map(|a| odd.iter().map(move |b| asked(a, b))).collect();
    let file: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let mut lines = 0;
    for_each_row(file.as_bytes(), &Reading::default(), |_, row| {
        row?;
        lines += 1;
        Ok(())
    })
    .unwrap();
    let checked = check(&rows, &rows);
    assert_eq!(checked.rows.len(), 2 * lines);
    assert!(!checked.report.to_html().is_empty());
    assert!(check(&[], &[]).report.findings.is_empty());

    // Megabytes that invite looking at them again and again.
    let started = std::time::Instant::now();
    for pattern in [
        "sk-",
        "-----BEGIN PRIVATE KEY-----",
        "a@b.",
        "bullshit ",
        "4539 5787 ",
        "(",
        "```\n",
        "&amp;",
        "GB82 ",
        "a, ",
        "As an AI ",
        "\n",
        "é",
        "的",
    ] {
        let text = pattern.repeat((1 << 20) / pattern.len());
        check(
            &[],
            &[
                asked(&text, &text),
                asked("Translate this into French.", &text),
                asked(&text, "Short."),
            ],
        );
    }
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}
