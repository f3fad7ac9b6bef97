//! What shape a model has: `config.json`, checked once.
//!
//! Field names, defaults and meanings are those of the configuration classes of Hugging Face transformers (4.57 and 5).

use super::fields::Fields;
use super::rope::Rope;
use crate::{Error, Result};
use serde_json::{Value, json};

/// The largest width, count of layers' rows and so on that is believed: products of two stay far below 2⁵³.
const MAX_SIZE: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;

/// Which transformers class the model is; the forward pass itself follows the flags of [`ModelConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`: Llama 2 and 3, SmolLM, SmolLM2, TinyLlama.
    Llama,
    /// `MistralForCausalLM` without a sliding window.
    Mistral,
    /// `Qwen2ForCausalLM`: Qwen 2 and 2.5.
    Qwen2,
    /// `Qwen3ForCausalLM`, dense.
    Qwen3,
    /// `GraniteForCausalLM`: Granite 3, dense.
    Granite,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Granite];

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Granite => "granite",
        }
    }

    /// The class in `architectures`, without its `ForCausalLM`.
    fn class(self) -> &'static str {
        match self {
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Granite => "Granite",
        }
    }
}

/// A decoder-only transformer: pre-norm RMSNorm, rotary positions, grouped-query attention, SwiGLU.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which transformers class it is.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Size of one head; not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// `q_proj`, `k_proj`, `v_proj` have a bias.
    pub attention_bias: bool,
    /// `o_proj` has a bias.
    pub attention_output_bias: bool,
    /// `gate_proj`, `up_proj`, `down_proj` have a bias.
    pub mlp_bias: bool,
    /// Queries and keys pass an RMSNorm over each head before they are rotated.
    pub qk_norm: bool,
    /// What embeddings are multiplied by before the first block.
    pub embedding_multiplier: f64,
    /// What products of queries and keys are multiplied by; `1 / sqrt(head_dim)` where a family says nothing else.
    pub attention_multiplier: f64,
    /// What the outputs of attention and of the feed-forward layer are multiplied by before they join the residual stream.
    pub residual_multiplier: f64,
    /// What logits are divided by.
    pub logits_scaling: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Longest sequence the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// First token of a sequence, if the model names one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Padding token, if the model names one.
    pub pad_token_id: Option<u32>,
    /// Standard deviation of a fresh model's matrices.
    pub initializer_range: f64,
}

