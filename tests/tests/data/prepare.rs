//! Files to examples: targets, lengths, what is refused and what is counted.

use super::tokenizer::{bpe, expected, sentencepiece};
use wgpu_sft::data::{ChatTemplate, Dataset, Example, IGNORE, Overlong, Preparation, Report, TokenizerConfig, TrainOn};
use wgpu_sft::{Error, Result};

/// Prepare rows of `input_ids` for a vocabulary of 10, at most 4 tokens each.
fn tokens(file: &str, overlong: Overlong) -> Result<Dataset> {
    let with = Preparation {
        tokenizer: None,
        template: None,
        vocab_size: 10,
        max_length: 4,
        overlong,
        train_on: TrainOn::Assistant,
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
            truncated_to_nothing: 0
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
            truncated_to_nothing: 1
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
        train_on: TrainOn::Assistant,
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
            train_on: TrainOn::Assistant,
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
        train_on: TrainOn::Assistant,
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
        train_on: TrainOn::Assistant,
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
