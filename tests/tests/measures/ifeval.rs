//! IFEval's checks against lm-evaluation-harness' verdicts (`tests/interop/ifeval.py`), and what is refused.

use super::{items, number, numbers, recorded, text, texts};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wgpu_sft::Error;
use wgpu_sft::eval::ifeval::{CHECKS, Instruction, Verdict, check, instructions};

fn one(id: &str, kwargs: &Value) -> Result<Vec<Instruction>, Error> {
    instructions(&[id.to_string()], &[kwargs.as_object().expect("an object").clone()])
}

fn verdict(id: &str, kwargs: &Value, response: &str) -> Verdict {
    check(&one(id, kwargs).unwrap(), response)
}

#[test]
fn verdicts_are_the_harness() {
    let recorded = recorded("ifeval");
    let responses = texts(&recorded["responses"]);
    let mut outcomes: BTreeMap<&str, BTreeSet<char>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in items(&recorded["verdicts"]) {
        let (id, digits) = (text(&row[0]), text(&row[2]));
        let instruction = one(id, &row[1]).unwrap();
        assert_eq!(digits.len(), responses.len());
        for (response, digit) in responses.iter().zip(digits.chars()) {
            let ours = check(&instruction, response);
            if Some(u32::from(ours.strict[0]) + 2 * u32::from(ours.loose[0])) != digit.to_digit(4) {
                wrong.push(format!("{id} {}, not {digit}: {response:?}", row[1]));
            }
        }
        outcomes.entry(id).or_default().extend(digits.chars());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Both outcomes of every check, but for those that ask for the language.
    assert_eq!(outcomes.len(), 22);
    for (id, seen) in &outcomes {
        assert!(
            CHECKS.contains(id) && seen.contains(&'0') && seen.contains(&'3'),
            "{id}: {seen:?}"
        );
    }
    assert!(
        outcomes.values().filter(|seen| seen.contains(&'2')).count() > 10,
        "loose differs from strict"
    );
}

#[test]
fn sentences_words_and_capitals_are_counted_as_nltk_counts() {
    let recorded = recorded("ifeval");
    let responses = texts(&recorded["responses"]);
    for (id, relation, number_of) in [
        ("length_constraints:number_sentences", "relation", "num_sentences"),
        ("length_constraints:number_words", "relation", "num_words"),
        (
            "change_case:capital_word_frequency",
            "capital_relation",
            "capital_frequency",
        ),
    ] {
        for (response, count) in responses.iter().zip(numbers(&recorded["counts"][id])) {
            if response.trim().is_empty() {
                continue; // follows nothing
            }
            let at_least = |n: f64| verdict(id, &json!({relation: "at least", number_of: n}), response).strict[0];
            assert!(
                count == 0.0 || at_least(count),
                "{id}: fewer than {count} in {response:?}"
            );
            assert!(!at_least(count + 1.0), "{id}: more than {count} in {response:?}");
        }
    }
}

#[test]
fn languages_are_guessed_as_langdetect_guesses() {
    let mut capitals = Vec::new();
    let recorded = recorded("languages");
    for row in items(&recorded) {
        let (response, code) = (text(&row[0]), text(&row[1]));
        let strict = |id: &str, kwargs: Value| verdict(id, &kwargs, response).strict[0];
        let in_capitals = strict("change_case:english_capital", json!({}));
        if in_capitals != (number(&row[2]) == 1.0) {
            capitals.push(response);
        }
        assert_eq!(
            strict("change_case:english_lowercase", json!({})),
            number(&row[3]) == 1.0,
            "{response}"
        );
        // langdetect is at a loss where all letters are capitals; Dutch is none of IFEval's languages.
        if response.to_uppercase() != response || response.to_lowercase() == response {
            match one("language:response_language", &json!({ "language": code })) {
                Ok(instruction) => assert!(check(&instruction, response).strict[0], "{code}: {response}"),
                Err(_) => assert_eq!(code, "nl"),
            }
            let other = if code == "en" { "de" } else { "en" };
            assert!(
                !strict("language:response_language", json!({ "language": other })),
                "{response}"
            );
        }
    }
    // There it takes Spanish, French and Italian for English, and a short English answer for Somali.
    let theirs = ["EL PERRO", "LE CHIEN", "IL CANE", "MY ANSWER"];
    assert!(
        capitals.len() == 4 && capitals.iter().all(|text| theirs.iter().any(|t| text.starts_with(t))),
        "{capitals:?}"
    );
    // Nothing to tell a language by: both let it pass.
    assert!(verdict("language:response_language", &json!({"language": "de"}), "1 + 1 = 2").strict[0]);
}

#[test]
fn a_row_is_checked_as_a_whole() {
    let row: Value = serde_json::from_str(
        r#"{"instruction_id_list": ["punctuation:no_comma", "detectable_format:number_highlighted_sections", "length_constraints:number_words"],
            "kwargs": [{"num_words": null, "relation": null}, {"num_highlights": 2.0, "keywords": []}, {"relation": "at least", "num_words": 4}]}"#,
    )
    .unwrap();
    let kwargs: Vec<_> = items(&row["kwargs"])
        .iter()
        .map(|k| k.as_object().unwrap().clone())
        .collect();
    let row = instructions(&texts(&row["instruction_id_list"]), &kwargs).unwrap();
    let found = check(&row, "Sure, here it is:\n*one* and *two* words");
    assert_eq!(found.strict, [false, true, true]);
    assert_eq!(found.loose, [true, true, true]);
    assert_eq!(
        (found.all_strict(), found.all_loose(), found.counts()),
        (false, true, [2, 3, 3])
    );
    assert_eq!(check(&row, " \n").counts(), [0, 0, 3]);
}

