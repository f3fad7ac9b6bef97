//! Files as the command line names them.

use std::fs::File;
use std::io::{Read, Seek, stdin};
use std::path::Path;

use anyhow::{Context, Result, bail};
use wgpu_sft::data::{Format, Place, Reading, Row, Source};

use super::parquet;
use crate::progress::Progress;

/// A file of rows and how often an epoch has each of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// Its path, or `-` for standard input.
    pub name: String,
    /// From `NAME:WEIGHT`; 1 if there is none.
    pub weight: f64,
}

impl DataFile {
    /// A name with or without a weight. What is a file's whole name has none.
    fn parse(text: &str) -> Self {
        let weighted = text
            .rsplit_once(':')
            .and_then(|(name, weight)| Some((name, weight.parse().ok()?)));
        match weighted {
            Some((name, weight)) if !name.is_empty() && !Path::new(text).exists() => Self {
                name: name.to_owned(),
                weight,
            },
            _ => Self {
                name: text.to_owned(),
                weight: 1.0,
            },
        }
    }

    /// Files by their names.
    pub fn all(names: &[String]) -> Result<Vec<Self>> {
        let files: Vec<_> = names.iter().map(|name| Self::parse(name)).collect();
        for (i, file) in files.iter().enumerate() {
            if files[..i].iter().any(|other| other.name == file.name) {
                bail!(
                    "data: {} is there twice; {}:2 has each of its rows twice an epoch",
                    file.name,
                    file.name
                );
            }
        }
        Ok(files)
    }

    /// How large it is, where that is known.
    pub fn size(&self) -> Option<u64> {
        std::fs::metadata(&self.name).ok().map(|file| file.len())
    }
}

/// Call `each` with every row of a file, or what is wrong with it, and where it is. Errors do not name the file.
pub fn for_each_row(
    name: &str,
    reading: &Reading,
    progress: &Progress,
    each: impl FnMut(Place, wgpu_sft::Result<Row>) -> wgpu_sft::Result<()>,
) -> Result<()> {
    match open(name, progress)? {
        Opened::Source(source) => Ok(source.for_each(reading, each)?),
        Opened::Parquet(file) => parquet::for_each_row(file, reading, each),
    }
}

/// Call `each` with every row's own text and where it is, see [`Source::for_each_text`]; rows of Parquet as JSON.
pub fn for_each_text(
    name: &str,
    reading: &Reading,
    progress: &Progress,
    mut each: impl FnMut(Place, &[u8]) -> wgpu_sft::Result<()>,
) -> Result<()> {
    match open(name, progress)? {
        Opened::Source(source) => Ok(source.for_each_text(reading, each)?),
        Opened::Parquet(file) => parquet::for_each_json(file, |place, json| each(place, json.to_string().as_bytes())),
    }
}

/// A file, by who reads it.
enum Opened<'a> {
    Source(Source<'a>),
    Parquet(File),
}

fn open<'a>(name: &str, progress: &'a Progress) -> Result<Opened<'a>> {
    let input: Box<dyn Read> = match name {
        "-" => Box::new(stdin().lock()),
        _ => Box::new(File::open(name)?),
    };
    let source = Source::new(Counted { input, progress }, name)?;
    if source.format != Format::Parquet {
        return Ok(Opened::Source(source));
    }
    // Parquet is read from its end: what is packed, or no file, becomes one.
    if let (Ok(mut file), false) = (File::open(name), name == "-") {
        let mut mark = [0; 4];
        if file.read_exact(&mut mark).is_ok() && mark == *b"PAR1" {
            file.rewind()?;
            return Ok(Opened::Parquet(file));
        }
    }
    let mut copy = tempfile::tempfile().context("making a temporary file")?;
    std::io::copy(&mut source.into_inner(), &mut copy)?;
    copy.rewind()?;
    Ok(Opened::Parquet(copy))
}

/// Tells how many bytes have been read.
struct Counted<'a> {
    input: Box<dyn Read>,
    progress: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(out)?;
        self.progress.advance(n as u64, None);
        Ok(n)
    }
}
