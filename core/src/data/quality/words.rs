//! Words of any script, and hashes of them: what duplicates and overlaps are compared by.

use std::borrow::Cow;
use std::ops::Range;

/// The prompts that Alpaca's rows are often stored with: they are the same in every row, so they say nothing about it.
const BOILERPLATE: [&str; 7] = [
    "Below is an instruction that describes a task, paired with an input that provides further context.",
    "Below is an instruction that describes a task.",
    "Write a response that appropriately completes the request.",
    "### Instruction:",
    "### Input:",
    "### Response:",
    "### End",
];

/// The text without [`BOILERPLATE`].
pub fn without_boilerplate(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if text.contains("### ") || text.contains("Below is an instruction") {
        for phrase in BOILERPLATE {
            if text.contains(phrase) {
                text = text.replace(phrase, " ").into();
            }
        }
    }
    text
}

/// Whether a script writes words without spaces between them, so that each character is taken for a word.
fn is_word_by_itself(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Call `each` with every word in lower case, and where it is in bytes: a run of letters and digits, or one character of a script without
/// spaces.
pub fn for_each_word(text: &str, mut each: impl FnMut(Range<usize>, &str)) {
    let (mut word, mut start) = (String::new(), 0);
    let mut end_word = |word: &mut String, range: Range<usize>| {
        if !word.is_empty() {
            each(range, word);
            word.clear();
        }
    };
    for (at, c) in text.char_indices() {
        let separates = match c.is_ascii() {
            true => !c.is_ascii_alphanumeric(),
            false => !(c.is_alphanumeric() || is_mark(c)),
        };
        if separates || is_word_by_itself(c) {
            end_word(&mut word, start..at);
        }
        if separates {
            continue;
        }
        if word.is_empty() {
            start = at;
        }
        if c.is_ascii() {
            word.push(c.to_ascii_lowercase());
        } else {
            word.extend(c.to_lowercase());
        }
        if is_word_by_itself(c) {
            end_word(&mut word, at..at + c.len_utf8());
        }
    }
    end_word(&mut word, start..text.len());
}

/// Combining marks belong to the letter before them; these are the common blocks.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036F}' | '\u{0900}'..='\u{0DFF}' | '\u{064B}'..='\u{065F}' | '\u{0591}'..='\u{05C7}')
}

/// The words of a text, in lower case.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(text, |_, word| words.push(word.to_owned()));
    words
}

/// FNV-1a, 64 bits, its bits mixed once more: short, and good enough for words that nobody chose to collide.
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, fold))
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Hashes of every `n` words in a row, in the text's order; the whole text where it has fewer words, nothing where it has none.
pub fn grams(words: &[u64], n: usize) -> impl Iterator<Item = u64> {
    let n = n.min(words.len()).max(1);
    words.windows(n).map(move |window| {
        window
            .iter()
            .fold(n as u64, |hash, word| mix(hash.rotate_left(23) ^ word))
    })
}

/// A 128-bit digest of what a text says: letters in lower case, white space as one space, none at the ends.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> u128 {
    let mut normal = String::new();
    for part in parts {
        for (i, word) in part.split_whitespace().enumerate() {
            if i > 0 {
                normal.push(' ');
            }
            if word.is_ascii() {
                normal.extend(word.bytes().map(|b| char::from(b.to_ascii_lowercase())));
            } else {
                normal.extend(word.chars().flat_map(char::to_lowercase));
            }
        }
        normal.push('\0');
    }
    let digest = blake3::hash(normal.as_bytes());
    u128::from_le_bytes(digest.as_bytes()[..16].try_into().expect("a digest has 32 bytes"))
}

/// Where `phrase` is in `text`, in bytes, with no letter or digit right before or behind it.
pub fn find_phrase(text: &str, phrase: &str) -> Option<usize> {
    let open = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(phrase)
        .map(|(at, _)| at)
        .find(|&at| open(text[..at].chars().next_back()) && open(text[at + phrase.len()..].chars().next()))
}
