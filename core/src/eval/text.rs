//! Text as the reference packages see it, and SQuAD's exact match and F1.
//!
//! Those packages are written in Python, whose words and white space are not quite those of Unicode's recommendations; measures that
//! are to agree with them to the last digit go by Python's.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::data::python::is_space;

/// Python's `\w+`: letters, numbers and `_`, without combining marks.
pub(crate) static WORDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("a valid pattern"));

/// Python's `string.punctuation`.
pub(crate) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
}

/// Python's `str.split()`.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Python's `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// An answer without what does not matter: in lower case, without ASCII punctuation, without the words "a", "an" and "the", with single
/// spaces between words.
///
/// This is `normalize_answer` of SQuAD v1.1's evaluation script (Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of
/// Text", EMNLP 2016), which torchmetrics and `evaluate` use too.
pub fn normalize_answer(text: &str) -> String {
    let lower: String = text.to_lowercase().chars().filter(|c| !is_punctuation(*c)).collect();
    let spaced = WORDS.replace_all(&lower, |found: &regex::Captures| match &found[0] {
        "a" | "an" | "the" => " ".to_string(),
        word => word.to_string(),
    });
    split(&spaced).collect::<Vec<_>>().join(" ")
}

/// 1 where the prediction equals one of the references after [`normalize_answer`], else 0; without references 0.
pub fn exact_match(prediction: &str, references: &[String]) -> f64 {
    let prediction = normalize_answer(prediction);
    let equal = references.iter().any(|r| normalize_answer(r) == prediction);
    f64::from(u8::from(equal))
}

/// Harmonic mean of precision and recall of the prediction's words among a reference's, both after [`normalize_answer`], repeated words
/// counted as often as they occur in both; of the reference where it is largest. In 0..=1.
///
/// As in SQuAD v1.1, an answer that shares no word has 0, and so has an empty one, even where the reference is empty, too.
pub fn f1(prediction: &str, references: &[String]) -> f64 {
    let prediction = normalize_answer(prediction);
    let one = |reference: &String| {
        let reference = normalize_answer(reference);
        let mut left: HashMap<&str, usize> = HashMap::new();
        for word in split(&reference) {
            *left.entry(word).or_default() += 1;
        }
        let (mut common, mut predicted) = (0, 0);
        for word in split(&prediction) {
            predicted += 1;
            if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
                *count -= 1;
                common += 1;
            }
        }
        harmonic(common, predicted, split(&reference).count())
    };
    references.iter().map(one).fold(0.0, f64::max)
}

/// F1 of `common` among `predicted` and `wanted`; 0 where nothing is in common.
fn harmonic(common: usize, predicted: usize, wanted: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / predicted as f64, common as f64 / wanted as f64);
    2.0 * precision * recall / (precision + recall)
}
