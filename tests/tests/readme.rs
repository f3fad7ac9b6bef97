//! The README's example of the library: what it shows is `readme/example.rs`, which compiles and runs.

include!("readme/example.rs");

#[test]
fn the_readme_shows_the_example() {
    assert!(include_str!("../../README.md").contains(include_str!("readme/example.rs")));
}

/// A registry shows them far from the repository's folders.
#[test]
fn the_crates_own_readmes_link_absolutely() {
    let readmes = [
        include_str!("../../shaders/README.md"),
        include_str!("../../core/README.md"),
        include_str!("../../native/README.md"),
    ];
    for readme in readmes {
        let links: Vec<_> = readme.split("](").skip(1).collect();
        assert!(!links.is_empty());
        for link in links {
            assert!(
                link.starts_with("https://"),
                "{}",
                link.lines().next().unwrap_or_default()
            );
        }
    }
}

#[test]
fn the_example_tunes_a_model_that_then_answers() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base");
    let all = fs::read_to_string(base.join("data/train.jsonl")).expect("the base model's rows");
    let rows: Vec<&str> = all.lines().take(8).collect();
    let question = "What is the home town of Hodo?";
    assert!(
        rows[0].contains(question) && rows[0].contains("\"content\":\"Pekton\""),
        "{}",
        rows[0]
    );
    let answer = pollster::block_on(tune(&base.join("model"), &rows.join("\n"), question)).expect("an answer");
    assert_eq!(answer, "Pekton");
}
