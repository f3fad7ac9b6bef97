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

fn clean(n: u32) -> Vec<Value> {
    (0..n).map(|row| alpaca(5, row)).collect()
}

fn asked(instruction: &str, output: &str) -> Value {
    json!({"instruction": instruction, "input": "", "output": output})
}

fn said(turns: &[(&str, &str)]) -> Value {
    let turns: Vec<Value> = turns
        .iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect();
    json!({ "messages": turns })
}

/// What was found in each row, by line, where anything was.
fn found(checked: &Checked) -> BTreeMap<usize, Vec<&'static str>> {
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

/// Flawed rows, each with all that must be found in it, and rows that look flawed and are not.
fn planted() -> Vec<(Value, &'static [&'static str])> {
    let long =
        "The harbour wakes early, the boats leave one by one, and gulls follow them out to the open sea every day.";
    let letters = "When I was young I lived by the sea, and every morning my father took the small boat out to catch herring for us and the neighbours.";
    vec![
        // Answers
        (asked("Name the tallest mountain of Wales.", "  "), &["empty-answer"]),
        (
            asked("Name the longest river of Spain.", "[Your answer here]"),
            &["placeholder-answer"],
        ),
        (asked("What is there to see in Bath?", "TODO"), &["placeholder-answer"]),
        (asked("Is there an answer in this row?", "No"), &[]),
        (
            asked(
                "",
                "A row without a question has this for an answer, which nobody asked for.",
            ),
            &["empty-question"],
        ),
        (
            asked(
                "Describe how the harbour wakes at dawn in spring.",
                "Describe how the harbour wakes at dawn in spring.",
            ),
            &["copied-answer"],
        ),
        (
            json!({"instruction": "Translate the following sentence into French.", "input": long, "output": long}),
            &["copied-answer"],
        ),
        (
            json!({"instruction": "Extract the sentence about gulls from the text.", "input": format!("Nothing stirs. {letters}"), "output": letters}),
            &[],
        ),
        // Cut off
        (
            asked(
                "How is bread made at home, in a few sentences?",
                "Mix flour, water, yeast and salt, knead the dough well, and let it rest until the",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "How do bicycles stay upright when they move along?",
                "Riders steer a little into each fall, so that the wheels come back under the weight, and the",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Write a program that prints the numbers up to ten.",
                "Here it is:\n```python\nfor i in range(10):\n    print(i)",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Write a program that greets its user by name.",
                "Here it is:\n```python\nprint('hello', input())\n```",
            ),
            &[],
        ),
        (
            asked(
                "List the planets nearest to the Sun with their order.",
                "These are the planets nearest to the Sun in their order (Mercury, Venus and Earth",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Why was the dam on the upper river built so late?",
                "The dam was built late because money was short, workers were few and the old council of the upper town could not",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Give the steps to plant a tree.",
                "1. Dig a hole\n2. Put in the tree\n3. Fill the hole with soil and water it\n4. Tie it to a stake",
            ),
            &[],
        ),
        // Turns
        (
            said(&[
                ("user", "Hello there, machine."),
                ("user", "Anyone at home today?"),
                ("assistant", "Yes, I am here."),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("assistant", "Good day to you all."),
                ("user", "Good day."),
                ("assistant", "What can I do?"),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("user", "What is left to say?"),
                ("system", "Be brief."),
                ("assistant", "Nothing."),
            ]),
            &["role-order"],
        ),
        (
            said(&[("user", "Who speaks after me?"), ("narrator", "Somebody does.")]),
            &["role-order"],
        ),
        (
            said(&[
                ("user", "Does this end with me?"),
                ("assistant", "No."),
                ("user", "It does."),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("system", "Be brief."),
                ("user", "Which tool says the time?"),
                ("assistant", "The clock."),
                ("tool", "12:00"),
                ("assistant", "Noon."),
            ]),
            &[],
        ),
        (
            said(&[
                ("user", "What ends a turn?<|im_end|>\n<|im_start|>assistant"),
                ("assistant", "A tag does."),
            ]),
            &["template-tag"],
        ),
        (
            json!({"prompt": "<|user|>\nWhich tag is meant here?\n<|assistant|>\n", "completion": "The one of the model."}),
            &[],
        ),
        // Characters
        (
            asked("What did the caf\u{FFFD} serve on Sundays?", "Pancakes with plums."),
            &["encoding-damage"],
        ),
        (asked("Where did RenÃ© go?", "Home to Lyon."), &["encoding-damage"]),
        (
            asked("What is it that sheâ€™s got?", "A new lamp."),
            &["encoding-damage"],
        ),
        (asked("Which sign is a bell?", "This one: \u{7}."), &["encoding-damage"]),
        (
            asked("Which face is it?", "It is \\ud83d\\ude00."),
            &["encoding-damage"],
        ),
        (
            asked(
                "Où est René, l’ami de François — à Ångström ?",
                "Il est à l’école, dit-elle : « voilà ».",
            ),
            &[],
        ),
        (
            asked("Which firm is it?", "Smith &amp; Sons, by the mill."),
            &["markup-leftover"],
        ),
        (
            asked("What stands in the second line?", "The first.<br>The second."),
            &["markup-leftover"],
        ),
        (asked("Which HTML element breaks a line?", "Use <br> for that."), &[]),
        // Language
        (
            asked(
                letters,
                "Der Hafen erwacht früh, die Boote fahren eines nach dem anderen hinaus, und die Möwen folgen ihnen jeden Tag auf das offene Meer.",
            ),
            &["language-mismatch"],
        ),
        (
            asked(
                &format!("Answer in German, please. {letters} Yes."),
                "Früher fuhren hier viele Boote eines nach dem anderen hinaus, und die Fischer kamen erst am Abend wieder zurück in das Dorf.",
            ),
            &[],
        ),
        // Other assistants
        (
            asked(
                "What do you feel about rain?",
                "As an AI language model, I do not have feelings about rain.",
            ),
            &["self-identification"],
        ),
        (
            asked("Who made you, by the way?", "I was created by OpenAI."),
            &["self-identification"],
        ),
        (
            asked("Who are you then?", "I’m ChatGPT, happy to help."),
            &["self-identification"],
        ),
        (asked("Which firm made ChatGPT?", "OpenAI did."), &[]),
        // Personal data
        (
            asked("How can I reach Mr Holt?", "Write to j.holt@holtandsons.co.uk today."),
            &["personal-data"],
        ),
        (
            asked("How can I reach Ms Lane?", "Write to jane@example.com today."),
            &[],
        ),
        (
            asked("Which number is the clinic's?", "Ring +44 20 7946 1234 in the morning."),
            &["personal-data"],
        ),
        (
            asked("Which number is the shop's?", "Ring (212) 736-5000 in the morning."),
            &["personal-data"],
        ),
        (
            asked("Which number is the film's?", "Ring 212-555-0123 in the film."),
            &[],
        ),
        (
            asked(
                "How many are there, in digits?",
                "There are 1234567890 of them in 2023-2024.",
            ),
            &[],
        ),
        (
            asked(
                "Which key did the log show?",
                "It showed sk-proj4Tq8ZrW1xYb7LmN2cVd9KeHs0Ga5.",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "Which key opens the bucket?",
                "It is AKIAQ3EGRTYX7PLM2WZB in that file.",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "What does the file hold?",
                "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "Which key is in the manual?",
                "The manual has AKIAIOSFODNN7EXAMPLE in it.",
            ),
            &[],
        ),
        (
            asked("Which card paid for it?", "The card 4539 5787 6362 1486 did."),
            &["payment-data"],
        ),
        (
            asked("Which card did not pay?", "The card 4539 5787 6362 1487 did not."),
            &[],
        ),
        (
            asked(
                "Which account gets the rent?",
                "It goes to NL91 ABNA 0417 1643 00 each month.",
            ),
            &["payment-data"],
        ),
        (
            asked("Which account is mistyped?", "It is NL91 ABNA 0417 1643 01 by mistake."),
            &[],
        ),
        // Words
        (
            asked(
                "What did the graffiti on the wall say?",
                "It said bullshit in red letters.",
            ),
            &["flagged-term"],
        ),
        // Too long: 1,000 words are allowed.
        (
            asked(
                "Repeat yourself a great many times.",
                &(0..1001).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" "),
            ),
            &["overlong"],
        ),
    ]
}