impl ModelConfig {
    /// The largest size of a head.
    pub(crate) const MAX_HEAD: usize = 256;

    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is missing, malformed or not supported.
    pub fn from_json(text: &str) -> Result<Self> {
        let root: Value = serde_json::from_str(text).map_err(|e| Error::config("config.json", e.to_string()))?;
        let Value::Object(root) = root else {
            return Err(Error::config("config.json", "not a JSON object"));
        };
        let fields = Fields { at: "", map: &root };
        let family = family(&fields)?;
        refuse_unsupported(&fields)?;
        refuse_bias(&fields, family)?;

        let num_attention_heads = fields.required("num_attention_heads")?;
        let hidden_size = fields.required("hidden_size")?;
        let max_position_embeddings = fields.size("max_position_embeddings")?.unwrap_or(match family {
            Family::Llama | Family::Granite => 2048,
            Family::Mistral => 131_072,
            Family::Qwen2 | Family::Qwen3 => 32_768,
        });
        refuse_window(&fields, family, max_position_embeddings)?;
        let default_kv_heads = match family {
            _ if fields.is_null("num_key_value_heads") => num_attention_heads,
            Family::Llama | Family::Granite => num_attention_heads,
            Family::Mistral => 8,
            Family::Qwen2 | Family::Qwen3 => 32,
        };
        let head_dim = match fields.size("head_dim")? {
            Some(size) => size,
            None if family == Family::Qwen3 && !fields.is_null("head_dim") => 128,
            None if num_attention_heads > 0 && hidden_size % num_attention_heads == 0 => {
                hidden_size / num_attention_heads
            }
            None => {
                return Err(Error::config(
                    "head_dim",
                    format!("absent, and hidden_size {hidden_size} is not a multiple of {num_attention_heads} heads"),
                ));
            }
        };
        // LlamaConfig and Qwen3Config know `attention_bias`; Qwen2 always has one on q, k, v; Mistral never. Granite's are refused.
        let bias = matches!(family, Family::Llama | Family::Qwen3) && fields.flag("attention_bias")?.unwrap_or(false);
        let multiplier = |field: &str| match family {
            Family::Granite => Ok(fields.number(field)?.unwrap_or(1.0)),
            _ => Ok(1.0),
        };
        let (default_bos, default_eos) = match family {
            Family::Llama | Family::Mistral | Family::Granite => (Some(1), vec![2]),
            Family::Qwen2 | Family::Qwen3 => (None, vec![]),
        };
        Self {
            family,
            vocab_size: fields.required("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required("intermediate_size")?,
            num_hidden_layers: fields.required("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: fields.size("num_key_value_heads")?.unwrap_or(default_kv_heads),
            head_dim,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            attention_bias: bias || family == Family::Qwen2,
            attention_output_bias: bias,
            mlp_bias: family == Family::Llama && fields.flag("mlp_bias")?.unwrap_or(false),
            qk_norm: family == Family::Qwen3,
            embedding_multiplier: multiplier("embedding_multiplier")?,
            attention_multiplier: match family {
                Family::Granite => multiplier("attention_multiplier")?,
                _ => attention_scale(head_dim),
            },
            residual_multiplier: multiplier("residual_multiplier")?,
            logits_scaling: multiplier("logits_scaling")?,
            rope: Rope::from_config(&fields, max_position_embeddings)?,
            max_position_embeddings,
            bos_token_id: fields.token("bos_token_id", default_bos)?,
            eos_token_ids: fields.tokens("eos_token_id", default_eos)?,
            pad_token_id: fields.token("pad_token_id", None)?,
            initializer_range: fields.number("initializer_range")?.unwrap_or(0.02),
        }
        .validated()
    }

    /// The configuration itself, once every size in it is one the kernels have.
    pub(crate) fn validated(self) -> Result<Self> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("num_key_value_heads", self.num_key_value_heads, MAX_SIZE),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                u32::MAX as usize,
            ),
        ];
        for (field, size, max) in sizes {
            if size == 0 || size > max {
                return Err(Error::config(field, format!("{size} is not in 1..={max}")));
            }
        }
        if !self.head_dim.is_multiple_of(8) || !(8..=Self::MAX_HEAD).contains(&self.head_dim) {
            let why = format!(
                "{} is not supported: a head's size must be a multiple of 8 in 8..=256",
                self.head_dim
            );
            return Err(Error::config("head_dim", why));
        }
        if self.num_attention_heads * self.head_dim > MAX_SIZE {
            return Err(Error::config(
                "num_attention_heads",
                format!("heads × head_dim is over {MAX_SIZE}"),
            ));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
            return Err(Error::config(
                "num_key_value_heads",
                format!("{heads} heads cannot be shared out over {kv}"),
            ));
        }
        for (field, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
        ] {
            if !size.is_multiple_of(4) {
                let why = format!("{size} is not supported: it must be a multiple of 4");
                return Err(Error::config(field, why));
            }
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0) {
            return Err(Error::config(
                "rms_norm_eps",
                format!("{} is not a positive number", self.rms_norm_eps),
            ));
        }
        for (field, factor) in [
            ("embedding_multiplier", self.embedding_multiplier),
            ("attention_multiplier", self.attention_multiplier),
            ("residual_multiplier", self.residual_multiplier),
            ("logits_scaling", self.logits_scaling),
        ] {
            // As f32 neither zero nor infinite, nor is its reciprocal.
            if !(1e-30..=1e30).contains(&factor) {
                return Err(Error::config(
                    field,
                    format!("{factor} is not supported: it must be in 1e-30..=1e30"),
                ));
            }
        }
        if !(self.initializer_range.is_finite() && self.initializer_range >= 0.0) {
            let why = format!("{} is not a standard deviation", self.initializer_range);
            return Err(Error::config("initializer_range", why));
        }
        self.rope.validate()?;
        for (field, ids) in [
            ("bos_token_id", self.bos_token_id.as_slice()),
            ("eos_token_id", &self.eos_token_ids),
            ("pad_token_id", self.pad_token_id.as_slice()),
        ] {
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
                return Err(Error::config(
                    field,
                    format!("{id} is not below vocab_size {}", self.vocab_size),
                ));
            }
        }
        Ok(self)
    }

    /// Query heads × head size: rows of `q_proj`, columns of `o_proj`.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Key heads × head size: rows of `k_proj` and of `v_proj`.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// A `config.json` that transformers loads as this model. `torch_dtype` is `float32`, `float16` or `bfloat16`.
    ///
    /// Spelled as transformers 4 does, which version 5 reads too.
    pub fn to_json(&self, torch_dtype: &str) -> Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let mut root = json!({
            "architectures": [format!("{}ForCausalLM", self.family.class())],
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": self.initializer_range,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": self.family.model_type(),
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": self.pad_token_id,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": self.rope.scaling_json(),
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": torch_dtype,
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        match self.family {
            Family::Llama => {
                root["attention_bias"] = json!(self.attention_bias);
                root["mlp_bias"] = json!(self.mlp_bias);
            }
            Family::Mistral => root["sliding_window"] = Value::Null,
            Family::Qwen2 => root["use_sliding_window"] = json!(false),
            Family::Qwen3 => {
                root["attention_bias"] = json!(self.attention_bias);
                root["use_sliding_window"] = json!(false);
            }
            Family::Granite => {
                root["attention_bias"] = json!(false);
                root["mlp_bias"] = json!(false);
                root["embedding_multiplier"] = json!(self.embedding_multiplier);
                root["attention_multiplier"] = json!(self.attention_multiplier);
                root["residual_multiplier"] = json!(self.residual_multiplier);
                root["logits_scaling"] = json!(self.logits_scaling);
            }
        }
        root
    }

    /// Every tensor the model needs, under its Hugging Face name, with its shape (rows first), in transformers' order.
    ///
    /// `lm_head.weight` is absent when it is the embedding.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (c, f, q, kv) = (self.hidden_size, self.intermediate_size, self.q_size(), self.kv_size());
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, c])];
        for layer in 0..self.num_hidden_layers {
            let mut push = |name: &str, shape: Vec<usize>| all.push((format!("model.layers.{layer}.{name}"), shape));
            let linears = [
                ("self_attn.q_proj", q, c, self.attention_bias),
                ("self_attn.k_proj", kv, c, self.attention_bias),
                ("self_attn.v_proj", kv, c, self.attention_bias),
                ("self_attn.o_proj", c, q, self.attention_output_bias),
                ("mlp.gate_proj", f, c, self.mlp_bias),
                ("mlp.up_proj", f, c, self.mlp_bias),
                ("mlp.down_proj", c, f, self.mlp_bias),
            ];
            for (name, rows, columns, bias) in linears {
                push(&format!("{name}.weight"), vec![rows, columns]);
                if bias {
                    push(&format!("{name}.bias"), vec![rows]);
                }
                if self.qk_norm && name == "self_attn.o_proj" {
                    push("self_attn.q_norm.weight", vec![self.head_dim]);
                    push("self_attn.k_norm.weight", vec![self.head_dim]);
                }
            }
            push("input_layernorm.weight", vec![c]);
            push("post_attention_layernorm.weight", vec![c]);
        }
        all.push(("model.norm.weight".to_owned(), vec![c]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab_size, c]));
        }
        all
    }
}

