//! `chat`: a conversation, line by line.

use std::io::{IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result};
use pollster::block_on;
use wgpu_sft::data::{Conversation, Message};
use wgpu_sft::model::Generator;

use crate::args::ChatArgs;
use crate::model_files::ModelFiles;
use crate::progress::line;
use crate::{Outcome, devices, eval, generate, interrupt, pipeline_cache};

/// Context kept where no flag says: enough for a long talk, small enough for any device.
const CONTEXT: usize = 2048;

/// Talk until the input ends.
pub fn run(args: ChatArgs) -> Result<Outcome> {
    let sampling = generate::sampling(&args.sampling)?;
    let source = ModelFiles::open(&args.model.model, false)?;
    let tokenizer = generate::tokenizer(&source)?;
    let longest = source.config.max_position_embeddings;
    let context = args.context.map_or(CONTEXT.min(longest), |context| context as usize);
    if context > longest || context < 2 {
        let why = format!("{context} is not in 2..={longest}, the model's context");
        return Err(wgpu_sft::Error::config("context", why).into());
    }
    let start: Vec<Message> = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut conversation = Conversation {
        messages: start.clone(),
        ..Default::default()
    };
    let gpu = devices::open(&args.device)?;
    let model = eval::load(&args.model, &source, &gpu, false)?;
    let mut generator = block_on(Generator::new(&model, context as u32))?;
    pipeline_cache::write(&gpu);
    let terminators = source.terminators()?;
    let terminal = stdin().is_terminal();
    if terminal {
        line("/new starts afresh, /exit or Ctrl-D ends, Ctrl-C stops an answer")?;
    }
    interrupt::catch("(stopped; once more to leave)")?;
    loop {
        if terminal {
            write!(stdout(), "> ")?;
            stdout().flush()?;
        }
        let mut text = String::new();
        if stdin().read_line(&mut text).context("standard input")? == 0 {
            return Ok(Outcome::Fine);
        }
        match text.trim() {
            "" => continue,
            "/exit" => return Ok(Outcome::Fine),
            "/new" => {
                conversation.messages.clone_from(&start);
                continue;
            }
            text => conversation.messages.push(Message::new("user", text)),
        }
        let ids = generate::prompt(&source, &conversation)?;
        if ids.len() >= context {
            line(&format!(
                "the conversation has {} tokens, the context {context}: /new starts afresh",
                ids.len()
            ))?;
            conversation.messages.pop();
            continue;
        }
        let most = args.sampling.max_new_tokens.min((context - ids.len()) as u32);
        let answer = generate::answer(&mut generator, tokenizer, &ids, &sampling, most, &terminators)?;
        conversation.messages.push(Message::new("assistant", answer));
        interrupt::reset();
    }
}
