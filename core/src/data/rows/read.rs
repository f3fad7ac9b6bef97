//! Files of rows, whatever they are written in: read once, front to back, one row in memory.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Reading, Row, Shape, csv, json};
use crate::{Error, Result};

/// The most bytes that a row may have.
pub(super) const MAX_ROW: usize = 64 << 20;
/// Bytes by which a file's format is told.
const HEAD: usize = 64 << 10;

/// What rows are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// An array of objects, an object with such an array in it, or objects of several lines one after another.
    Json,
    /// Comma-separated values; the first line names the columns.
    Csv,
    /// Apache Parquet, which this library tells apart but does not read.
    Parquet,
}

impl Format {
    /// From a file's first bytes and its name.
    fn of(head: &[u8], name: &str) -> Self {
        if head.starts_with(b"PAR1") {
            return Self::Parquet;
        }
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.ends_with(".csv") {
            return Self::Csv;
        }
        let text = head.trim_ascii_start();
        match text.first() {
            Some(b'[') => Self::Json,
            Some(b'{') => {
                // One line of JSONL is an object; a line that ends early is the first of several that make one up.
                let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
                let alone = text[line.len()..].trim_ascii().is_empty();
                match serde_json::from_slice::<IgnoredAny>(line) {
                    Err(e) if e.is_eof() && name.ends_with(".json") => Self::Json,
                    // Unless the lines after it do not go on with it: then it is a damaged row.
                    Err(e) if e.is_eof() && !alone && !(name.ends_with("jsonl") && is_refused(text)) => Self::Json,
                    Ok(_) if alone => Self::Json,
                    _ => Self::Jsonl,
                }
            }
            _ if name.ends_with("jsonl") || name.ends_with("json") => Self::Jsonl,
            // A header names its columns, which JSON never begins with.
            Some(first) if first.is_ascii_alphanumeric() || b"\"_".contains(first) => match text.contains(&b',') {
                true => Self::Csv,
                false => Self::Jsonl,
            },
            _ => Self::Jsonl,
        }
    }
}

/// Whether the first object of a text is not JSON, however the text goes on.
fn is_refused(text: &[u8]) -> bool {
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    objects.next().is_some_and(|first| first.is_err_and(|e| !e.is_eof()))
}

/// Where in a file a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line that it begins on, from 1; none in Parquet.
    pub line: Option<usize>,
    /// Its number, from 1, where lines do not tell rows apart: in a JSON array and in Parquet.
    pub row: Option<usize>,
}

impl Place {
    /// A line.
    pub fn line(line: usize) -> Self {
        Self {
            line: Some(line),
            row: None,
        }
    }

    /// The line or, where there are none, the row's number.
    pub fn number(self) -> usize {
        self.line.or(self.row).unwrap_or(1)
    }

    /// An error of the row, with the row in it.
    pub fn blame(self, error: Error) -> Error {
        let row = self.row.map_or_else(String::new, |row| format!("row {row}: "));
        match error {
            Error::Template { why } => Error::template(format!("{self} of the data: {why}")),
            Error::Data { line, why } => Error::Data {
                line: line.or(self.line),
                why: row + &why,
            },
            other => other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.line, self.row) {
            (Some(line), None) => write!(f, "line {line}"),
            (Some(line), Some(row)) => write!(f, "line {line}, row {row}"),
            (None, row) => write!(f, "row {}", row.unwrap_or(1)),
        }
    }
}

/// A file of rows, opened: plain or gzip, its format told by its first bytes and, where these leave it open, its name.
pub struct Source<'a> {
    /// What its rows are written in.
    pub format: Format,
    input: Box<dyn BufRead + 'a>,
}

impl<'a> Source<'a> {
    /// Begin to read a file.
    ///
    /// # Errors
    /// [`Error::Data`] when reading fails, and for UTF-16.
    pub fn new(input: impl Read + 'a, name: &str) -> Result<Self> {
        let (mut head, mut input) = peek(input)?;
        if head.starts_with(&[0x1F, 0x8B]) {
            (head, input) = peek(MultiGzDecoder::new(input))?;
        }
        if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
            return Err(Error::data("is UTF-16: save it as UTF-8"));
        }
        const MARK: &[u8] = "\u{FEFF}".as_bytes();
        if head.starts_with(MARK) {
            input.consume(MARK.len());
            head.drain(..MARK.len());
        }
        let format = Format::of(&head, name);
        Ok(Self { format, input })
    }

    /// The file's bytes, unpacked: for a format that is read elsewhere.
    pub fn into_inner(self) -> Box<dyn BufRead + 'a> {
        self.input
    }

    /// Call `each` with every row, or what is wrong with it, and where it is. Blank lines count but are no rows.
    ///
    /// # Errors
    /// What `each` returns: it decides which rows end the reading. [`Error::Data`] when reading fails or no further row can be found:
    /// an array that ends early, a quotation mark of CSV that is never closed.
    pub fn for_each(self, reading: &Reading, mut each: impl FnMut(Place, Result<Row>) -> Result<()>) -> Result<()> {
        let mut recogniser = Recogniser::new(reading);
        let handle = |place: Place, json: Result<Value>| each(place, recogniser.row(place, json));
        match self.format {
            Format::Jsonl => jsonl(self.input, handle),
            Format::Json => json::for_each(self.input, |key| reading.makes_row(key), handle),
            Format::Csv => csv::for_each(self.input, handle),
            Format::Parquet => Err(Error::data("is Parquet, which the command-line tool reads")),
        }
    }
}

