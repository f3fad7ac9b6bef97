//! Part of a program that owns a device: nothing of ours blocks it, reaches its handlers, stays on it, or ends it. And what programs are
//! told: the examples, the versions, what is `unsafe`.

mod examples;
mod given_up;
mod lost;
#[cfg(target_os = "linux")] // whose shells limit a process's memory
mod memory;
mod portions;
mod told;
#[cfg(target_os = "linux")] // X has displays without a screen
mod window;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::packing::{MODELS, batches, examples};
use wgpu_sft::data::{Example, MicroBatch};
use wgpu_sft::eval::Evaluator;
use wgpu_sft::formats::Folder;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions, Paced};
use wgpu_sft::model::{Generator, Model, Sampling, Use};
use wgpu_sft::train::{Method, StepMetrics, TrainConfig, Trainer};
use wgpu_sft::{Error, Result};
use wgpu_sft_tests::fixture;

/// A program that owns a device, and listens to what reaches its handlers.
struct Host {
    instance: wgpu::Instance,
    device: wgpu::Device,
    queue: wgpu::Queue,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn new() -> Self {
        Self::with(Default::default())
    }

    /// On an instance that is out of memory from a share of it on.
    fn with(memory_budget_thresholds: wgpu::MemoryBudgetThresholds) -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            memory_budget_thresholds,
            ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let adapter = adapters.into_iter().next().expect("an adapter");
        // WebGPU's defaults are enough.
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a device");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = heard.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            hears.lock().expect("nobody panics with it").push(error.to_string());
        }));
        Self {
            instance,
            device,
            queue,
            heard,
        }
    }

    /// This crate on its device.
    fn gpu(&self) -> Gpu {
        let options = GpuOptions {
            family: Some(Family::Tiled),
            ..GpuOptions::default()
        };
        Gpu::new(self.device.clone(), self.queue.clone(), &options).expect("limits")
    }

    fn poll(&self) {
        // A lost device's answer is no matter here.
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
    }

    /// Buffers that exist on any device of the instance.
    fn buffers(&self) -> usize {
        // What was written to is held until a submit; programs that draw do that every frame.
        self.queue.submit([]);
        self.poll();
        let report = self.instance.generate_report().expect("a native instance");
        report.hub_report().buffers.num_allocated
    }

    /// Bytes that the device has allocated.
    fn bytes(&self) -> u64 {
        let report = self.device.generate_allocator_report().expect("an allocator");
        report.total_allocated_bytes
    }

    /// Do it all, a budget at a time.
    fn finish<T>(&self, paced: &mut Paced<T>, budget: Duration) -> T {
        for _ in 0..200_000 {
            if let Poll::Ready(value) = paced.advance(budget) {
                return value;
            }
            self.poll();
        }
        panic!("it does not end");
    }

    #[track_caller]
    fn heard_nothing(&self) {
        let heard = self.heard.lock().expect("nobody panics with it");
        assert!(heard.is_empty(), "the host was told: {heard:?}");
    }
}

/// What a step, an evaluation and an answer are of.
struct Material {
    folder: Folder,
    examples: Vec<Example>,
    step: Vec<MicroBatch>,
}

impl Material {
    fn new() -> Self {
        let folder = fixture(&format!("golden/{}", MODELS[0]));
        let examples = examples(MODELS[0]);
        Self {
            folder: Folder::read(|file| std::fs::read(folder.join(file))).expect("a model"),
            step: batches(&examples, &[&[0, 1], &[2], &[3, 4]]),
            examples,
        }
    }

    async fn model(&self, gpu: &Gpu, keep: Use) -> Result<Model> {
        self.folder.load(gpu, keep).await
    }

    async fn trainer(&self, gpu: &Gpu) -> Result<Trainer> {
        let config = TrainConfig {
            learning_rate: Some(2e-3),
            ..TrainConfig::default()
        };
        let mut model = self.model(gpu, Use::Frozen(None)).await?;
        model.add_adapter(&config.lora.adapter_config(None), config.seed)?;
        Trainer::new(model, &config, 6, 256).await
    }

    async fn train(&self, trainer: &mut Trainer) -> Result<StepMetrics> {
        trainer.submit(&self.step).await?;
        trainer.metrics().await
    }

    async fn answer(&self, generator: &mut Generator) -> Result<Vec<u32>> {
        generator.reset();
        let prompt = &self.examples[0].ids[..5];
        generator.generate(prompt, &Sampling::default(), 8, &[], |_| true).await
    }
}

/// Something that is done on a device from the beginning to the end, made of nothing.
type Work<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Everything that is awaited: loading, recording, training, evaluating, answering, reading back.
fn whole<'a>(material: &'a Material, gpu: &'a Gpu) -> Work<'a> {
    Box::pin(async move {
        let mut trainer = material.trainer(gpu).await?;
        material.train(&mut trainer).await?;
        trainer.evaluate(&material.examples[..]).await?;
        trainer.state(|_, _, _| Ok(())).await?;
        let model = trainer.into_model();
        Evaluator::new(&model, 256).await?.run(&material.examples[..]).await?;
        material.answer(&mut Generator::new(&model, 64).await?).await?;
        Ok(())
    })
}
