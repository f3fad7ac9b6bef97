#![no_main]
wgpu_sft_fuzz::target!("safetensors");
