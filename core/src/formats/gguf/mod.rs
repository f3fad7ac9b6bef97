//! GGUF files: weights, configuration and tokenizer in one.
//!
//! Format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian. Key names: llama.cpp.

mod model;
mod tokenizer;

use super::tensors::checked_elements;
use super::{Dtype, FileStart};
use crate::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;

/// What errors about the header itself call it.
const HEADER: &str = "GGUF header";

/// The tensor of the rotary factors.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What a file's header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    metadata: HashMap<String, Meta>,
    tensors: Vec<Info>,
    rope_factors: RopeFactors,
}

/// What [`Gguf::begin`] makes of a file's first bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// They do not hold the whole header: come back with so many, which may still be too few.
    More(u64),
    /// They do.
    Header(Gguf),
}

/// `rope_freqs.weight`: divisors of the rotary frequencies, which stand among the weights but are part of the configuration.
#[derive(Debug, Clone, PartialEq)]
enum RopeFactors {
    None,
    /// Not read yet.
    At(Range<u64>),
    Known(Vec<f32>),
}

/// Why reading a header ends before its end.
enum Stop {
    /// So many bytes of the file are needed at least.
    Needs(u64),
    Bad(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

/// What reading the header returns.
type Read<T> = std::result::Result<T, Stop>;

/// A metadata value; integers and floats of all widths are widened.
#[derive(Debug, Clone, PartialEq)]
enum Meta {
    Int(i128),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    /// An array that no key in use has: of booleans, 64-bit floats or arrays.
    OtherArray,
}

/// A tensor under its GGUF name.
#[derive(Debug, Clone, PartialEq)]
struct Info {
    name: String,
    /// Rows first: the file's order reversed.
    shape: Vec<usize>,
    /// The type, or the name or number of one that is not supported.
    dtype: std::result::Result<Dtype, String>,
    /// Bytes in the file; empty if the type is not supported.
    range: Range<u64>,
}

impl Gguf {
    /// Reads the header of `file`, which is the whole file (mapped, say: only the header is touched).
    ///
    /// # Errors
    /// [`Error::Weights`] for a file that is not GGUF, truncated or inconsistent; [`Error::Config`] for bad metadata.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let Begun::Header(mut gguf) = Self::begin(file.into())? else {
            return Err(Error::weights(HEADER, "the file ends in the middle of its header"));
        };
        if let Some(range) = gguf.missing() {
            gguf.complete(&file[range.start as usize..range.end as usize])?;
        }
        Ok(gguf)
    }

    /// Reads the header from a file's first bytes, if they hold it. Then give it what is [`missing`](Self::missing).
    ///
    /// # Errors
    /// As [`parse`](Self::parse): whatever is wrong with the file shows as soon as the bytes that say so are there.
    pub fn begin(start: FileStart) -> Result<Begun> {
        match Self::read(start) {
            Ok(gguf) => Ok(Begun::Header(gguf)),
            // Twice as many at least, so that few tries suffice.
            Err(Stop::Needs(bytes)) => {
                let twice = 2 * start.bytes.len() as u64;
                Ok(Begun::More(bytes.max(twice).min(start.file_bytes)))
            }
            Err(Stop::Bad(error)) => Err(error),
        }
    }

