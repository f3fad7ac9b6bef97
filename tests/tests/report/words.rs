//! Numbers, dates and command lines as people read them.

use wgpu_sft::report::words::{bytes, date, duration};

#[test]
fn dates_are_those_of_the_calendar() {
    // As `date -u -d @N` prints them.
    for (seconds, want) in [
        (0, "1970-01-01 00:00 UTC"),
        (951_782_399, "2000-02-28 23:59 UTC"),
        (951_825_600, "2000-02-29 12:00 UTC"),
        (1_709_251_199, "2024-02-29 23:59 UTC"),
        (1_735_689_599, "2024-12-31 23:59 UTC"),
        (4_107_542_400, "2100-03-01 00:00 UTC"),
        (13_574_563_200, "2400-02-29 00:00 UTC"),
    ] {
        assert_eq!(date(seconds), want);
    }
    assert!(date(u64::MAX).ends_with(" UTC"));
}

#[test]
fn sizes_and_times_have_units() {
    assert_eq!(
        [0, 1023, 1536, 3 << 30].map(bytes),
        ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
    );
    assert_eq!(
        [0, 59, 60, 3599, 3600, 90_061].map(duration),
        ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 1 min"]
    );
}

/// What a shell makes of a command line is what was typed.
#[cfg(unix)]
#[test]
fn a_command_line_can_be_typed_again() {
    use wgpu_sft::report::words::command_line;

    let words = [
        "echo",
        "",
        "it's",
        "a b",
        "$HOME",
        "--flag",
        "*",
        "\\",
        "né",
        "--last=1,2",
        "new\nline",
        "\"x\"",
        "--model",
        "owner/name",
    ];
    let words = words.map(str::to_owned);
    let line = command_line(&words);
    assert!(line.contains(" \\\n    --flag"), "{line}");
    let out = std::process::Command::new("sh")
        .args(["-c", &format!("printf '%s|' {line}")])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(out.stdout).unwrap(),
        words.clone().map(|word| word + "|").concat()
    );
    assert_eq!(command_line(&words[..3]), "echo '' 'it'\\''s'");
}
