//! Rows of a JSON file: an array of them, an object one of whose lists holds them, or objects one after another on lines of their own.
//!
//! The text of each row is cut out before it is parsed, so that no more than one row is held, a bad row does not hide those behind it,
//! and each is known by the line it begins on.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::read::{MAX_ROW, Place, reading_failed};
use crate::{Error, Result};

/// Call `each` with every row and where it is. `makes_row` tells whether an object with this key is
/// a row.
pub(super) fn for_each<R: BufRead>(
    input: R,
    makes_row: impl Fn(&str) -> bool,
    mut each: impl FnMut(Place, Result<Value>) -> Result<()>,
) -> Result<()> {
    let mut text = Scanner {
        input,
        line: 1,
        column: 0,
    };
    match text.peek_value()? {
        None => Ok(()),
        Some(b'[') => {
            text.advance()?;
            text.elements(&mut each)?;
            match text.peek_value()? {
                None => Ok(()),
                Some(_) => Err(text.refuse("something follows the list of rows")),
            }
        }
        Some(b'{') => {
            while text.peek_value()?.is_some() {
                text.object(&makes_row, &mut each)?;
            }
            Ok(())
        }
        Some(_) => Err(text.refuse("neither a list nor an object begins here")),
    }
}

/// Walks over JSON text.
struct Scanner<R> {
    input: R,
    /// From 1.
    line: usize,
    /// Bytes of the line that are behind.
    column: usize,
}

impl<R: BufRead> Scanner<R> {
    fn refuse(&self, why: &str) -> Error {
        Error::Data {
            line: Some(self.line),
            why: format!("not JSON: {why}, at column {}", self.column + 1),
        }
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.input.fill_buf().map_err(reading_failed)?.first().copied())
    }

    /// The next byte that is not white space, which is not consumed.
    fn peek_value(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.advance()?;
        }
        Ok(None)
    }

    /// Consume the byte that was seen.
    fn advance(&mut self) -> Result<()> {
        match self.peek()? {
            Some(b'\n') => (self.line, self.column) = (self.line + 1, 0),
            _ => self.column += 1,
        }
        self.input.consume(1);
        Ok(())
    }

    /// The text of one value, after `text`, which holds `depth` brackets that are open.
    fn value(&mut self, mut text: Vec<u8>, mut depth: usize) -> Result<Vec<u8>> {
        let start = (self.line, self.column);
        let (mut in_string, mut escaped) = (false, false);
        loop {
            let chunk = self.input.fill_buf().map_err(reading_failed)?;
            let mut taken = 0;
            let mut done = chunk.is_empty() && depth == 0 && !in_string;
            if chunk.is_empty() && !done {
                (self.line, self.column) = start;
                return Err(self.refuse("the file ends inside of what begins here"));
            }
            for &byte in chunk {
                let ends_scalar = depth == 0 && !in_string && matches!(byte, b',' | b':' | b']' | b'}');
                if ends_scalar || (depth == 0 && !in_string && byte.is_ascii_whitespace()) {
                    done = true;
                    break;
                }
                taken += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    b'[' | b'{' if !in_string => depth += 1,
                    b']' | b'}' if !in_string => depth -= 1,
                    _ => {}
                }
                if byte == b'\n' {
                    (self.line, self.column) = (self.line + 1, 0);
                } else {
                    self.column += 1;
                }
                if depth == 0 && !in_string && matches!(byte, b'"' | b']' | b'}') {
                    done = true;
                    break;
                }
            }
            text.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
            if text.len() > MAX_ROW {
                (self.line, self.column) = start;
                return Err(self.refuse("what begins here is longer than a row can be"));
            }
            if done {
                break;
            }
        }
        match text.is_empty() {
            true => Err(self.refuse("a value is missing")),
            false => Ok(text),
        }
    }

    /// The elements of a list of rows, whose opening bracket is behind.
    fn elements(&mut self, each: &mut impl FnMut(Place, Result<Value>) -> Result<()>) -> Result<()> {
        if self.peek_value()? == Some(b']') {
            return self.advance();
        }
        let mut number = 0;
        loop {
            self.peek_value()?;
            let (line, column) = (self.line, self.column);
            number += 1;
            let text = self.value(Vec::new(), 0)?;
            let place = Place {
                line: Some(line),
                row: Some(number),
            };
            each(place, parse(&text, line, column))?;
            match self.peek_value()? {
                Some(b',') => self.advance()?,
                Some(b']') => return self.advance(),
                _ => return Err(self.refuse("a comma or the end of the list of rows is missing")),
            }
        }
    }

    /// An object: a row, or what holds the list of rows.
    fn object(
        &mut self,
        makes_row: &impl Fn(&str) -> bool,
        each: &mut impl FnMut(Place, Result<Value>) -> Result<()>,
    ) -> Result<()> {
        let start = self.line;
        if self.peek_value()? != Some(b'{') {
            return Err(self.refuse("an object is missing"));
        }
        self.advance()?;
        let mut row = Ok(Map::new());
        let mut rows: Option<String> = None; // the key of the list of rows
        let mut is_row = false;
        let mut first = true;
        loop {
            match (self.peek_value()?, first) {
                (Some(b'}'), _) => break,
                (Some(b','), false) => {
                    self.advance()?;
                    self.peek_value()?;
                }
                (_, true) => {}
                _ => return Err(self.refuse("a comma or the end of the object is missing")),
            }
            first = false;
            let (line, column) = (self.line, self.column);
            let Value::String(key) = parse(&self.value(Vec::new(), 0)?, line, column)? else {
                return Err(self.refuse("a key must be a string"));
            };
            if self.peek_value()? != Some(b':') {
                return Err(self.refuse("a colon is missing"));
            }
            self.advance()?;
            is_row |= makes_row(&key);
            let begins = self.peek_value()?;
            let (line, column) = (self.line, self.column);
            let text = if begins == Some(b'[') {
                self.advance()?;
                if self.peek_value()? == Some(b'{') && !is_row {
                    if let Some(other) = rows.replace(key.clone()) {
                        return Err(self.refuse(&format!("{other:?} and {key:?} both hold lists: which has the rows?")));
                    }
                    self.elements(each)?;
                    continue;
                }
                self.value(vec![b'['], 1)?
            } else {
                self.value(Vec::new(), 0)?
            };
            match (&mut row, parse(&text, line, column)) {
                (Ok(row), Ok(value)) => drop(row.insert(key, value)),
                (Ok(_), Err(error)) => row = Err(error),
                (Err(_), _) => {}
            }
        }
        self.advance()?;
        match rows {
            Some(_) => Ok(()),
            None => each(Place::line(start), row.map(Value::Object)),
        }
    }
}

