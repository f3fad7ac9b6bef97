//! The base model of this repository, tuned on its rows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wgpu_sft::data::{Dataset, Order, Preparation, micro_batches};
use wgpu_sft::formats::Folder;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Model, Use};
use wgpu_sft::train::schedule::LrSchedulerType;
use wgpu_sft::train::{Method, StepMetrics, TrainConfig, Trainer};

/// Most tokens computed at once, the longest row included.
pub const TOKENS: u32 = 256;

/// The file or folder of this repository that a path names.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The base model's files.
///
/// # Errors
/// Files that cannot be read.
pub fn base() -> Result<Folder> {
    let folder = repository("base/model");
    Ok(Folder::read(|file| fs::read(folder.join(file)))?)
}

/// The base model, and the rows that it learns.
pub struct Tuning {
    trainer: Trainer,
    rows: Dataset,
    order: Order,
    /// Optimizer steps of the run.
    pub steps: u64,
}

impl Tuning {
    /// As `base/tune.toml` says, for so many steps.
    ///
    /// # Errors
    /// Rows that cannot be read, a device that is out of memory.
    pub async fn new(base: &Folder, gpu: &Gpu, steps: u64) -> Result<Self> {
        let file = repository("base/data/train.jsonl");
        let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
        let how = Preparation {
            max_length: TOKENS as usize,
            ..base.files.preparation()
        };
        let rows = Dataset::prepare(&bytes, &how)?;
        let config = TrainConfig {
            method: Method::Full,
            learning_rate: Some(6e-4),
            lr_scheduler_type: LrSchedulerType::Cosine,
            warmup_steps: 0.1,
            adam_beta2: 0.95,
            max_steps: Some(steps),
            ..TrainConfig::default()
        };
        let (order, steps) = config.order(rows.examples.len())?;
        let model = base.load(gpu, Use::Trained).await?;
        Ok(Self {
            trainer: Trainer::new(model, &config, steps, TOKENS).await?,
            rows,
            order,
            steps,
        })
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.trainer.step()
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

    /// All steps, telling the metrics of each.
    ///
    /// # Errors
    /// As [`Tuning::step`].
    pub async fn run(&mut self, mut tell: impl FnMut(StepMetrics)) -> Result<()> {
        while self.done() < self.steps {
            tell(self.step().await?);
        }
        Ok(())
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        self.trainer.model()
    }
}
