//! Words as NLTK's `word_tokenize` splits them: sentences, then the rules of the Penn Treebank with NLTK's changes (`NLTKWordTokenizer` of
//! NLTK 3.10). Quotation marks become other characters, so words cannot be found again in the text; they can be counted.

use std::sync::LazyLock;

use regex::Regex;

use super::punkt::sentences;
use crate::eval::text;

type Rules = LazyLock<Vec<(Regex, &'static str)>>;

fn rules(rules: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    let rule = |(pattern, with): &(&str, &'static str)| (Regex::new(pattern).expect("a valid pattern"), *with);
    rules.iter().map(rule).collect()
}

static OPENING: Rules = LazyLock::new(|| {
    rules(&[
        ("([«“‘„]|`+)", " $1 "),
        ("^\"", "``"),
        ("(``)", " $1 "),
        (r#"([ (\[{<])("|'{2})"#, "$1 `` "),
    ])
});

static REST: Rules = LazyLock::new(|| {
    rules(&[
        // The last full stop, other punctuation, brackets, dashes.
        (r#"([^.])(\.)([\])}>"'»”’ ]*)\s*$"#, "$1 $2 $3 "),
        (r"([:,])([^\d])", " $1 $2"),
        (r"([:,])$", " $1 "),
        (r"\.{2,}", " $0 "),
        (r"[;@#$%&]", " $0 "),
        (r"[\u{2012}-\u{2015}]", " $0 "),
        (r#"([^.])(\.)([\])}>"']*)\s*$"#, "$1 $2$3 "),
        (r"[?!]", " $0 "),
        (r"([^'])' ", "$1 ' "),
        (r"[*]", " $0 "),
        (r"[\]\[(){}<>]", " $0 "),
        (r"--", " -- "),
        // Spaces around everything, for the rules that look for them.
        (r"(?s)^.*$", " $0 "),
        ("([»”’])", " $1 "),
        ("''", " '' "),
        ("\"", " '' "),
        (r"\s+", " "),
        // Clitics and contractions.
        (r"([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
        (r"(?i)\b(can)(not)\b", " $1 $2 "),
        (r"(?i)\b(d)('ye)\b", " $1 $2 "),
        (r"(?i)\b(gim)(me)\b", " $1 $2 "),
        (r"(?i)\b(gon)(na)\b", " $1 $2 "),
        (r"(?i)\b(got)(ta)\b", " $1 $2 "),
        (r"(?i)\b(lem)(me)\b", " $1 $2 "),
        (r"(?i)\b(more)('n)\b", " $1 $2 "),
        (r"(?i)\b(wan)(na)(\s)", " $1 $2 $3"),
    ])
});

fn replace_all(rules: &Rules, text: String) -> String {
    let replace = |text: String, (pattern, with): &(Regex, &str)| pattern.replace_all(&text, *with).into_owned();
    rules.iter().fold(text, replace)
}

/// Set apart a single quotation mark that opens a word, unless what follows is a clitic.
fn open_single_quotes(text: &str) -> String {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w").expect("a valid pattern"));
    static CLITIC: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(?i:re|ve|ll|m|t|s|d|n)\b").expect("a valid pattern"));
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for (i, c) in text.char_indices() {
        let (here, after) = (&text[i..i + c.len_utf8()], &text[i + c.len_utf8()..]);
        out.push(c);
        if c == '\'' && !WORD.is_match(before) && WORD.is_match(after) && !CLITIC.is_match(after) {
            out.push(' ');
        }
        before = here;
    }
    out
}

/// The words of a text.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for sentence in sentences(text) {
        let opened = replace_all(&OPENING, sentence.to_string());
        let split = replace_all(&REST, open_single_quotes(&opened));
        words.extend(text::split(&split).map(str::to_string));
    }
    words
}
