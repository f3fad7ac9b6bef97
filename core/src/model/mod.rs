//! Model configuration, weights, forward and backward.

mod activations;
mod adapter;
mod config;
mod fields;
mod generate;
mod head;
pub mod init;
mod linear;
mod loader;
mod pass;
mod rope;
mod upload;
mod weights;

pub(crate) use activations::{Needs, Purpose, logit_rows, plan as plan_activations};
pub(crate) use config::attention_scale;
pub use config::{Family, ModelConfig};
pub use generate::{BatchGenerator, Generator, Sampling};
pub(crate) use pass::Pass;
pub use rope::{Rope, RopeScaling};
pub use weights::Use;
pub(crate) use weights::{Flat, ModelSpec, Run, Weight};

use crate::formats::Dtype;
use crate::formats::peft::AdapterConfig;
use crate::gpu::{Closed, Gpu, Storage, Tensor};
use crate::{Error, Result};
use linear::Linear;
use loader::Loader;

/// A language model on a device.
pub struct Model {
    gpu: Gpu,
    config: ModelConfig,
    embedding: Weight,
    blocks: Vec<Block>,
    norm: Weight,
    head: Option<Weight>,
    /// What is trained: everything, or the adapter.
    flat: Option<Flat>,
    adapter: Option<AdapterConfig>,
}

/// One transformer block's weights.
struct Block {
    attention_norm: Weight,
    qkv: Linear,
    qk_norm: Option<[Weight; 2]>,
    o: Linear,
    mlp_norm: Weight,
    gate_up: Linear,
    down: Linear,
}

impl Block {
    fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.o, &self.gate_up, &self.down]
    }

    fn linears_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.qkv, &mut self.o, &mut self.gate_up, &mut self.down]
    }
}

/// Makes a [`Model`] from a checkpoint's tensors, one at a time.
pub struct ModelBuilder {
    gpu: Gpu,
    config: ModelConfig,
    loader: Loader,
    /// What the device says of each piece: its scopes end before the caller goes on.
    said: Vec<Closed>,
}

impl ModelBuilder {
    /// For a model of this configuration, its weights kept in this way.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a weight that no buffer of this adapter can hold.
    pub fn new(gpu: &Gpu, config: &ModelConfig, keep: Use) -> Result<Self> {
        let specs = ModelSpec::new(config).all().into_iter().cloned().collect();
        let scope = gpu.scope("loading the weights");
        let loader = Loader::new(gpu, specs, keep)?;
        Ok(Self {
            gpu: gpu.clone(),
            config: config.clone(),
            loader,
            said: vec![scope.close()],
        })
    }

    /// Take one tensor, by its name in a Hugging Face checkpoint. False: the model has no use for it.
    ///
    /// # Errors
    /// [`Error::Weights`] for a wrong shape, a wrong number of bytes, a number that is not finite, or a second copy.
    pub fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<bool> {
        let elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let expected = elements.ok_or_else(|| Error::weights(name, "its shape overflows"));
        let expected = expected.and_then(|elements| dtype.bytes_for(elements))?;
        if bytes.len() != expected {
            let why = format!("{} bytes, wanted {expected}", bytes.len());
            return Err(Error::weights(name, why));
        }
        self.put_piece(name, dtype, shape, 0, bytes)
    }

    /// Take a piece of a tensor, from byte `start` of it on: for a tensor that is better not in memory as a whole. Pieces come in
    /// order, each but the last an even number of numbers, or of blocks.
    ///
    /// # Errors
    /// As [`put`](Self::put), and for a piece that does not follow the one before.
    pub fn put_piece(&mut self, name: &str, dtype: Dtype, shape: &[usize], start: usize, bytes: &[u8]) -> Result<bool> {
        let scope = self.gpu.scope("loading the weights");
        let used = self.loader.put(name, dtype, shape, start, bytes)?;
        self.said.push(scope.close());
        Ok(used)
    }

    /// The model.
    ///
    /// # Errors
    /// [`Error::Weights`] naming what is missing, [`Error::Gpu`] when the device ran out of memory.
    pub async fn finish(self) -> Result<Model> {
        let (weights, flat) = self.loader.finish()?;
        let doing = "uploading the weights";
        self.gpu.told(doing, || self.gpu.queue().submit([])).await?;
        self.gpu.wait(doing, None)?;
        for said in self.said {
            said.finish().await?;
        }
        // In the order of `ModelSpec::all`.
        let mut weights = weights.into_iter();
        let mut next = || weights.next().expect("a weight for each spec");
        let embedding = next();
        let spec = ModelSpec::new(&self.config);
        let mut blocks = Vec::with_capacity(spec.blocks.len());
        for block in &spec.blocks {
            let attention_norm = next();
            let mut linear = |(spec, factor): (&weights::LinearSpec, f64)| {
                let weight = next();
                Linear {
                    weight,
                    bias: spec.bias.is_some().then(&mut next),
                    lora: None,
                    factor: factor as f32,
                }
            };
            let residual = self.config.residual_multiplier;
            let [qkv, o, gate_up, down] = [
                (&block.qkv, 1.0),
                (&block.o, residual),
                (&block.gate_up, 1.0),
                (&block.down, residual),
            ]
            .map(&mut linear);
            let qk_norm = block.qk_norm.is_some().then(|| [next(), next()]);
            blocks.push(Block {
                attention_norm,
                qkv,
                qk_norm,
                o,
                mlp_norm: next(),
                gate_up,
                down,
            });
        }
        let norm = next();
        let head = spec.head.is_some().then(next);
        Ok(Model {
            gpu: self.gpu,
            config: self.config,
            embedding,
            blocks,
            norm,
            head,
            flat,
            adapter: None,
        })
    }
}

