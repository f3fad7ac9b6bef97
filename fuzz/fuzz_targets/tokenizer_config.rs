#![no_main]
wgpu_sft_fuzz::target!("tokenizer_config");
