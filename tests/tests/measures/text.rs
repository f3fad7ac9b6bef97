//! SQuAD's measures; multiple choice; consistency.

use super::{close, items, number, numbers, recorded, text, texts};
use wgpu_sft::Error;
use wgpu_sft::eval::consistency::{Wording, consistency};
use wgpu_sft::eval::multiple_choice::pick;
use wgpu_sft::eval::text::{exact_match, f1, normalize_answer};

#[test]
fn answers_are_normalised_and_compared_as_squad_does() {
    let recorded = recorded("texts");
    let pairs = items(&recorded["pairs"]);
    assert!(pairs.len() >= 200);
    for pair in pairs {
        let (prediction, references) = (text(&pair["prediction"]), texts(&pair["references"]));
        assert_eq!(normalize_answer(prediction), text(&pair["normal"]), "{prediction:?}");
        close(exact_match(prediction, &references), &pair["exact"], prediction);
        close(f1(prediction, &references), &pair["f1"], prediction);
    }
    assert_eq!([exact_match("x", &[]), f1("x", &[])], [0.0, 0.0]);
}

#[test]
fn choices_are_picked_as_the_harness_does() {
    let recorded = recorded("choices");
    let (mut differ, mut ties) = (0, 0);
    for case in items(&recorded) {
        let (choices, lls) = (texts(&case["choices"]), numbers(&case["log_likelihoods"]));
        let picked = pick(&lls, &choices).unwrap();
        let picks = [picked.likeliest, picked.per_character, picked.per_byte];
        assert_eq!(
            picks.map(|p| p as f64).to_vec(),
            numbers(&case["picks"]),
            "{choices:?} {lls:?}"
        );
        assert_eq!(
            picked.scores(number(&case["gold"]) as usize).to_vec(),
            numbers(&case["scores"])
        );
        differ += usize::from(picks[0] != picks[1]) + usize::from(picks[1] != picks[2]);
        ties += usize::from((1..lls.len()).any(|i| lls[..i].contains(&lls[i])));
    }
    assert!(differ > 20 && ties > 1, "{differ} and {ties} say little");
}

#[test]
fn choices_that_cannot_be_compared_are_refused() {
    let refused = |lls: &[f64], choices: &[&str]| match pick(lls, choices) {
        Err(Error::Data { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[-1.0], &["a"]).contains("two"));
    assert!(refused(&[-1.0], &["a", "b"]).contains("1 log-likelihoods of 2 choices"));
    assert!(refused(&[-1.0, -2.0], &["a", ""]).contains("choice 2 is empty"));
    assert!(refused(&[f64::NAN, -2.0], &["a", "b"]).contains("choice 1"));
}

#[test]
fn consistency_counts_pairs_of_wordings() {
    let asked = |question, answer, score| Wording {
        question,
        answer,
        score,
    };
    let found = consistency(&[
        asked("capital", "Paris", 1.0),
        asked("colour", "blue", 0.0),
        asked("capital", "paris.", 1.0),
        asked("capital", "Lyon", 0.0),
        asked("capital", "The Paris", 1.0),
        asked("river", "Seine", 1.0),
        asked("river", "the Seine!", 1.0),
    ]);
    let of = |i: usize| {
        (
            found[i].question.as_str(),
            found[i].wordings,
            found[i].worst,
            found[i].best,
        )
    };
    assert_eq!(found.len(), 3);
    assert_eq!(of(0), ("capital", 4, 0.0, 1.0));
    assert_eq!(found[0].agreement, Some(0.5)); // 3 of 6 pairs
    assert_eq!(of(1), ("colour", 1, 0.0, 0.0));
    assert_eq!(found[1].agreement, None);
    assert_eq!(of(2), ("river", 2, 1.0, 1.0));
    assert_eq!(found[2].agreement, Some(1.0));
}
