//! Rows of Parquet files: nested columns become JSON.
//!
//! The crate takes sizes and counts of a file on trust, and gets memory for them; and it goes down into a schema without an end. So the
//! headers are walked over before it reads anything.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use wgpu_sft::Result as RowResult;
use wgpu_sft::data::{Place, Reading, Recogniser, Row};

/// Call `each` with every row, or what is wrong with it, and where it is.
pub fn for_each_row(
    file: File,
    reading: &Reading,
    mut each: impl FnMut(Place, RowResult<Row>) -> RowResult<()>,
) -> Result<()> {
    let mut recogniser = Recogniser::new(reading);
    for_each_json(file, |place, json| each(place, recogniser.row(place, Ok(json))))
}

/// Call `each` with every row as JSON, and where it is.
pub fn for_each_json(file: File, mut each: impl FnMut(Place, Value) -> RowResult<()>) -> Result<()> {
    check_footer(&file).context("not a Parquet file, or a damaged one")?;
    let headers = file.try_clone()?;
    let reader = contained(|| Ok(SerializedFileReader::new(file)?)).context("not a Parquet file, or a damaged one")?;
    check_pages(&headers, reader.metadata()).context("a damaged Parquet file")?;
    let mut rows = contained(|| Ok(reader.get_row_iter(None)?)).context("reading Parquet")?;
    for number in 1.. {
        // A page that cannot be unpacked hides the rows behind it.
        let row = contained(|| rows.next().map(|row| Ok(row?.to_json_value())).transpose());
        let Some(row) = row.with_context(|| format!("row {number}: reading Parquet"))? else {
            break;
        };
        let place = Place {
            line: None,
            row: Some(number),
        };
        each(place, row)?;
    }
    Ok(())
}

/// What the crate does, where it panics over a damaged file, as an error: what it has is not used again.
fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("it holds what cannot be");
        Err(anyhow!("{why}"))
    })
}

/// A file ends with its footer, the footer's length and this.
const MARK: &[u8] = b"PAR1";
/// Columns in columns, and structures in a header.
const DEPTH: usize = 64;
/// Bytes that one byte of a page unpacks to at most, and values that it holds; and how many may come from hardly any.
const UNPACKED: u64 = 1024;
const UNPACKED_FROM_NOTHING: u64 = 16 << 20;
const VALUES_FROM_NOTHING: u64 = 1 << 22;

/// Refuse a footer whose schema is too deep.
fn check_footer(mut file: &File) -> Result<()> {
    let end = file.metadata()?.len().checked_sub(8).context("too short")?;
    let mut last = [0; 8];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut last)?;
    let (length, mark) = last.split_at(4);
    ensure!(mark == MARK, "its end is missing");
    let length = u64::from(u32::from_le_bytes(length.try_into()?));
    let start = end.checked_sub(length).context("its footer is longer than itself")?;
    // Children that are still to come, of each column that has some and is not complete.
    let (mut open, mut children): (Vec<i64>, i64) = (Vec::new(), 0);
    let mut footer = Thrift::new(file, start, length)?;
    footer.structure(&mut |path, number| {
        match (path, number) {
            ([2, 5], Some(number)) => children = number,
            // The end of a column.
            ([2], None) => {
                if let Some(left) = open.last_mut() {
                    *left -= 1;
                }
                if children > 0 {
                    open.push(children);
                }
                children = 0;
                while open.pop_if(|left| *left <= 0).is_some() {}
                ensure!(open.len() <= DEPTH, "columns lie more than {DEPTH} deep in each other");
            }
            _ => {}
        }
        Ok(())
    })
}

/// Refuse pages that claim more than can be in them.
fn check_pages(file: &File, metadata: &ParquetMetaData) -> Result<()> {
    let bytes = file.metadata()?.len();
    let mut left = 4 * VALUES_FROM_NOTHING + UNPACKED * bytes;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for column in group.columns() {
            let named = || format!("row group {}, column {}", number + 1, column.column_path());
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let place = u64::try_from(start)
                .ok()
                .zip(u64::try_from(column.compressed_size()).ok());
            let end = place.and_then(|(start, length)| Some((start, start.checked_add(length)?)));
            let Some((mut at, end)) = end.filter(|(_, end)| *end <= bytes) else {
                bail!("{}: lies outside of the file", named());
            };
            // Without lists in it a column has a value a row, and rows come one at a time.
            let lists = column.column_descr().max_rep_level() > 0;
            let room = VALUES_FROM_NOTHING + UNPACKED * (end - at);
            let mut all = 0u64;
            while at < end {
                let page = Page::read(file, at, end).with_context(|| format!("{}, the page at byte {at}", named()))?;
                at += page.bytes;
                all += page.values;
                if lists {
                    left = left.saturating_sub(page.values);
                    ensure!(all <= room && left > 0, "{}: claims {all} values or more", named());
                }
            }
        }
    }
    Ok(())
}

