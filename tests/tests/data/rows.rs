//! Files of rows: shapes, lines, and errors that name them.

use wgpu_sft::data::{Body, Reading, Row, Shape, for_each_row};
use wgpu_sft::{Error, Result};

fn rows(file: impl AsRef<[u8]>) -> Result<Vec<(usize, Row)>> {
    let mut rows = Vec::new();
    for_each_row(file.as_ref(), &Reading::default(), |line, row| {
        rows.push((line, row?));
        Ok(())
    })?;
    Ok(rows)
}

/// The line and the reason of a file's error.
fn refused(file: impl AsRef<[u8]>) -> (Option<usize>, String) {
    match rows(&file) {
        Err(Error::Data { line, why }) => (line, why),
        other => panic!("{}: {other:?}", String::from_utf8_lossy(file.as_ref())),
    }
}

const TEXT: &str = r#"{"prompt": "a", "completion": "b", "id": 7}"#;

#[test]
fn lines_and_arrays_hold_the_same_rows() {
    let text = Row {
        shape: Shape::PromptCompletion,
        body: Body::Text {
            prompt: "a".into(),
            completion: "b".into(),
        },
        task: None,
    };
    let two = vec![(1, text.clone()), (2, text.clone())];
    assert_eq!(rows(format!("{TEXT}\n{TEXT}")).unwrap(), two);
    assert_eq!(rows(format!("{TEXT}\r\n{TEXT}\r\n")).unwrap(), two);
    assert_eq!(
        rows(format!("\u{FEFF}{TEXT}\n\n  \n{TEXT}\n")).unwrap(),
        vec![(1, text.clone()), (4, text)]
    );
    assert_eq!(rows(format!(" \n[{TEXT},\n{TEXT}]\n")).unwrap(), two);
    assert_eq!(rows(format!("\u{FEFF}[{TEXT},{TEXT}]")).unwrap(), two);
    for empty in ["", "\n \n", "\u{FEFF}", "[]"] {
        assert_eq!(rows(empty).unwrap(), []);
    }
}

