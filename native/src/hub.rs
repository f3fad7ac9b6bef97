//! Models of the Hugging Face Hub, kept in its own cache.
//!
//! `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` mean what they mean to Hugging Face's libraries; `HF_HUB_OFFLINE=1` uses what is cached.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use hf_hub::Cache;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use wgpu_sft::formats::SIDE_FILES;
use wgpu_sft::formats::safetensors::Index;

use crate::model_files::looks_like_id;
use crate::progress::{tell, warn};

/// The folder of a cached model, downloaded first where it is not there yet.
pub fn fetch(id: &str, quiet: bool) -> Result<PathBuf> {
    debug_assert!(looks_like_id(id));
    let cached = Cache::from_env().model(id.to_owned());
    let offline = std::env::var("HF_HUB_OFFLINE")
        .is_ok_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()));
    if offline {
        let config = cached.get("config.json");
        let config = config.with_context(|| format!("{id} is not in the cache, and HF_HUB_OFFLINE is set"))?;
        return folder_of(&config);
    }
    tell(&match cached.get("config.json") {
        None => format!("{id} is no local file or folder: asking the Hub for it"),
        Some(_) => format!("{id} was downloaded before: asking the Hub whether it has changed"),
    });
    let mut builder = ApiBuilder::from_env().with_progress(!quiet);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().context("the Hub's client")?;
    let repo = api.model(id.to_owned());
    let get = |file: &str| repo.get(file).map_err(explain).with_context(|| format!("{id}: {file}"));
    let info = match repo.info() {
        Ok(info) => info,
        Err(error) => match cached.get("config.json").filter(|_| !is_answer(&error)) {
            Some(config) => {
                warn(&format!(
                    "the Hub cannot be reached: using {id} as it was downloaded before"
                ));
                return folder_of(&config);
            }
            None => {
                return Err(explain(error)).with_context(|| format!("{id}, which is no local file or folder either"));
            }
        },
    };
    let there = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);
    if !there("config.json") {
        bail!("{id} has no config.json: it is not a model in Hugging Face's format");
    }
    let config = get("config.json")?;
    for file in SIDE_FILES.into_iter().filter(|file| there(file)) {
        get(file)?;
    }
    if there("model.safetensors") {
        get("model.safetensors")?;
    } else if there("model.safetensors.index.json") {
        let index = std::fs::read_to_string(get("model.safetensors.index.json")?)?;
        for shard in Index::parse(&index).with_context(|| id.to_owned())?.shards {
            get(&shard)?;
        }
    } else {
        bail!("{id} has no safetensors weights");
    }
    folder_of(&config)
}

fn folder_of(file: &std::path::Path) -> Result<PathBuf> {
    Ok(file.parent().context("a cached file without a folder")?.to_owned())
}

/// Whether the Hub was there, and said no.
fn is_answer(error: &ApiError) -> bool {
    error.to_string().contains("status code 4")
}

/// What an HTTP status means here.
fn explain(error: ApiError) -> anyhow::Error {
    let text = error.to_string();
    let hint = if text.contains("status code 401") || text.contains("status code 403") {
        "the Hub has no such public model; for a gated one, log in with `hf auth login` first"
    } else if text.contains("status code 404") {
        "the Hub has no such model or file"
    } else {
        "the Hub cannot be reached; HF_HUB_OFFLINE=1 uses what is cached"
    };
    anyhow::anyhow!("{hint} ({text})")
}
