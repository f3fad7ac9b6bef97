//! ROUGE as Google's rouge-score 0.1.2 computes it (`RougeScorer`, without `split_summaries`).
//!
//! C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries" (2004). Texts are put in lower case and split at everything that is
//! not one of a to z and 0 to 9: other scripts have no words here, and ROUGE says nothing of them.

use std::collections::HashMap;
use std::hash::Hash;

use super::porter::stem;

/// Precision, recall and their harmonic mean, in 0..=1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// What is shared, of the prediction.
    pub precision: f64,
    /// What is shared, of the reference.
    pub recall: f64,
    /// F1 of the two; 0 where both are.
    pub fmeasure: f64,
}

impl Score {
    fn of(shared: usize, predicted: usize, wanted: usize) -> Self {
        let share = |of: usize| if of == 0 { 0.0 } else { shared as f64 / of as f64 };
        let (precision, recall) = (share(predicted), share(wanted));
        let fmeasure = match precision + recall {
            0.0 => 0.0,
            sum => 2.0 * precision * recall / sum,
        };
        Self {
            precision,
            recall,
            fmeasure,
        }
    }
}

/// What two texts are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RougeType {
    /// Words.
    Rouge1,
    /// Pairs of neighbouring words.
    Rouge2,
    /// The longest common subsequence of words of the whole texts.
    RougeL,
    /// The union of longest common subsequences of each line of the reference with each line of the prediction.
    RougeLsum,
}

/// ROUGE of a prediction against one reference. With `use_stemmer`, words of more than three letters are compared by their stems.
pub fn rouge(kind: RougeType, reference: &str, prediction: &str, use_stemmer: bool) -> Score {
    let words = |text: &str| tokenize(text, use_stemmer);
    match kind {
        RougeType::Rouge1 => ngrams(&words(reference), &words(prediction), 1),
        RougeType::Rouge2 => ngrams(&words(reference), &words(prediction), 2),
        RougeType::RougeL => {
            let (reference, prediction) = (words(reference), words(prediction));
            let shared = subsequence(&reference, &prediction).len();
            Score::of(shared, prediction.len(), reference.len())
        }
        RougeType::RougeLsum => {
            let lines = |text: &str| text.split('\n').map(words).collect::<Vec<_>>();
            by_lines(&lines(reference), &lines(prediction))
        }
    }
}

/// Of several references, the score with the largest F (`score_multi`); 0 without references.
pub fn rouge_best(kind: RougeType, references: &[String], prediction: &str, use_stemmer: bool) -> Score {
    let scores = references.iter().map(|r| rouge(kind, r, prediction, use_stemmer));
    scores
        .reduce(|best, score| if score.fmeasure > best.fmeasure { score } else { best })
        .unwrap_or_default()
}

fn tokenize(text: &str, use_stemmer: bool) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words
        .filter(|word| !word.is_empty())
        .map(|word| {
            if use_stemmer && word.len() > 3 {
                stem(word)
            } else {
                word.to_string()
            }
        })
        .collect()
}

fn counts<T: Hash + Eq>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

fn ngrams(reference: &[String], prediction: &[String], n: usize) -> Score {
    let wanted = counts(reference.windows(n));
    let predicted = counts(prediction.windows(n));
    let shared = wanted
        .iter()
        .map(|(ngram, count)| predicted.get(ngram).map_or(0, |c| *c.min(count)));
    Score::of(shared.sum(), predicted.values().sum(), wanted.values().sum())
}

/// Places in `reference` of one longest common subsequence, last one first; of several, the one that rouge-score finds.
fn subsequence(reference: &[String], prediction: &[String]) -> Vec<usize> {
    let width = prediction.len() + 1;
    // `[reference + 1, prediction + 1]`: the length up to here.
    let mut table = vec![0u32; (reference.len() + 1) * width];
    for (i, wanted) in reference.iter().enumerate() {
        for (j, word) in prediction.iter().enumerate() {
            let (above, here) = (i * width + j, (i + 1) * width + j + 1);
            table[here] = if wanted == word {
                table[above] + 1
            } else {
                table[above + 1].max(table[here - 1])
            };
        }
    }
    let (mut i, mut j) = (reference.len(), prediction.len());
    let mut found = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == prediction[j - 1] {
            found.push(i - 1);
            (i, j) = (i - 1, j - 1);
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    found
}

/// A word counts as often as it occurs in both texts, however many lines share it.
fn by_lines(reference: &[Vec<String>], prediction: &[Vec<String>]) -> Score {
    let mut left = [counts(reference.iter().flatten()), counts(prediction.iter().flatten())];
    let mut shared = 0;
    for line in reference {
        let mut union: Vec<usize> = prediction.iter().flat_map(|other| subsequence(line, other)).collect();
        union.sort_unstable();
        union.dedup();
        for place in union {
            if left
                .iter()
                .all(|counts| counts.get(&line[place]).is_some_and(|count| *count > 0))
            {
                shared += 1;
                left.iter_mut()
                    .for_each(|counts| *counts.get_mut(&line[place]).expect("counted") -= 1);
            }
        }
    }
    let words = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    Score::of(shared, words(prediction), words(reference))
}