impl Model {
    /// Its configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The adapter on it.
    pub fn adapter(&self) -> Option<&AdapterConfig> {
        self.adapter.as_ref()
    }

    fn weights(&self) -> Vec<&Weight> {
        let mut all = vec![&self.embedding];
        for block in &self.blocks {
            all.push(&block.attention_norm);
            for linear in block.linears() {
                all.push(&linear.weight);
                all.extend(&linear.bias);
            }
            all.extend(block.qk_norm.iter().flatten());
            all.push(&block.mlp_norm);
        }
        all.push(&self.norm);
        all.extend(&self.head);
        all
    }

    /// The base model's weights, each with a tensor's numbers in it: `(weight, first, len)`.
    fn find(&self, name: &str) -> Result<(&Weight, u64, u64)> {
        for weight in self.weights() {
            if let Some(part) = weight.spec.parts.iter().find(|p| p.name == name) {
                let (first, len) = weight.range(part);
                return Ok((weight, first, len));
            }
        }
        Err(Error::weights(name, "the model has no such tensor"))
    }

    /// A weight of the base model by its name in a Hugging Face checkpoint, in f32.
    ///
    /// # Errors
    /// [`Error::Weights`] for a name it does not have, [`Error::Gpu`] when reading back fails.
    pub async fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let (weight, first, len) = self.find(name)?;
        self.decoded(&weight.tensor.slice(first, len)).await
    }

    /// What a trainer can train: an adapter, or all weights.
    pub(crate) fn trained(&self) -> Option<&Flat> {
        self.flat.as_ref()
    }

    /// Names and shapes of what is trained: the adapter's matrices by PEFT's names, or the checkpoint's tensors.
    pub(crate) fn trained_tensors(&self) -> Vec<(String, Vec<usize>)> {
        match (&self.adapter, &self.flat) {
            (Some(_), _) => self.adapter_names(),
            (None, Some(_)) => self.config.tensors(),
            (None, None) => Vec::new(),
        }
    }

    /// One of those from buffers laid out like the trained weights.
    pub(crate) async fn trained_tensor(&self, buffers: &[Tensor], name: &str) -> Result<Vec<f32>> {
        if self.adapter.is_some() {
            return self.adapter_matrix(buffers, name).await;
        }
        let (weight, first, len) = self.find(name)?;
        let flat = self
            .flat
            .as_ref()
            .ok_or_else(|| Error::weights(name, "is not trained"))?;
        self.gpu.read(&flat.of(buffers, weight).slice(first, len)).await
    }

    /// Overwrite one of those in buffers laid out like the trained weights.
    pub(crate) fn write_trained(&self, buffers: &[Tensor], name: &str, numbers: &[f32]) -> Result<()> {
        if self.adapter.is_some() {
            return self.write_adapter_matrix(buffers, name, numbers);
        }
        let (weight, first, len) = self.find(name)?;
        let flat = self
            .flat
            .as_ref()
            .ok_or_else(|| Error::weights(name, "is not trained"))?;
        if numbers.len() as u64 != len {
            return Err(Error::weights(name, format!("{} numbers, wanted {len}", numbers.len())));
        }
        self.gpu
            .write_pieces(&flat.of(buffers, weight), first * 4, bytemuck::cast_slice(numbers))
    }

    async fn decoded(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let bytes = self.gpu.read_bytes(tensor).await?;
        let dtype = match tensor.storage() {
            Storage::F32 => Dtype::F32,
            Storage::Bf16 => Dtype::Bf16,
            Storage::F16 => Dtype::F16,
        };
        let mut numbers = Vec::new();
        dtype.decode(&bytes, &mut numbers)?;
        Ok(numbers)
    }

    /// A weight with the adapter folded in, `W + s·B·A`, computed in f32.
    ///
    /// # Errors
    /// As [`Model::tensor`].
    pub async fn merged_tensor(&self, name: &str) -> Result<Vec<f32>> {
        let mut numbers = self.tensor(name).await?;
        let (Some(config), Some(path)) = (&self.adapter, name.strip_suffix(".weight")) else {
            return Ok(numbers);
        };
        if config.modules(&self.config)?.iter().any(|module| module.path == path) {
            let pair = self.adapter_pair(path).await?;
            pair.add_to(&mut numbers, config.r, config.scale() as f32);
        }
        Ok(numbers)
    }
}