    fn read(start: FileStart) -> Read<Self> {
        let mut reader = Reader {
            bytes: start.bytes,
            file_bytes: start.file_bytes,
            at: 0,
        };
        if reader.take(4)? != b"GGUF" {
            return Err(Error::weights(HEADER, "not a GGUF file").into());
        }
        match reader.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return Err(Error::weights(HEADER, "big-endian files are not supported").into());
            }
            version => {
                let why = format!("version {version}; 2 and 3 are supported");
                return Err(Error::weights(HEADER, why).into());
            }
        }
        let (tensor_count, pair_count) = (reader.u64()?, reader.u64()?);
        let metadata = read_metadata(&mut reader, pair_count)?;
        let mut gguf = Self {
            metadata,
            tensors: vec![],
            rope_factors: RopeFactors::None,
        };
        if gguf.int("split.count")?.is_some_and(|n| n > 1) {
            let why = "models split over several GGUF files are not supported";
            return Err(Error::config("split.count", why).into());
        }
        let alignment = gguf.int("general.alignment")?.unwrap_or(32);
        if !(8..=1 << 20).contains(&alignment) || !alignment.is_power_of_two() {
            let why = format!("{alignment} is not a power of two from 8 on");
            return Err(Error::config("general.alignment", why).into());
        }
        gguf.tensors = read_tensors(&mut reader, tensor_count, alignment as u64)?;
        gguf.rope_factors = match gguf.tensors.iter().find(|info| info.name == ROPE_FACTORS) {
            None => RopeFactors::None,
            Some(Info {
                dtype: Ok(Dtype::F32),
                range,
                ..
            }) => RopeFactors::At(range.clone()),
            Some(info) => return Err(Error::weights(&info.name, "not stored as F32").into()),
        };
        Ok(gguf)
    }

    /// Which bytes of the file the configuration needs besides the header, if there are any, until it has [got](Self::complete)
    /// them.
    pub fn missing(&self) -> Option<Range<u64>> {
        match &self.rope_factors {
            RopeFactors::At(range) => Some(range.clone()),
            RopeFactors::None | RopeFactors::Known(_) => None,
        }
    }

    /// Takes the bytes that were [missing](Self::missing).
    ///
    /// # Errors
    /// [`Error::Weights`] where they are no whole numbers.
    pub fn complete(&mut self, bytes: &[u8]) -> Result<()> {
        let mut factors = vec![];
        Dtype::F32.decode(bytes, &mut factors)?;
        self.rope_factors = RopeFactors::Known(factors);
        Ok(())
    }

    /// The rotary factors, where the file has some.
    fn rope_factors(&self) -> Result<Option<&[f32]>> {
        match &self.rope_factors {
            RopeFactors::None => Ok(None),
            RopeFactors::At(_) => Err(Error::weights(ROPE_FACTORS, "was not read")),
            RopeFactors::Known(factors) => Ok(Some(factors)),
        }
    }

    fn wrong(key: &str, want: &str) -> Error {
        Error::config(key, format!("not {want}"))
    }

    fn int(&self, key: &str) -> Result<Option<usize>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Int(n)) => usize::try_from(*n).map(Some).map_err(|_| Self::wrong(key, "a size")),
            Some(_) => Err(Self::wrong(key, "a whole number")),
        }
    }

    fn token_id(&self, key: &str) -> Result<Option<u32>> {
        match self.int(key)? {
            // How converters spell "none".
            None | Some(0xFFFF_FFFF) => Ok(None),
            Some(id) => u32::try_from(id).map(Some).map_err(|_| Self::wrong(key, "a token id")),
        }
    }

    /// An f32 becomes the f64 with the same shortest decimal: 1e-5 stays 1e-5.
    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::F32(x)) => Ok(Some(x.to_string().parse().unwrap_or(*x as f64))),
            Some(Meta::F64(x)) => Ok(Some(*x)),
            Some(_) => Err(Self::wrong(key, "a floating-point number")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(Self::wrong(key, "true or false")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(key, "a string")),
        }
    }

    fn texts(&self, key: &str) -> Result<&[String]> {
        match self.metadata.get(key) {
            None => Err(Error::config(key, "missing")),
            Some(Meta::Texts(texts)) => Ok(texts),
            Some(_) => Err(Self::wrong(key, "a list of strings")),
        }
    }
}

/// Walks the header; every read is checked against the end of the file, and of what is there of it.
struct Reader<'a> {
    bytes: &'a [u8],
    file_bytes: u64,
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Read<&'a [u8]> {
        let end = (self.at as u64).checked_add(n).filter(|end| *end <= self.file_bytes);
        let end = end.ok_or_else(|| Error::weights(HEADER, "the file ends in the middle of its header"))?;
        let here = usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end));
        let taken = here.ok_or(Stop::Needs(end))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Read<String> {
        let length = self.u64()?;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::weights(HEADER, "a string in the header is not UTF-8").into()),
        }
    }

    /// A list whose items take at least `min_bytes` each: a count the file cannot hold is refused before allocating.
    fn list<T>(&mut self, count: u64, min_bytes: u64, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let room = (self.file_bytes - self.at as u64) / min_bytes;
        if count > room {
            return Err(Error::weights(HEADER, format!("{count} items do not fit the rest of the file")).into());
        }
        let end = self.at as u64 + count * min_bytes;
        if end > self.bytes.len() as u64 {
            return Err(Stop::Needs(end));
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// A value of metadata type `kind`.
    fn value(&mut self, kind: u32, key: &str, depth: u32) -> Read<Meta> {
        Ok(match kind {
            6 => Meta::F32(f32::from_le_bytes(self.array()?)),
            7 => Meta::Bool(self.array::<1>()? != [0]),
            8 => Meta::Text(self.text()?),
            9 => {
                let (item, count) = (self.u32()?, self.u64()?);
                match item {
                    6 => Meta::Floats(self.list(count, 4, |r| r.array().map(f32::from_le_bytes))?),
                    8 => Meta::Texts(self.list(count, 8, Self::text)?),
                    7 | 9 | 12 if depth < 4 => {
                        let min_bytes = if item == 7 { 1 } else { 8 };
                        self.list(count, min_bytes, |r| r.value(item, key, depth + 1).map(drop))?;
                        Meta::OtherArray
                    }
                    9 => return Err(Error::config(key, "arrays nested too deeply").into()),
                    _ => {
                        let narrow = |n: i128| i64::try_from(n).map_err(|_| Error::config(key, "a number over 2⁶³"));
                        let min_bytes = integer_bytes(item).ok_or_else(|| unknown_type(key, item))?;
                        Meta::Ints(self.list(count, min_bytes, |r| Ok(narrow(r.integer(item, key)?)?))?)
                    }
                }
            }
            12 => Meta::F64(f64::from_le_bytes(self.array()?)),
            _ => Meta::Int(self.integer(kind, key)?),
        })
    }

    fn integer(&mut self, kind: u32, key: &str) -> Read<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?) as i128,
            1 => i8::from_le_bytes(self.array()?) as i128,
            2 => u16::from_le_bytes(self.array()?) as i128,
            3 => i16::from_le_bytes(self.array()?) as i128,
            4 => u32::from_le_bytes(self.array()?) as i128,
            5 => i32::from_le_bytes(self.array()?) as i128,
            10 => u64::from_le_bytes(self.array()?) as i128,
            11 => i64::from_le_bytes(self.array()?) as i128,
            _ => return Err(unknown_type(key, kind).into()),
        })
    }
}

