//! Files to examples: targets, lengths, what is refused and what is counted.

use std::collections::BTreeMap;

use super::tokenizer::{bpe, expected, sentencepiece};
use wgpu_sft::data::{
    AlpacaStyle, Body, ChatTemplate, Dataset, Example, IGNORE, Overlong, Preparation, Report, Shape, TokenizerConfig,
};
use wgpu_sft::{Error, Result};

/// Prepare rows of `input_ids` for a vocabulary of 10, at most 4 tokens each.
fn tokens(file: &str, overlong: Overlong) -> Result<Dataset> {
    let with = Preparation {
        tokenizer: None,
        template: None,
        vocab_size: 10,
        max_length: 4,
        overlong,
        ..Preparation::default()
    };
    Dataset::prepare(file.as_bytes(), &with)
}

fn why(result: Result<Dataset>) -> (Option<usize>, String) {
    match result {
        Err(Error::Data { line, why }) => (line, why),
        other => panic!("{other:?}"),
    }
}

const LONG: &str = r#"{"input_ids": [1, 2]}
{"input_ids": [1, 2, 3, 4, 5]}

{"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, -100, -100, 5, 6]}
{"input_ids": [1, 2, 3, 4], "labels": [-100, 2, -100, -100]}
"#;

#[test]
fn rows_that_are_too_long_are_refused_dropped_or_truncated() {
    let (line, reason) = why(tokens(LONG, Overlong::Error));
    assert_eq!(line, None);
    assert!(
        reason.starts_with("2 of 4 rows have more than 4 tokens, the longest 6: lines 2, 4;"),
        "{reason}"
    );

    let dropped = tokens(LONG, Overlong::Drop).unwrap();
    assert_eq!(dropped.lines, [1, 5]);
    assert_eq!(
        dropped.report,
        Report {
            rows: 4,
            tokens: 6,
            targets: 2,
            longest: 6,
            overlong: 2,
            shapes: BTreeMap::from([(Shape::Tokens, 4)]),
            kept: 2,
            examples: 2,
            ..Report::default()
        }
    );

    let cut = tokens(LONG, Overlong::Truncate).unwrap();
    assert_eq!(cut.lines, [1, 2, 5]);
    assert_eq!(
        cut.examples[1],
        Example {
            ids: vec![1, 2, 3, 4],
            labels: vec![1, 2, 3, 4]
        }
    );
    assert_eq!(
        cut.report,
        Report {
            rows: 4,
            tokens: 10,
            targets: 5,
            longest: 6,
            overlong: 2,
            truncated_to_nothing: 1,
            shapes: BTreeMap::from([(Shape::Tokens, 4)]),
            kept: 3,
            examples: 3,
            ..Report::default()
        }
    );
}

#[test]
fn nothing_to_learn_is_an_error() {
    let at = |file: &str, overlong, line, reason: &str| {
        let (got, why) = why(tokens(file, overlong));
        assert!(got == line && why.contains(reason), "{file}: {got:?} {why}");
    };
    for overlong in [Overlong::Error, Overlong::Drop, Overlong::Truncate] {
        at("", overlong, None, "there are no rows");
        at("[]", overlong, None, "there are no rows");
        at(r#"{"input_ids": [1]}"#, overlong, Some(1), "no target");
        at(
            "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 2], \"labels\": [1, -100]}",
            overlong,
            Some(2),
            "no target",
        );
        at(
            "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 10]}",
            overlong,
            Some(2),
            "token id 10 is past",
        );
        at(
            r#"{"input_ids": [1, 2], "labels": [1, 10]}"#,
            overlong,
            Some(1),
            "label 10 is neither",
        );
        at(
            r#"{"input_ids": [1, 2], "labels": [1, -1]}"#,
            overlong,
            Some(1),
            "label -1 is neither",
        );
    }
    at(
        r#"{"input_ids": [1, 2, 3, 4, 5]}"#,
        Overlong::Drop,
        None,
        "none of the 1 rows is left",
    );
    let tiny = Preparation {
        tokenizer: None,
        template: None,
        vocab_size: 10,
        max_length: 1,
        overlong: Overlong::Drop,
        ..Preparation::default()
    };
    assert!(matches!(Dataset::prepare(b"", &tiny), Err(Error::Config { field, .. }) if field == "max_length"));
}

#[test]
fn completions_are_learnt_with_their_eos() {
    let case = &expected()["completion"];
    let file = serde_json::json!({"prompt": case["prompt"], "completion": case["completion"]}).to_string();
    for (name, tokenizer) in [("bpe", bpe()), ("sentencepiece", sentencepiece())] {
        let with = Preparation {
            tokenizer: Some(&tokenizer),
            template: None,
            vocab_size: 600,
            max_length: 64,
            overlong: Overlong::Error,
            ..Preparation::default()
        };
        let dataset = Dataset::prepare(file.as_bytes(), &with).unwrap();
        let [prompt, completion]: [Vec<u32>; 2] = serde_json::from_value(case[name].clone()).unwrap();
        let labels = prompt
            .iter()
            .map(|_| IGNORE)
            .chain(completion.iter().map(|&id| id as i32))
            .collect();
        assert_eq!(
            dataset.examples,
            [Example {
                ids: [prompt, completion].concat(),
                labels
            }],
            "{name}"
        );
        // A completion that brings its EOS gets no second one; an empty one teaches to stop at once.
        let brought = serde_json::json!({"prompt": "a", "completion": "b</s>"}).to_string();
        let plain = serde_json::json!({"prompt": "a", "completion": "b"}).to_string();
        let prepare = |file: &str| Dataset::prepare(file.as_bytes(), &with).unwrap().examples;
        assert_eq!(prepare(&brought), prepare(&plain));
        let empty = prepare(r#"{"prompt": "a", "completion": ""}"#);
        assert_eq!(empty[0].targets(), 1);
        assert_eq!(empty[0].ids.last().copied(), tokenizer.eos());
    }
}

#[test]
fn what_rows_need_and_a_model_lacks_is_named() {
    let chat = br#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let text = br#"{"prompt": "a", "completion": "b"}"#;
    let tokenizer = bpe();
    let template = ChatTemplate::new("{{ raise_exception('never') }}", tokenizer.config(), None).unwrap();
    let with = Preparation {
        tokenizer: None,
        template: None,
        vocab_size: 600,
        max_length: 64,
        overlong: Overlong::Error,
        ..Preparation::default()
    };
    let field = |result: Result<Dataset>| match result {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Dataset::prepare(text, &with)), "tokenizer.json");
    assert_eq!(field(Dataset::prepare(chat, &with)), "tokenizer.json");
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        ..with
    };
    assert_eq!(field(Dataset::prepare(chat, &with)), "chat_template");
    let error = Dataset::prepare(
        chat,
        &Preparation {
            template: Some(&template),
            ..with
        },
    )
    .unwrap_err();
    assert_eq!(
        error,
        Error::template("line 1 of the data: line 1 of the template: raised: never")
    );
    let no_eos = include_bytes!("../../fixtures/chat/tokenizer.json");
    let no_eos = wgpu_sft::data::Tokenizer::from_json(no_eos, TokenizerConfig::default()).unwrap();
    assert_eq!(
        field(Dataset::prepare(
            text,
            &Preparation {
                tokenizer: Some(&no_eos),
                ..with
            }
        )),
        "eos_token"
    );
}

/// Conversations through the tokenizer and template of a model folder; ids recorded with `transformers` (`apply_chat_template`).
#[test]
fn a_model_folder_prepares_conversations() {
    let config = include_bytes!("../../fixtures/golden/llama_tied_gqa/tokenizer_config.json");
    let config = TokenizerConfig::from_json(config).unwrap();
    let json = include_bytes!("../../fixtures/golden/llama_tied_gqa/tokenizer.json");
    let template = ChatTemplate::new(config.chat_template.as_deref().unwrap(), &config, None).unwrap();
    let tokenizer = wgpu_sft::data::Tokenizer::from_json(json, config).unwrap();
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        template: Some(&template),
        vocab_size: 320,
        max_length: 1024,
        overlong: Overlong::Error,
        ..Preparation::default()
    };
    let file = concat!(
        r#"{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, "#,
        r#"{"role": "assistant", "content": "Hello, 42!"}]}"#,
    );
    let dataset = Dataset::prepare(file.as_bytes(), &with).unwrap();
    assert_eq!(dataset.examples[0].ids, FOLDER_IDS);
    let learnt: Vec<u32> = dataset.examples[0]
        .labels
        .iter()
        .filter(|&&l| l != IGNORE)
        .map(|&l| l as u32)
        .collect();
    assert_eq!(tokenizer.decode(&learnt, false).unwrap(), "Hello, 42!<|im_end|>");
    assert_eq!(dataset.examples[0].labels.last(), Some(&IGNORE)); // the line break after the terminator
    let no_answer = r#"{"messages": [{"role": "user", "content": "Hi"}]}"#;
    assert_eq!(why(Dataset::prepare(no_answer.as_bytes(), &with)).0, Some(1));
}