impl Source<'_> {
    /// Call `each` with every row's own text, whatever it holds, and where it is: in JSONL the line as it is, without its line break; else
    /// the row as JSON, `null` where it cannot be read. The same rows as [`for_each`](Self::for_each), in the same order.
    ///
    /// # Errors
    /// As [`for_each`](Self::for_each).
    pub fn for_each_text(self, reading: &Reading, mut each: impl FnMut(Place, &[u8]) -> Result<()>) -> Result<()> {
        let mut as_json =
            |place: Place, json: Result<Value>| each(place, json.unwrap_or_default().to_string().as_bytes());
        match self.format {
            Format::Jsonl => lines(self.input, |line, text| {
                let text = text.unwrap_or(b"null");
                each(Place::line(line), text.strip_suffix(b"\n").unwrap_or(text))
            }),
            Format::Json => json::for_each(self.input, |key| reading.makes_row(key), as_json),
            Format::Csv => csv::for_each(self.input, &mut as_json),
            Format::Parquet => Err(Error::data("is Parquet, which the command-line tool reads")),
        }
    }
}

impl Reading {
    /// Whether a key makes an object a row, by its own name or by one that columns are mapped from.
    fn makes_row(&self, key: &str) -> bool {
        Shape::ALL.iter().any(|shape| shape.keys().contains(&key)) || self.columns.maps(key)
    }
}

/// The first bytes of a file, and the file from its start.
fn peek<'a>(mut input: impl Read + 'a) -> Result<(Vec<u8>, Box<dyn BufRead + 'a>)> {
    let mut head = Vec::new();
    let taken = input.by_ref().take(HEAD as u64).read_to_end(&mut head);
    taken.map_err(reading_failed)?;
    let whole = Cursor::new(head.clone()).chain(BufReader::with_capacity(HEAD, input));
    Ok((head, Box::new(whole)))
}

/// Reading failed underneath.
pub(super) fn reading_failed(error: io::Error) -> Error {
    Error::data(format!("reading failed: {error}"))
}

/// Call `each` with every row of a file in memory; see [`Source`].
///
/// # Errors
/// As [`Source::new`] and [`Source::for_each`].
pub fn for_each_row(bytes: &[u8], reading: &Reading, each: impl FnMut(Place, Result<Row>) -> Result<()>) -> Result<()> {
    Source::new(bytes, "")?.for_each(reading, each)
}

/// Recognises the rows of one file, which must go together.
pub struct Recogniser<'a> {
    reading: &'a Reading,
    /// The first row's place and shape.
    first: Option<(Place, Shape)>,
}

impl<'a> Recogniser<'a> {
    /// For a file's rows.
    pub fn new(reading: &'a Reading) -> Self {
        Self { reading, first: None }
    }

    /// The row at a place, if it was JSON.
    ///
    /// # Errors
    /// As [`Row::from_json`], and for a row that does not go with the first one, see [`Shape::goes_with`]; with the place.
    pub fn row(&mut self, place: Place, json: Result<Value>) -> Result<Row> {
        let row = json.and_then(|json| Row::from_json(&json, self.reading));
        let row = row.and_then(|row| {
            let (first_place, first) = *self.first.get_or_insert((place, row.shape));
            if row.shape.goes_with(first) {
                return Ok(row);
            }
            Err(Error::data(format!(
                "is of the shape {}, but {first_place} is of the shape {first}: rows of one file must go together",
                row.shape
            )))
        });
        row.map_err(|e| place.blame(e))
    }
}

/// Rows of JSONL.
fn jsonl(input: impl BufRead, mut each: impl FnMut(Place, Result<Value>) -> Result<()>) -> Result<()> {
    lines(input, |number, line| {
        let json = match line {
            Some(line) => {
                let text = line.trim_ascii_start();
                json::parse(text.trim_ascii_end(), number, line.len() - text.len())
            }
            None => Err(Error::data(format!(
                "is longer than the {} MiB that a row may have",
                MAX_ROW >> 20
            ))),
        };
        each(Place::line(number), json)
    })
}

/// Lines that are not blank, with their line breaks; `None` for one that is longer than a row may be.
fn lines(mut input: impl BufRead, mut each: impl FnMut(usize, Option<&[u8]>) -> Result<()>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = input.by_ref().take(MAX_ROW as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(reading_failed)? == 0 {
            break;
        }
        if line.len() > MAX_ROW {
            // The rest of the line is not kept; the rows behind it are read.
            input.skip_until(b'\n').map_err(reading_failed)?;
            each(number, None)?;
        } else if !line.trim_ascii().is_empty() {
            each(number, Some(&line))?;
        }
    }
    Ok(())
}
