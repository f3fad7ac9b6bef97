//! `generate`: one answer, printed as it comes.

use std::io::{Read, Write, stdin, stdout};

use anyhow::{Context, Result};
use pollster::block_on;
use wgpu_sft::Error;
use wgpu_sft::data::{Conversation, Message, Tokenizer};
use wgpu_sft::model::{Generator, Sampling};

use crate::args::{GenerateArgs, SamplingArgs};
use crate::model_files::ModelFiles;
use crate::{Outcome, devices, eval, pipeline_cache};

/// What the flags say of sampling.
pub fn sampling(args: &SamplingArgs) -> Result<Sampling> {
    if args.max_new_tokens == 0 {
        return Err(Error::config("max_new_tokens", "must be at least 1").into());
    }
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        seed: args.seed,
    };
    sampling.validate()?;
    Ok(sampling)
}

/// The model's tokenizer, which talking to it needs.
pub fn tokenizer(source: &ModelFiles) -> Result<&Tokenizer> {
    let missing = || Error::config("tokenizer.json", format!("{} has no tokenizer", source.name));
    Ok(source.tokenizer.as_ref().ok_or_else(missing)?)
}

/// The tokens of a conversation up to where the model is to answer.
pub fn prompt(source: &ModelFiles, conversation: &Conversation) -> Result<Vec<u32>> {
    let missing = || Error::config("chat_template", format!("{} has no chat template", source.name));
    let template = source.template.as_ref().ok_or_else(missing)?;
    Ok(conversation.prompt(template, tokenizer(source)?)?)
}

/// An answer to `prompt`, printed as it comes, and returned.
pub fn answer(
    generator: &mut Generator,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sampling: &Sampling,
    max_new_tokens: u32,
    terminators: &[u32],
) -> Result<String> {
    let mut stream = tokenizer.stream(true);
    let mut text = String::new();
    let mut outcome = Ok(());
    let mut show = |piece: wgpu_sft::Result<String>| -> Result<()> {
        let piece = piece?;
        text.push_str(&piece);
        let mut out = stdout().lock();
        out.write_all(piece.as_bytes())?;
        Ok(out.flush()?)
    };
    let on_token = |token: u32| {
        outcome = show(stream.push(token));
        // The answer ends when nobody reads it any more.
        outcome.is_ok() && !crate::interrupt::asked()
    };
    block_on(generator.generate(prompt, sampling, max_new_tokens, terminators, on_token))?;
    outcome?;
    show(stream.finish())?;
    writeln!(stdout())?;
    Ok(text)
}

/// Answer the prompt.
pub fn run(args: GenerateArgs) -> Result<Outcome> {
    let sampling = sampling(&args.sampling)?;
    let source = ModelFiles::open(&args.model.model, false)?;
    let tokenizer = tokenizer(&source)?;
    let text = match args.prompt {
        Some(text) => text,
        None => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).context("standard input")?;
            text.trim_end_matches('\n').to_owned()
        }
    };
    let ids = if args.raw {
        tokenizer.encode(&text, true)?
    } else {
        let system = args.system.map(|text| Message::new("system", text));
        let messages = system.into_iter().chain([Message::new("user", text)]).collect();
        prompt(
            &source,
            &Conversation {
                messages,
                ..Default::default()
            },
        )?
    };
    if ids.is_empty() {
        return Err(Error::config("prompt", "is empty").into());
    }
    let wanted = ids.len().saturating_add(args.sampling.max_new_tokens as usize);
    let context = source.config.max_position_embeddings;
    if ids.len() >= context {
        let why = format!("has {} tokens, the model's context {context}", ids.len());
        return Err(Error::config("prompt", why).into());
    }
    let gpu = devices::open(&args.device)?;
    let model = eval::load(&args.model, &source, &gpu, false)?;
    let mut generator = block_on(Generator::new(&model, wanted.min(context) as u32))?;
    pipeline_cache::write(&gpu);
    let (terminators, most) = (source.terminators()?, args.sampling.max_new_tokens);
    answer(
        &mut generator,
        tokenizer,
        &ids,
        &sampling,
        most.min((context - ids.len()) as u32),
        &terminators,
    )?;
    Ok(Outcome::Fine)
}
