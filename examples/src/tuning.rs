//! The base model of this repository and its rows, made ready to be tuned.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wgpu_sft::data::{Dataset, Order, Preparation, micro_batches};
use wgpu_sft::formats::{ModelFiles, safetensors};
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, ModelBuilder, Use};
use wgpu_sft::train::{StepMetrics, TrainConfig, Trainer};

/// Most tokens computed at once.
const TOKENS: u32 = 256;

/// The folder of this repository that a path names.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A model's files, read whole.
pub struct Base {
    /// What they say.
    pub files: ModelFiles,
    weights: Vec<u8>,
}

impl Base {
    /// The base model.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn open() -> Result<Self> {
        let folder = repository("base/model");
        let read = |name: &str| fs::read(folder.join(name)).with_context(|| folder.join(name).display().to_string());
        let names = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        let small = names.map(|name| Ok::<_, anyhow::Error>((name.to_owned(), read(name)?)));
        let small = small.into_iter().collect::<Result<_>>()?;
        let weights = read("model.safetensors")?;
        let tensors = safetensors::tensors(&[&weights], None)?;
        let files = ModelFiles::folder("base", small, tensors)?;
        Ok(Self { files, weights })
    }

    /// Put it on a device. Where that is the caller's, it is polled by somebody else meanwhile.
    ///
    /// # Errors
    /// A device that is out of memory.
    pub async fn load(&self, gpu: &Gpu, usage: Use) -> Result<Model> {
        let mut builder = ModelBuilder::new(gpu, &self.files.config, usage)?;
        for entry in self.files.tensors.for_model(&self.files.config)? {
            builder.put(&entry.name, entry.dtype, &entry.shape, &entry.read(&self.weights)?)?;
        }
        Ok(builder.finish().await?)
    }
}

/// A LoRA on the base model, and the rows that it learns.
pub struct Tuning {
    trainer: Trainer,
    rows: Dataset,
    order: Order,
    /// Optimizer steps of the run.
    pub steps: u64,
}

impl Tuning {
    /// For so many steps.
    ///
    /// # Errors
    /// As [`Base::load`].
    pub async fn new(base: &Base, gpu: &Gpu, steps: u64) -> Result<Self> {
        let rows = Dataset::prepare(
            &fs::read(repository("base/data/train.jsonl"))?,
            &base.files.preparation(),
        )?;
        let config = TrainConfig {
            learning_rate: Some(2e-3),
            max_steps: Some(steps),
            ..TrainConfig::default()
        };
        let (order, steps) = config.order(rows.examples.len())?;
        let mut model = base.load(gpu, Use::Frozen(None)).await?;
        model.add_adapter(&config.lora.adapter_config(None), config.seed)?;
        Ok(Self {
            trainer: Trainer::new(model, &config, steps, TOKENS).await?,
            rows,
            order,
            steps,
        })
    }

    /// The next step.
    ///
    /// # Errors
    /// A loss that is no number, a device that fails.
    pub async fn step(&mut self) -> Result<StepMetrics> {
        let step = self.order.step(self.trainer.step());
        let batches = micro_batches(&self.rows.examples, step, TOKENS as usize)?;
        self.trainer.submit(&batches).await?;
        Ok(self.trainer.metrics().await?)
    }

    /// All steps, telling the loss of each.
    ///
    /// # Errors
    /// As [`Tuning::step`].
    pub async fn run(&mut self, mut tell: impl FnMut(StepMetrics)) -> Result<()> {
        while self.trainer.step() < self.steps {
            tell(self.step().await?);
        }
        Ok(())
    }

    /// The model, to be asked.
    pub fn model(&self) -> &Model {
        self.trainer.model()
    }
}
