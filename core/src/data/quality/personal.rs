//! Personal data and secrets: e-mail addresses, phone numbers, keys, card and account numbers, and masking them.
//!
//! Patterns with check digits or fixed forms only, so that a find is probably right; names and addresses are not looked for. What is
//! reserved for documentation (example.com, 555-01xx, cards for tests) is not found.

use std::collections::HashSet;
use std::ops::Range;

use super::Code;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal {
    /// `personal-data`, `secret-key` or `payment-data`.
    pub code: Code,
    /// Where in the text, in bytes.
    pub range: Range<usize>,
}

/// All finds in a text, ascending, not overlapping.
pub fn find(text: &str) -> Vec<Personal> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut add = |code, range: Range<usize>| found.push(Personal { code, range });
    if bytes.contains(&b'@') {
        emails(text).for_each(|range| add(Code::PersonalData, range));
    }
    keys(text).into_iter().for_each(|range| add(Code::SecretKey, range));
    if bytes.iter().filter(|b| b.is_ascii_digit()).count() >= 9 {
        for run in number_runs(text) {
            if is_card(&text[run.clone()]) {
                add(Code::PaymentData, run);
            } else if is_phone(text, &run) {
                add(Code::PersonalData, run);
            }
        }
        ibans(text).into_iter().for_each(|range| add(Code::PaymentData, range));
    }
    found.sort_by_key(|personal| (personal.range.start, personal.code));
    let mut end = 0;
    found.retain(|personal| {
        let apart = personal.range.start >= end;
        end = if apart { personal.range.end } else { end };
        apart
    });
    found
}

/// The text with every find reduced to its first characters: enough to look it up, too little to use.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for personal in find(text) {
        out.push_str(&text[end..personal.range.start]);
        let shown = if personal.code == Code::SecretKey { 4 } else { 2 };
        out.extend(text[personal.range.clone()].chars().take(shown));
        out.push_str("•••");
        end = personal.range.end;
    }
    out.push_str(&text[end..]);
    out
}

fn emails(text: &str) -> impl Iterator<Item = Range<usize>> {
    let local = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
    let domain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    text.match_indices('@').filter_map(move |(at, _)| {
        let before = text[..at].trim_end_matches(local);
        let name = text[before.len()..at].trim_start_matches(['.', '-', '%', '+']);
        let rest = &text[at + 1..];
        let host = &rest[..rest.len() - rest.trim_start_matches(domain).len()];
        let host = host.trim_end_matches(['.', '-']);
        let (site, top) = host.rsplit_once('.')?;
        let real = !name.is_empty()
            && !site.is_empty()
            && (2..=24).contains(&top.len())
            && top.bytes().all(|b| b.is_ascii_alphabetic())
            && !is_reserved(host);
        real.then(|| at - name.len()..at + 1 + host.len())
    })
}

/// Domains for documentation and tests (RFC 2606), and what people write instead.
fn is_reserved(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    let top = labels.last().copied().unwrap_or_default();
    let made_up = [
        "example",
        "domain",
        "yourdomain",
        "mydomain",
        "test",
        "company",
        "yourcompany",
        "email",
        "abc",
        "xyz",
    ];
    ["example", "test", "invalid", "localhost"].contains(&top)
        || labels.len() >= 2 && made_up.contains(&labels[labels.len() - 2])
}

/// Prefixes of keys and tokens, and the fewest characters that follow.
const KEYS: [(&str, usize); 14] = [
    ("sk-", 20),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 35),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("hf_", 30),
    ("xoxb-", 20),
    ("xoxp-", 20),
];

/// The most characters of a key that are looked at.
const LONGEST_KEY: usize = 200;

fn keys(text: &str) -> Vec<Range<usize>> {
    let part_of_key = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
    let mut found = Vec::new();
    for (prefix, fewest) in KEYS {
        for (at, _) in text.match_indices(prefix) {
            let before = text[..at].chars().next_back();
            let alone = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
            let rest = &text.as_bytes()[at + prefix.len()..];
            let length = rest.iter().take(LONGEST_KEY).take_while(|b| part_of_key(b)).count();
            let key = &text[at + prefix.len()..][..length];
            // A made-up key repeats a letter, spells words, or says that it is an example.
            let digits = key.bytes().filter(u8::is_ascii_digit).count();
            let kinds: HashSet<u8> = key.bytes().collect();
            let made_up = digits < 2 || kinds.len() < 8 || key.to_ascii_uppercase().contains("EXAMPLE");
            if alone && length >= fewest && !made_up {
                found.push(at..at + prefix.len() + length);
            }
        }
    }
    let mut end = 0;
    for (at, begin) in text.match_indices("-----BEGIN ") {
        let name: String = text[at + begin.len()..].chars().take(40).collect();
        if at >= end
            && name
                .split('\n')
                .next()
                .is_some_and(|name| name.contains("PRIVATE KEY-----"))
        {
            end = text[at..].find("-----END ").map_or(text.len(), |n| at + n);
            found.push(at..end);
        }
    }
    found
}

