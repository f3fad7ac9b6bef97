//! Templates to sentences.

/// `template` with each `{name}` replaced by its text, `a` made `an` where it must be.
pub fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in slots {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    articles(&text)
}

/// [`fill`], beginning with a capital letter.
pub fn sentence(template: &str, slots: &[(&str, &str)]) -> String {
    let text = fill(template, slots);
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `a` before a vowel becomes `an`.
fn articles(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = Vec::with_capacity(words.len());
    for (i, &word) in words.iter().enumerate() {
        let vowel = words
            .get(i + 1)
            .is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u']) && !next.starts_with("us"));
        out.push(match word {
            "a" if vowel => "an",
            "A" if vowel => "An",
            _ => word,
        });
    }
    out.join(" ")
}
