//! Safetensors checkpoints, in one file or in shards.
//!
//! Format: the `safetensors` crate, which parses and checks the header; what it asks of the file around it is checked here,
//! as it wants the whole file for that. Headers are written here, because the crate's keeps metadata in a hash map, whose
//! order (and with it the file's bytes) differs from run to run.

use super::tensors::checked_elements;
use super::{Dtype, FileStart, TensorEntry, Tensors};
use crate::{Error, Result};
use safetensors::tensor::Metadata;
use safetensors::{Dtype as FileDtype, SafeTensorError};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// File names, sorted; none has a folder in it.
    pub shards: Vec<String>,
    /// Tensor name → place in `shards`.
    pub weight_map: BTreeMap<String, usize>,
}

impl Index {
    /// Reads the file's text.
    ///
    /// # Errors
    /// [`Error::Weights`] naming what is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| Error::weights("model.safetensors.index.json", why);
        let root: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let map = root
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| bad("no weight_map".to_owned()))?;
        let mut names = BTreeMap::new();
        for (tensor, file) in map {
            match file.as_str() {
                Some(file) if !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', ':']) => {
                    names.insert(tensor.clone(), file.to_owned());
                }
                _ => return Err(bad(format!("{tensor}: {file} is not a plain file name"))),
            }
        }
        let mut shards: Vec<String> = names.values().cloned().collect();
        shards.sort_unstable();
        shards.dedup();
        let place = |file: &String| shards.binary_search(file).unwrap_or_default();
        let weight_map = names
            .iter()
            .map(|(tensor, file)| (tensor.clone(), place(file)))
            .collect();
        Ok(Self { shards, weight_map })
    }
}

/// Bytes in front of a header: its length.
const PREFIX: usize = size_of::<u64>();

/// The longest header, in bytes: the `safetensors` crate's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// What errors about a header call it, where no index names the file.
const HEADER: &str = "safetensors header";

/// Bytes that a file's header takes with the length in front of it, told by the file's first eight bytes.
///
/// # Errors
/// [`Error::Weights`] where the header would be longer than the file, or than any real one; [`Error::TooLarge`] for a file whose bytes
/// this machine cannot number, as 4 GiB in a browser: the `safetensors` crate's offsets are of type `usize`.
pub fn header_bytes(start: FileStart) -> Result<u64> {
    if usize::try_from(start.file_bytes).is_err() {
        return Err(Error::TooLarge {
            what: "a safetensors file".to_owned(),
            need: start.file_bytes,
            have: usize::MAX as u64,
            hint: "take the model in smaller shards, or a smaller model".to_owned(),
        });
    }
    header_end(start).map_err(|e| Error::weights(HEADER, e.to_string()))
}

