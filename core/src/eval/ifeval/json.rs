//! Whether a text is JSON, by what Python's `json.loads` accepts.

/// A text that is one JSON value, of any depth, with white space around it. `NaN`, `Infinity` and `-Infinity` are numbers, as they are to
/// Python; repeated keys and halves of surrogate pairs are allowed.
pub(super) fn is_json(text: &str) -> bool {
    let mut rest = text.as_bytes();
    // The brackets that are open.
    let mut open = Vec::new();
    loop {
        // A value, or the beginning of one.
        skip_space(&mut rest);
        match rest {
            [bracket @ (b'{' | b'['), tail @ ..] => {
                rest = tail;
                open.push(*bracket);
                skip_space(&mut rest);
                let empty = matches!((bracket, rest.first()), (b'{', Some(b'}')) | (b'[', Some(b']')));
                if !empty {
                    if *bracket == b'{' && !key(&mut rest) {
                        return false;
                    }
                    continue;
                }
            }
            _ => {
                if !scalar(&mut rest) {
                    return false;
                }
            }
        }
        // What follows a value: brackets that close, then a comma or the end.
        loop {
            skip_space(&mut rest);
            let Some(bracket) = open.last() else {
                return rest.is_empty();
            };
            match (bracket, rest) {
                (b'{', [b'}', tail @ ..]) | (b'[', [b']', tail @ ..]) => {
                    rest = tail;
                    open.pop();
                }
                (b'{', [b',', tail @ ..]) => {
                    rest = tail;
                    skip_space(&mut rest);
                    if !key(&mut rest) {
                        return false;
                    }
                    break;
                }
                (b'[', [b',', tail @ ..]) => {
                    rest = tail;
                    break;
                }
                _ => return false,
            }
        }
    }
}

fn skip_space(rest: &mut &[u8]) {
    while let [b' ' | b'\t' | b'\n' | b'\r', tail @ ..] = rest {
        *rest = tail;
    }
}

/// A string and a colon.
fn key(rest: &mut &[u8]) -> bool {
    if !string(rest) {
        return false;
    }
    skip_space(rest);
    literal(rest, b":")
}

fn literal(rest: &mut &[u8], word: &[u8]) -> bool {
    rest.strip_prefix(word).map(|tail| *rest = tail).is_some()
}

fn scalar(rest: &mut &[u8]) -> bool {
    let words: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];
    words.iter().any(|word| literal(rest, word)) || string(rest) || number(rest)
}

fn string(rest: &mut &[u8]) -> bool {
    if !literal(rest, b"\"") {
        return false;
    }
    loop {
        match *rest {
            [b'"', tail @ ..] => {
                *rest = tail;
                return true;
            }
            [b'\\', b'u', a, b, c, d, tail @ ..] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => *rest = tail,
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', tail @ ..] => *rest = tail,
            [b'\\', ..] | [0..=31, ..] | [] => return false,
            [_, tail @ ..] => *rest = tail,
        }
    }
}

fn number(rest: &mut &[u8]) -> bool {
    literal(rest, b"-");
    if !literal(rest, b"0") && digits(rest) == 0 {
        return false;
    }
    if literal(rest, b".") && digits(rest) == 0 {
        return false;
    }
    if literal(rest, b"e") || literal(rest, b"E") {
        let _ = literal(rest, b"+") || literal(rest, b"-");
        return digits(rest) > 0;
    }
    true
}

/// How many digits there are.
fn digits(rest: &mut &[u8]) -> usize {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *rest = &rest[count..];
    count
}
