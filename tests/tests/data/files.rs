//! Files of rows: JSONL, JSON, CSV, plain or gzip, and errors that name line and column.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use wgpu_sft::data::{Body, Format, Reading, Row, Shape, Source};
use wgpu_sft::{Error, Result};

use super::rows::{refused, rows};

const TEXT: &str = r#"{"prompt": "a", "completion": "b", "id": 7}"#;

fn text(prompt: &str, completion: &str) -> Row {
    Row {
        shape: Shape::PromptCompletion,
        body: Body::Text {
            prompt: prompt.into(),
            completion: completion.into(),
        },
        task: None,
    }
}

/// Where rows are and what they are, or what is wrong with them.
type Rows = Vec<(String, Result<Row>)>;

/// Rows by where they are, of a file with a name.
fn read(bytes: impl Read, name: &str) -> Result<(Format, Rows)> {
    let source = Source::new(bytes, name)?;
    let (format, mut all) = (source.format, Vec::new());
    source.for_each(&Reading::default(), |place, row| {
        all.push((place.to_string(), row));
        Ok(())
    })?;
    Ok((format, all))
}

/// A reader that gives a byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(1);
        self.0.read(&mut out[..n])
    }
}

#[test]
fn lines_and_arrays_hold_the_same_rows() {
    let row = text("a", "b");
    let two = vec![(1, row.clone()), (2, row.clone())];
    assert_eq!(rows(format!("{TEXT}\n{TEXT}")).unwrap(), two);
    assert_eq!(rows(format!("{TEXT}\r\n{TEXT}\r\n")).unwrap(), two);
    assert_eq!(
        rows(format!("\u{FEFF}{TEXT}\n\n  \n{TEXT}\n")).unwrap(),
        vec![(1, row.clone()), (4, row.clone())]
    );
    assert_eq!(
        rows(format!(" \n[{TEXT},\n{TEXT}]\n")).unwrap(),
        vec![(2, row.clone()), (3, row.clone())]
    );
    assert_eq!(
        rows(format!("\u{FEFF}[{TEXT},{TEXT}]")).unwrap(),
        vec![(1, row.clone()), (1, row.clone())]
    );
    for empty in ["", "\n \n", "\u{FEFF}", "[]", " [ \n ] "] {
        assert_eq!(rows(empty).unwrap(), []);
    }
    // An object whose one list of objects holds the rows, whatever else is in it.
    for object in [
        format!("{{\"version\": [1], \"data\": [{TEXT}, {TEXT}], \"of\": {{\"n\": [{{}}]}}}}"),
        format!("{{\n \"data\" : [\n{TEXT}\n, {TEXT}]}}\n"),
    ] {
        let found = rows(&object).unwrap();
        assert_eq!(
            found.iter().map(|(_, row)| row).collect::<Vec<_>>(),
            [&row, &row],
            "{object}"
        );
    }
    // Objects over several lines, and one row alone with a list that is its own.
    let spread = TEXT.replace(", ", ",\n");
    assert_eq!(
        rows(format!("{spread}\n\n{spread}")).unwrap(),
        vec![(1, row.clone()), (5, row.clone())]
    );
    let messages = r#"{"messages": [{"role": "user", "content": "a"}], "meta": [{"a": 1}]}"#;
    for file in [
        messages.to_owned(),
        messages.replace(", ", ",\n"),
        format!("{messages}\n{messages}"),
    ] {
        assert!(rows(&file).unwrap().iter().all(|(_, row)| row.shape == Shape::Messages));
    }
}