fn header_end(start: FileStart) -> std::result::Result<u64, SafeTensorError> {
    let prefix = start
        .bytes
        .first_chunk::<PREFIX>()
        .ok_or(SafeTensorError::HeaderTooSmall)?;
    let length = u64::from_le_bytes(*prefix);
    if length > LONGEST_HEADER {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    let end = PREFIX as u64 + length;
    if end > start.file_bytes {
        return Err(SafeTensorError::InvalidHeaderLength);
    }
    Ok(end)
}

/// Where a file's data begins, and what its header says: as `SafeTensors::read_metadata`, of a file's start.
fn read_header(start: FileStart) -> std::result::Result<(u64, Metadata), SafeTensorError> {
    let end = header_end(start)?;
    // A caller that gives less than the header has a file that ends there, as far as it can be read.
    let header = usize::try_from(end).ok().and_then(|end| start.bytes.get(PREFIX..end));
    let header = std::str::from_utf8(header.ok_or(SafeTensorError::InvalidHeaderLength)?);
    let header = header.map_err(SafeTensorError::InvalidHeader)?;
    let metadata: Metadata = serde_json::from_str(header).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    if end.checked_add(metadata.data_len() as u64) != Some(start.file_bytes) {
        return Err(SafeTensorError::MetadataIncompleteBuffer);
    }
    Ok((end, metadata))
}

/// The tensors of a checkpoint. `files` are one file, or all shards in the order of `index.shards`: whole, or of each at least
/// the [header](header_bytes).
///
/// Names that lack their `model.` prefix, as checkpoints of the bare base model do, get it.
///
/// # Errors
/// [`Error::Weights`] for a truncated or inconsistent header, a tensor that is stored twice, or one that is not in the
/// shard the index names.
pub fn tensors<'a, F>(files: &[F], index: Option<&Index>) -> Result<Tensors>
where
    F: Copy + Into<FileStart<'a>>,
{
    let mut all = Tensors::default();
    let mut seen = HashSet::new();
    for (file, start) in files.iter().enumerate() {
        let shard = || match index.and_then(|index| index.shards.get(file)) {
            Some(name) => name,
            None => HEADER,
        };
        let start = (*start).into();
        let (start, metadata) = read_header(start).map_err(|e| match e.to_string() {
            // The crate counts a tensor's bits in `usize`: 512 MiB of them in a browser.
            why if usize::BITS < 64 && why.contains("overflow") => Error::TooLarge {
                what: format!("a tensor of {}", shard()),
                need: start.file_bytes,
                have: 1 << 29,
                hint: "take a smaller model, or tune this one on the command line".to_owned(),
            },
            why => Error::weights(shard(), why),
        })?;
        let mut infos: Vec<_> = metadata.tensors().into_iter().collect();
        infos.sort_by_key(|(name, info)| (info.data_offsets, name.clone()));
        for (stored_name, info) in infos {
            let elsewhere = |index: &Index| index.weight_map.get(&stored_name).is_some_and(|shard| *shard != file);
            if index.is_some_and(elsewhere) {
                continue; // a copy: the index names the one that counts
            }
            let name = full_name(&stored_name);
            if !seen.insert(name.clone()) {
                return Err(Error::weights(name, "stored twice"));
            }
            let (from, to) = info.data_offsets;
            match dtype(info.dtype) {
                Some(dtype) => all.entries.push(TensorEntry {
                    name,
                    dtype,
                    shape: info.shape.clone(),
                    file,
                    range: start + from as u64..start + to as u64,
                    unpermute: None,
                }),
                None => all.unsupported.push((name, info.dtype.to_string())),
            }
        }
    }
    for (name, file) in index.iter().flat_map(|index| &index.weight_map) {
        if !seen.contains(&full_name(name)) {
            let shard = index.and_then(|index| index.shards.get(*file)).map_or("", |name| name);
            return Err(Error::weights(
                name,
                format!("not in {shard}, where the index says it is"),
            ));
        }
    }
    Ok(all)
}

/// A tensor's name with the prefix that a bare base model's lacks.
fn full_name(name: &str) -> String {
    match name.split('.').next() {
        Some("layers" | "embed_tokens" | "norm") => format!("model.{name}"),
        _ => name.to_owned(),
    }
}

fn dtype(dtype: FileDtype) -> Option<Dtype> {
    match dtype {
        FileDtype::F32 => Some(Dtype::F32),
        FileDtype::F16 => Some(Dtype::F16),
        FileDtype::BF16 => Some(Dtype::Bf16),
        _ => None,
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// [`Dtype::F32`], [`Dtype::F16`] or [`Dtype::Bf16`].
    pub dtype: Dtype,
    /// Its shape, rows first.
    pub shape: Vec<usize>,
}

/// A file to be written: the header, then every tensor's bytes in `order`, with nothing between them.
///
/// The bytes may come one tensor at a time, so a model need not be in memory twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The first bytes of the file.
    pub header: Vec<u8>,
    /// Which tensor follows which: places in the list given to [`Layout::new`].
    pub order: Vec<usize>,
    /// Bytes of each tensor, by its place in that list.
    pub lengths: Vec<usize>,
}

impl Layout {
    /// Plans a file. `metadata` is one more key and value beside `format: pt`, which transformers asks for.
    ///
    /// Tensors are ordered as the `safetensors` crate does: wide types first, then by name.
    ///
    /// # Errors
    /// [`Error::Weights`] for a block type, a name used twice or a size that overflows.
    pub fn new(tensors: &[TensorSpec], metadata: Option<(&str, &str)>) -> Result<Self> {
        let rank = |dtype: Dtype| match dtype {
            Dtype::F32 => 0,
            Dtype::Bf16 => 1,
            _ => 2,
        };
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| (rank(tensors[i].dtype), &tensors[i].name));
        let mut fields = Map::from_iter([("format".to_owned(), json!("pt"))]);
        fields.extend(metadata.map(|(key, value)| (key.to_owned(), json!(value))));
        let mut root = Map::from_iter([("__metadata__".to_owned(), Value::Object(fields))]);
        let mut lengths = vec![0; tensors.len()];
        let mut offset = 0usize;
        for &i in &order {
            let TensorSpec { name, dtype, shape } = &tensors[i];
            if dtype.is_quantized() {
                return Err(Error::weights(
                    name,
                    format!("safetensors has no type {}", dtype.name()),
                ));
            }
            lengths[i] = dtype.bytes_for(checked_elements(name, shape)?)?;
            let end = offset
                .checked_add(lengths[i])
                .ok_or_else(|| Error::weights(name, "the file's size overflows"))?;
            let info = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [offset, end]});
            if root.insert(name.clone(), info).is_some() {
                return Err(Error::weights(name, "given twice"));
            }
            offset = end;
        }
        let mut text = Value::Object(root).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.append(&mut text);
        Ok(Self { header, order, lengths })
    }

    /// Where each tensor's bytes begin in the file, by its place in the list given to [`Layout::new`].
    pub fn offsets(&self) -> Vec<u64> {
        let mut offsets = vec![0; self.lengths.len()];
        let mut at = self.header.len() as u64;
        for &i in &self.order {
            offsets[i] = at;
            at += self.lengths[i] as u64;
        }
        offsets
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.header.len() as u64 + self.lengths.iter().map(|n| *n as u64).sum::<u64>()
    }
}

/// A whole file in memory: for adapters, optimizer state and small models. The same input gives the same bytes.
///
/// # Errors
/// As [`Layout::new`], and if a tensor's bytes do not fit its shape.
pub fn serialize(tensors: &[(TensorSpec, Vec<u8>)], metadata: Option<(&str, &str)>) -> Result<Vec<u8>> {
    let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let layout = Layout::new(&specs, metadata)?;
    let mut out = layout.header;
    for i in layout.order {
        let (spec, bytes) = &tensors[i];
        if bytes.len() != layout.lengths[i] {
            let why = format!(
                "{} bytes, shape {:?} needs {}",
                bytes.len(),
                spec.shape,
                layout.lengths[i]
            );
            return Err(Error::weights(&spec.name, why));
        }
        out.extend_from_slice(bytes);
    }
    Ok(out)
}
