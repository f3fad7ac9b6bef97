//! LoRA adapters on a model's linear layers (Hu et al. 2021), with PEFT's meaning, initialisation and scaling.

use super::linear::{Linear, Lora, LoraModule};
use super::weights::{Flat, Part, Weight, WeightSpec};
use super::{Block, Model};
use crate::formats::peft::{AdapterConfig, LinearModule, LoraPair};
use crate::gpu::Tensor;
use crate::ops::matmul;
use crate::random::{Stream, block as draw, uniform};
use crate::{Error, Result};
use std::collections::BTreeMap;

impl Model {
    /// Put a fresh adapter on the model: `A` uniform in ±1/√in (PEFT's Kaiming-uniform with a = √5), `B` zero.
    ///
    /// # Errors
    /// [`Error::Config`] when it names no layer, or the model has an adapter.
    pub fn add_adapter(&mut self, config: &AdapterConfig, seed: u64) -> Result<()> {
        let mut pairs = BTreeMap::new();
        for (lane, module) in config.modules(&self.config)?.into_iter().enumerate() {
            let bound = 1.0 / (module.in_features as f32).sqrt();
            let n = config.r * module.in_features;
            let words = (0..n.div_ceil(4) as u64).flat_map(|i| draw(seed, Stream::Init, lane as u32, i));
            let a = words.take(n).map(|word| (2.0 * uniform(word) - 1.0) * bound).collect();
            let b = vec![0.0; module.out_features * config.r];
            pairs.insert(module.path, LoraPair { a, b });
        }
        self.load_adapter(config, &pairs)
    }

    /// Put a stored adapter on the model, which is as it was where that fails.
    ///
    /// # Errors
    /// [`Error::Config`] when the model has an adapter, [`Error::Weights`] when a module's matrices are missing, [`Error::Gpu`] when the
    /// device is out of memory.
    pub fn load_adapter(&mut self, config: &AdapterConfig, pairs: &BTreeMap<String, LoraPair>) -> Result<()> {
        if self.adapter.is_some() {
            return Err(Error::config("adapter", "the model already has one"));
        }
        let gpu = self.gpu.clone();
        let trained = self.flat.take();
        let attached = gpu.told_at_once("loading the adapter", || self.attach(config, pairs));
        if attached.is_err() {
            self.blocks
                .iter_mut()
                .flat_map(Block::linears_mut)
                .for_each(|linear| linear.lora = None);
            self.flat = trained;
            self.adapter = None;
        }
        attached
    }

