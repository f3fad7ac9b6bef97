//! The WGSL kernels of wgpu-sft, one constant per file. Each file begins with its formula and its shapes.

/// `adamw.wgsl`.
pub const ADAMW: &str = include_str!("adamw.wgsl");

/// `argmax.wgsl`.
pub const ARGMAX: &str = include_str!("argmax.wgsl");

/// `attention.wgsl`.
pub const ATTENTION: &str = include_str!("attention.wgsl");

/// `attention_backward_kv.wgsl`.
pub const ATTENTION_BACKWARD_KV: &str = include_str!("attention_backward_kv.wgsl");

/// `attention_backward_q.wgsl`.
pub const ATTENTION_BACKWARD_Q: &str = include_str!("attention_backward_q.wgsl");

/// `attention_backward_kv_tiled.wgsl`.
pub const ATTENTION_BACKWARD_KV_TILED: &str = include_str!("attention_backward_kv_tiled.wgsl");

/// `attention_backward_q_tiled.wgsl`.
pub const ATTENTION_BACKWARD_Q_TILED: &str = include_str!("attention_backward_q_tiled.wgsl");

/// `attention_delta.wgsl`.
pub const ATTENTION_DELTA: &str = include_str!("attention_delta.wgsl");

/// `attention_tiled.wgsl`.
pub const ATTENTION_TILED: &str = include_str!("attention_tiled.wgsl");

/// `column_sum.wgsl`.
pub const COLUMN_SUM: &str = include_str!("column_sum.wgsl");

/// `cross_entropy.wgsl`.
pub const CROSS_ENTROPY: &str = include_str!("cross_entropy.wgsl");

/// `dropout.wgsl`.
pub const DROPOUT: &str = include_str!("dropout.wgsl");

/// `embedding.wgsl`.
pub const EMBEDDING: &str = include_str!("embedding.wgsl");

/// `embedding_backward.wgsl`.
pub const EMBEDDING_BACKWARD: &str = include_str!("embedding_backward.wgsl");

/// `gather.wgsl`.
pub const GATHER: &str = include_str!("gather.wgsl");

/// `gradient_norm.wgsl`.
pub const GRADIENT_NORM: &str = include_str!("gradient_norm.wgsl");

/// `gradient_norm_finish.wgsl`.
pub const GRADIENT_NORM_FINISH: &str = include_str!("gradient_norm_finish.wgsl");

/// `loss_sum.wgsl`.
pub const LOSS_SUM: &str = include_str!("loss_sum.wgsl");

/// `matmul.wgsl`.
pub const MATMUL: &str = include_str!("matmul.wgsl");

/// `matmul_finish.wgsl`.
pub const MATMUL_FINISH: &str = include_str!("matmul_finish.wgsl");

/// `rmsnorm.wgsl`.
pub const RMSNORM: &str = include_str!("rmsnorm.wgsl");

/// `rmsnorm_backward.wgsl`.
pub const RMSNORM_BACKWARD: &str = include_str!("rmsnorm_backward.wgsl");

/// `rope.wgsl`.
pub const ROPE: &str = include_str!("rope.wgsl");

/// `swiglu.wgsl`.
pub const SWIGLU: &str = include_str!("swiglu.wgsl");

/// `swiglu_backward.wgsl`.
pub const SWIGLU_BACKWARD: &str = include_str!("swiglu_backward.wgsl");