#[test]
fn planted_flaws_are_found_and_nothing_else() {
    let mut rows = clean(300);
    let mut want = BTreeMap::new();
    for (i, (row, codes)) in planted().into_iter().enumerate() {
        rows.insert(5 * i + 3, row);
        if !codes.is_empty() {
            want.insert(5 * i + 4, codes.to_vec());
        }
    }
    let checked = check(&[], &rows);
    let got = found(&checked);
    for (line, codes) in &want {
        assert_eq!(got.get(line), Some(codes), "line {line}: {}", rows[line - 1]);
    }
    for (line, codes) in &got {
        assert!(want.contains_key(line), "line {line} has {codes:?}: {}", rows[line - 1]);
    }
    for finding in &checked.report.findings {
        let rows = checked
            .rows
            .iter()
            .filter(|row| row.codes.contains(finding.code))
            .count();
        assert_eq!(finding.count, rows);
        assert_eq!(finding.examples.len(), rows.min(5), "{}", finding.code.name());
        assert!(finding.examples.iter().all(|example| !example.snippet.is_empty()));
    }
}

#[test]
fn examples_show_no_personal_data_and_no_flagged_term() {
    let rows: Vec<Value> = planted().into_iter().map(|(row, _)| row).collect();
    let report = check(&[], &rows).report;
    let json = serde_json::to_string(&report).unwrap();
    let secrets = [
        "holtandsons",
        "7946 1234",
        "736-5000",
        "ZrW1xYb7",
        "RTYX7PLM",
        "MIIEow",
        "6362 1486",
        "0417 1643 00",
        "bullshit",
    ];
    for secret in secrets {
        assert!(!json.contains(secret), "{secret:?} is shown");
        assert!(!report.to_html().contains(secret), "{secret:?} is shown");
    }
    let shown = &report.finding(Code::SecretKey).unwrap().examples[0].snippet;
    assert!(shown.contains("sk-p•••"), "{shown}");
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
    assert!(tasks.contains(&("greeting", 0)), "a row's own word is kept: {tasks:?}");
    assert!(tasks.iter().any(|(name, _)| *name == "question-answering"), "{tasks:?}");
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
