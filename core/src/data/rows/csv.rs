//! Rows of comma-separated values (RFC 4180): the first line names the columns, and every cell is text.

use std::collections::HashSet;
use std::io::BufRead;

use serde_json::{Map, Value};

use super::read::{MAX_ROW, Place, reading_failed};
use crate::{Error, Result};

/// Call `each` with every row and where it is.
pub(super) fn for_each(
    mut input: impl BufRead,
    mut each: impl FnMut(Place, Result<Value>) -> Result<()>,
) -> Result<()> {
    let mut header: Option<Vec<String>> = None;
    let (mut record, mut end) = (Vec::new(), 0); // the lines of a record, and the line behind them
    loop {
        record.clear();
        let begin = end + 1;
        let mut state = State::Start;
        // A cell in quotation marks may hold line breaks.
        while record.is_empty() || state == State::Quoted {
            let (from, room) = (record.len(), (MAX_ROW - record.len()) as u64 + 1);
            let read = std::io::Read::take(&mut input, room).read_until(b'\n', &mut record);
            if read.map_err(reading_failed)? == 0 {
                if record.is_empty() {
                    return Ok(());
                }
                return Err(Error::data("a quotation mark of this row is never closed").at_line(begin));
            }
            if record.len() > MAX_ROW {
                let why = format!("is longer than the {} MiB that a row may have", MAX_ROW >> 20);
                return Err(Error::data(why).at_line(begin));
            }
            state = record[from..].iter().fold(state, |state, byte| state.after(*byte));
            end += 1;
        }
        let text = record.strip_suffix(b"\n").unwrap_or(&record);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            continue;
        }
        match &header {
            None => header = Some(names(text).map_err(|e| e.at_line(begin))?),
            Some(header) => each(Place::line(begin), row(header, text))?,
        }
    }
}

/// Where in a record a byte is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Before a cell.
    Start,
    /// In a cell without quotation marks.
    Plain,
    /// Between quotation marks.
    Quoted,
    /// Behind a quotation mark that closes a cell or, if another follows, stands for itself.
    Quote,
}

impl State {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start | Self::Quote, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::Start,
            _ => Self::Plain,
        }
    }
}

/// Most columns of a file.
const MAX_COLUMNS: usize = 1 << 20;

/// The first cells of a record, no more than `most`, and how many there are.
fn cells(record: &[u8], most: usize) -> Result<(Vec<String>, usize)> {
    let (mut cells, mut cell, mut state) = (Vec::new(), Vec::new(), State::Start);
    let mut count = 1;
    let text = |cell: Vec<u8>, i: usize| {
        String::from_utf8(cell).map_err(|_| Error::data(format!("cell {} is not UTF-8", i + 1)))
    };
    for &byte in record {
        let next = state.after(byte);
        match (state, next) {
            (State::Quote, State::Plain) => {
                let why = format!("something follows the closing quotation mark of cell {count}");
                return Err(Error::data(why));
            }
            (_, State::Start) => {
                if count <= most {
                    cells.push(text(std::mem::take(&mut cell), cells.len())?);
                }
                cell.clear();
                count += 1;
            }
            (State::Start, State::Quoted) | (_, State::Quote) => {}
            _ => cell.push(byte),
        }
        state = next;
    }
    if count <= most {
        cells.push(text(cell, cells.len())?);
    }
    Ok((cells, count))
}

/// The names of the columns.
fn names(record: &[u8]) -> Result<Vec<String>> {
    let (names, count) = cells(record, MAX_COLUMNS)?;
    if count > MAX_COLUMNS {
        let why = format!("has {count} columns, {MAX_COLUMNS} at most are read");
        return Err(Error::data(why));
    }
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::data(format!("two columns are named {name:?}"))),
        None => Ok(names),
    }
}

fn row(header: &[String], record: &[u8]) -> Result<Value> {
    let (cells, count) = cells(record, header.len())?;
    if count != header.len() {
        let why = format!("has {count} cells, the header has {}", header.len());
        return Err(Error::data(why));
    }
    let cells = header.iter().cloned().zip(cells.into_iter().map(Value::from));
    Ok(Value::Object(cells.collect::<Map<_, _>>()))
}
