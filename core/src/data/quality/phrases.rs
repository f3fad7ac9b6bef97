//! Phrases that give a row away: assistants that speak of themselves, placeholders, tags of chat templates.

use std::ops::Range;

use super::words::find_phrase;

/// What other assistants' answers say about themselves, in lower case.
const SELF: [&str; 40] = [
    "as an ai language model",
    "as an ai model",
    "as an ai assistant",
    "as an ai developed",
    "as a large language model",
    "as a language model",
    "as an artificial intelligence",
    "i am an ai language model",
    "i'm an ai language model",
    "i’m an ai language model",
    "i am a large language model",
    "i'm a large language model",
    "i’m a large language model",
    "i am just an ai",
    "i'm just an ai",
    "i’m just an ai",
    "i am only an ai",
    "i am chatgpt",
    "i'm chatgpt",
    "i’m chatgpt",
    "i am gpt",
    "i am claude",
    "i'm claude",
    "i’m claude",
    "i am bard",
    "i'm bard",
    "i’m bard",
    "i am gemini",
    "i'm gemini",
    "developed by openai",
    "trained by openai",
    "created by openai",
    "trained by google",
    "created by anthropic",
    "developed by anthropic",
    "my knowledge cutoff",
    "knowledge cutoff date",
    "as of my last knowledge update",
    "as of my last update",
    "my training data only goes up to",
];

/// Names of assistants and their makers, of interest in an answer whose question names none.
const NAMES: [&str; 5] = ["chatgpt", "openai", "open assistant", "gpt-4", "gpt-3.5"];

/// Where an answer speaks of being another model; both texts have their ASCII letters in lower case.
pub fn self_identification(answer: &str, asked: &str) -> Option<Range<usize>> {
    let first = |list: &[&str]| {
        let found = list
            .iter()
            .filter_map(|phrase| find_phrase(answer, phrase).map(|at| at..at + phrase.len()));
        found.min_by_key(|range| range.start)
    };
    let asked_about = ["gpt", "openai", "assistant", "chatbot"]
        .iter()
        .any(|name| asked.contains(name));
    first(&SELF).or_else(|| if asked_about { None } else { first(&NAMES) })
}

/// Whether an answer stands for one that is missing.
pub fn is_placeholder(answer: &str) -> bool {
    let answer = answer
        .trim()
        .trim_matches(|c| "[]<>().*_\"' ".contains(c))
        .to_lowercase();
    const WHOLE: [&str; 16] = [
        "n/a",
        "nan",
        "null",
        "undefined",
        "todo",
        "tbd",
        "no output",
        "nooutput",
        "noinput",
        "output",
        "answer",
        "your answer here",
        "insert answer here",
        "answer goes here",
        "placeholder",
        "response",
    ];
    WHOLE.contains(&answer.as_str()) || answer.starts_with("lorem ipsum dolor")
}

/// Tags with which chat templates mark turns: in a row's text they make a turn of their own.
const TAGS: [&str; 20] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "</s>",
    "### Instruction:",
    "### Response:",
    "\n\nHuman:",
];

/// The first tag of a chat template in a text.
pub fn template_tag(text: &str) -> Option<Range<usize>> {
    if !(text.contains('<') || text.contains("[") || text.contains("### ") || text.contains("\n\nHuman")) {
        return None;
    }
    TAGS.iter()
        .filter_map(|tag| text.find(tag).map(|at| at..at + tag.len()))
        .min_by_key(|range| range.start)
}
