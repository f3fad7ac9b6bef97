//! What a model's files say, its weights aside: their names, places and shapes are known, their bytes stay where they are.

use super::{Dtype, Gguf, Tensors, hf};
use crate::data::{ChatTemplate, Preparation, Tokenizer, TokenizerConfig, terminators};
use crate::model::ModelConfig;
use crate::{Error, Result};
use serde_json::Value;

/// The files beside the weights, that a model saved from this one has too.
pub const SIDE_FILES: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// A model's files, read but for the weights.
pub struct ModelFiles {
    /// As the user named it.
    pub name: String,
    /// Its shape.
    pub config: ModelConfig,
    /// `config.json`, if there is one.
    pub config_json: Option<String>,
    /// `generation_config.json`, if there is one.
    pub generation_config: Option<String>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// The files of the tokenizer: name and contents.
    pub tokenizer_files: Vec<(String, Vec<u8>)>,
    /// Where its weights lie.
    pub tensors: Tensors,
}

/// What a model's folder holds beside its weights.
pub struct Parts<'a> {
    /// Its shape.
    pub config: &'a ModelConfig,
    /// The `config.json` it was made from.
    pub config_json: Option<&'a str>,
    /// The `generation_config.json` it was made from.
    pub generation_config: Option<&'a str>,
    /// The files of its tokenizer.
    pub tokenizer_files: &'a [(String, Vec<u8>)],
    /// What ends an answer.
    pub terminators: Vec<u32>,
}

impl Parts<'_> {
    /// The files beside weights that are saved in `dtype`: name and contents.
    ///
    /// # Errors
    /// [`Error::Config`] where the model's own files hold what cannot be kept.
    pub fn files(&self, dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        let config = hf::config_json(self.config_json, self.config, dtype)?;
        let generation = hf::generation_config_json(self.generation_config, self.config, &self.terminators)?;
        let made = [("config.json", config), ("generation_config.json", generation)];
        let made = made.map(|(name, text)| (name.to_owned(), text.into_bytes()));
        Ok(made.into_iter().chain(self.tokenizer_files.iter().cloned()).collect())
    }
}

/// The hash of a model, whose weights come file by file, in pieces of any size.
pub struct ModelHash(blake3::Hasher);

impl ModelHash {
    /// Take the next bytes of the weights' files.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash, in hexadecimal.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// An error about a field, which tells the file that has it.
fn of_file(file: &str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Config { field, why } if field != file => Error::config(format!("{file}: {field}"), why),
        other => other,
    }
}

fn utf8(file: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::config(file, "is not UTF-8"))
}

impl ModelFiles {
    /// A folder in Hugging Face's format. `files` are those of `config.json` and [`SIDE_FILES`] that it has.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file and the field that is missing, wrong or not supported; [`Error::Template`].
    pub fn folder(name: &str, files: Vec<(String, Vec<u8>)>, tensors: Tensors) -> Result<Self> {
        let (mut config_json, mut generation_config, mut tokenizer_files) = (None, None, Vec::new());
        for (file, bytes) in files {
            match file.as_str() {
                "config.json" => config_json = Some(utf8(&file, bytes)?),
                "generation_config.json" => generation_config = Some(utf8(&file, bytes)?),
                _ => tokenizer_files.push((file, bytes)),
            }
        }
        let config_json = config_json.ok_or_else(|| Error::config("config.json", "is missing"))?;
        let config = ModelConfig::from_json(&config_json).map_err(of_file("config.json"))?;
        let files = Self {
            name: name.to_owned(),
            config,
            config_json: Some(config_json),
            generation_config,
            tokenizer: None,
            template: None,
            tokenizer_files,
            tensors,
        };
        files.with_tokenizer()
    }

    /// A GGUF file.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Weights`] naming the metadata or the tensor that is missing, wrong or not supported.
    pub fn gguf(name: &str, gguf: &Gguf) -> Result<Self> {
        let tokenizer_config = hf::pretty(&gguf.tokenizer_config()?);
        let files = Self {
            name: name.to_owned(),
            config: gguf.config()?,
            config_json: None,
            generation_config: None,
            tokenizer: None,
            template: None,
            tokenizer_files: vec![
                (
                    "tokenizer.json".to_owned(),
                    gguf.tokenizer_json()?.to_string().into_bytes(),
                ),
                ("tokenizer_config.json".to_owned(), tokenizer_config.into_bytes()),
            ],
            tensors: gguf.tensors()?,
        };
        files.with_tokenizer()
    }

