use std::{error::Error, fs, path::Path};
use wgpu_sft::data::{Dataset, Preparation, micro_batches};
use wgpu_sft::formats::Folder;
use wgpu_sft::gpu::{Gpu, GpuOptions};
use wgpu_sft::model::{Generator, Use};
use wgpu_sft::train::{Method, TrainConfig, Trainer};

async fn tune(folder: &Path, rows: &str, question: &str) -> Result<String, Box<dyn Error>> {
    let gpu = Gpu::request(&GpuOptions::default()).await?; // `Gpu::new` takes a device of yours
    let base = Folder::read(|file| fs::read(folder.join(file)))?;
    let rows = Dataset::prepare(rows.as_bytes(), &Preparation { max_length: 256, ..base.files.preparation() })?;
    let settings = TrainConfig { method: Method::Full, learning_rate: Some(2e-3), num_train_epochs: 24.0, ..TrainConfig::default() };
    let (mut order, steps) = settings.order(rows.examples.len())?;
    let model = base.load(&gpu, Use::Trained).await?; // or `Use::Frozen(None)` and `add_adapter`
    let mut trainer = Trainer::new(model, &settings, steps, 256).await?;
    for step in 0..steps {
        trainer.submit(&micro_batches(&rows.examples, order.step(step), 256)?).await?;
        println!("loss {:.3}", trainer.metrics().await?.loss());
    }
    let mut generator = Generator::new(trainer.model(), 256).await?;
    Ok(base.files.answer(&mut generator, question, 32).await?)
}
