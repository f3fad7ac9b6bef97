//! What the recipe writes, as names and contents.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use crate::tokenizer::{SPECIAL, tokenizer};
use crate::{Made, make};

/// Tokens of the vocabulary.
const VOCABULARY: usize = 2048;
/// Most tokens of a text.
const CONTEXT: usize = 256;

/// A turn is its role's token, a space, its text, the token that ends it. The space is the answer's, so that an answer's tokens are
/// those that the same words have in running text.
const TEMPLATE: &str = "{%- for message in messages -%}\n\
    {%- if message.role not in ['user', 'assistant'] -%}{{- raise_exception('this model knows the roles user and assistant') -}}{%- endif -%}\n\
    {{- '<|' + message.role + '|> ' + message.content | trim + '<|end|>' -}}\n\
    {%- endfor -%}\n\
    {%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}";

/// Every file of the recipe: the corpus, the rows in `data/`, and in `model/` what stands beside the weights.
///
/// # Errors
/// When the tables cannot be read, or the tokenizer cannot be trained.
pub fn files(seed: u64) -> Result<Vec<(&'static str, String)>> {
    let Made { corpus, held_out, rows } = make(seed)?;
    let text = |texts: &[String]| lines(&texts.iter().map(|text| json!({ "text": text })).collect::<Vec<_>>());
    Ok(vec![
        ("corpus.jsonl", text(&corpus)?),
        ("data/train.jsonl", lines(&rows.train)?),
        ("data/heldout.jsonl", lines(&rows.heldout)?),
        ("data/reworded.jsonl", lines(&rows.reworded)?),
        ("data/wordings.jsonl", lines(&rows.wordings)?),
        ("data/new_task.jsonl", lines(&rows.new_task)?),
        ("data/cloze.jsonl", lines(&rows.cloze)?),
        ("data/corpus_heldout.jsonl", text(&held_out)?),
        ("data/suites.toml", include_str!("../tables/suites.toml").to_owned()),
        ("model/tokenizer.json", tokenizer(&corpus, VOCABULARY)?),
        ("model/tokenizer_config.json", object(&tokenizer_config())?),
        (
            "model/generation_config.json",
            object(&json!({ "do_sample": false, "eos_token_id": [0, 3] }))?,
        ),
        ("model/config.json", object(&config())?),
    ])
}

fn lines<T: Serialize>(rows: &[T]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    Ok(text)
}

fn object(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL[0],
        "pad_token": SPECIAL[0],
        "clean_up_tokenization_spaces": false,
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE,
    })
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "initializer_range": 0.05,
        "bos_token_id": null,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    })
}