    fn attach(&mut self, config: &AdapterConfig, pairs: &BTreeMap<String, LoraPair>) -> Result<()> {
        let rank = (config.r as u32).next_multiple_of(4);
        let modules = config.modules(&self.config)?;
        // Specs of every layer that has an adapted module, its As then its Bs, in the order of the forward pass.
        let mut specs = Vec::new();
        for linear in self.blocks.iter().flat_map(Block::linears) {
            let adapted: Vec<&Part> = adapted(linear, &modules).collect();
            if adapted.is_empty() {
                continue;
            }
            let part = |name: String, first, rows| Part { name, first, rows };
            let paths = adapted.iter().map(|p| path(p));
            specs.push(WeightSpec {
                parts: paths
                    .enumerate()
                    .map(|(j, path)| part(path.to_owned(), j as u32 * rank, rank))
                    .collect(),
                columns: linear.inputs(),
                matrix: true,
            });
            let mut first = 0;
            let below = |p: &&Part| {
                first += p.rows;
                part(path(p).to_owned(), first - p.rows, p.rows)
            };
            specs.push(WeightSpec {
                parts: adapted.iter().map(below).collect(),
                columns: rank,
                matrix: true,
            });
        }
        let sizes: Vec<_> = specs.iter().map(|s| (s.numbers(), true)).collect();
        let flat = Flat::new(&self.gpu, &sizes, self.gpu.max_buffer());
        let mut slots = specs.into_iter().enumerate();
        let (mut site, mut loras) = (0, Vec::new());
        for linear in self.blocks.iter().flat_map(Block::linears) {
            let firsts: Vec<u32> = adapted(linear, &modules).map(|part| part.first).collect();
            if firsts.is_empty() {
                loras.push(None);
                continue;
            }
            let mut next = || {
                let (slot, spec) = slots.next().expect("a spec for each A and B");
                Weight {
                    tensor: flat.at(&flat.buffers, slot),
                    spec,
                    slot: Some(slot),
                }
            };
            let (a, b) = (next(), next());
            let place = |(first, part): (u32, &Part)| {
                site += 1;
                LoraModule {
                    part: matmul::Part {
                        first,
                        len: part.rows,
                        start: part.first,
                    },
                    site: site - 1,
                }
            };
            let modules = firsts.into_iter().zip(&b.spec.parts).map(place).collect();
            let (scale, dropout) = (config.scale() as f32, config.lora_dropout as f32);
            loras.push(Some(Lora {
                a,
                b,
                modules,
                rank,
                scale,
                dropout,
            }));
        }
        for (linear, lora) in self.blocks.iter_mut().flat_map(Block::linears_mut).zip(loras) {
            linear.lora = lora;
        }
        let buffers = flat.buffers.clone();
        self.flat = Some(flat);
        self.adapter = Some(config.clone());
        for module in &modules {
            let missing = || Error::weights(&module.path, "the adapter has no matrices for it");
            let pair = pairs.get(&module.path).ok_or_else(missing)?;
            if pair.a.iter().chain(&pair.b).any(|v| !v.is_finite()) {
                return Err(Error::weights(
                    &module.path,
                    "the adapter holds a number that is not finite",
                ));
            }
            let name = |which| format!("base_model.model.{}.lora_{which}.weight", module.path);
            self.write_adapter_matrix(&buffers, &name("A"), &pair.a)?;
            self.write_adapter_matrix(&buffers, &name("B"), &pair.b)?;
        }
        Ok(())
    }

    /// The adapter's matrices, by module path.
    ///
    /// # Errors
    /// [`Error::Gpu`] when reading back fails.
    pub async fn adapter_tensors(&self) -> Result<BTreeMap<String, LoraPair>> {
        let mut pairs = BTreeMap::new();
        let paths = self
            .loras()
            .flat_map(|lora| &lora.a.spec.parts)
            .map(|part| part.name.clone());
        for path in paths.collect::<Vec<_>>() {
            pairs.insert(path.clone(), self.adapter_pair(&path).await?);
        }
        Ok(pairs)
    }

    /// One module's matrices.
    pub(super) async fn adapter_pair(&self, path: &str) -> Result<LoraPair> {
        let buffers = self.flat.as_ref().map_or(&[][..], |flat| &flat.buffers);
        let name = |which| format!("base_model.model.{path}.lora_{which}.weight");
        let a = self.adapter_matrix(buffers, &name("A")).await?;
        let b = self.adapter_matrix(buffers, &name("B")).await?;
        Ok(LoraPair { a, b })
    }

    fn loras(&self) -> impl Iterator<Item = &Lora> {
        self.blocks
            .iter()
            .flat_map(Block::linears)
            .filter_map(|l| l.lora.as_ref())
    }

