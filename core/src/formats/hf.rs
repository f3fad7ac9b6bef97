//! The text files of a Hugging Face model folder.

use super::Dtype;
use crate::model::ModelConfig;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// JSON as Hugging Face libraries lay it out: indented by two, ending in a newline.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn object(file: &str, text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::config(file, "not a JSON object")),
        Err(e) => Err(Error::config(file, e.to_string())),
    }
}

/// `config.json` of a model saved in `dtype`: the source's own text with its type changed, or one made from `config`.
///
/// # Errors
/// [`Error::Config`] if the source is not a JSON object, or safetensors has no such type.
pub fn config_json(source: Option<&str>, config: &ModelConfig, dtype: Dtype) -> Result<String> {
    let name = dtype.torch_name();
    let name = name.ok_or_else(|| Error::config("torch_dtype", format!("{} cannot be saved", dtype.name())))?;
    let Some(source) = source else {
        return Ok(pretty(&config.to_json(name)));
    };
    let mut map = object("config.json", source)?;
    // transformers 5 says `dtype`, 4 `torch_dtype`.
    let field = if map.contains_key("dtype") && !map.contains_key("torch_dtype") {
        "dtype"
    } else {
        "torch_dtype"
    };
    map.insert(field.to_owned(), json!(name));
    if field == "torch_dtype" {
        map.remove("dtype");
    }
    Ok(pretty(&Value::Object(map)))
}

/// `generation_config.json`: the source's, or a new one, with every terminator in `eos_token_id`: those the source names,
/// those of the configuration, and `terminators` (the ones the chat template ends a turn with).
///
/// # Errors
/// [`Error::Config`] if the source is not a JSON object or its `eos_token_id` holds no token ids.
pub fn generation_config_json(source: Option<&str>, config: &ModelConfig, terminators: &[u32]) -> Result<String> {
    let mut map = match source {
        Some(text) => object("generation_config.json", text)?,
        None => {
            let ids = [
                ("bos_token_id", config.bos_token_id),
                ("pad_token_id", config.pad_token_id),
            ];
            ids.into_iter()
                .filter_map(|(field, id)| Some((field.to_owned(), json!(id?))))
                .collect()
        }
    };
    let mut ids: Vec<u32> = match map.get("eos_token_id") {
        None | Some(Value::Null) => vec![],
        Some(value) => {
            let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            let ids: Option<_> = list.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect();
            ids.ok_or_else(|| Error::config("eos_token_id", format!("{value} is not a list of token ids")))?
        }
    };
    for id in config.eos_token_ids.iter().chain(terminators) {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    let ids = match ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    map.insert("eos_token_id".to_owned(), ids);
    Ok(pretty(&Value::Object(map)))
}

/// Cuts a list of tensors into shards of at most `max_bytes`, a larger tensor alone in its own; `sizes` in bytes.
pub fn shards(sizes: &[u64], max_bytes: u64) -> Vec<Range<usize>> {
    let (mut all, mut start, mut used) = (Vec::new(), 0, 0u64);
    for (i, size) in sizes.iter().enumerate() {
        if i > start && used.saturating_add(*size) > max_bytes {
            all.push(start..i);
            (start, used) = (i, 0);
        }
        used = used.saturating_add(*size);
    }
    all.push(start..sizes.len());
    all
}

/// The file name of shard `i` (from 0) of `n`.
pub fn shard_name(i: usize, n: usize) -> String {
    match n {
        0 | 1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
    }
}

/// `model.safetensors.index.json`: tensor name → file name, and the bytes of all tensors.
pub fn index_json(weight_map: &BTreeMap<String, String>, total_bytes: u64) -> String {
    pretty(&json!({"metadata": {"total_size": total_bytes}, "weight_map": weight_map}))
}