#[test]
fn every_check_is_known_and_unusable_ones_are_refused_by_name() {
    assert_eq!(CHECKS.iter().collect::<BTreeSet<_>>().len(), 25);
    for id in CHECKS {
        if let Err(error) = one(id, &json!({})) {
            assert!(error.to_string().contains(id), "{error}");
        }
    }
    let sentences = "length_constraints:number_sentences";
    for (id, kwargs, says) in [
        (
            "keywords:key_sentences",
            json!({}),
            "\"keywords:key_sentences\" is none of the 25 checks",
        ),
        (
            sentences,
            json!({"relation": "at least"}),
            "num_sentences: it is missing",
        ),
        (
            sentences,
            json!({"relation": "at least", "num_sentences": 0}),
            "num_sentences: it is missing, or nothing",
        ),
        (
            sentences,
            json!({"relation": "at least", "num_sentences": -1}),
            "-1 is not a number from 1 on",
        ),
        (
            sentences,
            json!({"relation": "at least", "num_sentences": 1.5}),
            "1.5 is not a number",
        ),
        (
            sentences,
            json!({"relation": "at most", "num_sentences": 2}),
            "\"at most\" is neither",
        ),
        (sentences, json!({"relation": 3, "num_sentences": 2}), "3 is not a text"),
        (
            "punctuation:no_comma",
            json!({"num_words": 3}),
            "punctuation:no_comma, num_words: it is not an argument",
        ),
        ("keywords:existence", json!({"keywords": "one"}), "is not a list"),
        ("keywords:existence", json!({"keywords": [1]}), "1 is not a text"),
        (
            "keywords:existence",
            json!({"keywords": ["(open"]}),
            "\"(open\" is not a pattern",
        ),
        (
            "keywords:letter_frequency",
            json!({"letter": "ab", "let_relation": "at least", "let_frequency": 2}),
            "not one letter",
        ),
        (
            "language:response_language",
            json!({"language": "sw"}),
            "\"sw\" cannot be told",
        ),
        (
            "combination:repeat_prompt",
            json!({"prompt_to_repeat": ""}),
            "prompt_to_repeat: it is missing",
        ),
        (
            "length_constraints:nth_paragraph_first_word",
            json!({"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "x"}),
            "there are fewer paragraphs",
        ),
    ] {
        match one(id, &kwargs) {
            Err(error @ Error::Config { .. }) => assert!(error.to_string().contains(says), "{error}, not {says}"),
            other => panic!("{id} {kwargs}: {other:?}"),
        }
    }
    assert!(instructions(&[], &[]).unwrap_err().to_string().contains("it is empty"));
    assert!(
        instructions(&["punctuation:no_comma".into()], &[])
            .unwrap_err()
            .to_string()
            .contains("0 objects for 1")
    );
    // A character that is no letter is counted, where the harness draws a letter.
    let hashes = json!({"letter": "#", "let_relation": "at least", "let_frequency": 2});
    assert!(verdict("keywords:letter_frequency", &hashes, "# and #").strict[0]);
}
