//! A GGUF file's architecture and tensor names in Hugging Face's terms.

use super::{Gguf, Info, ROPE_FACTORS};
use crate::formats::{TensorEntry, Tensors};
use crate::model::{Family, ModelConfig, Rope, RopeScaling, attention_scale};
use crate::{Error, Result};

/// Prefix of a block's tensor in a GGUF file, and in a Hugging Face checkpoint.
const BLOCK_NAMES: [(&str, &str); 11] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// The Hugging Face name of a tensor, if models of these families have it.
fn hugging_face_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u16 = layer.parse().ok()?;
    let (stem, kind) = rest.rsplit_once('.')?;
    let (_, theirs) = BLOCK_NAMES.iter().find(|(ours, _)| *ours == stem)?;
    matches!(kind, "weight" | "bias").then(|| format!("model.layers.{layer}.{theirs}.{kind}"))
}

impl Gguf {
    /// The family behind `general.architecture`. llama.cpp files Mistral models under `llama`.
    fn family(&self) -> Result<Family> {
        let key = "general.architecture";
        match self.text(key)?.ok_or_else(|| Error::config(key, "missing"))? {
            "llama" => Ok(Family::Llama),
            "qwen2" => Ok(Family::Qwen2),
            "qwen3" => Ok(Family::Qwen3),
            "granite" => Ok(Family::Granite),
            other => Err(Error::config(
                key,
                format!("{other} is not supported; llama, qwen2, qwen3 and granite are"),
            )),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|info| info.name == name)
    }

