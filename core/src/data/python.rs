//! The pieces of Python's library that chat templates print with: `json.dumps`, `repr` of numbers and `datetime.strftime`.

use serde_json::{Number, Value};

/// The settings of `json.dumps`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Json {
    /// Spaces for each level, each item on its own line; `None` keeps everything on one line.
    pub indent: Option<usize>,
    /// Between items, and between a key and its value; `None` is Python's choice.
    pub separators: Option<[String; 2]>,
    /// Escape what is not ASCII.
    pub ensure_ascii: bool,
    /// Order keys by their code points.
    pub sort_keys: bool,
}

impl Json {
    /// `json.dumps(value, ...)`.
    pub fn dumps(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, 0, &mut out);
        out
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(number) => out.push_str(&repr(number)),
            Value::String(text) => self.write_string(text, out),
            Value::Array(items) => {
                self.write_items(['[', ']'], items.iter(), depth, out, |item, out| {
                    self.write(item, depth + 1, out)
                });
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.write_items(['{', '}'], entries.into_iter(), depth, out, |(key, value), out| {
                    self.write_string(key, out);
                    out.push_str(self.separators.as_ref().map_or(": ", |[_, key]| key));
                    self.write(value, depth + 1, out);
                });
            }
        }
    }

    fn write_items<T>(
        &self,
        brackets: [char; 2],
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        out: &mut String,
        write: impl Fn(T, &mut String),
    ) {
        let default = if self.indent.is_some() { "," } else { ", " };
        let separator = self.separators.as_ref().map_or(default, |[item, _]| item);
        let break_line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent.saturating_mul(depth)));
            }
        };
        let empty = items.len() == 0;
        out.push(brackets[0]);
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push_str(separator);
            }
            break_line(depth + 1, out);
            write(item, out);
        }
        if !empty {
            break_line(depth, out);
        }
        out.push(brackets[1]);
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn repr(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(x) => float(x),
        None => number.to_string(),
    }
}

/// A number as Python's `repr` prints it: the shortest digits that read back, an exponent below 1e-4 and from 1e16.
pub(crate) fn float(x: f64) -> String {
    if !x.is_finite() {
        return format!("{x}").to_lowercase();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}

/// White space as Python's `str.isspace` has it: Unicode's, and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `strftime` of a moment, in seconds since 1970, with English names. A directive it does not know stays as it is.
pub(crate) fn strftime(seconds: i64, format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ];
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let [year, month, day] = civil(days);
    let day_of_year = days - days_before(year, 1, 1) + 1;
    let month_name = MONTHS[(month - 1) as usize];
    let day_name = DAYS[(days + 4).rem_euclid(7) as usize];
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let bare = chars.next_if_eq(&'-').is_some(); // glibc's flag: no zero in front
        let two = |n: i64| if bare { n.to_string() } else { format!("{n:02}") };
        let hour12 = (hour + 11) % 12 + 1;
        match chars.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&two(year.rem_euclid(100))),
            Some('m') => out.push_str(&two(month)),
            Some('d') => out.push_str(&two(day)),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('B') => out.push_str(month_name),
            Some('b' | 'h') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('j') => out.push_str(&if bare {
                day_of_year.to_string()
            } else {
                format!("{day_of_year:03}")
            }),
            Some('H') => out.push_str(&two(hour)),
            Some('I') => out.push_str(&two(hour12)),
            Some('M') => out.push_str(&two(minute)),
            Some('S') => out.push_str(&two(second)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
            Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('%') => out.push('%'),
            other => out.extend(['%'].into_iter().chain(other)),
        }
    }
    out
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year }; // a year that begins in March ends with the leap day
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The date, as year, month and day, that many days after 1970-01-01.
fn civil(days: i64) -> [i64; 3] {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|&month| days_before(year, month, 1) <= days)
        .unwrap_or(1);
    [year, month, days - days_before(year, month, 1) + 1]
}
