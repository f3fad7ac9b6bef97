use std::{error::Error, fs};
use wgpu_sft::data::{ChatTemplate, Dataset, Preparation, Tokenizer, TokenizerConfig, micro_batches};
use wgpu_sft::formats::{peft, safetensors};
use wgpu_sft::gpu::{Gpu, GpuOptions};
use wgpu_sft::model::{ModelBuilder, ModelConfig, Use};
use wgpu_sft::train::{TrainConfig, Trainer};

async fn tune(folder: &str, rows: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    // A model: its shape, then its tensors one at a time, on a device of ours; `Gpu::new` takes yours.
    let gpu = Gpu::request(&GpuOptions::default()).await?;
    let config = ModelConfig::from_json(&fs::read_to_string(format!("{folder}/config.json"))?)?;
    let file = fs::read(format!("{folder}/model.safetensors"))?;
    let mut builder = ModelBuilder::new(&gpu, &config, Use::Frozen(None))?;
    for entry in safetensors::tensors(&[&file], None)?.for_model(&config)? {
        builder.put(&entry.name, entry.dtype, &entry.shape, &entry.read(&file)?)?;
    }
    let mut model = builder.finish().await?;

    // Rows to tokens and masks.
    let tokens = TokenizerConfig::from_json(&fs::read(format!("{folder}/tokenizer_config.json"))?)?;
    let template = tokens.chat_template.clone().ok_or("the model has no chat template")?;
    let template = ChatTemplate::new(&template, &tokens, None)?;
    let tokenizer = Tokenizer::from_json(&fs::read(format!("{folder}/tokenizer.json"))?, tokens)?;
    let rows = Dataset::prepare(
        rows,
        &Preparation {
            tokenizer: Some(&tokenizer),
            template: Some(&template),
            vocab_size: config.vocab_size,
            max_length: 512,
            ..Preparation::default()
        },
    )?;

    // A LoRA on it, and the steps.
    let settings = TrainConfig::default();
    model.add_adapter(&settings.lora.adapter_config(None), settings.seed)?;
    let (mut order, steps) = settings.order(rows.examples.len())?;
    let mut trainer = Trainer::new(model, &settings, steps, 512).await?;
    for step in 0..steps {
        trainer.submit(&micro_batches(&rows.examples, order.step(step), 512)?).await?;
        let metrics = trainer.metrics().await?;
        println!("step {}: loss {:.4}", metrics.step, metrics.loss());
    }

    // The bytes of adapter_model.safetensors.
    let model = trainer.into_model();
    let adapter = model.adapter().ok_or("it was added above")?;
    Ok(peft::write(&model.adapter_tensors().await?, adapter, &config)?)
}
