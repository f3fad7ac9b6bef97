//! Verifiable instructions: IFEval's 25 checks.
//!
//! J. Zhou et al., "Instruction-following evaluation for large language models" (arXiv 2311.07911, 2023). Verdicts are those of
//! lm-evaluation-harness 0.4.13 (`lm_eval/tasks/ifeval`), with four differences:
//!
//! - `length_constraints:number_sentences` and `change_case:capital_word_frequency` find sentences with word lists of our own instead of
//!   NLTK's learnt ones.
//! - `language:response_language`, `change_case:english_capital` and `change_case:english_lowercase` guess languages with whatlang instead of
//!   langdetect; texts of a few words are guessed otherwise by either. Swahili cannot be told and is refused.
//! - A `keywords:forbidden_words` that is more than a word ends where Unicode, not Python, sees a word end.
//! - Where a row leaves out what a check needs, or gives what it cannot use, the harness draws something at random; here the row is refused.
//!   One exception: a letter to count that is no letter, as in some rows of IFEval, is counted.

mod checks;
mod json;
mod language;
mod parse;
mod punkt;
mod words;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::checks::Check;
use super::text::strip;
use crate::{Error, Result};

/// The identifiers of all checks, as rows name them.
pub const CHECKS: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
];

/// One instruction of a row, ready to be checked.
#[derive(Debug, Clone)]
pub struct Instruction(Check);

/// The instructions of a row: its `instruction_id_list`, and its `kwargs`, an object for each of them. As in the published rows, an object may
/// have the names of other checks' arguments, with `null`.
///
/// # Errors
/// [`Error::Config`], naming the check, where it is not one of [`CHECKS`], where an argument is missing, not usable or not one of its own, and
/// where there is no instruction or not as many arguments as instructions.
pub fn instructions(instruction_id_list: &[String], kwargs: &[Map<String, Value>]) -> Result<Vec<Instruction>> {
    let (n, m) = (instruction_id_list.len(), kwargs.len());
    if n != m {
        return Err(Error::config("kwargs", format!("{m} objects for {n} instructions")));
    }
    if n == 0 {
        return Err(Error::config("instruction_id_list", "it is empty"));
    }
    let each = instruction_id_list.iter().zip(kwargs);
    each.map(|(id, kwargs)| parse::check(id, kwargs).map(Instruction))
        .collect()
}

/// Which of a row's instructions a response follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Taken at its word; one for each instruction.
    pub strict: Vec<bool>,
    /// Taken loosely: with or without its first line, its last line, and asterisks.
    pub loose: Vec<bool>,
}

impl Verdict {
    /// Whether all instructions are followed, strictly: over rows, the prompt-level strict accuracy.
    pub fn all_strict(&self) -> bool {
        self.strict.iter().all(|follows| *follows)
    }

    /// Whether all are followed, loosely.
    pub fn all_loose(&self) -> bool {
        self.loose.iter().all(|follows| *follows)
    }

    /// How many instructions are followed strictly, loosely, and there are. Of many rows, the instruction-level accuracies are ratios of sums of
    /// these.
    pub fn counts(&self) -> [usize; 3] {
        let count = |follows: &[bool]| follows.iter().filter(|follows| **follows).count();
        [count(&self.strict), count(&self.loose), self.strict.len()]
    }
}

/// Check a response. An empty one follows nothing.
pub fn check(instructions: &[Instruction], response: &str) -> Verdict {
    let follows = |Instruction(check): &Instruction, text: &str| !strip(text).is_empty() && check.holds(text);
    let variants = variants(response);
    Verdict {
        strict: instructions.iter().map(|i| follows(i, response)).collect(),
        loose: instructions
            .iter()
            .map(|i| variants.iter().any(|text| follows(i, text)))
            .collect(),
    }
}

/// The response, without its first line, its last, and both; each of these with and without asterisks.
fn variants(response: &str) -> Vec<String> {
    let lines: Vec<&str> = response.split('\n').collect();
    let without = |first: usize, last: usize| {
        let kept = lines.get(first..lines.len() - last).unwrap_or_default();
        strip(&kept.join("\n")).to_string()
    };
    let mut texts = vec![response.to_string(), without(1, 0), without(0, 1), without(1, 1)];
    texts.extend(texts.clone().iter().map(|text| text.replace('*', "")));
    texts
}