/// Runs of digits with the separators that numbers are written with, from a digit, `+` or `(` to a digit.
fn number_runs(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut runs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let starts = bytes[at].is_ascii_digit()
            || (matches!(bytes[at], b'+' | b'(') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
        if !starts {
            at += 1;
            continue;
        }
        let (start, mut end, mut gap) = (at, at + 1, 0);
        while at < bytes.len() {
            match bytes[at] {
                b'0'..=b'9' => (end, gap) = (at + 1, 0),
                b' ' | b'-' | b'.' | b'(' | b')' | b'+' if gap < 2 => gap += 1,
                _ => break,
            }
            at += 1;
        }
        let open = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !"_$€£/=".contains(c));
        if open(text[..start].chars().next_back()) && open(text[end..].chars().next()) {
            runs.push(start..end);
        }
        at = at.max(end);
    }
    runs
}

fn digits_of(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect()
}

/// Card numbers that payment firms publish for tests.
const TEST_CARDS: [&str; 10] = [
    "4111111111111111",
    "4242424242424242",
    "4012888888881881",
    "4000056655665556",
    "5555555555554444",
    "5105105105105100",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "6011000990139424",
];

/// A network's prefix and length, in groups or whole, and Luhn's check digit (ISO/IEC 7812-1).
fn is_card(run: &str) -> bool {
    if run.bytes().any(|b| !(b.is_ascii_digit() || b == b' ' || b == b'-')) {
        return false;
    }
    let digits = digits_of(run);
    let number = |n: usize| {
        digits[..n]
            .iter()
            .fold(0u32, |value, &digit| value * 10 + u32::from(digit))
    };
    let network = match digits.len() {
        15 => [34, 37].contains(&number(2)),
        16 => {
            digits[0] == 4
                || (51..=55).contains(&number(2))
                || (2221..=2720).contains(&number(4))
                || number(4) == 6011
                || number(2) == 65
        }
        _ => return false,
    };
    let groups: Vec<usize> = run.split([' ', '-']).map(str::len).collect();
    let grouped = matches!(groups[..], [15] | [16] | [4, 4, 4, 4] | [4, 6, 5]);
    let luhn = |(i, &digit): (usize, &u8)| match i % 2 {
        0 => u32::from(digit),
        _ => u32::from(digit) * 2 / 10 + u32::from(digit) * 2 % 10,
    };
    let plain: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
    network
        && grouped
        && digits.iter().rev().enumerate().map(luhn).sum::<u32>() % 10 == 0
        && !TEST_CARDS.contains(&plain.as_str())
        && digits.iter().any(|digit| *digit != digits[0])
}

/// `+` and a country's number (E.164: at most 15 digits), or North America's ten digits in its usual groups.
fn is_phone(text: &str, run: &Range<usize>) -> bool {
    let written = &text[run.clone()];
    let digits = digits_of(written);
    if digits
        .windows(7)
        .any(|window| window.iter().all(|digit| *digit == window[0]))
    {
        return false;
    }
    if written.starts_with('+') {
        // A sum such as "+12 +345 678" is not a number to call.
        return (9..=15).contains(&digits.len())
            && written.matches('+').count() == 1
            && digits[0] != 0
            && !is_fictional(&digits[digits.len().saturating_sub(10)..]);
    }
    let digits = match (digits.len(), digits.first()) {
        (11, Some(1)) => &digits[1..],
        (10, _) => &digits[..],
        _ => return false,
    };
    let groups: Vec<&str> = written
        .split(|c: char| !c.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    matches!(lengths[..], [3, 3, 4] | [1, 3, 3, 4]) && digits[0] >= 2 && digits[3] >= 2 && !is_fictional(digits)
}

/// 555-01xx is kept for fiction, and people make up 555-anything and 123-456-7890.
fn is_fictional(digits: &[u8]) -> bool {
    let counts = |digits: &[u8]| digits.windows(2).filter(|pair| pair[1] == (pair[0] + 1) % 10).count();
    digits.len() == 10 && (digits[3..6] == [5, 5, 5] || digits[..3] == [5, 5, 5]) || counts(digits) + 2 >= digits.len()
}

/// Lengths of some countries' account numbers (ISO 13616).
const IBAN_LENGTHS: [(&str, usize); 26] = [
    ("AT", 20),
    ("BE", 16),
    ("CH", 21),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IT", 27),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SE", 24),
    ("TR", 26),
];

/// Account numbers whose remainder by 97 is 1, whole or in groups of four.
fn ibans(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for at in 0..bytes.len().saturating_sub(14) {
        let head = &bytes[at..at + 4];
        if !(head[..2].iter().all(u8::is_ascii_uppercase) && head[2..].iter().all(u8::is_ascii_digit)) {
            continue;
        }
        let Some((_, length)) = IBAN_LENGTHS
            .iter()
            .find(|(country, _)| country.as_bytes() == &head[..2])
        else {
            continue;
        };
        if at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
            continue;
        }
        let (mut number, mut end) = (Vec::with_capacity(*length), at);
        while number.len() < *length && end < bytes.len() {
            match bytes[end] {
                b @ (b'0'..=b'9' | b'A'..=b'Z') => number.push(b),
                b' ' if number.len() % 4 == 0 => {}
                _ => break,
            }
            end += 1;
        }
        if number.len() < *length || bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        number.rotate_left(4);
        let rest = number.iter().fold(0u32, |rest, &b| match b {
            b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
            _ => (rest * 100 + u32::from(b - b'A') + 10) % 97,
        });
        if rest == 1 {
            found.push(at..end);
        }
    }
    found
}
