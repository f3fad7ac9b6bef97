//! A conversation with a model.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Function;
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::data::{Conversation, Message, alpaca_prompt};
use wgpu_sft::formats::ModelFiles;
use wgpu_sft::model::{Generator, Sampling};

use crate::error::{Fault, Result};
use crate::model::Model;
use crate::source::Source;

/// Context kept where nothing is said: enough for a long talk, small enough for any device.
const CONTEXT: usize = 2048;

/// What is asked with: Hugging Face's names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asking {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    seed: u64,
    max_new_tokens: u32,
}

impl Default for Asking {
    fn default() -> Self {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        } = Sampling::default();
        Self {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            max_new_tokens: 256,
        }
    }
}

/// A message of a conversation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    role: String,
    content: String,
}

/// Answers, one at a time. Of a conversation that goes on, only what is new is read.
#[wasm_bindgen]
pub struct Chat {
    files: Rc<ModelFiles>,
    /// None while it answers, and when it was destroyed.
    generator: RefCell<Option<Generator>>,
    /// The most tokens of a conversation.
    context: usize,
    destroyed: Cell<bool>,
}

#[wasm_bindgen]
impl Chat {
    /// Get ready to talk to a model of these files. `context` is the most tokens of a conversation: 2,048 where nothing is said, or
    /// the model's own limit if that is less. A model without a chat template answers single questions, as Stanford's Alpaca
    /// puts them. Errors: no tokenizer, a context that is not the model's, a device
    /// out of memory.
    pub async fn create(model: &Model, source: &Source, context: Option<u32>) -> Result<Chat> {
        let files = source.files().clone();
        let longest = files.config.max_position_embeddings;
        let context = context.map_or(CONTEXT.min(longest), |context| context as usize);
        if context > longest || context < 2 {
            let why = format!("{context} is not in 2..={longest}, the model's context");
            return Err(Error::config("context", why).into());
        }
        let missing = |file: &str| Error::config(file, format!("{} has none: it cannot be talked to", files.name));
        if files.tokenizer.is_none() {
            return Err(missing("tokenizer.json").into());
        }
        let model = model.get()?;
        let generator = Generator::new(&model, context as u32).await?;
        Ok(Self {
            files,
            generator: RefCell::new(Some(generator)),
            context,
            destroyed: Cell::new(false),
        })
    }

    /// Answer a conversation (JSON, a list of `{role, content}`). Sampling is JSON of `temperature`, `top_k`, `top_p`, `min_p`,
    /// `seed`, `max_new_tokens`, each with its usual default: greedy, 256 tokens. `on_text` is told the answer so far whenever
    /// it is longer, always whole characters; `false` ends the answer. Errors: a conversation that is too long, settings out of
    /// range, what `on_text` throws, a second answer at the same time.
    pub async fn answer(
        &self,
        messages: String,
        sampling: String,
        #[wasm_bindgen(unchecked_param_type = "(textSoFar: string) => boolean")] on_text: Function,
    ) -> Result<String> {
        let not_json = |field: &str| {
            let field = field.to_owned();
            move |e: serde_json::Error| Fault::from(Error::config(field, e.to_string()))
        };
        let said: Vec<Said> = serde_json::from_str(&messages).map_err(not_json("messages"))?;
        let asking: Asking = serde_json::from_str(&sampling).map_err(not_json("sampling"))?;
        let conversation = Conversation {
            messages: said
                .into_iter()
                .map(|said| Message::new(said.role, said.content))
                .collect(),
            ..Conversation::default()
        };
        let busy = match self.destroyed.get() {
            true => "was destroyed",
            false => "is answering already",
        };
        let generator = self.generator.take();
        let mut generator = generator.ok_or_else(|| Error::config("chat", busy))?;
        let answer = self.go_on(&mut generator, &conversation, &asking, &on_text).await;
        if !self.destroyed.get() {
            self.generator.replace(Some(generator));
        }
        answer
    }

    /// Destroy its buffers: now, or as soon as the answer under way has ended. Doing this again is no error.
    pub fn destroy(&self) {
        self.destroyed.set(true);
        self.generator.take();
    }
}

impl Chat {
    async fn go_on(
        &self,
        generator: &mut Generator,
        conversation: &Conversation,
        asking: &Asking,
        on_text: &Function,
    ) -> Result<String> {
        let missing = || Error::config("tokenizer.json", "is missing");
        let tokenizer = self.files.tokenizer.as_ref().ok_or_else(missing)?;
        if asking.max_new_tokens == 0 {
            return Err(Error::config("max_new_tokens", "must be at least 1").into());
        }
        let sampling = Sampling {
            temperature: asking.temperature,
            top_k: asking.top_k,
            top_p: asking.top_p,
            min_p: asking.min_p,
            seed: asking.seed,
        };
        let prompt = match (&self.files.template, &conversation.messages[..]) {
            (Some(template), _) => conversation.prompt(template, tokenizer)?,
            // As a model without a template is taught instructions.
            (None, [only]) => {
                tokenizer.encode(&alpaca_prompt(only.content.as_deref().unwrap_or_default(), ""), true)?
            }
            (None, _) => {
                let why = "is missing: without it only a single question can be asked";
                return Err(Error::config("chat_template", why).into());
            }
        };
        let context = self.context;
        if prompt.len() >= context {
            let why = format!(
                "the conversation has {} tokens, the context {context}: begin a new one",
                prompt.len()
            );
            return Err(Error::data(why).into());
        }
        let most = asking.max_new_tokens.min((context - prompt.len()) as u32);
        let terminators = self.files.terminators()?;
        let mut stream = tokenizer.stream(true);
        let (mut text, mut outcome) = (String::new(), Ok(true));
        let on_token = |token: u32| {
            outcome = stream.push(token).map_err(Fault::from).and_then(|piece| {
                if piece.is_empty() {
                    return Ok(true);
                }
                text.push_str(&piece);
                let going_on = on_text.call1(&JsValue::NULL, &text.as_str().into())?;
                // Only `false` itself: a function that returns nothing wants all.
                Ok(going_on != JsValue::FALSE)
            });
            matches!(outcome, Ok(true))
        };
        generator
            .generate(&prompt, &sampling, most, &terminators, on_token)
            .await?;
        if outcome? {
            let rest = stream.finish()?;
            if !rest.is_empty() {
                text.push_str(&rest);
                on_text.call1(&JsValue::NULL, &text.as_str().into())?;
            }
        }
        Ok(text)
    }
}