/// What products of queries and keys are multiplied by, but for Granite.
pub(crate) fn attention_scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

/// The family that `model_type` and `architectures` name.
fn family(fields: &Fields) -> Result<Family> {
    let architectures = match fields.get("architectures") {
        None => vec![],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err(Error::config("architectures", "not a list")),
    };
    let is_class = |family: &Family, name: &str| {
        name.strip_prefix(family.class())
            .is_some_and(|rest| matches!(rest, "ForCausalLM" | "Model"))
    };
    let family = match fields.get("model_type") {
        Some(Value::String(kind)) => Family::ALL
            .into_iter()
            .find(|f| f.model_type() == kind)
            .ok_or_else(|| {
                Error::config(
                    "model_type",
                    format!("{kind} is not supported; llama, mistral, qwen2, qwen3 and granite are"),
                )
            })?,
        Some(_) => return Err(Error::config("model_type", "not a string")),
        None => Family::ALL
            .into_iter()
            .find(|f| architectures.iter().any(|name| is_class(f, name)))
            .ok_or_else(|| Error::config("model_type", "absent, and no architecture is one that is supported"))?,
    };
    match architectures.as_slice() {
        [] => Ok(family),
        names if names.iter().any(|name| is_class(&family, name)) => Ok(family),
        names => Err(Error::config(
            "architectures",
            format!(
                "{} is not supported; {}ForCausalLM is",
                names.join(", "),
                family.class()
            ),
        )),
    }
}

