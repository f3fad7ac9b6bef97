//! `wgpu-sft`: instruction-tune small language models on any GPU.

fn main() {}
