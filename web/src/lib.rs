//! wgpu-sft in a browser tab.