    /// Where one of the adapter's matrices lies, by PEFT's name of it.
    fn matrix(&self, name: &str) -> Option<Matrix<'_>> {
        let rest = name.strip_prefix("base_model.model.")?;
        let (path, which) = rest.strip_suffix(".weight")?.rsplit_once('.')?;
        self.loras().find_map(|lora| {
            let j = lora.a.spec.parts.iter().position(|p| p.name == path)?;
            match which {
                "lora_A" => Some(Matrix::A(&lora.a, j)),
                "lora_B" => Some(Matrix::B(&lora.b, j)),
                _ => None,
            }
        })
    }

    /// The adapter's matrices by PEFT's names, with their shapes.
    pub(super) fn adapter_names(&self) -> Vec<(String, Vec<usize>)> {
        let r = self.adapter.as_ref().map_or(0, |a| a.r);
        let mut names = Vec::new();
        for lora in self.loras() {
            for (part, b) in lora.a.spec.parts.iter().zip(&lora.b.spec.parts) {
                let name = |which| format!("base_model.model.{}.lora_{which}.weight", part.name);
                names.push((name("A"), vec![r, lora.a.spec.columns as usize]));
                names.push((name("B"), vec![b.rows as usize, r]));
            }
        }
        names
    }

    /// One of the adapter's matrices, from buffers laid out like the adapter's.
    pub(super) async fn adapter_matrix(&self, buffers: &[Tensor], name: &str) -> Result<Vec<f32>> {
        let (Some(config), Some(flat), Some(matrix)) = (&self.adapter, &self.flat, self.matrix(name)) else {
            return Err(Error::weights(name, "is not in the adapter"));
        };
        match matrix {
            Matrix::A(a, j) => {
                let (first, _) = a.range(&a.spec.parts[j]);
                let len = config.r as u64 * u64::from(a.spec.columns);
                self.gpu.read(&flat.of(buffers, a).slice(first, len)).await
            }
            Matrix::B(b, j) => {
                let (first, len) = b.range(&b.spec.parts[j]);
                let padded = self.gpu.read(&flat.of(buffers, b).slice(first, len)).await?;
                Ok(padded
                    .chunks(b.spec.columns as usize)
                    .flat_map(|row| &row[..config.r])
                    .copied()
                    .collect())
            }
        }
    }

    /// Overwrite one of the adapter's matrices in buffers laid out like the adapter's.
    pub(super) fn write_adapter_matrix(&self, buffers: &[Tensor], name: &str, numbers: &[f32]) -> Result<()> {
        let (Some(config), Some(flat), Some(matrix)) = (&self.adapter, &self.flat, self.matrix(name)) else {
            return Err(Error::weights(name, "is not in the adapter"));
        };
        let wanted = config.r
            * match matrix {
                Matrix::A(a, _) => a.spec.columns as usize,
                Matrix::B(b, j) => b.spec.parts[j].rows as usize,
            };
        if numbers.len() != wanted {
            return Err(Error::weights(
                name,
                format!("{} numbers, wanted {wanted}", numbers.len()),
            ));
        }
        match matrix {
            Matrix::A(a, j) => {
                let start = a.range(&a.spec.parts[j]).0 * 4;
                self.gpu
                    .write_pieces(&flat.of(buffers, a), start, bytemuck::cast_slice(numbers))
            }
            Matrix::B(b, j) => {
                let (first, len) = b.range(&b.spec.parts[j]);
                let mut padded = vec![0.0; len as usize];
                for (row, source) in padded.chunks_mut(b.spec.columns as usize).zip(numbers.chunks(config.r)) {
                    row[..config.r].copy_from_slice(source);
                }
                self.gpu
                    .write_pieces(&flat.of(buffers, b), first * 4, bytemuck::cast_slice(&padded))
            }
        }
    }
}

/// One of an adapter's matrices.
#[derive(Clone, Copy)]
enum Matrix<'a> {
    /// Module `.1` of the `A`s that lie one below the other.
    A(&'a Weight, usize),
    /// Of the `B`s.
    B(&'a Weight, usize),
}

/// The path of the module whose weight this is.
fn path(part: &Part) -> &str {
    part.name.strip_suffix(".weight").unwrap_or(&part.name)
}

/// The parts of a layer that are adapted.
fn adapted<'a>(linear: &'a Linear, modules: &'a [LinearModule]) -> impl Iterator<Item = &'a Part> {
    linear
        .weight
        .spec
        .parts
        .iter()
        .filter(|part| modules.iter().any(|m| m.path == path(part)))
}