#[test]
fn broken_files_name_line_and_column() {
    let at = |file: String, line, why: &str| {
        let (got, reason) = refused(&file);
        assert!(got == Some(line) && reason.contains(why), "{file}: {got:?} {reason}");
    };
    at(
        format!("{TEXT}\n{{\"prompt\": \"a\""),
        2,
        "not JSON: EOF while parsing an object, at column 14",
    );
    at(format!("{TEXT}\n\n{{\"prompt\": NaN}}"), 3, "at column 12");
    at(format!("{TEXT}\n\n  {{\"prompt\": NaN}}"), 3, "at column 14");
    at(format!("{TEXT} {TEXT}"), 1, "trailing characters, at column 45");
    at(format!("{TEXT}\n\"text\""), 2, "must be a JSON object, not a string");
    at(
        format!("{TEXT}\n{{\"input_ids\": [1]}}"),
        2,
        "is of the shape tokens, but line 1 is of the shape prompt-completion",
    );
    at(
        format!("[{TEXT}, {{\"input_ids\": [1]}}]"),
        1,
        "row 2: is of the shape tokens, but line 1, row 1 is",
    );
    at(
        format!("[{TEXT}"),
        1,
        "a comma or the end of the list of rows is missing, at column 45",
    );
    at(format!("[{TEXT}\n{TEXT}]"), 2, "a comma or the end of the list");
    at(
        format!("[{TEXT}] 1"),
        1,
        "something follows the list of rows, at column 47",
    );
    at(format!("[{TEXT},\n ]"), 2, "a value is missing, at column 2");
    at(
        format!("[{TEXT},\n {{\"prompt\": [1}} ]"),
        2,
        "row 2: not JSON: expected `,` or `]`, at column 15",
    );
    at(
        format!("[{TEXT},\n {{\"prompt\": [1]"),
        2,
        "the file ends inside of what begins here, at column 2",
    );
    at(
        "[\n{\"prompt\":\n \"a\" 1}]".to_owned(),
        3,
        "row 1: not JSON: expected `,` or `}`, at column 6",
    );
    at("[{\"prompt\": \"a\" 1}]".to_owned(), 1, "at column 17");
    at(
        format!("{{\n\"data\": [{TEXT}], \"more\": [{TEXT}]}}"),
        2,
        "\"data\" and \"more\" both hold lists",
    );
    at("[".repeat(100_000), 1, "the file ends inside");
    at(format!("{{\"messages\": {}", "[".repeat(100_000)), 1, "not JSON");
    at(format!("{TEXT}\n\0\0\0\n"), 2, "not JSON: expected value, at column 1");
    let utf8 = |file: &[u8]| refused(file);
    let (line, why) = utf8(b"{\"prompt\": \"\xFF\", \"completion\": \"\"}");
    assert_eq!((line, why.as_str()), (Some(1), "not UTF-8, at column 13"));
    let (line, why) = utf8(b"[\n{\"prompt\":\n \"a\xFF\", \"completion\": \"\"}]");
    assert_eq!((line, why.as_str()), (Some(3), "row 1: not UTF-8, at column 4"));
    assert_eq!(refused(r#"{"prompt": "\ud800", "completion": ""}"#).0, Some(1));
    assert!(refused(b"\xFF\xFE{\0}\0").1.contains("UTF-16"));
    let long = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"a\"}}", " ".repeat(64 << 20));
    let (_, all) = read(long.as_bytes(), "").unwrap();
    assert!(matches!(&all[0].1, Err(Error::Data { why, .. }) if why.contains("longer than the 64 MiB")));
    assert!(all.len() == 2 && all[1].0 == "line 2" && all[1].1.is_ok());
}

#[test]
fn a_bad_row_does_not_hide_those_behind_it() {
    let lines = format!("{TEXT}\n{{\"prompt\" \"a\"}}\n{TEXT}");
    let array = format!("[{TEXT},\n{{\"prompt\" \"a\"}},\n{TEXT}]");
    let csv = "prompt,completion\na,b\na\na,b\n".to_owned();
    for file in [lines, array, csv] {
        let good: Vec<bool> = read(file.as_bytes(), "")
            .unwrap()
            .1
            .iter()
            .map(|(_, row)| row.is_ok())
            .collect();
        assert_eq!(good, [true, false, true], "{file}");
    }
}

#[test]
fn cells_are_text_and_lists() {
    let file = "\u{FEFF}prompt,completion,task\r\na,\"b, \"\"c\"\"\nd\",\r\n\r\n\"\",é,code\r\n";
    let (format, all) = read(file.as_bytes(), "").unwrap();
    assert_eq!(format, Format::Csv);
    let rows: Vec<_> = all
        .iter()
        .map(|(place, row)| (place.as_str(), row.clone().unwrap()))
        .collect();
    let coded = Row {
        task: Some("code".into()),
        ..text("", "é")
    };
    assert_eq!(rows, [("line 2", text("a", "b, \"c\"\nd")), ("line 5", coded)]);
    let chat = "id,messages\n1,\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"a\"\"}]\"\n";
    assert_eq!(
        read(chat.as_bytes(), "").unwrap().1[0].1.as_ref().unwrap().shape,
        Shape::Messages
    );
    let ids = "input_ids,labels\n\"[1, 2]\",\n";
    let (_, all) = read(ids.as_bytes(), "").unwrap();
    assert_eq!(
        all[0].1.as_ref().unwrap().body,
        Body::Tokens {
            ids: vec![1, 2],
            labels: vec![1, 2]
        }
    );
    for (file, line, why) in [
        ("prompt,completion\na,b\n\"a,b\nc,d\n", Some(3), "never closed"),
        ("prompt,completion\na\n", Some(2), "has 1 cells, the header has 2"),
        ("prompt,completion\na,b\na,b,c", Some(3), "has 3 cells"),
        (
            "prompt,completion\n\"a\" b,c\n",
            Some(2),
            "something follows the closing quotation mark of cell 1",
        ),
        ("prompt,prompt\n", Some(1), "two columns are named \"prompt\""),
        ("a,b\n1,2\n", Some(2), "its keys are: \"a\", \"b\""),
    ] {
        let (got, reason) = refused(file);
        assert!(got == line && reason.contains(why), "{file}: {got:?} {reason}");
    }
    let (got, reason) = refused(b"prompt,completion\na,\xFF\n");
    assert!(got == Some(2) && reason == "cell 2 is not UTF-8", "{reason}");
}

#[test]
fn gzip_is_unpacked_and_formats_are_told_by_their_bytes() {
    let packed = |text: &str| {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    for (file, format) in [
        (format!("{TEXT}\n{TEXT}\n"), Format::Jsonl),
        (format!("[{TEXT},\n{TEXT}]"), Format::Json),
        ("prompt,completion\na,b\na,b\n".to_owned(), Format::Csv),
    ] {
        // Two members one after another are one file, as gzip has it.
        let half = file.len() / 2;
        let members = [packed(&file[..half]), packed(&file[half..])].concat();
        for bytes in [file.clone().into_bytes(), packed(&file), members] {
            for name in ["", "rows.gz", "rows"] {
                let (got, all) = read(&bytes[..], name).unwrap();
                assert_eq!((got, all.len()), (format, 2));
                assert!(all.iter().all(|(_, row)| *row == Ok(text("a", "b"))));
            }
            assert_eq!(read(Slow(&bytes), "").unwrap().1.len(), 2);
        }
        let whole = packed(&file);
        assert!(read(&whole[..whole.len() - 4], "").is_err());
    }
    // One column has no comma: its name says what it is.
    assert_eq!(
        read(&b"text\nhello\n"[..], "a.csv").unwrap().1[0]
            .1
            .as_ref()
            .unwrap()
            .shape,
        Shape::Text
    );
    assert!(read(&b"PAR1"[..], "").unwrap_err().to_string().contains("Parquet"));
    // A first line that is broken is JSONL still.
    let broken = format!("{{\"prompt\" 1}}\n{TEXT}");
    assert_eq!(read(broken.as_bytes(), "rows.json").unwrap().0, Format::Jsonl);
}

#[test]
fn a_first_line_that_was_cut_off_is_a_row_of_jsonl_that_cannot_be_read() {
    let readable = |file: &str, name: &str| {
        let (format, rows) = read(file.as_bytes(), name).unwrap();
        let rows: Vec<_> = rows.into_iter().map(|(place, row)| (place, row.is_ok())).collect();
        (format, rows)
    };
    let line = |line: usize, is_ok| (format!("line {line}"), is_ok);
    let cut = format!("{{\"prompt\":\n{TEXT}\n{TEXT}\n");
    let three = vec![line(1, false), line(2, true), line(3, true)];
    for name in ["rows.jsonl", "rows.JSONL.gz"] {
        assert_eq!(readable(&cut, name), (Format::Jsonl, three.clone()), "{name}");
    }
    for name in ["rows.jsonl", ""] {
        assert_eq!(
            readable("{\"prompt\":\n", name),
            (Format::Jsonl, vec![line(1, false)]),
            "{name}"
        );
    }
    // One that goes on is an object of several lines, whatever the name says.
    let spread = TEXT.replace(", ", ",\n");
    let two = vec![line(1, true), line(4, true)];
    assert_eq!(
        readable(&format!("{spread}\n{spread}\n"), "rows.jsonl"),
        (Format::Json, two)
    );
}

#[test]
fn the_callers_error_ends_the_reading_unchanged() {
    for file in [format!("{TEXT}\n{TEXT}\n{TEXT}"), format!("[{TEXT}, {TEXT}, {TEXT}]")] {
        let mut seen = 0;
        let error = Source::new(file.as_bytes(), "")
            .unwrap()
            .for_each(&Reading::default(), |_, _| {
                seen += 1;
                if seen == 2 { Err(Error::data("no")) } else { Ok(()) }
            });
        assert_eq!(error, Err(Error::data("no")));
        assert_eq!(seen, 2);
    }
}
