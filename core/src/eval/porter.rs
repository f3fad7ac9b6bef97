//! Porter's stemmer with NLTK's extensions.

/// Forms that the rules would get wrong.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Step 2: suffixes of stems with a positive measure. "logi" is apart.
const STEP2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4: suffixes that fall from stems with a measure above 1, in the order in which they are tried.
const STEP4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// The stem of a word in lower case: M. F. Porter, "An algorithm for suffix stripping" (Program 14, 1980), with the changes that Porter
/// published later and those of NLTK 3.10 (`PorterStemmer` in its mode `NLTK_EXTENSIONS`, which rouge-score stems with).
///
/// A word that is not ASCII, and one of up to two letters, is its own stem.
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return stem.to_string();
    }
    if word.len() <= 2 || !word.is_ascii() {
        return word.to_string();
    }
    let word = step1a(word);
    let word = step1b(&word);
    let word = step1c(word);
    let word = step2(word);
    let word = first_rule(word, &STEP3, |stem| measure(stem) > 0);
    let word = step4(word);
    step5(word)
}

/// Which letters are consonants: all but a, e, i, o, u, and y after a consonant.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last().is_none_or(|before| !before),
            _ => true,
        });
    }
    flags
}

/// How often a consonant follows a vowel: Porter's m.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|two| !two[0] && two[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

/// Porter's *d.
fn ends_double_consonant(word: &str) -> bool {
    let letters = word.as_bytes();
    letters.len() >= 2
        && letters[letters.len() - 1] == letters[letters.len() - 2]
        && consonants(word).last() == Some(&true)
}

/// Porter's *o: consonant, vowel, consonant other than w, x, y; NLTK adds words of a vowel and a consonant.
fn ends_cvc(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

/// The first of the suffixes that the word has is replaced if the stem before it meets the condition; later ones are not tried.
fn first_rule(word: String, rules: &[(&str, &str)], condition: impl Fn(&str) -> bool) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if condition(stem) {
                format!("{stem}{replacement}")
            } else {
                word
            };
        }
    }
    word
}

/// Plurals. "flies" is "fli", but "dies" is "die".
fn step1a(word: &str) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return word[..3].to_string();
    }
    let rules = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];
    first_rule(word.to_string(), &rules, |_| true)
}

/// Past and progressive.
fn step1b(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 {
            format!("{stem}ee")
        } else {
            word.to_string()
        };
    }
    let cut = ["ed", "ing"]
        .iter()
        .find_map(|suffix| word.strip_suffix(suffix).filter(|stem| has_vowel(stem)));
    let Some(stem) = cut else {
        return word.to_string();
    };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        format!("{stem}e")
    } else if ends_double_consonant(stem) {
        let kept = if stem.ends_with(['l', 's', 'z']) { 0 } else { 1 };
        stem[..stem.len() - kept].to_string()
    } else if measure(stem) == 1 && ends_cvc(stem) {
        format!("{stem}e")
    } else {
        stem.to_string()
    }
}

/// A final y after a consonant that is not the first letter.
fn step1c(word: String) -> String {
    first_rule(word, &[("y", "i")], |stem| {
        stem.len() > 1 && consonants(stem).last() == Some(&true)
    })
}

fn step2(word: String) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step2(format!("{stem}al"));
    }
    if STEP2.iter().all(|(suffix, _)| !word.ends_with(suffix)) {
        // The l counts to the stem, so that "geologi" has a positive measure.
        let logical = word.ends_with("logi") && measure(&word[..word.len() - 3]) > 0;
        return word[..word.len() - usize::from(logical)].to_string();
    }
    first_rule(word, &STEP2, |stem| measure(stem) > 0)
}

fn step4(word: String) -> String {
    let Some(suffix) = STEP4.iter().find(|suffix| word.ends_with(*suffix)) else {
        return word;
    };
    let stem = &word[..word.len() - suffix.len()];
    let falls = measure(stem) > 1 && (*suffix != "ion" || stem.ends_with(['s', 't']));
    if falls { stem.to_string() } else { word }
}

/// A final e, and one of two final l.
fn step5(mut word: String) -> String {
    if let Some(stem) = word.strip_suffix('e') {
        let m = measure(stem);
        if m > 1 || (m == 1 && !ends_cvc(stem)) {
            word.pop();
        }
    }
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}
