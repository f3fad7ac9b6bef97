//! Items: what is asked of a model, and what is known of the right answer.

use serde_json::{Map, Value, json};

use super::ifeval::{Instruction, instructions as instructions_of};
use super::measure::{Measure, Needs};
use super::suite::Suite;
use crate::data::{
    AlpacaStyle, Body, ChatTemplate, Conversation, Example, IGNORE, Message, Place, Preparation, Reading, Row, Shape,
    Tokenizer, TrainOn, alpaca_prompt,
};
use crate::{Error, Result};

/// One item of a suite.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where in its file.
    pub place: Place,
    /// The task that its row names.
    pub task: Option<String>,
    /// The question that it words (`group`): items of a group are drawn together by the bootstrap, and compared by consistency.
    pub group: Option<String>,
    /// The right answers, any of which will do.
    pub references: Vec<String>,
    /// What can be chosen from.
    pub choices: Vec<String>,
    /// Which choice is right.
    pub gold: Option<usize>,
    /// What the answer is verified by.
    pub instructions: Vec<Instruction>,
    /// The row, its answer included where it has one.
    body: Body,
    /// Whether the row has an answer of its own.
    answered: bool,
}

impl Item {
    /// The item of a row's text, which is JSON.
    ///
    /// # Errors
    /// [`Error::Data`] with the place for text that is not JSON; as [`Item::from_json`].
    pub fn from_text(place: Place, text: &[u8], reading: &Reading, suite: &Suite) -> Result<Self> {
        let json = serde_json::from_slice(text).map_err(|e| place.blame(Error::data(format!("is not JSON: {e}"))))?;
        Self::from_json(place, &json, reading, suite)
    }

    /// An item from a row of any shape that is asked something.
    ///
    /// The last answer of a row is its reference, unless it has `answers` (a list, or SQuAD's `{"text": [...]}`) or an `answer`. Rows may
    /// lack an answer: `prompt` or `question` alone is then a user's message, behind the row's `context` if it has one (SQuAD). Multiple choice has `choices` (a list, or ARC's `{"text", "label"}`), and
    /// the right one's index from 0, label or text as `answer`, `label`, `gold` or `answerKey`. IFEval has `instruction_id_list` and
    /// `kwargs`. `group` names the question that several rows word.
    ///
    /// # Errors
    /// [`Error::Data`] with the place, saying what the suite's measures need and the row lacks.
    pub fn from_json(place: Place, json: &Value, reading: &Reading, suite: &Suite) -> Result<Self> {
        let item = Self::read(place, json, reading).and_then(|item| item.check(suite));
        item.map_err(|e| place.blame(e))
    }

    fn read(place: Place, json: &Value, reading: &Reading) -> Result<Self> {
        let Value::Object(fields) = json else {
            return Err(Error::data("a row must be a JSON object"));
        };
        let fields = &*reading.columns.apply(fields)?;
        let (row, mut answered) = row(fields, reading.shape)?;
        let mut body = row.body;
        let mut references = Vec::new();
        match &mut body {
            Body::Chat(conversation) => match conversation.messages.last() {
                Some(message) if answered && message.role == "assistant" => references.push(row_answer(message)),
                _ => answered = false,
            },
            Body::Instruction { response, .. } if answered => references.push(response.clone()),
            Body::Text { completion, .. } if answered => references.push(completion.clone()),
            _ => {}
        }
        let (choices, labels) = choices(fields)?;
        let gold = match choices.is_empty() {
            true => None,
            false => gold(fields, &choices, &labels, &references)?,
        };
        if let Some(answers) = answers(fields, gold.is_some())? {
            references = answers;
        }
        if let (Some(gold), true) = (gold, references.is_empty()) {
            references.push(choices[gold].clone());
        }
        Ok(Self {
            place,
            task: row.task,
            group: group(fields)?,
            references,
            choices,
            gold,
            instructions: instructions(fields)?,
            body,
            answered,
        })
    }

