//! Damaged characters and left-over markup.

use std::ops::Range;

/// The first damaged place of a text: U+FFFD, UTF-8 that was read as Windows-1252, control characters, surrogates or escapes spelt out.
pub fn damage(text: &str) -> Option<Range<usize>> {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_control() || b == b'\\') {
        return None;
    }
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|&(_, c)| c);
        let damaged = match c {
            '\t' | '\n' | '\r' => false,
            '\u{FFFD}' | '\u{FEFF}' => true,
            c if c.is_control() => true,
            // Noncharacters and lone interlinear marks do not occur in text.
            '\u{FDD0}'..='\u{FDEF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}' => true,
            // The lead byte of two, three or four, read as a letter, before a continuation byte read as a sign.
            'Â' => next.is_some_and(|n| matches!(n, '\u{80}'..='\u{BF}')),
            'Ã' => next.is_some_and(is_continuation),
            'â' => next.is_some_and(|n| matches!(n, '€' | '\u{80}' | '„' | '†')),
            'ð' => next.is_some_and(|n| matches!(n, 'Ÿ' | '\u{9F}')),
            'ï' => text[at..].starts_with("ï»¿") || text[at..].starts_with("ï¿½"),
            '\\' => is_escaped_surrogate(&text[at..]),
            _ => false,
        };
        if damaged {
            return Some(at..at + c.len_utf8());
        }
    }
    None
}

/// A byte 0x80 to 0xBF as Latin-1 or Windows-1252 shows it.
fn is_continuation(c: char) -> bool {
    matches!(
        c,
        '\u{80}'
            ..='\u{BF}'
                | '€'
                | '‚'
                | 'ƒ'
                | '„'
                | '…'
                | '†'
                | '‡'
                | 'ˆ'
                | '‰'
                | 'Š'
                | '‹'
                | 'Œ'
                | 'Ž'
                | '‘'
                | '’'
                | '“'
                | '”'
                | '•'
                | '–'
                | '—'
                | '˜'
                | '™'
                | 'š'
                | '›'
                | 'œ'
                | 'ž'
                | 'Ÿ'
    )
}

/// `\ud83d` and its like, spelt out.
fn is_escaped_surrogate(text: &str) -> bool {
    let digits = text.strip_prefix("\\u").unwrap_or("").as_bytes();
    digits.len() >= 4
        && digits[..4].iter().all(u8::is_ascii_hexdigit)
        && matches!(digits[0], b'd' | b'D')
        && matches!(digits[1], b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')
}

/// Entities that are text, not markup, once they are left over.
const ENTITIES: [&str; 14] = [
    "&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;", "&apos;", "&#39;", "&#34;", "&#x27;", "&#160;", "&rsquo;", "&lsquo;",
    "&mdash;", "&ndash;",
];

/// Tags that scraped text brings along.
const TAGS: [&str; 16] = [
    "<br>",
    "<br/>",
    "<br />",
    "<p>",
    "</p>",
    "<div",
    "</div>",
    "<span",
    "</span>",
    "<a href",
    "</a>",
    "<strong>",
    "</strong>",
    "<li>",
    "<td>",
    "<img src",
];

/// The first left-over entity or tag of HTML.
pub fn markup(text: &str) -> Option<Range<usize>> {
    let first = |list: &[&str]| {
        list.iter()
            .filter_map(|what| text.find(what).map(|at| at..at + what.len()))
            .min_by_key(|range| range.start)
    };
    let entity = text.contains('&').then(|| first(&ENTITIES)).flatten();
    entity.or_else(|| text.contains('<').then(|| first(&TAGS)).flatten())
}

/// Whether a row is about HTML or code, so that its tags belong there.
pub fn is_about_markup(text: &str) -> bool {
    text.contains("```")
        || text.contains("<!DOCTYPE")
        || text.contains("<html")
        || super::words::words(text).iter().any(|word| {
            [
                "html",
                "xml",
                "css",
                "javascript",
                "svg",
                "jsx",
                "markup",
                "webpage",
                "website",
                "tag",
                "tags",
                "php",
            ]
            .contains(&word.as_str())
        })
}
