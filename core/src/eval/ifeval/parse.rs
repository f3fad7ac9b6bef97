//! From a row's `kwargs` to checks.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use whatlang::Lang;

use super::CHECKS;
use super::checks::{Amount, Check};
use super::language::by_code;
use crate::eval::text::{WORDS, strip};
use crate::{Error, Result};

/// The check with this name and these arguments.
pub(super) fn check(id: &str, kwargs: &Map<String, Value>) -> Result<Check> {
    let mut given = Given {
        id,
        // What counts as false to Python is as good as left out.
        left: kwargs
            .iter()
            .filter(|(_, value)| is_given(value))
            .map(|(name, value)| (name.as_str(), value))
            .collect(),
    };
    let check = given.check()?;
    match given.left.first() {
        None => Ok(check),
        Some((name, _)) => Err(given.error(name, "it is not an argument of this check")),
    }
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// A pattern between word boundaries; where it is a plain word, Python's, to which digits of any kind are letters, and combining marks not.
fn whole(word: &str) -> String {
    if WORDS.find(word).is_some_and(|found| found.as_str() == word) {
        format!(r"(?:^|[^\p{{L}}\p{{N}}_]){word}(?:$|[^\p{{L}}\p{{N}}_])")
    } else {
        format!(r"\b{word}\b")
    }
}

/// Arguments that have not been taken yet.
struct Given<'a> {
    id: &'a str,
    left: Vec<(&'a str, &'a Value)>,
}

impl<'a> Given<'a> {
    fn check(&mut self) -> Result<Check> {
        Ok(match self.id {
            "keywords:existence" => Check::Keywords(self.patterns("keywords", |word| word.to_string())?),
            "keywords:frequency" => {
                let keyword = strip(self.text("keyword")?);
                Check::KeywordFrequency(
                    self.pattern("keyword", keyword, true)?,
                    self.amount("relation", "frequency")?,
                )
            }
            "keywords:forbidden_words" => Check::ForbiddenWords(self.patterns("forbidden_words", whole)?),
            "keywords:letter_frequency" => {
                let letter = self.text("letter")?.to_lowercase();
                let mut letters = letter.chars();
                let (Some(letter), None) = (letters.next(), letters.next()) else {
                    return Err(self.error("letter", "it is not one letter"));
                };
                Check::LetterFrequency(letter, self.amount("let_relation", "let_frequency")?)
            }
            "language:response_language" => Check::Language(self.language()?),
            "length_constraints:number_sentences" => Check::Sentences(self.amount("relation", "num_sentences")?),
            "length_constraints:number_paragraphs" => Check::Paragraphs(self.number("num_paragraphs")?),
            "length_constraints:number_words" => Check::Words(self.amount("relation", "num_words")?),
            "length_constraints:nth_paragraph_first_word" => {
                let (paragraphs, nth) = (self.number("num_paragraphs")?, self.number("nth_paragraph")?);
                if nth > paragraphs {
                    return Err(self.error("nth_paragraph", "there are fewer paragraphs"));
                }
                let word = self.text("first_word")?.to_lowercase();
                Check::ParagraphFirstWord { paragraphs, nth, word }
            }
            "detectable_content:number_placeholders" => Check::Placeholders(self.number("num_placeholders")?),
            "detectable_content:postscript" => {
                let marker = match strip(self.text("postscript_marker")?) {
                    "P.P.S" => r"\s*p\.\s?p\.\s?s.*$".to_string(),
                    "P.S." => r"\s*p\.\s?s\..*$".to_string(),
                    other => format!(r"\s*{}.*$", other.to_lowercase()),
                };
                Check::Postscript(self.pattern("postscript_marker", &format!("(?m){marker}"), false)?)
            }
            "detectable_format:number_bullet_lists" => Check::Bullets(self.number("num_bullets")?),
            "detectable_format:constrained_response" => Check::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => Check::Highlights(self.number("num_highlights")?),
            "detectable_format:multiple_sections" => {
                let heading = format!(r"\s?{}\s?\d+\s?", strip(self.text("section_spliter")?));
                Check::Sections(
                    self.pattern("section_spliter", &heading, false)?,
                    self.number("num_sections")?,
                )
            }
            "detectable_format:json_format" => Check::Json,
            "detectable_format:title" => Check::Title,
            "combination:two_responses" => Check::TwoResponses,
            "combination:repeat_prompt" => Check::RepeatPrompt(strip(self.text("prompt_to_repeat")?).to_lowercase()),
            "startend:end_checker" => Check::End(strip(self.text("end_phrase")?).to_lowercase()),
            "startend:quotation" => Check::Quotation,
            "change_case:capital_word_frequency" => {
                Check::CapitalWords(self.amount("capital_relation", "capital_frequency")?)
            }
            "change_case:english_capital" => Check::EnglishCapital,
            "change_case:english_lowercase" => Check::EnglishLowercase,
            "punctuation:no_comma" => Check::NoComma,
            unknown => {
                let why = format!(
                    "{unknown:?} is none of the {} checks: {}",
                    CHECKS.len(),
                    CHECKS.join(", ")
                );
                return Err(Error::config("instruction_id_list", why));
            }
        })
    }

    fn error(&self, name: &str, why: impl AsRef<str>) -> Error {
        Error::config("kwargs", format!("{}, {name}: {}", self.id, why.as_ref()))
    }

    fn take(&mut self, name: &str) -> Result<&'a Value> {
        let place = self.left.iter().position(|(given, _)| *given == name);
        match place {
            Some(place) => Ok(self.left.swap_remove(place).1),
            None => Err(self.error(name, "it is missing, or nothing")),
        }
    }

    fn text(&mut self, name: &str) -> Result<&'a str> {
        let value = self.take(name)?;
        value
            .as_str()
            .ok_or_else(|| self.error(name, format!("{value} is not a text")))
    }

    /// A whole number from 1 on; `3.0` is one.
    fn number(&mut self, name: &str) -> Result<usize> {
        let value = self.take(name)?;
        let number = value.as_f64().filter(|x| x.fract() == 0.0 && (1.0..1e9).contains(x));
        number
            .map(|x| x as usize)
            .ok_or_else(|| self.error(name, format!("{value} is not a number from 1 on")))
    }

    fn amount(&mut self, relation: &str, number: &str) -> Result<Amount> {
        let less = match self.text(relation)? {
            "less than" => true,
            "at least" => false,
            other => return Err(self.error(relation, format!("{other:?} is neither \"less than\" nor \"at least\""))),
        };
        let number = self.number(number)?;
        Ok(Amount { less, number })
    }

    fn language(&mut self) -> Result<Lang> {
        let code = self.text("language")?;
        by_code(code).ok_or_else(|| self.error("language", format!("{code:?} cannot be told from others")))
    }

    fn patterns(&mut self, name: &str, of: fn(&str) -> String) -> Result<Vec<Regex>> {
        let value = self.take(name)?;
        let words = value
            .as_array()
            .ok_or_else(|| self.error(name, format!("{value} is not a list")))?;
        let pattern = |word: &Value| {
            let text = word
                .as_str()
                .ok_or_else(|| self.error(name, format!("{word} is not a text")))?;
            self.pattern(name, &of(text), true)
        };
        words.iter().map(pattern).collect()
    }

    fn pattern(&self, name: &str, pattern: &str, any_case: bool) -> Result<Regex> {
        let built = RegexBuilder::new(pattern).case_insensitive(any_case).build();
        built.map_err(|e| self.error(name, format!("{pattern:?} is not a pattern that can be used: {e}")))
    }
}
