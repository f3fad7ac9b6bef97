//! Lists of terms: a screen for flagged ones, and counts of demographic ones. Lists know no context.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::words::hash;

/// Flagged terms by category: `category<TAB>term<TAB>term ...`.
const FLAGGED: &str = include_str!("flagged.tsv");
/// Demographic terms: `group<TAB>bucket<TAB>term<TAB>term ...`.
const DEMOGRAPHICS: &str = include_str!("demographics.tsv");

/// The most words of a term.
const LONGEST: usize = 3;

/// A list, by the hash of each term's words; the value is the term's line in the list, without comments.
struct List {
    /// `[category]` or `[group, bucket]` of each line.
    lines: Vec<Vec<&'static str>>,
    terms: HashMap<u64, u16>,
}

fn list(text: &'static str, names: usize) -> List {
    let (mut lines, mut terms) = (Vec::new(), HashMap::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        for term in &fields[names..] {
            let words: Vec<u64> = term.split(' ').map(|word| hash(word.as_bytes())).collect();
            terms.insert(key(&words), lines.len() as u16);
        }
        lines.push(fields[..names].to_vec());
    }
    List { lines, terms }
}

static FLAGGED_LIST: LazyLock<List> = LazyLock::new(|| list(FLAGGED, 1));
static DEMOGRAPHIC_LIST: LazyLock<List> = LazyLock::new(|| list(DEMOGRAPHICS, 2));

/// One key for one to three words.
fn key(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |key, word| {
        super::words::mix(key.rotate_left(17) ^ word)
    })
}

/// A term found in a text's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The line of the list.
    pub line: u16,
    /// The first word of it in the text.
    pub word: usize,
    /// How many words it has.
    pub words: usize,
}

fn find(list: &List, words: &[u64]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for at in 0..words.len() {
        for n in 1..=LONGEST.min(words.len() - at) {
            if let Some(&line) = list.terms.get(&key(&words[at..at + n])) {
                found.push(Found {
                    line,
                    word: at,
                    words: n,
                });
            }
        }
    }
    found
}

/// Flagged terms in a text, whose words are hashed by [`hash`].
pub fn flagged(words: &[u64]) -> Vec<Found> {
    find(&FLAGGED_LIST, words)
}

/// The category of a flagged term.
pub fn flagged_category(line: u16) -> &'static str {
    FLAGGED_LIST.lines[usize::from(line)][0]
}

/// Demographic buckets that a text mentions, each once, ascending.
pub fn demographics(words: &[u64]) -> Vec<u16> {
    let mut lines: Vec<u16> = find(&DEMOGRAPHIC_LIST, words).iter().map(|found| found.line).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// `(group, bucket)` of every line of the demographic list, in its order.
pub fn demographic_buckets() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEMOGRAPHIC_LIST.lines.iter().map(|line| (line[0], line[1]))
}
