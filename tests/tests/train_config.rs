//! The settings of a run: defaults, spellings, what is refused.

use wgpu_sft::Error;
use wgpu_sft::formats::peft::TargetModules;
use wgpu_sft::train::schedule::LrSchedulerType;
use wgpu_sft::train::{LoraConfig, Method, TrainConfig, WeightDecayOn};

fn parse(json: &str) -> Result<TrainConfig, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = parse("{}").unwrap();
    assert_eq!(config, TrainConfig::default());
    config.validate().unwrap();
    assert_eq!(config.method, Method::Lora);
    assert_eq!(
        (config.lora.r, config.lora.lora_alpha, config.lora.lora_dropout),
        (16, 32.0, 0.0)
    );
    assert_eq!(config.lora.target_modules, TargetModules::AllLinear);
    assert_eq!(config.lr_scheduler_type, LrSchedulerType::Cosine);
    assert_eq!(
        (config.adam_beta1, config.adam_beta2, config.adam_epsilon),
        (0.9, 0.999, 1e-8)
    );
    assert_eq!(
        (config.weight_decay, config.weight_decay_on),
        (0.0, WeightDecayOn::Matrices)
    );
    assert_eq!((config.max_grad_norm, config.warmup_steps), (1.0, 0.0));
    assert_eq!((config.batch_size, config.num_train_epochs, config.seed), (8, 3.0, 42));
    assert!(config.shuffle && config.max_steps.is_none());
    let full = parse(r#"{"method": "full"}"#).unwrap();
    assert_eq!((config.learning_rate(), full.learning_rate()), (2e-4, 2e-5));
}

#[test]
fn fields_carry_hugging_face_names() {
    let config = parse(
        r#"{"per_device_train_batch_size": 3, "gradient_accumulation_steps": 4, "lr_scheduler_type": "constant_with_warmup",
            "warmup_steps": 0.1, "learning_rate": 1e-3, "lora": {"r": 4, "target_modules": ["q_proj", "down_proj"]}}"#,
    )
    .unwrap();
    config.validate().unwrap();
    assert_eq!(config.examples_per_step(), 12);
    assert_eq!(config.learning_rate(), 1e-3);
    assert_eq!(
        config.lora.target_modules,
        TargetModules::Names(vec!["q_proj".into(), "down_proj".into()])
    );
    let again: TrainConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    // 26 rows, 12 a step: 3 steps an epoch, 3 epochs.
    assert_eq!(config.order(26).unwrap().1, 9);
    let capped = TrainConfig {
        max_steps: Some(4),
        ..config
    };
    assert_eq!(capped.order(26).unwrap().1, 4);
}

#[test]
fn unknown_fields_and_spellings_are_refused() {
    for json in [
        r#"{"learning_rte": 1}"#,
        r#"{"lora": {"rank": 1}}"#,
        r#"{"method": "qlora"}"#,
        r#"{"lora": {"target_modules": "q_proj"}}"#,
        r#"{"batch_size": -1}"#,
    ] {
        assert!(parse(json).is_err(), "{json} was accepted");
    }
}

#[test]
fn values_out_of_range_name_their_field() {
    let refused = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = TrainConfig::default();
        change(&mut config);
        match config.validate() {
            Err(Error::Config { field, .. }) => field,
            other => panic!("{config:?} gave {other:?}"),
        }
    };
    assert_eq!(refused(&|c| c.learning_rate = Some(-1e-4)), "learning_rate");
    assert_eq!(refused(&|c| c.learning_rate = Some(f64::NAN)), "learning_rate");
    assert_eq!(refused(&|c| c.warmup_steps = 1.5), "warmup_steps");
    assert_eq!(refused(&|c| c.weight_decay = f64::INFINITY), "weight_decay");
    assert_eq!(refused(&|c| c.adam_beta1 = 1.0), "adam_beta1");
    assert_eq!(refused(&|c| c.adam_beta2 = -0.1), "adam_beta2");
    assert_eq!(refused(&|c| c.adam_epsilon = -1.0), "adam_epsilon");
    assert_eq!(refused(&|c| c.max_grad_norm = -1.0), "max_grad_norm");
    assert_eq!(refused(&|c| c.batch_size = 0), "batch_size");
    assert_eq!(
        refused(&|c| c.gradient_accumulation_steps = 0),
        "gradient_accumulation_steps"
    );
    assert_eq!(refused(&|c| c.max_steps = Some(0)), "max_steps");
    assert_eq!(refused(&|c| c.num_train_epochs = 0.0), "num_train_epochs");
    assert_eq!(refused(&|c| c.lora.r = 0), "lora_r");
    assert_eq!(refused(&|c| c.lora.lora_alpha = f64::NAN), "lora_alpha");
    assert_eq!(refused(&|c| c.lora.lora_dropout = 1.0), "lora_dropout");
    for name in ["lm_head", "embed_tokens", "query"] {
        let names = |c: &mut TrainConfig| c.lora.target_modules = TargetModules::Names(vec![name.into()]);
        assert_eq!(refused(&names), "lora_target_modules");
    }
}

#[test]
fn the_adapter_on_file_says_the_same() {
    let lora = LoraConfig {
        r: 4,
        lora_alpha: 6.0,
        ..LoraConfig::default()
    };
    let config = lora.adapter_config(Some("base".into()));
    assert_eq!((config.r, config.scale()), (4, 1.5));
    assert_eq!(config.base_model_name_or_path.as_deref(), Some("base"));
}
