//! IFEval's checks against lm-evaluation-harness' verdicts (`tests/interop/ifeval.py`), and what is refused.

use super::{items, number, recorded, text, texts};
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
    let mut outcomes: BTreeMap<&str, BTreeSet<[bool; 2]>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in items(&recorded["cases"]) {
        let (id, response) = (text(&case[0]), &responses[number(&case[2]) as usize]);
        let ours = verdict(id, &case[1], response);
        let theirs = [number(&case[3]) == 1.0, number(&case[4]) == 1.0];
        if [ours.strict[0], ours.loose[0]] != theirs {
            wrong.push(format!("{id} {}, not {theirs:?}: {response:?}", case[1]));
        }
        outcomes.entry(id).or_default().insert(theirs);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Both outcomes of every check, but for those that ask for the language.
    assert_eq!(outcomes.len(), 22);
    for (id, seen) in &outcomes {
        assert!(
            CHECKS.contains(id) && seen.contains(&[true; 2]) && seen.contains(&[false; 2]),
            "{id}: {seen:?}"
        );
    }
    assert!(
        outcomes.values().filter(|seen| seen.contains(&[false, true])).count() > 10,
        "loose differs from strict"
    );
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
