//! From a checkpoint's tensors to a model's weights, one at a time.

use super::weights::{Flat, Use, Weight, WeightSpec};
use crate::formats::Dtype;
use crate::gpu::{Gpu, Storage, Tensor};
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Blocks of a tensor that are decoded at a time, so that no tensor exists in f32 as a whole.
const PIECE: usize = 1 << 16;

/// A tensor's type, and what has come of its bytes, as the checkpoint holds them.
type Stored = (Dtype, Vec<u8>);

/// A weight of one part, on its way.
struct Growing {
    tensor: Tensor,
    dtype: Dtype,
    /// Bytes that have come.
    read: usize,
}

impl WeightSpec {
    /// Bytes of a part that comes in a type.
    fn part_bytes(&self, p: usize, dtype: Dtype) -> Result<usize> {
        dtype.bytes_for(self.parts[p].rows as usize * self.columns as usize)
    }

    /// Whether all of a part has come.
    fn is_whole(&self, p: usize, (dtype, bytes): &Stored) -> bool {
        self.part_bytes(p, *dtype) == Ok(bytes.len())
    }
}

/// Receives a checkpoint's tensors one at a time.
pub struct Loader {
    gpu: Gpu,
    keep: Use,
    specs: Vec<WeightSpec>,
    /// Tensor name to (spec, part).
    places: HashMap<String, (usize, usize)>,
    /// What has come of a weight of several parts.
    waiting: HashMap<usize, Vec<Option<Stored>>>,
    /// What has come of a weight of one part.
    growing: HashMap<usize, Growing>,
    flat: Option<Flat>,
    tensors: Vec<Option<Tensor>>,
}

impl Loader {
    /// For these weights.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a weight that no buffer of this adapter can hold.
    pub fn new(gpu: &Gpu, specs: Vec<WeightSpec>, keep: Use) -> Result<Self> {
        for spec in &specs {
            let bytes = spec.numbers()
                * if matches!(keep, Use::Frozen(Some(Storage::Bf16 | Storage::F16))) {
                    2
                } else {
                    4
                };
            if bytes > gpu.max_buffer() {
                return Err(Error::TooLarge {
                    what: spec.parts[0].name.clone(),
                    need: bytes,
                    have: gpu.max_buffer(),
                    hint: "this adapter's buffers are too small for the model; use --dtype bf16 or another device"
                        .into(),
                });
            }
        }
        let places = specs
            .iter()
            .enumerate()
            .flat_map(|(s, spec)| {
                spec.parts
                    .iter()
                    .enumerate()
                    .map(move |(p, part)| (part.name.clone(), (s, p)))
            })
            .collect();
        let flat = (keep == Use::Trained).then(|| {
            let sizes: Vec<_> = specs.iter().map(|s| (s.numbers(), s.matrix)).collect();
            Flat::new(gpu, &sizes, gpu.max_buffer())
        });
        let tensors = specs.iter().map(|_| None).collect();
        Ok(Self {
            gpu: gpu.clone(),
            keep,
            specs,
            places,
            waiting: HashMap::new(),
            growing: HashMap::new(),
            flat,
            tensors,
        })
    }