    /// Refuse an item that lacks what is measured.
    fn check(self, suite: &Suite) -> Result<Self> {
        let refuse = |measure: Measure, why: &str| Err(Error::data(format!("{measure} needs {why}")));
        for measure in suite.measure.iter().copied() {
            match measure.needs() {
                Needs::Targets
                    if !self.answered
                        && !matches!(self.body, Body::Plain(_) | Body::Segments(_) | Body::Tokens { .. }) =>
                {
                    return refuse(
                        measure,
                        "the row's own answer: a completion, an output, or a last message of the assistant",
                    );
                }
                Needs::Choices if self.choices.len() < 2 => return refuse(measure, "two \"choices\" or more"),
                Needs::Choices if self.gold.is_none() => {
                    return refuse(measure, "the right choice's index, label or text as \"answer\"");
                }
                Needs::Answer if matches!(self.body, Body::Plain(_) | Body::Segments(_) | Body::Tokens { .. }) => {
                    return refuse(
                        measure,
                        "a row that is asked something: text, segments and tokens are not",
                    );
                }
                Needs::Answer if measure.is_ifeval() && self.instructions.is_empty() => {
                    return refuse(measure, "\"instruction_id_list\"");
                }
                Needs::Answer
                    if !measure.is_ifeval() && measure != Measure::Agreement && self.references.is_empty() =>
                {
                    return refuse(measure, "a reference: the row's last answer, \"answer\" or \"answers\"");
                }
                _ => {}
            }
            if measure.is_consistency() && self.group.is_none() {
                return refuse(measure, "\"group\", which names the question that a row words");
            }
        }
        Ok(self)
    }

    /// What the row holds, its own answer included.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What is asked, for people: the last message that is not the answer, or the prompt.
    pub fn prompt_text(&self) -> String {
        match &self.body {
            Body::Chat(conversation) => {
                let asked = conversation
                    .messages
                    .iter()
                    .rev()
                    .find(|message| message.role != "assistant");
                asked.and_then(|message| message.content.clone()).unwrap_or_default()
            }
            Body::Instruction { .. } => self.body.request().into_owned(),
            Body::Text { prompt, .. } => prompt.clone(),
            Body::Plain(text) => text.clone(),
            Body::Segments(segments) => segments.iter().map(|segment| segment.text.as_str()).collect(),
            Body::Tokens { .. } => String::new(),
        }
    }

    /// The tokens that the model goes on from: as training sees them before the row's last answer.
    ///
    /// # Errors
    /// [`Error::Template`] when the template fails, [`Error::Config`] where a tokenizer or template is missing, [`Error::Data`] for rows
    /// that ask nothing; with the place.
    pub fn prompt(&self, with: &Preparation) -> Result<Vec<u32>> {
        self.ids(with).map_err(|e| self.place.blame(e))
    }

    fn ids(&self, with: &Preparation) -> Result<Vec<u32>> {
        let tokenizer = tokenizer(with)?;
        match &self.body {
            Body::Chat(conversation) => self.chat_ids(with, conversation),
            Body::Instruction {
                instruction, context, ..
            } => match self.body.conversation() {
                Some(conversation) if with.alpaca_style() == AlpacaStyle::AlpacaChat => {
                    self.chat_ids(with, &conversation)
                }
                _ => tokenizer.encode(&alpaca_prompt(instruction, context), true),
            },
            Body::Text { prompt, .. } => tokenizer.encode(prompt, true),
            _ => Err(Error::data("asks nothing")),
        }
    }

    fn chat_ids(&self, with: &Preparation, conversation: &Conversation) -> Result<Vec<u32>> {
        let mut asked = conversation.clone();
        if asked.messages.last().is_some_and(|message| message.role == "assistant") {
            asked.messages.pop();
        }
        match with.template {
            Some(template) => asked.prompt(template, tokenizer(with)?),
            // A base model without a template is asked in plain text, as `generate --raw` asks it.
            None if !self.answered && asked.messages.len() == 1 => {
                let text = asked.messages[0].content.clone().unwrap_or_default();
                tokenizer(with)?.encode(&text, true)
            }
            None => Err(Error::config(
                "chat_template",
                "is missing: without it messages cannot be rendered",
            )),
        }
    }

