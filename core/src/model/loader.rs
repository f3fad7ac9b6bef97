//! From a checkpoint's tensors to a model's weights, one at a time.

use super::weights::{Flat, Use, Weight, WeightSpec};
use crate::formats::Dtype;
use crate::gpu::{Gpu, Storage, Tensor};
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Blocks of a tensor that are decoded at a time, so that no tensor exists in f32 as a whole.
const PIECE: usize = 1 << 16;

/// A tensor's bytes as the checkpoint holds them.
type Stored<'a> = (Dtype, Cow<'a, [u8]>);

/// Receives a checkpoint's tensors one at a time.
pub struct Loader {
    gpu: Gpu,
    keep: Use,
    specs: Vec<WeightSpec>,
    /// Tensor name to (spec, part).
    places: HashMap<String, (usize, usize)>,
    /// What has come of a weight whose other parts are missing yet.
    waiting: HashMap<usize, Vec<Option<Stored<'static>>>>,
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
            flat,
            tensors,
        })
    }

    /// Take one tensor of the checkpoint. False: the model has no use for it.
    ///
    /// # Errors
    /// [`Error::Weights`] for a wrong shape, a wrong number of bytes, a number that is not finite, or a second copy.
    pub fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<bool> {
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
        let expected = dtype.bytes_for(rows * spec.columns as usize)?;
        if bytes.len() != expected {
            return Err(Error::weights(
                name,
                format!("{} bytes, wanted {expected}", bytes.len()),
            ));
        }
        if self.tensors[s].is_some() {
            return Err(Error::weights(name, "comes twice"));
        }
        // What is whole need not be kept for its other parts.
        if spec.parts.len() == 1 {
            self.tensors[s] = Some(self.place(s, &[(dtype, bytes.into())])?);
            return Ok(true);
        }
        let parts = self.waiting.entry(s).or_insert_with(|| vec![None; spec.parts.len()]);
        if parts[p].is_some() {
            return Err(Error::weights(name, "comes twice"));
        }
        parts[p] = Some((dtype, bytes.to_vec().into()));
        if parts.iter().all(Option::is_some) {
            let parts = self.waiting.remove(&s).expect("just filled");
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            self.tensors[s] = Some(self.place(s, &parts)?);
        }
        Ok(true)
    }

    /// Upload a weight whose parts are all here.
    fn place(&self, s: usize, parts: &[Stored]) -> Result<Tensor> {
        let spec = &self.specs[s];
        let native = |dtype| match dtype {
            Dtype::Bf16 => Storage::Bf16,
            Dtype::F16 => Storage::F16,
            _ => Storage::F32,
        };
        let storage = match self.keep {
            _ if !spec.matrix => Storage::F32,
            Use::Trained => Storage::F32,
            Use::Frozen(Some(storage)) => storage,
            // Parts in different types meet in f32, which holds all of them.
            Use::Frozen(None) => {
                let first = native(parts[0].0);
                if parts.iter().all(|(dtype, _)| native(*dtype) == first) {
                    first
                } else {
                    Storage::F32
                }
            }
        };
        let tensor = match &self.flat {
            Some(flat) => flat.at(&flat.buffers, s),
            None => self.gpu.tensor(&spec.parts[0].name, spec.numbers(), storage),
        };
        let mut at = 0;
        for (part, (dtype, bytes)) in spec.parts.iter().zip(parts) {
            let named = |e: Error| Error::weights(&part.name, e.to_string());
            let mut numbers = Vec::new();
            for (i, piece) in bytes.chunks(PIECE * dtype.block_bytes()).enumerate() {
                numbers.clear();
                dtype.decode(piece, &mut numbers)?;
                if let Some(j) = numbers.iter().position(|v| !v.is_finite()) {
                    let number = i * PIECE * dtype.block_len() + j;
                    return Err(Error::weights(&part.name, format!("number {number} is {}", numbers[j])));
                }
                let stored = match storage {
                    Storage::F32 => Cow::Borrowed(bytemuck::cast_slice(&numbers)),
                    _ if native(*dtype) == storage => Cow::Borrowed(piece),
                    Storage::Bf16 => Dtype::Bf16.encode(&numbers).map_err(named)?.into(),
                    Storage::F16 => Dtype::F16.encode(&numbers).map_err(named)?.into(),
                };
                self.gpu.write_pieces(&tensor, at, &stored)?;
                at += stored.len() as u64;
            }
        }
        Ok(tensor)
    }

    /// The weights in the order of the specs, and the flat buffers of trained ones.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the tensors that did not come.
    pub fn finish(self) -> Result<(Vec<Weight>, Option<Flat>)> {
        let missing: Vec<&str> = self
            .specs
            .iter()
            .enumerate()
            .filter(|(s, _)| self.tensors[*s].is_none())
            .flat_map(|(s, spec)| {
                let waiting = self.waiting.get(&s);
                let here = move |p: usize| waiting.is_some_and(|parts| parts[p].is_some());
                spec.parts
                    .iter()
                    .enumerate()
                    .filter(move |(p, _)| !here(*p))
                    .map(|(_, part)| part.name.as_str())
            })
            .collect();
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