    /// Take bytes of one tensor of the checkpoint, from byte `start` of it on. False: the model has no use for it.
    ///
    /// # Errors
    /// [`Error::Weights`] for a wrong shape, a number that is not finite, a second copy, and a piece that does not follow the one
    /// before, is no even number of numbers or blocks before the last, or goes past the end.
    pub fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], start: usize, bytes: &[u8]) -> Result<bool> {
        let Some(&(s, p)) = self.places.get(name) else {
            return Ok(false);
        };
        let spec = &self.specs[s];
        let rows = spec.parts[p].rows as usize;
        let wanted = if spec.matrix {
            vec![rows, spec.columns as usize]
        } else {
            vec![rows]
        };
        if shape != wanted {
            return Err(Error::weights(name, format!("shape {shape:?}, wanted {wanted:?}")));
        }
        let expected = spec.part_bytes(p, dtype)?;
        let (end, whole) = (start.saturating_add(bytes.len()), 2 * dtype.block_bytes());
        if end > expected || (end < expected && !end.is_multiple_of(whole)) {
            let why = format!("bytes {start}..{end}, wanted all {expected} or even blocks of them");
            return Err(Error::weights(name, why));
        }
        let follows = |read: usize| match start == read {
            true => Ok(()),
            false if start == 0 => Err(Error::weights(name, "comes twice")),
            false => Err(Error::weights(name, format!("byte {start} follows byte {read}"))),
        };
        if spec.parts.len() == 1 {
            let growing = match self.growing.remove(&s) {
                Some(growing) => growing,
                None if self.tensors[s].is_some() => return Err(Error::weights(name, "comes twice")),
                None => Growing {
                    tensor: self.tensor(s, &[dtype]),
                    dtype,
                    read: 0,
                },
            };
            follows(growing.read)?;
            if growing.dtype != dtype {
                return Err(Error::weights(name, "comes in two types"));
            }
            self.upload(&growing.tensor, (s, p), dtype, start, bytes)?;
            match end == expected {
                true => self.tensors[s] = Some(growing.tensor),
                false => {
                    self.growing.insert(s, Growing { read: end, ..growing });
                }
            }
            return Ok(true);
        }
        if self.tensors[s].is_some() {
            return Err(Error::weights(name, "comes twice"));
        }
        let parts = self.waiting.entry(s).or_insert_with(|| vec![None; spec.parts.len()]);
        let (stored, here) = parts[p].get_or_insert_with(|| (dtype, Vec::with_capacity(expected)));
        follows(here.len())?;
        if *stored != dtype {
            return Err(Error::weights(name, "comes in two types"));
        }
        here.extend_from_slice(bytes);
        let mut parts = parts.iter().enumerate();
        if parts.all(|(p, part)| part.as_ref().is_some_and(|part| spec.is_whole(p, part))) {
            let parts: Vec<Stored> = self.waiting.remove(&s).into_iter().flatten().flatten().collect();
            let dtypes: Vec<Dtype> = parts.iter().map(|(dtype, _)| *dtype).collect();
            let tensor = self.tensor(s, &dtypes);
            for (p, (dtype, bytes)) in parts.iter().enumerate() {
                self.upload(&tensor, (s, p), *dtype, 0, bytes)?;
            }
            self.tensors[s] = Some(tensor);
        }
        Ok(true)
    }

    /// Where a weight goes whose parts come in these types.
    fn tensor(&self, s: usize, dtypes: &[Dtype]) -> Tensor {
        let spec = &self.specs[s];
        let storage = match self.keep {
            _ if !spec.matrix => Storage::F32,
            Use::Trained => Storage::F32,
            Use::Frozen(Some(storage)) => storage,
            // Parts in different types meet in f32, which holds all of them.
            Use::Frozen(None) => {
                let first = dtypes[0].storage();
                if dtypes.iter().all(|dtype| dtype.storage() == first) {
                    first
                } else {
                    Storage::F32
                }
            }
        };
        match &self.flat {
            Some(flat) => flat.at(&flat.buffers, s),
            None => self.gpu.tensor(&spec.parts[0].name, spec.numbers(), storage),
        }
    }

    /// Upload bytes of part `p` of a weight, from byte `start` of the part on.
    fn upload(&self, tensor: &Tensor, (s, p): (usize, usize), dtype: Dtype, start: usize, bytes: &[u8]) -> Result<()> {
        let (spec, storage) = (&self.specs[s], tensor.storage());
        let part = &spec.parts[p];
        let first = start / dtype.block_bytes() * dtype.block_len();
        let before = u64::from(part.first) * u64::from(spec.columns) + first as u64;
        let mut at = before * storage.bytes();
        let named = |e: Error| Error::weights(&part.name, e.to_string());
        let mut numbers = Vec::new();
        for (i, piece) in bytes.chunks(PIECE * dtype.block_bytes()).enumerate() {
            numbers.clear();
            dtype.decode(piece, &mut numbers)?;
            if let Some(j) = numbers.iter().position(|v| !v.is_finite()) {
                let number = first + i * PIECE * dtype.block_len() + j;
                return Err(Error::weights(&part.name, format!("number {number} is {}", numbers[j])));
            }
            let stored = match storage {
                Storage::F32 => Cow::Borrowed(bytemuck::cast_slice(&numbers)),
                _ if dtype.storage() == storage => Cow::Borrowed(piece),
                Storage::Bf16 => Dtype::Bf16.encode(&numbers).map_err(named)?.into(),
                Storage::F16 => Dtype::F16.encode(&numbers).map_err(named)?.into(),
            };
            self.gpu.write_pieces(tensor, at, &stored)?;
            at += stored.len() as u64;
        }
        Ok(())
    }

    /// The weights in the order of the specs, and the flat buffers of trained ones.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the tensors that did not come.
    pub fn finish(self) -> Result<(Vec<Weight>, Option<Flat>)> {
        let mut missing = Vec::new();
        for (s, spec) in self
            .specs
            .iter()
            .enumerate()
            .filter(|(s, _)| self.tensors[*s].is_none())
        {
            if self.growing.contains_key(&s) {
                return Err(Error::weights(&spec.parts[0].name, "did not come to its end"));
            }
            let waiting = self.waiting.get(&s);
            for (p, part) in spec.parts.iter().enumerate() {
                match waiting.and_then(|parts| parts[p].as_ref()) {
                    None => missing.push(part.name.as_str()),
                    Some(stored) if spec.is_whole(p, stored) => {}
                    Some(_) => return Err(Error::weights(&part.name, "did not come to its end")),
                }
            }
        }
        if let Some(first) = missing.first() {
            let why = match missing.len() {
                1 => "is missing".to_owned(),
                n => format!("is missing, and {} more", n - 1),
            };
            return Err(Error::weights(*first, why));
        }
        let trained = self.flat.is_some();
        let weight = |(slot, (spec, tensor)): (usize, (WeightSpec, Option<Tensor>))| Weight {
            tensor: tensor.expect("none is missing"),
            spec,
            slot: trained.then_some(slot),
        };
        Ok((
            self.specs
                .into_iter()
                .zip(self.tensors)
                .enumerate()
                .map(weight)
                .collect(),
            self.flat,
        ))
    }
}