#[test]
fn broken_files_name_the_line() {
    let at = |file: String, line, why: &str| {
        let (got, reason) = refused(&file);
        assert!(got == line && reason.contains(why), "{file}: {got:?} {reason}");
    };
    at(format!("{TEXT}\n{{\"prompt\": \"a\""), Some(2), "not JSON: EOF");
    at(format!("{TEXT}\n\n{{\"prompt\": NaN}}"), Some(3), "column 12");
    at(format!("{TEXT} {TEXT}"), Some(1), "trailing");
    at(
        format!("{TEXT}\n\"text\""),
        Some(2),
        "must be a JSON object, not a string",
    );
    at(
        format!("{TEXT}\n{{\"input_ids\": [1]}}"),
        Some(2),
        "but line 1 has prompt and completion as strings",
    );
    at(
        format!("[{TEXT}, {{\"input_ids\": [1]}}]"),
        Some(2),
        "one file, one shape",
    );
    at(format!("[{TEXT}"), None, "not a JSON array");
    at(format!("[{TEXT}] 1"), None, "not a JSON array");
    at("[".repeat(100_000), None, "not a JSON array");
    at(format!("{{\"messages\": {}", "[".repeat(100_000)), Some(1), "not JSON");
    assert_eq!(refused(b"{\"prompt\": \"\xFF\", \"completion\": \"\"}").0, Some(1));
    assert_eq!(refused(r#"{"prompt": "\ud800", "completion": ""}"#).0, Some(1));
}

#[test]
fn wrong_rows_are_named_by_what_is_wrong() {
    for (row, why) in [
        ("{}", "has none of"),
        (r#"{"text": "a"}"#, "its keys are: \"text\""),
        (r#"{"messages": [], "input_ids": [1]}"#, "more than one of"),
        (r#"{"completion": "b"}"#, "no \"prompt\""),
        (r#"{"prompt": "a", "completion": null}"#, "both be strings"),
        (
            r#"{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}"#,
            "both be strings",
        ),
        (r#"{"prompt": [], "completion": []}"#, "\"prompt\" is empty"),
        (r#"{"messages": []}"#, "\"messages\" is empty"),
        (r#"{"messages": "hi"}"#, "must be a list of messages, not a string"),
        (r#"{"messages": ["hi"]}"#, "message 1: must be an object"),
        (r#"{"messages": [{"content": "a"}]}"#, "message 1: \"role\" is missing"),
        (r#"{"messages": [{"role": "", "content": "a"}]}"#, "\"role\" must be"),
        (
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}"#,
            "message 2: \"content\" is missing",
        ),
        (
            r#"{"messages": [{"role": "user", "content": 3}]}"#,
            "must be a string, not a number",
        ),
        (r#"{"messages": [{"role": "user", "content": []}]}"#, "empty list"),
        (
            r#"{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}"#,
            "of type \"image\"",
        ),
        (
            r#"{"messages": [{"role": "user", "content": ["a"]}]}"#,
            "a content part is not",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "tools": 1}"#,
            "\"tools\" must be a list",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "tools": "{}"}"#,
            "\"tools\" is a string that is not",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": []}"#,
            "must be an object",
        ),
        (r#"{"input_ids": []}"#, "\"input_ids\" is empty"),
        (r#"{"input_ids": "1 2"}"#, "must be a list of integers"),
        (r#"{"input_ids": [1, -1]}"#, "\"input_ids\"[1] cannot be -1"),
        (r#"{"input_ids": [1, 2.0]}"#, "cannot be 2.0"),
        (r#"{"input_ids": [4294967296]}"#, "cannot be 4294967296"),
        (r#"{"input_ids": [4294967295]}"#, "past 2^31"),
        (r#"{"input_ids": [99999999999999999999]}"#, "\"input_ids\"[0]"),
        (
            r#"{"input_ids": [1, 2], "labels": [1]}"#,
            "\"labels\" has 1 entries, \"input_ids\" has 2",
        ),
        (
            r#"{"input_ids": [1, 2], "labels": [1, null]}"#,
            "\"labels\"[1] cannot be null",
        ),
        (
            r#"{"input_ids": [1, 2], "attention_mask": [1]}"#,
            "\"attention_mask\" has 1",
        ),
        (
            r#"{"input_ids": [1, 2], "attention_mask": [1, 2]}"#,
            "\"attention_mask\"[1]",
        ),
        (
            r#"{"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}"#,
            "between ones",
        ),
        (r#"{"input_ids": [1, 2], "attention_mask": [0, 0]}"#, "is empty"),
    ] {
        let (line, reason) = refused(row);
        assert!(line == Some(1) && reason.contains(why), "{row}: {line:?} {reason}");
    }
}

#[test]
fn tokens_lose_their_padding_and_nothing_else() {
    let tokens = |row: &str| match rows(row).unwrap().remove(0).1.body {
        Body::Tokens { ids, labels } => (ids, labels),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        tokens(r#"{"input_ids": [5, 6], "labels": null}"#),
        (vec![5, 6], vec![5, 6])
    );
    assert_eq!(
        tokens(r#"{"input_ids": [5, 6], "labels": [-100, 6]}"#),
        (vec![5, 6], vec![-100, 6])
    );
    let padded =
        r#"{"input_ids": [0, 0, 5, 6, 0], "attention_mask": [0, 0, 1, 1, 0], "labels": [-100, -100, -100, 6, -100]}"#;
    assert_eq!(tokens(padded), (vec![5, 6], vec![-100, 6]));
    // Padding is known by the mask, never by the id.
    assert_eq!(tokens(r#"{"input_ids": [0, 5, 0]}"#).0, [0, 5, 0]);
}

#[test]
fn messages_keep_what_templates_may_read() {
    let row = r#"{"messages": [{"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"z": 1, "a": 2}}}]}],
        "tools": "[{\"name\": \"f\"}]", "chat_template_kwargs": {"enable_thinking": false}}"#;
    let Body::Chat(chat) = rows(row.replace('\n', " ")).unwrap().remove(0).1.body else {
        panic!()
    };
    assert_eq!(chat.messages[0].content.as_deref(), Some("ab"));
    assert_eq!(chat.messages[0].extra["name"], "Ann");
    assert_eq!(chat.messages[1].content, None);
    let arguments = &chat.messages[1].extra["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments.to_string(), r#"{"z":1,"a":2}"#);
    assert_eq!(chat.tools.unwrap()[0]["name"], "f");
    assert_eq!(chat.template_kwargs["enable_thinking"], false);
    assert_eq!(chat.first_target, 0);
}

#[test]
fn an_error_of_the_caller_gets_the_line() {
    for file in [format!("{TEXT}\n{TEXT}"), format!("[{TEXT}, {TEXT}]")] {
        let mut seen = 0;
        let error = for_each_row(file.as_bytes(), &Reading::default(), |line, _| {
            seen += 1;
            if line == 2 { Err(Error::data("no")) } else { Ok(()) }
        });
        assert_eq!(
            error,
            Err(Error::Data {
                line: Some(2),
                why: "no".into()
            })
        );
        assert_eq!(seen, 2);
    }
}