const FOLDER_IDS: [u32; 47] = [
    1, 85, 91, 85, 86, 71, 79, 201, 36, 71, 223, 77, 265, 70, 16, 2, 201, 1, 87, 85, 269, 201, 42, 75, 2, 201, 1, 67,
    85, 85, 309, 86, 302, 86, 201, 42, 71, 78, 78, 81, 14, 223, 22, 20, 3, 2, 201,
];

#[test]
fn the_content_hash_knows_ids_labels_and_their_bounds() {
    let hash = |file: &str| tokens(file, Overlong::Error).unwrap().content_hash();
    let base = hash(r#"{"input_ids": [1, 2, 3]}"#);
    assert_eq!(base.len(), 64);
    assert_eq!(base, hash(r#"[{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]"#));
    assert_ne!(base, hash(r#"{"input_ids": [1, 2, 4], "labels": [1, 2, 3]}"#));
    assert_ne!(base, hash(r#"{"input_ids": [1, 2, 3], "labels": [1, 2, -100]}"#));
    let (one, two) = (
        "{\"input_ids\": [1, 2]}\n{\"input_ids\": [3, 4]}",
        r#"{"input_ids": [1, 2, 1, 2], "labels": [3, 4, 3, 4]}"#,
    );
    assert_ne!(hash(one), hash(two));
}

/// A template whose turns are easily seen.
const TURNS: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

#[test]
fn instructions_are_stanfords_text_or_messages() {
    let tokenizer = bpe();
    let template = ChatTemplate::new(TURNS, tokenizer.config(), None).unwrap();
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        template: Some(&template),
        vocab_size: 600,
        max_length: 1024,
        ..Preparation::default()
    };
    let stanford = Preparation {
        alpaca_style: Some(AlpacaStyle::Alpaca),
        ..with
    };
    let texts = |with: &Preparation, row: &str| {
        let example = &Dataset::prepare(row.as_bytes(), with).unwrap().examples[0];
        let learnt: Vec<u32> = example
            .labels
            .iter()
            .filter(|&&l| l != IGNORE)
            .map(|&l| l as u32)
            .collect();
        let decode = |ids: &[u32]| tokenizer.decode(ids, false).unwrap();
        (decode(&example.ids), decode(&learnt))
    };
    let alpaca = r#"{"instruction": "Add.", "input": "1 2", "output": "3"}"#;
    let dolly = r#"{"instruction": "Add.", "context": "1 2", "response": "3", "category": "math"}"#;
    let asked = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response \
                 that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:";
    for row in [alpaca, dolly] {
        assert_eq!(texts(&stanford, row), (format!("{asked}3</s>"), "3</s>".to_owned()));
        assert_eq!(
            texts(&with, row),
            ("[user]Add.\n1 2</s>\n[assistant]3</s>\n".to_owned(), "3</s>".to_owned())
        );
    }
    let alone = r#"{"instruction": "Go.", "input": "", "output": "Gone."}"#;
    let asked = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
                 ### Instruction:\nGo.\n\n### Response:";
    assert_eq!(texts(&stanford, alone).0, format!("{asked}Gone.</s>"));
    // A model without a template has Stanford's text.
    assert_eq!(
        texts(&Preparation { template: None, ..with }, alone).0,
        format!("{asked}Gone.</s>")
    );
    // LLaMA-Factory's history is learnt too.
    let history = r#"{"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}"#;
    assert_eq!(
        texts(&with, history),
        (
            "[system]s</s>\n[user]a</s>\n[assistant]b</s>\n[user]c</s>\n[assistant]d</s>\n".to_owned(),
            "b</s>d</s>".to_owned()
        )
    );
    assert!(
        why(Dataset::prepare(history.as_bytes(), &stanford))
            .1
            .contains("alpaca-chat")
    );
}

#[test]
fn text_and_segments_are_learnt_as_they_say() {
    for tokenizer in [bpe(), sentencepiece()] {
        let with = Preparation {
            tokenizer: Some(&tokenizer),
            vocab_size: 600,
            max_length: 64,
            ..Preparation::default()
        };
        let eos = tokenizer.eos().unwrap();
        let example = with.example(&Body::Plain("the rat".into())).unwrap();
        let framed = [tokenizer.encode("the rat", true).unwrap(), vec![eos]].concat();
        assert_eq!(example.ids, framed);
        assert_eq!(example.labels, framed.iter().map(|&id| id as i32).collect::<Vec<_>>());
        assert_eq!(with.example(&Body::Plain("the rat</s>".into())).unwrap(), example);

        let row = r#"{"segments": [{"label": false, "text": "the"}, {"label": true, "text": "rat"}, {"label": false, "text": "s"}]}"#;
        let example = &Dataset::prepare(row.as_bytes(), &with).unwrap().examples[0];
        let pieces = [
            tokenizer.encode("the", true).unwrap(),
            tokenizer.encode_continuation("rat").unwrap(),
            tokenizer.encode_continuation("s").unwrap(),
        ];
        assert_eq!(example.ids, pieces.concat());
        let learnt: Vec<i32> = pieces[1].iter().map(|&id| id as i32).collect();
        let labels = [vec![IGNORE; pieces[0].len()], learnt, vec![IGNORE; pieces[2].len()]].concat();
        assert_eq!(example.labels, labels);
    }
}

/// Every token but the first is a target exactly once, however a text is cut.
#[test]
fn long_texts_are_split_and_other_rows_are_not() {
    let tokenizer = bpe();
    let text = "the rat sat on the mat and the cat sat on the rat. ".repeat(5);
    let row = serde_json::json!({"text": text}).to_string();
    let with = |max_length, overlong| Preparation {
        tokenizer: Some(&tokenizer),
        vocab_size: 600,
        max_length,
        overlong,
        ..Preparation::default()
    };
    let whole = Dataset::prepare(row.as_bytes(), &with(1024, Overlong::Error)).unwrap();
    let n = whole.examples[0].ids.len();
    for most in [2, 3, 7, n - 1, n] {
        let split = Dataset::prepare(row.as_bytes(), &with(most, Overlong::Split)).unwrap();
        let targets: Vec<u32> = split
            .examples
            .iter()
            .flat_map(|piece| piece.ids[1..].to_vec())
            .collect();
        assert_eq!(targets, whole.examples[0].ids[1..]);
        assert!(split.examples.iter().all(|piece| (2..=most).contains(&piece.ids.len())));
        assert_eq!(split.report.targets, n as u64 - 1);
        assert_eq!((split.report.kept, split.report.examples), (1, split.lines.len()));
    }
    let (_, reason) = why(Dataset::prepare(row.as_bytes(), &with(8, Overlong::Error)));
    assert!(reason.contains("truncate or split"), "{reason}");
    let (_, reason) = why(tokens(LONG, Overlong::Split));
    assert!(
        reason.starts_with("2 of 4 rows") && !reason.contains("or split"),
        "{reason}"
    );
}

#[test]
fn bad_rows_are_skipped_when_asked_and_listed() {
    let good = r#"{"input_ids": [1, 2]}"#;
    let bad = [
        "nothing",
        r#"{"input_ids": [1, 2}"#,
        r#"{"input_ids": [1, 99]}"#,
        r#"{"input_ids": [1]}"#,
        r#"{"texts": "a"}"#,
        r#"{"text": "a"}"#,
        r#"{"input_ids": "x"}"#,
    ];
    let file = format!("{good}\n{}\n{}\n{good}\n", bad.join("\n"), bad.join("\n"));
    let with = Preparation {
        vocab_size: 10,
        max_length: 4,
        skip_bad_rows: true,
        ..Preparation::default()
    };
    let dataset = Dataset::prepare(file.as_bytes(), &with).unwrap();
    assert_eq!(dataset.lines, [1, 16]);
    assert_eq!((dataset.report.rows, dataset.report.bad), (16, 14));
    let listed = &dataset.report.bad_rows;
    assert_eq!(listed.len(), 10);
    for (row, why) in listed.iter().zip([
        "line 2: not JSON: expected ident, at column 2",
        "line 3: not JSON: expected `,` or `]`, at column 20",
        "line 4: token id 99",
        "line 5: has no target",
        "line 6: has no known shape",
        "line 7: is of the shape text, but line 1 is of the shape tokens",
        "line 8: \"input_ids\" must be a list",
        "line 9: not JSON",
    ]) {
        assert!(row.starts_with(why), "{row}");
    }
    // What is wrong with the run and not with a row ends it all the same.
    let text = Dataset::prepare(br#"{"text": "a"}"#, &with);
    assert!(matches!(text, Err(Error::Config { field, .. }) if field == "tokenizer.json"));
    let (_, reason) = why(Dataset::prepare(b"{}\n{}", &with));
    assert!(
        reason.starts_with("none of the 2 rows can be used; the first: line 1:"),
        "{reason}"
    );
    // The first row that cannot be used decides nothing about the others.
    let first = format!("{{\"text\": 1}}\n{good}");
    assert_eq!(Dataset::prepare(first.as_bytes(), &with).unwrap().lines, [2]);
}

#[test]
fn examples_come_back_from_bytes() {
    let example = |ids: &[u32], labels: &[i32]| Example {
        ids: ids.to_vec(),
        labels: labels.to_vec(),
    };
    let examples = [
        example(&[1, 2, 3, 4], &[IGNORE, 2, 3, IGNORE]),
        example(&[1, 2, 3, 4, 5], &[1, IGNORE, 3, IGNORE, 5]),
        example(&[1, 2], &[IGNORE, IGNORE]),
        example(&[7, 8], &[7, 8]),
        example(&[7, 8, 9], &[IGNORE, 2, 9]),
        example(&[65_535], &[65_535]),
    ];
    for vocab_size in [65_536, 65_537] {
        for example in &examples {
            let mut bytes = Vec::new();
            example.encode(vocab_size, &mut bytes);
            let tokens = example.ids.len();
            assert_eq!(Example::decode(&bytes, tokens, vocab_size).as_ref(), Ok(example));
            for cut in 0..bytes.len() {
                // Shorter, it is refused, or has fewer labels where a run was cut off: never a panic.
                let _ = Example::decode(&bytes[..cut], tokens, vocab_size);
            }
            assert!(Example::decode(&[], tokens, vocab_size).is_err());
            assert!(Example::decode(&[9; 64], tokens, vocab_size).is_err());
        }
    }
    // Two bytes an id and nothing more to speak of.
    let mut bytes = Vec::new();
    example(&[5; 100], &[5; 100]).encode(49_152, &mut bytes);
    assert_eq!(bytes.len(), 1 + 200 + 8);
}