    /// With tokenizer and template, from the files of the tokenizer.
    fn with_tokenizer(mut self) -> Result<Self> {
        let file = |name: &str| {
            let found = self.tokenizer_files.iter().find(|(file, _)| file == name);
            found.map(|(_, bytes)| bytes)
        };
        let config = match file("tokenizer_config.json") {
            Some(bytes) => TokenizerConfig::from_json(bytes)?,
            None => TokenizerConfig::default(),
        };
        // A template in a file of its own is the newer spelling, and wins, as in transformers.
        let source = match file("chat_template.jinja") {
            Some(bytes) => Some(utf8("chat_template.jinja", bytes.clone())?),
            None => config.chat_template.clone(),
        };
        // No clock: a template that prints the date would make tomorrow's rows other than today's.
        let template = source.map(|source| ChatTemplate::new(&source, &config, None));
        let tokenizer = file("tokenizer.json").map(|json| Tokenizer::from_json(json, config));
        self.template = template.transpose()?;
        self.tokenizer = tokenizer.transpose()?;
        Ok(self)
    }

    /// The type that most of the weights are stored in.
    pub fn dtype(&self) -> Dtype {
        let largest = self.tensors.entries.iter().max_by_key(|entry| entry.elements());
        largest.map_or(Dtype::F32, |entry| entry.dtype)
    }

    /// The type a model made from this one is saved in: the source's, f16 where that is quantised, unless a setting says.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that is no type.
    pub fn save_dtype(&self, setting: Option<&str>) -> Result<Dtype> {
        match setting {
            Some(name) => Dtype::named("save_dtype", name),
            None if self.dtype().is_quantized() => Ok(Dtype::F16),
            None => Ok(self.dtype()),
        }
    }

    /// Check that the weights are those the configuration asks for.
    ///
    /// # Errors
    /// [`Error::Weights`] for one that is missing, superfluous or of another shape.
    pub fn check_tensors(&self) -> Result<()> {
        self.tensors.for_model(&self.config).map(drop)
    }

    /// Every token that ends an answer.
    ///
    /// # Errors
    /// [`Error::Config`] when `generation_config.json` is no JSON; what [`terminators`] returns.
    pub fn terminators(&self) -> Result<Vec<u32>> {
        let mut ids = self.config.eos_token_ids.clone();
        if let Some(text) = &self.generation_config {
            let file = "generation_config.json";
            let root: Value = serde_json::from_str(text).map_err(|e| Error::config(file, e.to_string()))?;
            let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            match &root["eos_token_id"] {
                Value::Array(list) => ids.extend(list.iter().filter_map(id)),
                one => ids.extend(id(one)),
            }
        }
        match &self.tokenizer {
            Some(tokenizer) => terminators(tokenizer, self.template.as_ref(), &ids),
            None => Ok(ids),
        }
    }

    /// What rows are tokenised with for this model.
    pub fn preparation(&self) -> Preparation<'_> {
        Preparation {
            tokenizer: self.tokenizer.as_ref(),
            template: self.template.as_ref(),
            vocab_size: self.config.vocab_size,
            ..Preparation::default()
        }
    }

    /// What a model made from this one has beside its weights.
    ///
    /// # Errors
    /// As [`terminators`](Self::terminators).
    pub fn parts(&self) -> Result<Parts<'_>> {
        Ok(Parts {
            config: &self.config,
            config_json: self.config_json.as_deref(),
            generation_config: self.generation_config.as_deref(),
            tokenizer_files: &self.tokenizer_files,
            terminators: self.terminators()?,
        })
    }

    /// Hash of the tokenizer and the template, where there is a tokenizer.
    pub fn tokenizer_hash(&self) -> Option<String> {
        let (_, json) = self.tokenizer_files.iter().find(|(name, _)| name == "tokenizer.json")?;
        let template = self.template.as_ref().map_or("", |template| template.source());
        let mut hash = blake3::Hasher::new();
        hash.update(json);
        hash.update(&[0]);
        hash.update(template.as_bytes());
        Some(hash.finalize().to_hex().to_string())
    }

    /// Begin the hash of the model: its configuration. What is computed may depend on the weights as well; then every file of
    /// them follows, in order.
    pub fn hash(&self) -> ModelHash {
        let mut hash = ModelHash(blake3::Hasher::new());
        hash.update(self.config.to_json("").to_string().as_bytes());
        hash
    }
}