/// What a page's header says.
struct Page {
    /// Of the page with its header.
    bytes: u64,
    /// Values in it.
    values: u64,
}

impl Page {
    fn read(file: &File, at: u64, end: u64) -> Result<Self> {
        let [mut unpacked, mut packed, mut values, mut entries] = [0; 4];
        let mut header = Thrift::new(file, at, end - at)?;
        header.structure(&mut |path, number| {
            match (path, number) {
                ([2], Some(number)) => unpacked = number,
                ([3], Some(number)) => packed = number,
                ([5, 1] | [8, 1], Some(number)) => values = number,
                ([7, 1], Some(number)) => entries = number,
                _ => {}
            }
            Ok(())
        })?;
        let negative = |_| anyhow!("a size is negative");
        let [unpacked, packed] = [
            u64::try_from(unpacked).map_err(negative)?,
            u64::try_from(packed).map_err(negative)?,
        ];
        let [values, entries] = [
            u64::try_from(values).map_err(negative)?,
            u64::try_from(entries).map_err(negative)?,
        ];
        let bytes = header.at + packed;
        ensure!(bytes <= end - at, "{packed} bytes of it reach past the column's end");
        ensure!(
            unpacked <= UNPACKED_FROM_NOTHING + UNPACKED * packed,
            "{packed} bytes are said to be {unpacked} bytes packed"
        );
        ensure!(
            entries <= unpacked,
            "{unpacked} bytes are said to be a dictionary of {entries}"
        );
        Ok(Self { bytes, values })
    }
}

/// Thrift's compact protocol, walked over.
struct Thrift<'a> {
    input: std::io::Take<BufReader<&'a File>>,
    /// Bytes that are behind.
    at: u64,
    /// Fields that are open.
    path: Vec<i16>,
    /// Structures and lists that are open.
    depth: usize,
}

/// Called with a field's place, and its number or that a structure has ended.
type Seen<'a> = &'a mut dyn FnMut(&[i16], Option<i64>) -> Result<()>;

impl<'a> Thrift<'a> {
    fn new(mut file: &'a File, at: u64, length: u64) -> Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self {
            input: BufReader::with_capacity(1024, file).take(length),
            at: 0,
            path: Vec::new(),
            depth: 0,
        })
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte).context("a header ends early")?;
        self.at += 1;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        bail!("a header has a number without an end")
    }

    fn signed(&mut self) -> Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = std::io::copy(&mut self.input.by_ref().take(bytes), &mut std::io::sink())?;
        self.at += skipped;
        ensure!(skipped == bytes, "a header ends early");
        Ok(())
    }

    fn structure(&mut self, seen: Seen) -> Result<()> {
        let mut field = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return seen(&self.path, None);
            }
            field = match head >> 4 {
                0 => i16::try_from(self.signed()?)?,
                step => field
                    .checked_add(i16::from(step))
                    .context("a header has too many fields")?,
            };
            self.path.push(field);
            // Whether it is true is part of the field's head.
            if !matches!(head & 15, 1 | 2) {
                self.value(head & 15, seen)?;
            }
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8, seen: Seen) -> Result<()> {
        self.depth += 1;
        ensure!(self.depth <= DEPTH, "a header lies too deep in itself");
        self.value_here(kind, seen)?;
        self.depth -= 1;
        Ok(())
    }

    fn value_here(&mut self, kind: u8, seen: Seen) -> Result<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                let number = self.signed()?;
                seen(&self.path, Some(number))
            }
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.number()?,
                    count => count.into(),
                };
                (0..count).try_for_each(|_| self.value(head & 15, seen))
            }
            11 => {
                let count = self.number()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.value(kinds >> 4, seen)?;
                    self.value(kinds & 15, seen)
                })
            }
            12 => self.structure(seen),
            other => bail!("a header has a value of the type {other}"),
        }
    }
}