/// Refuses fields that would change the result and that the model here does not have.
fn refuse_unsupported(fields: &Fields) -> Result<()> {
    let experts = [
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    ];
    for field in experts {
        if fields.size(field)?.is_some_and(|n| n > 0) {
            return Err(Error::config(field, "mixtures of experts are not supported"));
        }
    }
    if fields.get("quantization_config").is_some() {
        return Err(Error::config(
            "quantization_config",
            "quantised Hugging Face checkpoints are not supported",
        ));
    }
    match fields.get("hidden_act") {
        None => {}
        Some(Value::String(act)) if act == "silu" || act == "swish" => {}
        Some(act) => return Err(Error::config("hidden_act", format!("{act} is not supported; silu is"))),
    }
    if fields.size("pretraining_tp")?.is_some_and(|n| n != 1) {
        return Err(Error::config("pretraining_tp", "only 1 is supported"));
    }
    if fields.number("attention_dropout")?.is_some_and(|p| p != 0.0) {
        return Err(Error::config("attention_dropout", "only 0 is supported"));
    }
    match fields.get("layer_types") {
        None => Ok(()),
        Some(Value::Array(types)) => match types.iter().find(|t| t.as_str() != Some("full_attention")) {
            Some(other) => Err(Error::config(
                "layer_types",
                format!("{other} is not supported; full_attention is"),
            )),
            None => Ok(()),
        },
        Some(_) => Err(Error::config("layer_types", "not a list")),
    }
}

/// Refuses biases that would have to be multiplied with what they are added to.
fn refuse_bias(fields: &Fields, family: Family) -> Result<()> {
    for field in ["attention_bias", "mlp_bias"] {
        if family == Family::Granite && fields.flag(field)?.unwrap_or(false) {
            return Err(Error::config(field, "not supported in Granite models"));
        }
    }
    Ok(())
}

/// Refuses a sliding window that a sequence could outgrow.
fn refuse_window(fields: &Fields, family: Family, max_position_embeddings: usize) -> Result<()> {
    let in_use = match family {
        Family::Llama | Family::Granite => return Ok(()),
        Family::Mistral => true,
        Family::Qwen2 | Family::Qwen3 => fields.flag("use_sliding_window")?.unwrap_or(false),
    };
    let default = if fields.is_null("sliding_window") {
        None
    } else {
        Some(4096)
    };
    match fields.size("sliding_window")?.or(default) {
        Some(window) if in_use && window < max_position_embeddings => Err(Error::config(
            "sliding_window",
            format!(
                "a window of {window} tokens is not supported; null, or one no shorter than max_position_embeddings, is"
            ),
        )),
        _ => Ok(()),
    }
}
