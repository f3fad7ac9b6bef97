//! Consistency: the same question asked in several wordings.

use std::collections::HashMap;

use super::text::normalize_answer;

/// What a model answered to one wording of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wording<'a> {
    /// What names the question, the same for all its wordings.
    pub question: &'a str,
    /// The answer.
    pub answer: &'a str,
    /// How good it is, larger being better: 0 or 1 of an exact match, or any other measure.
    pub score: f64,
}

/// The answers to all wordings of one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Consistency {
    /// The question's name.
    pub question: String,
    /// In how many wordings it was asked.
    pub wordings: usize,
    /// Share of the pairs of wordings whose answers are equal after [`normalize_answer`], right or wrong; `None` where there is only one
    /// wording, hence no pair.
    pub agreement: Option<f64>,
    /// The smallest score: with a score of 0 or 1, whether all wordings were answered rightly.
    pub worst: f64,
    /// The largest: whether any was.
    pub best: f64,
}

/// For each question, in the order in which they first occur. The means over questions are the measures; questions are what
/// [`bootstrap`](super::stats::bootstrap) draws, as wordings of one question are not independent.
pub fn consistency(wordings: &[Wording]) -> Vec<Consistency> {
    let mut groups: Vec<(&str, Vec<&Wording>)> = Vec::new();
    let mut places = HashMap::new();
    for wording in wordings {
        let place = *places.entry(wording.question).or_insert_with(|| {
            groups.push((wording.question, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(wording);
    }
    groups.into_iter().map(|(question, of)| group(question, &of)).collect()
}

fn group(question: &str, wordings: &[&Wording]) -> Consistency {
    let mut answers: HashMap<String, usize> = HashMap::new();
    for wording in wordings {
        *answers.entry(normalize_answer(wording.answer)).or_default() += 1;
    }
    let n = wordings.len();
    let equal: usize = answers.values().map(|count| count * (count - 1)).sum();
    Consistency {
        question: question.to_string(),
        wordings: n,
        agreement: (n > 1).then(|| equal as f64 / (n * (n - 1)) as f64),
        worst: wordings.iter().map(|w| w.score).fold(f64::INFINITY, f64::min),
        best: wordings.iter().map(|w| w.score).fold(f64::NEG_INFINITY, f64::max),
    }
}