    /// The tokens of each choice behind the prompt, and of the prompt.
    ///
    /// Through a chat template a choice is rendered as the answer that training would see, without the tokens that end it. Behind a plain
    /// prompt it is encoded as lm-evaluation-harness does (`_encode_pair`): white space that ends the prompt goes to the choice, which is
    /// what follows the prompt's tokens in the tokens of both. Behind Stanford's text it is encoded apart, as in training.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt), and [`Error::Data`] for a choice of no tokens.
    pub fn choice_ids(&self, with: &Preparation) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
        let pair = |choice: &String| -> Result<(Vec<u32>, Vec<u32>)> {
            let tokenizer = tokenizer(with)?;
            let pair = match (&self.body, with.template) {
                (Body::Text { prompt, .. }, _) => encode_pair(tokenizer, prompt, choice)?,
                (Body::Chat(conversation), Some(template)) => answered(conversation, choice, template, tokenizer)?,
                (Body::Chat(_), None) => encode_pair(tokenizer, &self.prompt_text(), choice)?,
                (body, Some(template)) if with.alpaca_style() == AlpacaStyle::AlpacaChat => {
                    let asked = body.conversation().ok_or_else(|| Error::data("asks nothing"))?;
                    answered(&asked, choice, template, tokenizer)?
                }
                _ => (self.ids(with)?, tokenizer.encode_continuation(choice)?),
            };
            match pair.1.is_empty() {
                true => Err(Error::data(format!("the choice {choice:?} has no tokens"))),
                false => Ok(pair),
            }
        };
        let pairs: Result<Vec<_>> = self.choices.iter().map(pair).collect();
        pairs.map_err(|e| self.place.blame(e))
    }
}

/// The tokens before an answer and of it, as training sees them in a conversation that ends with it; without what ends the turn.
fn answered(
    conversation: &Conversation,
    answer: &str,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut conversation = conversation.clone();
    conversation.messages.pop_if(|message| message.role == "assistant");
    conversation.first_target = conversation.messages.len();
    conversation.messages.push(Message::new("assistant", answer));
    let Example { mut ids, labels } = conversation.example(template, tokenizer, TrainOn::Last)?;
    let start = labels.iter().position(|label| *label != IGNORE).unwrap_or(ids.len());
    let end = labels
        .iter()
        .rposition(|label| *label != IGNORE)
        .map_or(start, |last| last + 1);
    ids.truncate(end);
    while ids.len() > start && tokenizer.is_special(ids[ids.len() - 1]) {
        ids.pop();
    }
    let answer = ids.split_off(start);
    Ok((ids, answer))
}

/// Context and continuation as `TemplateLM._encode_pair` of lm-evaluation-harness makes them.
pub fn encode_pair(tokenizer: &Tokenizer, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
    let kept = context.trim_end();
    let continuation = format!("{}{continuation}", &context[kept.len()..]);
    let before = tokenizer.encode(kept, true)?;
    let mut whole = tokenizer.encode(&format!("{kept}{continuation}"), true)?;
    let after = whole.split_off(before.len().min(whole.len()));
    Ok((before, after))
}

fn tokenizer<'a>(with: &Preparation<'a>) -> Result<&'a Tokenizer> {
    with.tokenizer
        .ok_or_else(|| Error::config("tokenizer.json", "is missing: without it nothing can be asked"))
}

/// The row, and whether it has an answer: one that lacks it is given an empty one, or none but a question, to be recognised by.
fn row(fields: &Map<String, Value>, shape: Option<Shape>) -> Result<(Row, bool)> {
    let reading = Reading {
        shape,
        ..Reading::default()
    };
    let error = match Row::from_json(&Value::Object(fields.clone()), &reading) {
        Ok(row) => return Ok((row, true)),
        Err(error) => error,
    };
    let has = |field: &str| fields.contains_key(field);
    let mut completed = fields.clone();
    let asked = ["prompt", "question"].into_iter().find(|field| has(field));
    match asked {
        Some(asked) if !has("completion") && !has("messages") && shape.is_none() => {
            let context = fields
                .get("context")
                .and_then(Value::as_str)
                .filter(|context| !context.is_empty());
            let messages = match (completed.shift_remove(asked).unwrap_or_default(), context) {
                (Value::String(text), None) => json!([{"role": "user", "content": text}]),
                (Value::String(text), Some(context)) => {
                    json!([{"role": "user", "content": format!("{context}\n\n{text}")}])
                }
                (other, _) => other,
            };
            completed.insert("messages".to_owned(), messages);
        }
        _ if has("instruction") && !has("output") && !has("response") => {
            completed.insert("output".to_owned(), "".into());
        }
        _ => return Err(error),
    }
    Ok((Row::from_json(&Value::Object(completed), &reading)?, false))
}

