//! Numbers as people read them.

/// `512 B`, `3.4 MiB`.
pub fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, None);
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, Some(larger));
    }
    unit.map_or(format!("{n} B"), |unit| format!("{value:.1} {unit}"))
}

/// `4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `2024-02-29 23:59 UTC`, of seconds since 1970.
pub fn date(seconds: u64) -> String {
    let (mut day, minute) = (seconds / 86_400, seconds % 86_400 / 60);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Calendars repeat every 400 years, which are 146,097 days.
    let mut year = 1970 + 400 * (day / 146_097);
    day %= 146_097;
    loop {
        let days = if leap(year) { 366 } else { 365 };
        if day < days {
            break;
        }
        (day, year) = (day - days, year + 1);
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02} UTC",
        day + 1,
        minute / 60,
        minute % 60
    )
}

/// A command line as a POSIX shell reads it: words quoted where they must be, a long one with a flag a line.
pub fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    let words: Vec<String> = words.iter().map(quoted).collect();
    let line = words.join(" ");
    if line.chars().count() <= 90 {
        return line;
    }
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        out.push_str(match () {
            _ if i == 0 => "",
            _ if word.starts_with("--") => " \\\n    ",
            _ => " ",
        });
        out.push_str(word);
    }
    out
}
