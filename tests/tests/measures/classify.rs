//! Labels, accuracy and F1.

use super::{close, items, number, numbers, recorded};
use serde_json::Value;
use wgpu_sft::Error;
use wgpu_sft::eval::classify::{Confusion, LabelScores, Labels};

fn check(ours: LabelScores, theirs: &Value, what: &str) {
    for (ours, theirs) in [ours.precision, ours.recall, ours.f1].into_iter().zip(items(theirs)) {
        close(ours, theirs, what);
    }
}

#[test]
fn scores_are_scikit_learns() {
    let recorded = recorded("classes");
    for case in items(&recorded) {
        let labels = number(&case["labels"]) as usize;
        let mut confusion = Confusion::new(labels);
        for (right, given) in numbers(&case["right"]).into_iter().zip(numbers(&case["given"])) {
            confusion.add(right as usize, (given >= 0.0).then_some(given as usize));
        }
        close(confusion.accuracy(), &case["accuracy"], "accuracy");
        close(confusion.macro_f1(), &case["macro_f1"], "macro F1");
        check(confusion.macro_average(), &case["macro"], "macro average");
        check(confusion.weighted_average(), &case["weighted"], "weighted average");
        for label in 0..labels {
            let each = &case["each"][label];
            check(confusion.label(label), each, "a label");
            assert_eq!(confusion.label(label).support as f64, number(&each[3]));
        }
    }
    assert!(Confusion::new(2).accuracy().is_nan());
}

#[test]
fn an_answer_names_one_label_or_none() {
    let labels = Labels::new(&[
        "Positive",
        "very positive",
        "Negative",
        "not toxic",
        "toxic",
        "积极",
        "positive outlook",
    ])
    .unwrap();
    for (answer, label) in [
        ("Positive", Some(0)),
        (" positive.\n", Some(0)),
        ("The review is positive, clearly positive.", Some(0)),
        ("It is very positive!", Some(1)),
        ("Very positive. I mean: positive.", None),
        ("positive or negative?", None),
        ("non-positive", Some(0)),
        ("positively glowing", None),
        ("not toxic", Some(3)),
        ("Not, however, toxic", Some(4)),
        ("这个评论是积极的。", Some(5)),
        ("A positive outlook.", Some(6)),
        ("", None),
        ("no idea", None),
    ] {
        assert_eq!(labels.find(answer), label, "{answer:?}");
    }
    let digits = Labels::new(&["1", "10"]).unwrap();
    assert_eq!(
        [digits.find("10"), digits.find("1."), digits.find("100")],
        [Some(1), Some(0), None]
    );
}

#[test]
fn labels_that_cannot_be_told_apart_are_refused() {
    for (labels, says) in [
        (vec!["yes"], "two"),
        (vec!["yes", "?!"], "no letter"),
        (vec!["Yes", "no", "yes!"], "twice"),
    ] {
        let Err(Error::Config { field, why }) = Labels::new(&labels) else {
            panic!("{labels:?}");
        };
        assert!(field == "labels" && why.contains(says), "{why}");
    }
}
