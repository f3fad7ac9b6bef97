//! Which language a text is in, where it is long enough to tell.

use std::collections::HashMap;
use std::sync::LazyLock;

use whatlang::{Detector, Lang};

use super::words::find_phrase;

/// Letters that a text must have: shorter ones are guessed wrongly too often, and sure of it.
const FEWEST_LETTERS: usize = 100;
/// Bytes looked at; more tell nothing new.
const MOST_BYTES: usize = 600;

/// Languages with many speakers or many rows. Fewer choices, fewer wrong ones.
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    Detector::with_allowlist(vec![
        Lang::Eng,
        Lang::Deu,
        Lang::Fra,
        Lang::Spa,
        Lang::Por,
        Lang::Ita,
        Lang::Nld,
        Lang::Swe,
        Lang::Dan,
        Lang::Nob,
        Lang::Fin,
        Lang::Pol,
        Lang::Ces,
        Lang::Ron,
        Lang::Hun,
        Lang::Ell,
        Lang::Tur,
        Lang::Rus,
        Lang::Ukr,
        Lang::Bul,
        Lang::Ara,
        Lang::Pes,
        Lang::Heb,
        Lang::Hin,
        Lang::Ben,
        Lang::Urd,
        Lang::Tam,
        Lang::Tel,
        Lang::Tha,
        Lang::Vie,
        Lang::Ind,
        Lang::Cmn,
        Lang::Jpn,
        Lang::Kor,
    ])
});

/// A language found: its English name.
pub type Language = &'static str;

/// The language of a text; `None` where it is short, or the guess not reliable.
pub fn detect(text: &str) -> Option<Language> {
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    // A character of a dense script says about as much as three letters.
    let letters: usize = text
        .chars()
        .filter(|c| c.is_alphabetic())
        .map(|c| if c.len_utf8() > 2 { 3 } else { 1 })
        .sum();
    if letters < FEWEST_LETTERS || letters * 2 < end {
        return None;
    }
    let info = DETECTOR.detect(text)?;
    let language = info.lang().eng_name();
    (info.is_reliable() && has_its_words(text, language)).then_some(language)
}

/// Words that few sentences of a language do without.
const SMALL_WORDS: [(Language, &str); 13] = [
    ("English", "the of and to in is that it was for with"),
    ("German", "der die das und ist nicht ein eine zu von mit den"),
    ("French", "le la les de des et est une un dans que il"),
    ("Spanish", "el la los de y es una un en que por se"),
    ("Portuguese", "o os a de e é uma um em que não se"),
    ("Italian", "il la di e è una un che per non sono si"),
    ("Dutch", "de het een en van is niet dat op te"),
    ("Swedish", "och att det som en är på av för inte"),
    ("Danish", "og at det som en er på af for ikke"),
    ("Bokmal", "og å det som en er på av for ikke"),
    ("Polish", "i w na się nie z do jest to że"),
    ("Romanian", "și de la este în cu un o nu"),
    ("Turkish", "ve bir bu da için ile çok ne de"),
];

/// The languages of each small word, by their places in [`SMALL_WORDS`].
static LANGUAGES_OF: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let mut languages: HashMap<&str, Vec<usize>> = HashMap::new();
    for (language, (_, small)) in SMALL_WORDS.iter().enumerate() {
        small
            .split(' ')
            .for_each(|word| languages.entry(word).or_default().push(language));
    }
    languages
});

/// Whether no other language's small words are more frequent in a text: three letters at a time, languages are sometimes confused.
fn has_its_words(text: &str, language: Language) -> bool {
    if SMALL_WORDS.iter().all(|(other, _)| *other != language) {
        return true;
    }
    let mut hits = [0; SMALL_WORDS.len()];
    super::words::for_each_word(text, |_, word| {
        for &language in LANGUAGES_OF.get(word).into_iter().flatten() {
            hits[language] += 1;
        }
    });
    let most = hits.iter().copied().max().unwrap_or(0);
    most > 0
        && hits
            .iter()
            .zip(&SMALL_WORDS)
            .any(|(hits, (other, _))| *hits == most && *other == language)
}

/// Languages as people name them when they ask for one.
const NAMED: [&str; 44] = [
    "english",
    "german",
    "deutsch",
    "french",
    "français",
    "spanish",
    "español",
    "portuguese",
    "italian",
    "dutch",
    "swedish",
    "danish",
    "norwegian",
    "finnish",
    "polish",
    "czech",
    "romanian",
    "hungarian",
    "greek",
    "turkish",
    "russian",
    "ukrainian",
    "bulgarian",
    "arabic",
    "persian",
    "farsi",
    "hebrew",
    "hindi",
    "bengali",
    "urdu",
    "tamil",
    "telugu",
    "thai",
    "vietnamese",
    "indonesian",
    "chinese",
    "mandarin",
    "japanese",
    "korean",
    "latin",
    "translate",
    "translation",
    "language",
    "englisch",
];

/// Whether a text (in lower case) asks for a language, or is about one.
pub fn names_a_language(text: &str) -> bool {
    NAMED.iter().any(|name| find_phrase(text, name).is_some())
}

/// Whether two languages are the same, or so close that one is easily taken for the other.
pub fn are_close(a: Language, b: Language) -> bool {
    const GROUPS: [&[Language]; 4] = [
        &["Danish", "Bokmal", "Swedish"],
        &["Russian", "Ukrainian", "Bulgarian"],
        &["Spanish", "Portuguese", "Italian"],
        &["Arabic", "Persian", "Urdu"],
    ];
    a == b || GROUPS.iter().any(|group| group.contains(&a) && group.contains(&b))
}