/// Most values in a row: a value of two bytes takes 72 in memory, and rows that were packed have far fewer.
const MAX_VALUES: usize = 4 << 20;

/// Whether there are more than [`MAX_VALUES`]: commas and brackets outside of strings.
fn too_many_values(text: &[u8]) -> bool {
    if text.len() < MAX_VALUES {
        return false;
    }
    let (mut in_string, mut escaped, mut values) = (false, false, 0);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values > MAX_VALUES
}

/// Parse a value that begins on a line of the file, behind so many bytes.
pub(super) fn parse(text: &[u8], line: usize, column: usize) -> Result<Value> {
    if too_many_values(text) {
        let why = format!("holds more than the {MAX_VALUES} values that a row may have");
        return Err(Error::data(why).at_line(line));
    }
    serde_json::from_slice(text).map_err(|e| {
        let shift = |in_line: usize, at: usize| at + if in_line <= 1 { column } else { 0 };
        if let Err(utf8) = std::str::from_utf8(text) {
            let before = &text[..utf8.valid_up_to()];
            let in_line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let at = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            return Error::Data {
                line: Some(line + in_line - 1),
                why: format!("not UTF-8, at column {}", shift(in_line, at)),
            };
        }
        let why = e.to_string();
        let why = why.split(" at line ").next().unwrap_or(&why);
        Error::Data {
            line: Some(line + e.line().max(1) - 1),
            why: format!("not JSON: {why}, at column {}", shift(e.line(), e.column().max(1))),
        }
    })
}
