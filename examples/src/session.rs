//! A training run that answers questions between its steps: what a window shows and steers, and the work that it hands to the device.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Context, Result};
use wgpu_sft::formats::Folder;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::{Generator, Sampling};

use crate::tuning::{TOKENS, Tuning, base};

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Files are read, kernels compiled.
    #[default]
    Preparing,
    /// Steps are taken.
    Training,
    /// Nothing is done until somebody says so.
    Paused,
    /// All steps are done.
    Finished,
    /// Given up; the model is as the last whole step left it.
    Cancelled,
}

/// A question or an answer.
#[derive(Debug, Clone)]
pub struct Line {
    /// Steps that were done, for an answer.
    pub after: Option<u64>,
    /// What was said so far.
    pub text: String,
}

/// What a window shows and changes. The work looks at it whenever it is polled.
#[derive(Debug, Default)]
pub struct Session {
    /// What the run is at.
    pub state: State,
    /// Steps done.
    pub done: u64,
    /// Steps and their losses.
    pub losses: Vec<[f64; 2]>,
    /// What was asked and answered.
    pub chat: Vec<Line>,
    /// What is to be answered.
    questions: VecDeque<String>,
}

impl Session {
    /// Ask the model as it is at the end of the step under way.
    pub fn ask(&mut self, question: &str) {
        self.questions.push_back(question.to_owned());
    }

    /// Whether an answer is still to come.
    pub fn is_answering(&self) -> bool {
        !self.questions.is_empty()
    }
}

/// Train for so many steps, and answer. Ends only with an error.
///
/// # Errors
/// Files that cannot be read, a device that fails.
pub async fn run(gpu: Gpu, session: Rc<RefCell<Session>>, steps: u64) -> Result<Infallible> {
    let base = base()?;
    let mut tuning = Tuning::new(&base, &gpu, steps).await?;
    let mut generator = Generator::new(tuning.model(), TOKENS).await?;
    session.borrow_mut().state = State::Training;
    loop {
        // Whoever hands the work over polls it every frame.
        poll_fn(|_| {
            let session = session.borrow();
            match session.state == State::Training || session.is_answering() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        let question = session.borrow().questions.front().cloned();
        if let Some(question) = question {
            answer(&base, &mut generator, &session, &question).await?;
            session.borrow_mut().questions.pop_front();
            continue;
        }
        // A step that is dropped leaves no trace, unless it was whole and only its loss is missing.
        let metrics = unless_cancelled(&session, tuning.step()).await;
        let mut session = session.borrow_mut();
        session.done = tuning.done();
        let Some(metrics) = metrics else {
            continue;
        };
        let metrics = metrics?;
        println!("step {} of {steps}: loss {:.3}", metrics.step, metrics.loss());
        session.losses.push([metrics.step as f64, metrics.loss()]);
        if tuning.done() == tuning.steps {
            session.state = State::Finished;
        }
    }
}

/// Tell the answer word by word.
async fn answer(base: &Folder, generator: &mut Generator, session: &RefCell<Session>, question: &str) -> Result<()> {
    let after = session.borrow().done;
    let line = |after, text: &str| Line {
        after,
        text: text.to_owned(),
    };
    session
        .borrow_mut()
        .chat
        .extend([line(None, question), line(Some(after), "")]);
    let tokenizer = base.files.tokenizer.as_ref().context("the model has no tokenizer")?;
    let (prompt, ends) = (base.files.prompt(question)?, base.files.terminators()?);
    let mut words = tokenizer.stream(true);
    // What was read before is of other weights.
    generator.reset();
    let tell = |token| {
        let word = words.push(token).unwrap_or_default();
        if let Some(line) = session.borrow_mut().chat.last_mut() {
            line.text.push_str(&word);
        }
        true
    };
    generator
        .generate(&prompt, &Sampling::default(), 24, &ends, tell)
        .await?;
    Ok(())
}

/// The work's result; none, and the work is dropped, where the session is cancelled meanwhile.
async fn unless_cancelled<T>(session: &RefCell<Session>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match session.borrow().state {
        State::Cancelled => Poll::Ready(None),
        _ => work.as_mut().poll(context).map(Some),
    })
    .await
}