    /// The model's shape, checked as [`ModelConfig::from_json`] checks it.
    ///
    /// # Errors
    /// [`Error::Config`] naming the metadata key or the field that is missing or not supported.
    pub fn config(&self) -> Result<ModelConfig> {
        let family = self.family()?;
        let arch = family.model_type();
        let key = |name: &str| format!("{arch}.{name}");
        let size = |name: &str| self.int(&key(name));
        let need = |name: &str| size(name)?.ok_or_else(|| Error::config(key(name), "missing"));
        if size("expert_count")?.is_some_and(|n| n > 0) {
            return Err(Error::config(
                key("expert_count"),
                "mixtures of experts are not supported",
            ));
        }
        let context = need("context_length")?;
        if let Some(window) = size("attention.sliding_window")?.filter(|w| *w > 0 && *w < context) {
            let why = format!("a window of {window} tokens is not supported");
            return Err(Error::config(key("attention.sliding_window"), why));
        }
        let (hidden_size, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let head_dim = match size("attention.key_length")? {
            Some(size) => size,
            None if heads > 0 && hidden_size % heads == 0 => hidden_size / heads,
            None => {
                return Err(Error::config(
                    key("attention.head_count"),
                    "does not divide embedding_length",
                ));
            }
        };
        // Frequencies are made of it before the whole is checked.
        if head_dim > ModelConfig::MAX_HEAD {
            let why = format!("{head_dim} is more than {}", ModelConfig::MAX_HEAD);
            return Err(Error::config(key("attention.key_length"), why));
        }
        for other in ["attention.value_length", "rope.dimension_count"] {
            if let Some(size) = size(other)?.filter(|size| *size != head_dim) {
                return Err(Error::config(
                    key(other),
                    format!("{size} differs from the head size {head_dim}"),
                ));
            }
        }
        let embedding = self.tensors.iter().find(|info| info.name == "token_embd.weight");
        let vocab_size = match embedding.map(|info| info.shape.as_slice()) {
            Some([rows, _]) => *rows,
            _ => return Err(Error::weights("token_embd.weight", "missing, or not a matrix")),
        };
        let tokens = "tokenizer.ggml.tokens";
        if self.metadata.contains_key(tokens) && self.texts(tokens)?.len() > vocab_size {
            let why = format!(
                "{} tokens, the embedding has {vocab_size} rows",
                self.texts(tokens)?.len()
            );
            return Err(Error::config(tokens, why));
        }
        let bias = |name: &str| self.has(&format!("blk.0.{name}.bias"));
        let attention_bias = bias("attn_q");
        let attention_output_bias = bias("attn_output");
        // llama.cpp's other architectures have none of these; there, as here, zero is absent.
        let scale = |name: &str, default: f64| match family {
            Family::Granite => Ok(self
                .number(&key(name))?
                .filter(|scale| *scale != 0.0)
                .unwrap_or(default)),
            _ => Ok(default),
        };
        if family == Family::Granite && self.flag(&key("rope.scaling.finetuned"))? == Some(false) {
            return Err(Error::config(
                key("rope.scaling.finetuned"),
                "models without positions are not supported",
            ));
        }
        let config = ModelConfig {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_hidden_layers: need("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            rms_norm_eps: {
                let name = "attention.layer_norm_rms_epsilon";
                self.number(&key(name))?
                    .ok_or_else(|| Error::config(key(name), "missing"))?
            },
            tie_word_embeddings: !self.has("output.weight"),
            attention_bias,
            attention_output_bias,
            mlp_bias: bias("ffn_gate"),
            qk_norm: family == Family::Qwen3,
            embedding_multiplier: scale("embedding_scale", 1.0)?,
            attention_multiplier: scale("attention.scale", attention_scale(head_dim))?,
            residual_multiplier: scale("residual_scale", 1.0)?,
            logits_scaling: scale("logit_scale", 1.0)?,
            rope: self.rope(arch, head_dim)?,
            max_position_embeddings: context,
            bos_token_id: self.token_id("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: self.terminators()?,
            pad_token_id: self.token_id("tokenizer.ggml.padding_token_id")?,
            initializer_range: 0.02,
        };
        let as_transformers_has_it = match family {
            Family::Llama | Family::Qwen3 => attention_bias == attention_output_bias,
            Family::Qwen2 => attention_bias && !attention_output_bias,
            Family::Granite => !attention_bias && !attention_output_bias,
            Family::Mistral => true,
        };
        if !as_transformers_has_it || (config.mlp_bias && family != Family::Llama) {
            let why = format!("this set of biases is not supported in {arch} models");
            return Err(Error::config("general.architecture", why));
        }
        config.validated()
    }

    /// Rotary settings, `rope_freqs.weight` turned back into the Llama 3 settings that made it.
    fn rope(&self, arch: &str, head_dim: usize) -> Result<Rope> {
        let key = |name: &str| format!("{arch}.rope.{name}");
        let theta = self.number(&key("freq_base"))?.unwrap_or(10_000.0);
        let factor = match self.number(&key("scaling.factor"))? {
            Some(factor) => Some(factor),
            None => self.number(&key("scale_linear"))?,
        };
        let linear = match self.text(&key("scaling.type"))? {
            None | Some("linear") => factor.filter(|factor| *factor != 1.0 && *factor != 0.0),
            Some("none") => None,
            Some(other) => {
                let why = format!("{other} is not supported; none and linear are");
                return Err(Error::config(key("scaling.type"), why));
            }
        };
        let scaling = match (linear, self.rope_factors()?) {
            (None, None) => RopeScaling::None,
            (Some(factor), None) => RopeScaling::Linear { factor },
            (Some(_), Some(_)) => {
                return Err(Error::config(
                    key("scaling.factor"),
                    "not supported together with rope_freqs.weight",
                ));
            }
            (None, Some(factors)) if factors.iter().all(|f| *f == 1.0) => RopeScaling::None,
            (None, Some(factors)) => {
                let original = self.int(&key("scaling.original_context_length"))?.unwrap_or(8192);
                llama3_scaling(factors, theta, original, head_dim)?
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// Where every tensor lies, under its Hugging Face name; `file` is 0.
    ///
    /// # Errors
    /// [`Error::Weights`] naming a tensor that no model of these families has; [`Error::Config`] as [`config`](Self::config).
    pub fn tensors(&self) -> Result<Tensors> {
        let config = self.config()?;
        let mut all = Tensors::default();
        for Info {
            name,
            shape,
            dtype,
            range,
        } in &self.tensors
        {
            if name == ROPE_FACTORS {
                continue; // part of the configuration
            }
            let theirs = hugging_face_name(name)
                .ok_or_else(|| Error::weights(name, format!("no {} model has it", config.family.model_type())))?;
            // llama.cpp's converter reorders the rows of q and k so that rotary pairs lie side by side, for these
            // architectures only.
            let unpermute = match (config.family, name.rsplit('.').nth(1)) {
                (Family::Llama | Family::Granite, Some("attn_q")) => Some(config.num_attention_heads),
                (Family::Llama | Family::Granite, Some("attn_k")) => Some(config.num_key_value_heads),
                _ => None,
            };
            match dtype {
                Ok(dtype) => all.entries.push(TensorEntry {
                    name: theirs,
                    dtype: *dtype,
                    shape: shape.clone(),
                    file: 0,
                    range: range.clone(),
                    unpermute,
                }),
                Err(dtype) => all.unsupported.push((theirs, dtype.clone())),
            }
        }
        Ok(all)
    }
}

/// The Llama 3 settings whose factors these are. The low and high factors are 1 and 4 in every released model.
fn llama3_scaling(factors: &[f32], theta: f64, original: usize, head_dim: usize) -> Result<RopeScaling> {
    let scaling = RopeScaling::Llama3 {
        factor: factors.iter().copied().fold(1.0, f32::max) as f64,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: original,
    };
    let plain = Rope {
        theta,
        scaling: RopeScaling::None,
    }
    .inverse_frequencies(head_dim);
    let scaled = Rope {
        theta,
        scaling: scaling.clone(),
    }
    .inverse_frequencies(head_dim);
    let close = |((plain, scaled), factor): ((&f64, &f64), &f32)| (plain / scaled / *factor as f64 - 1.0).abs() < 1e-4;
    if factors.len() != plain.len() || !plain.iter().zip(&scaled).zip(factors).all(close) {
        return Err(Error::config(
            "rope_freqs.weight",
            "not the frequency factors of Llama 3; others are not supported",
        ));
    }
    Ok(scaling)
}
