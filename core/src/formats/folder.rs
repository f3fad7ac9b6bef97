//! A model's folder in memory: the short way from its files to a model that is tuned and asked.

use std::io;

use super::safetensors::{self, Index};
use super::{ModelFiles, SIDE_FILES};
use crate::data::{Conversation, Message};
use crate::gpu::{Gpu, turn};
use crate::model::{Generator, Model, ModelBuilder, Sampling, Use};
use crate::{Error, Result};

/// A folder in Hugging Face's format, read whole. For models that are better mapped or read by pieces there are [`ModelFiles`] and
/// [`ModelBuilder`].
pub struct Folder {
    /// What its files say.
    pub files: ModelFiles,
    /// Its safetensors files, in the order of [`TensorEntry::file`](super::TensorEntry::file).
    weights: Vec<Vec<u8>>,
}

impl Folder {
    /// `read` gives the bytes of one of its files, by name, such as `|file| std::fs::read(folder.join(file))`; an error of
    /// [`NotFound`](io::ErrorKind::NotFound) says that there is no such file.
    ///
    /// # Errors
    /// [`Error::Config`] naming a file that cannot be read, or the field of one that is missing, wrong or not supported;
    /// [`Error::Weights`]; [`Error::Template`].
    pub fn read(mut read: impl FnMut(&str) -> io::Result<Vec<u8>>) -> Result<Self> {
        let mut optional = |file: &str| match read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::config(file, error.to_string())),
        };
        let mut files = Vec::new();
        for name in ["config.json"].into_iter().chain(SIDE_FILES) {
            files.extend(optional(name)?.map(|bytes| (name.to_owned(), bytes)));
        }
        let (index, weights) = match optional("model.safetensors")? {
            Some(whole) => (None, vec![whole]),
            None => {
                let file = "model.safetensors.index.json";
                let text = optional(file)?.ok_or_else(|| Error::weights("model.safetensors", "is missing"))?;
                let text = String::from_utf8(text).map_err(|_| Error::weights(file, "is not UTF-8"))?;
                let index = Index::parse(&text)?;
                let shard = |name: &String| optional(name)?.ok_or_else(|| Error::weights(name, "is missing"));
                let shards = index.shards.iter().map(shard).collect::<Result<_>>()?;
                (Some(index), shards)
            }
        };
        let tensors = safetensors::tensors(&weights.iter().collect::<Vec<_>>(), index.as_ref())?;
        Ok(Self {
            files: ModelFiles::folder("", files, tensors)?,
            weights,
        })
    }

    /// Put the model on a device.
    ///
    /// # Errors
    /// As [`ModelBuilder`]'s functions.
    pub async fn load(&self, gpu: &Gpu, usage: Use) -> Result<Model> {
        let mut builder = ModelBuilder::new(gpu, &self.files.config, usage)?;
        for entry in self.files.tensors.for_model(&self.files.config)? {
            turn().await;
            let bytes = entry.read(&self.weights[entry.file])?;
            builder.put(&entry.name, entry.dtype, &entry.shape, &bytes)?;
        }
        builder.finish().await
    }
}

impl ModelFiles {
    /// A user's question as tokens, up to where the answer begins.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no tokenizer or no chat template; [`Error::Template`] when that fails.
    pub fn prompt(&self, question: &str) -> Result<Vec<u32>> {
        let missing = |what| Error::config(what, "the model has none, so that it cannot be asked");
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| missing("tokenizer.json"))?;
        let template = self.template.as_ref().ok_or_else(|| missing("chat_template"))?;
        let conversation = Conversation {
            messages: vec![Message::new("user", question)],
            ..Conversation::default()
        };
        conversation.prompt(template, tokenizer)
    }

    /// The model's likeliest answer to a question, of at most `max_new_tokens` tokens. What the generator has read before is forgotten: the
    /// model may have been trained since.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt), and as [`Generator::generate`].
    pub async fn answer(&self, generator: &mut Generator, question: &str, max_new_tokens: u32) -> Result<String> {
        let (prompt, ends) = (self.prompt(question)?, self.terminators()?);
        let sampling = Sampling::default();
        generator.reset();
        let ids = generator
            .generate(&prompt, &sampling, max_new_tokens, &ends, |_| true)
            .await?;
        let tokenizer = self.tokenizer.as_ref().expect("the prompt was made with it");
        Ok(tokenizer.decode(&ids, true)?.trim().to_owned())
    }
}
