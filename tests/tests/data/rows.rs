//! Rows: shapes, columns, and errors that name what is wrong.

use serde_json::json;
use wgpu_sft::data::{AlpacaStyle, Body, Columns, Reading, Row, Segment, Shape, for_each_row};
use wgpu_sft::{Error, Result};

pub fn rows(file: impl AsRef<[u8]>) -> Result<Vec<(usize, Row)>> {
    let mut rows = Vec::new();
    for_each_row(file.as_ref(), &Reading::default(), |place, row| {
        rows.push((place.number(), row?));
        Ok(())
    })?;
    Ok(rows)
}

/// The line and the reason of a file's error.
pub fn refused(file: impl AsRef<[u8]>) -> (Option<usize>, String) {
    match rows(&file) {
        Err(Error::Data { line, why }) => (line, why),
        other => panic!("{}: {other:?}", String::from_utf8_lossy(file.as_ref())),
    }
}

fn row(json: serde_json::Value) -> Row {
    Row::from_json(&json, &Reading::default()).unwrap()
}

#[test]
fn wrong_rows_are_named_by_what_is_wrong() {
    for (row, why) in [
        ("{}", "is an empty object"),
        ("[[1]]", "must be a JSON object, not a list"),
        (
            r#"{"texts": "a"}"#,
            "its keys are: \"texts\"; the shapes are alpaca (instruction, output), dolly",
        ),
        (
            r#"{"id": 1, "question": "a", "answer": "b"}"#,
            "mapped by columns, such as prompt=question,completion=answer",
        ),
        (
            r#"{"messages": [], "input_ids": [1]}"#,
            "fits the shapes messages and tokens: set shape to the one",
        ),
        (
            r#"{"instruction": "a", "output": "b", "response": "c"}"#,
            "fits the shapes alpaca and dolly",
        ),
        (r#"{"completion": "b"}"#, "has no known shape"),
        (
            r#"{"instruction": "a", "output": 1}"#,
            "\"output\" must be a string, not a number",
        ),
        (
            r#"{"instruction": "a", "output": "b", "history": [["a"]]}"#,
            "\"history\", pair 1: must be",
        ),
        (r#"{"text": null}"#, "\"text\" must be a string, not null"),
        (r#"{"segments": []}"#, "\"segments\" is empty"),
        (r#"{"segments": [{"label": 1, "text": ""}]}"#, "segment 1: must be"),
        (r#"{"conversations": []}"#, "\"conversations\" is empty"),
        (
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "alien", "value": "b"}]}"#,
            "message 2: nobody is known by \"from\": \"alien\"",
        ),
        (
            r#"{"conversations": [{"from": "human"}]}"#,
            "\"from\" and \"value\" must be strings",
        ),
        (
            r#"{"conversations": [{"from": "function_call", "value": "f()"}]}"#,
            "a function call is not JSON",
        ),
        (
            r#"{"conversations": [{"from": "function_call", "value": "{}"}]}"#,
            "a function call must be",
        ),
        (r#"{"text": "a", "task": 3}"#, "\"task\" must be a string, not a number"),
        (r#"{"prompt": "a", "completion": null}"#, "both be strings"),
        (
            r#"{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}"#,
            "both be strings",
        ),
        (r#"{"prompt": [], "completion": []}"#, "\"prompt\" is empty"),
        (r#"{"messages": []}"#, "\"messages\" is empty"),
        (
            r#"{"messages": "hi"}"#,
            "must be a list, not a string that is no JSON list",
        ),
        (r#"{"messages": 1}"#, "must be a list, not a number"),
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
            "\"tools\" must be a list, not a string",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": []}"#,
            "must be an object",
        ),
        (r#"{"input_ids": []}"#, "\"input_ids\" is empty"),
        (r#"{"input_ids": "1 2"}"#, "must be a list"),
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
fn every_shape_is_known_by_its_keys() {
    let instruction = |context: &str, system: Option<&str>, history: Vec<(String, String)>| Body::Instruction {
        instruction: "i".into(),
        context: context.into(),
        response: "o".into(),
        system: system.map(str::to_owned),
        history,
    };
    let alpaca = row(json!({"instruction": "i", "input": "c", "output": "o", "text": "the row, rendered"}));
    assert_eq!(
        (alpaca.shape, &alpaca.body),
        (Shape::Alpaca, &instruction("c", None, vec![]))
    );
    let factory = json!({"instruction": "i", "output": "o", "system": "s", "history": [["a", "b"]]});
    let before = vec![("a".to_owned(), "b".to_owned())];
    assert_eq!(row(factory).body, instruction("", Some("s"), before));
    let dolly = row(json!({"instruction": "i", "context": "c", "response": "o", "category": "closed_qa"}));
    assert_eq!(
        (dolly.shape, &dolly.body),
        (Shape::Dolly, &instruction("c", None, vec![]))
    );
    assert_eq!(dolly.task.as_deref(), Some("closed_qa"));
    let both = json!({"text": "t", "category": "c", "task": "summarising"});
    assert_eq!(row(both).task.as_deref(), Some("summarising"));
    assert_eq!(row(json!({"text": "t", "task": ""})).task, None);
    let text = row(json!({"text": "t"}));
    assert_eq!((text.shape, text.body), (Shape::Text, Body::Plain("t".into())));
    let segments = row(json!({"segments": [{"label": true, "text": "t"}, {"label": false, "text": "u"}]}));
    let segment = |label, text: &str| Segment {
        label,
        text: text.into(),
    };
    assert_eq!(
        segments.body,
        Body::Segments(vec![segment(true, "t"), segment(false, "u")])
    );
    // A prompt that looks like a list is still a prompt.
    let sorting = row(json!({"prompt": "[3, 1]", "completion": "[1, 3]"}));
    assert_eq!(sorting.shape, Shape::PromptCompletion);
    let text = r#"[{"role": "user", "content": "a"}]"#;
    let lists = row(json!({"prompt": text, "completion": text.replace("user", "assistant")}));
    assert_eq!(lists.shape, Shape::PromptCompletionMessages);
    for shape in Shape::ALL {
        assert_eq!(shape.to_string().parse(), Ok(shape));
        assert_eq!(json!(shape), shape.name());
    }
    assert!("alpacas".parse::<Shape>().is_err() && "chat".parse::<AlpacaStyle>().is_err());
}

#[test]
fn conversations_become_messages() {
    let share_gpt = row(json!({
        "system": "s",
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b", "train": false},
            {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"z\": 1, \"a\": 2}}"},
            {"from": "observation", "value": "c"},
            {"role": "assistant", "content": "d"},
        ],
        "tools": "[{\"name\": \"f\"}]",
    }));
    assert_eq!(share_gpt.shape, Shape::ShareGpt);
    let Body::Chat(chat) = &share_gpt.body else { panic!() };
    let roles: Vec<_> = chat.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "assistant", "tool", "assistant"]);
    assert_eq!(chat.messages[2].extra["train"], false);
    let call = &chat.messages[3].extra["tool_calls"][0];
    assert_eq!(
        call.to_string(),
        r#"{"type":"function","function":{"name":"f","arguments":{"z":1,"a":2}}}"#
    );
    assert_eq!(chat.messages[3].content, None);
    assert_eq!(chat.tools.as_ref().unwrap()[0]["name"], "f");
    // A system message of the conversation's own is the only one.
    let own =
        json!({"system": "s", "messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "a"}]});
    let Body::Chat(chat) = row(own).body else { panic!() };
    assert_eq!(chat.messages.len(), 2);
    // The completion is what is learnt, also behind a system message that comes from the row.
    let split = json!({"system": "s", "prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]});
    let Body::Chat(chat) = row(split).body else { panic!() };
    assert_eq!((chat.messages.len(), chat.first_target), (3, 2));
    let turns = |row: &Row| -> Vec<String> {
        row.turns()
            .iter()
            .map(|turn| format!("{}: {}", turn.role, turn.text))
            .collect()
    };
    assert_eq!(turns(&share_gpt)[..3], ["system: s", "user: a", "assistant: b"]);
    assert!(turns(&share_gpt)[3].starts_with("assistant: [{\"type\":\"function\""));
    let factory = json!({"instruction": "i", "input": "c", "output": "o", "system": "s", "history": [["a", "b"]]});
    assert_eq!(
        turns(&row(factory)),
        ["system: s", "user: a", "assistant: b", "user: i\nc", "assistant: o"]
    );
    assert_eq!(
        turns(&row(json!({"prompt": "a", "completion": "b"}))),
        ["user: a", "assistant: b"]
    );
    assert_eq!(turns(&row(json!({"text": "a"}))), ["assistant: a"]);
    let segments = json!({"segments": [{"label": true, "text": "a"}, {"label": false, "text": "b"}]});
    assert_eq!(turns(&row(segments)), ["assistant: a", "user: b"]);
    assert_eq!(turns(&row(json!({"input_ids": [1]}))), Vec::<String>::new());
}

#[test]
fn columns_are_mapped() {
    let reading = |columns: &str| Reading {
        columns: columns.parse().unwrap(),
        shape: None,
    };
    let read = |columns: &str, json| Row::from_json(&json, &reading(columns));
    let body = |prompt: &str, completion: &str| Body::Text {
        prompt: prompt.into(),
        completion: completion.into(),
    };
    let row = json!({"question": "q", "answer": "a", "id": 1});
    assert_eq!(
        read("prompt=question, completion=answer", row.clone()).unwrap().body,
        body("q", "a")
    );
    // What a mapped column is called is not looked at, nor what has a mapped field's name.
    let alpaca = json!({"instruction": "q", "output": "a", "prompt": "no"});
    assert_eq!(
        read("prompt=instruction,completion=output", alpaca).unwrap().body,
        body("q", "a")
    );
    let swapped = json!({"prompt": "a", "completion": "q"});
    assert_eq!(
        read("prompt=completion,completion=prompt", swapped).unwrap().body,
        body("q", "a")
    );
    let task = json!({"text": "t", "kind": "code"});
    assert_eq!(read("task=kind", task).unwrap().task.as_deref(), Some("code"));
    let missing = read("prompt=query,completion=answer", row).unwrap_err().to_string();
    assert_eq!(
        missing,
        "has no column \"query\" to take \"prompt\" from; its keys are: \"question\", \"answer\", \"id\""
    );
    for (columns, why) in [
        (
            "question=prompt",
            "\"question\" is no field; the fields are attention_mask,",
        ),
        ("prompt=a,prompt=b", "prompt is there twice"),
        ("prompt", "\"prompt\" is not FIELD=COLUMN"),
        ("prompt=", "is not FIELD=COLUMN"),
        ("", "\"\" is not FIELD=COLUMN"),
    ] {
        match columns.parse::<Columns>() {
            Err(Error::Config { field, why: reason }) => {
                assert!(field == "columns" && reason.contains(why), "{columns}: {reason}");
            }
            other => panic!("{columns}: {other:?}"),
        }
    }
    // The shape that is meant, where keys fit several.
    let both = json!({"instruction": "q", "output": "a", "prompt": "p", "completion": "c"});
    let reading = |shape| Reading {
        shape: Some(shape),
        ..Reading::default()
    };
    let as_shape = |shape| Row::from_json(&both, &reading(shape)).map(|row| row.shape);
    assert!(Row::from_json(&both, &Reading::default()).is_err());
    assert_eq!(as_shape(Shape::Alpaca), Ok(Shape::Alpaca));
    assert_eq!(as_shape(Shape::PromptCompletion), Ok(Shape::PromptCompletion));
    assert!(
        as_shape(Shape::Text)
            .unwrap_err()
            .to_string()
            .contains("has no \"text\", which text rows have")
    );
}