fn unknown_type(key: &str, kind: u32) -> Error {
    Error::config(key, format!("unknown metadata type {kind}"))
}

fn integer_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 => Some(1),
        2 | 3 => Some(2),
        4 | 5 => Some(4),
        10 | 11 => Some(8),
        _ => None,
    }
}

fn read_metadata(reader: &mut Reader, count: u64) -> Read<HashMap<String, Meta>> {
    let pairs = reader.list(count, 13, |r| {
        let key = r.text()?;
        let kind = r.u32()?;
        let value = r.value(kind, &key, 0)?;
        Ok((key, value))
    })?;
    let mut metadata = HashMap::with_capacity(pairs.len());
    for (key, value) in pairs {
        if metadata.contains_key(&key) {
            return Err(Error::config(key, "given twice").into());
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_tensors(reader: &mut Reader, count: u64, alignment: u64) -> Read<Vec<Info>> {
    // Name, number of dimensions, type and offset; then the dimensions.
    let mut raw = reader.list(count, 24, |r| {
        let name = r.text()?;
        let dims = r.u32()?;
        if !(1..=4).contains(&dims) {
            return Err(Error::weights(name, format!("{dims} dimensions")).into());
        }
        let sizes = r.list(dims as u64, 8, Reader::u64)?;
        Ok((name, sizes, r.u32()?, r.u64()?))
    })?;
    let start = (reader.at as u64).next_multiple_of(alignment);
    let file_bytes = reader.file_bytes;
    raw.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = raw.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::weights(&twice[0].0, "stored twice").into());
    }
    let infos: Result<Vec<Info>> = raw
        .into_iter()
        .map(|(name, sizes, kind, offset)| {
            let bad = |why: String| Error::weights(&name, why);
            let shape: std::result::Result<Vec<usize>, _> = sizes.iter().rev().map(|n| usize::try_from(*n)).collect();
            let shape = shape.map_err(|_| bad(format!("shape {sizes:?} overflows")))?;
            let dtype = dtype(kind);
            let mut range = 0..0;
            if let Ok(dtype) = dtype {
                let row = shape.last().copied().unwrap_or(1);
                if row % dtype.block_len() != 0 {
                    return Err(bad(format!(
                        "rows of {row} elements are not whole blocks of {}",
                        dtype.name()
                    )));
                }
                let length = dtype.bytes_for(checked_elements(&name, &shape)?);
                let length = length.map_err(|e| bad(e.to_string()))? as u64;
                if offset % alignment != 0 {
                    return Err(bad(format!("offset {offset} is not a multiple of {alignment}")));
                }
                let from = start.checked_add(offset);
                let to = from
                    .and_then(|from| from.checked_add(length))
                    .filter(|to| *to <= file_bytes);
                range = from.zip(to).map(|(from, to)| from..to).ok_or_else(|| {
                    bad(format!(
                        "{length} bytes at offset {offset} reach past the end of the file: is it truncated?"
                    ))
                })?;
            }
            Ok(Info {
                shape,
                dtype,
                range,
                name,
            })
        })
        .collect();
    let infos: Vec<Info> = infos?;
    apart(&infos)?;
    Ok(infos)
}

/// Refuse tensors that share bytes: a small file of them could be as large as one likes once it is read.
fn apart(infos: &[Info]) -> Result<()> {
    let mut by_place: Vec<&Info> = infos.iter().filter(|info| !info.range.is_empty()).collect();
    by_place.sort_by_key(|info| info.range.start);
    match by_place.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
        None => Ok(()),
        Some(pair) => {
            let why = format!("begins at byte {}, inside of {}", pair[1].range.start, pair[0].name);
            Err(Error::weights(&pair[1].name, why))
        }
    }
}

/// The element type that ggml numbers so, or its name.
fn dtype(kind: u32) -> std::result::Result<Dtype, String> {
    let name = match kind {
        0 => return Ok(Dtype::F32),
        1 => return Ok(Dtype::F16),
        2 => return Ok(Dtype::Q4_0),
        3 => return Ok(Dtype::Q4_1),
        6 => return Ok(Dtype::Q5_0),
        7 => return Ok(Dtype::Q5_1),
        8 => return Ok(Dtype::Q8_0),
        30 => return Ok(Dtype::Bf16),
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16..=23 | 29 => "an IQ type",
        24..=27 => "integers",
        28 => "F64",
        _ => return Err(format!("ggml type {kind}")),
    };
    Err(name.to_owned())
}
