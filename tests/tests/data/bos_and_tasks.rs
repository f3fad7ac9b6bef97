//! Rows that begin with two BOS, and rows whose task is guessed.

use wgpu_sft::Error;
use wgpu_sft::data::quality::{Checker, Code, Look};
use wgpu_sft::data::{ChatTemplate, Dataset, Preparation, Reading, Row};

use super::tokenizer::bpe;

#[test]
fn two_bos_are_refused_and_called_so() {
    let tokenizer = bpe();
    let source = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}</s>{% endfor %}";
    let template = ChatTemplate::new(source, tokenizer.config(), None).unwrap();
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        template: Some(&template),
        vocab_size: tokenizer.vocab_size(),
        max_length: 100,
        ..Preparation::default()
    };
    let look = Look {
        preparation: Some(with),
        ..Look::default()
    };
    let rows = [
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
        r#"{"instruction": "a", "output": "b"}"#,
        r#"{"prompt": "<s><s>a", "completion": "b"}"#,
        r#"{"text": "<s><s>a"}"#,
        r#"{"segments": [{"label": false, "text": "<s><s>a"}, {"label": true, "text": "b"}]}"#,
    ];
    let (mut checker, reading) = (Checker::new(look.options.clone()), Reading::default());
    let source = checker.source("rows", false).unwrap();
    for (line, row) in (1..).zip(rows) {
        let (at, why_not) = match Dataset::prepare(row.as_bytes(), &with) {
            Err(Error::Data { line, why }) => (line, why),
            other => panic!("{other:?}"),
        };
        assert!(at == Some(1) && why_not.contains("two BOS"), "{row}: {why_not}");
        let row = Row::from_json(&serde_json::from_str(row).unwrap(), &reading);
        checker.take(source, line, look.at(row)).unwrap();
    }
    for (verdict, row) in checker.finish().rows.iter().zip(rows) {
        let found: Vec<Code> = verdict.codes.iter().collect();
        assert!(found.contains(&Code::DoubleBos), "{row}: {found:?}");
        assert!(!found.contains(&Code::Unpreparable), "{row}: {found:?}");
    }
    // A text that brings its one BOS has one; ids are taken as they are.
    let one = "{\"prompt\": \"<s>a\", \"completion\": \"b\"}\n";
    assert!(Dataset::prepare(one.as_bytes(), &with).is_ok());
    let bos = tokenizer.bos().unwrap();
    let ids = format!("{{\"input_ids\": [{bos}, {bos}, 5]}}");
    assert!(Dataset::prepare(ids.as_bytes(), &with).is_ok());
}

#[test]
fn tasks_are_guessed_where_they_are_asked_for() {
    let tokenizer = bpe();
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        vocab_size: tokenizer.vocab_size(),
        max_length: 400,
        ..Preparation::default()
    };
    let rows = r#"{"instruction": "Summarize the following paragraph.", "input": "Rain fell all day.", "output": "It rained."}
{"instruction": "Translate into German: Good morning.", "output": "Guten Morgen.", "task": "closed_qa"}
{"instruction": "What is the capital of Peru?", "output": "Lima.", "task": " "}
"#;
    let tasks = |guess_tasks| {
        let with = Preparation { guess_tasks, ..with };
        Dataset::prepare(rows.as_bytes(), &with).unwrap().tasks
    };
    let named = |names: [Option<&str>; 3]| names.map(|name| name.map(str::to_owned)).to_vec();
    assert_eq!(tasks(false)[..2], named([None, Some("closed_qa"), None])[..2]);
    let guessed = [Some("summarising"), Some("closed_qa"), Some("question-answering")];
    assert_eq!(tasks(true), named(guessed));
}