fn row_answer(message: &Message) -> String {
    match (&message.content, message.extra.get("tool_calls")) {
        (Some(content), _) => content.clone(),
        (None, Some(calls)) => calls.to_string(),
        (None, None) => String::new(),
    }
}

/// A list of strings.
fn strings(field: &str, json: &Value) -> Result<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let list = json.as_array().and_then(|list| list.iter().map(text).collect());
    list.ok_or_else(|| Error::data(format!("{field:?} must be a list of strings")))
}

/// The choices and, where they have any, their labels.
fn choices(fields: &Map<String, Value>) -> Result<(Vec<String>, Vec<String>)> {
    match fields.get("choices") {
        None | Some(Value::Null) => Ok(Default::default()),
        Some(Value::Object(both)) => {
            let (texts, labels) = (both.get("text"), both.get("label"));
            let texts = strings("choices.text", texts.unwrap_or(&Value::Null))?;
            let labels = labels.map_or(Ok(Vec::new()), |labels| strings("choices.label", labels))?;
            Ok((texts, labels))
        }
        Some(list) => Ok((strings("choices", list)?, Vec::new())),
    }
}

/// Which choice is right: by its index, its label or its text.
fn gold(
    fields: &Map<String, Value>,
    choices: &[String],
    labels: &[String],
    references: &[String],
) -> Result<Option<usize>> {
    let named = ["answer", "label", "gold", "answerKey"]
        .into_iter()
        .find_map(|field| Some((field, fields.get(field).filter(|value| !value.is_null())?)));
    let (field, value) = match (named, references) {
        (Some(named), _) => named,
        (None, [reference]) => return Ok(choices.iter().position(|choice| choice == reference)),
        (None, _) => return Ok(None),
    };
    let found = match value {
        Value::Number(index) => index
            .as_u64()
            .map(|index| index as usize)
            .filter(|&index| index < choices.len()),
        Value::String(text) => (labels.iter().position(|label| label == text))
            .or_else(|| choices.iter().position(|choice| choice == text))
            .or_else(|| {
                text.parse()
                    .ok()
                    .filter(|&index| labels.is_empty() && index < choices.len())
            }),
        _ => None,
    };
    match found {
        Some(index) => Ok(Some(index)),
        None => Err(Error::data(format!(
            "{field:?}: {value} is neither the index from 0, nor the label, nor the text of one of the {} choices",
            choices.len()
        ))),
    }
}

/// The right answers that a row lists beside its own.
fn answers(fields: &Map<String, Value>, chosen: bool) -> Result<Option<Vec<String>>> {
    match (fields.get("answers"), fields.get("answer")) {
        (Some(Value::Object(squad)), _) => match squad.get("text") {
            Some(texts) => strings("answers.text", texts).map(Some),
            None => Err(Error::data("\"answers\" must be a list of strings")),
        },
        (Some(list), _) if !list.is_null() => strings("answers", list).map(Some),
        (_, Some(Value::String(text))) if !chosen => Ok(Some(vec![text.clone()])),
        (_, Some(Value::Number(number))) if !chosen => Ok(Some(vec![number.to_string()])),
        _ => Ok(None),
    }
}

fn group(fields: &Map<String, Value>) -> Result<Option<String>> {
    match fields.get("group") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Error::data("\"group\" must be a string or a number")),
    }
}

fn instructions(fields: &Map<String, Value>) -> Result<Vec<Instruction>> {
    let ids = match fields.get("instruction_id_list") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(ids) => strings("instruction_id_list", ids)?,
    };
    let object = |kwargs: &Value| match kwargs {
        Value::Null => Some(Map::new()),
        other => other.as_object().cloned(),
    };
    let kwargs = match fields.get("kwargs") {
        None | Some(Value::Null) => Some(vec![Map::new(); ids.len()]),
        Some(list) => list.as_array().and_then(|list| list.iter().map(object).collect()),
    };
    let kwargs = kwargs.ok_or_else(|| Error::data("\"kwargs\" must be a list of objects"))?;
    // It is the row that is wrong, so it is told with its place.
    instructions_of(&ids, &kwargs).map_err(|e| Error::data(e.to_string()))
}
