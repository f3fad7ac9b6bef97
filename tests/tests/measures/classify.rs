//! Labels, accuracy and F1.

use super::{close, items, number, numbers, recorded};
use wgpu_sft::Error;
use wgpu_sft::eval::Measure;
use wgpu_sft::eval::classify::Labels;

#[test]
fn scores_are_scikit_learns() {
    for case in items(&recorded("classes")) {
        let names: Vec<String> = (0..number(&case["labels"]) as usize)
            .map(|i| format!("label {i}"))
            .collect();
        let labels = Labels::new(&names).unwrap();
        let (mut right, mut sums) = ([0.0; 2], vec![0.0; 3 * names.len()]);
        for (wanted, named) in numbers(&case["right"]).into_iter().zip(numbers(&case["given"])) {
            let named = (named >= 0.0).then_some(named as usize);
            right[0] += f64::from(named == Some(wanted as usize));
            right[1] += 1.0;
            for (sum, count) in sums.iter_mut().zip(labels.tally(named, Some(wanted as usize))) {
                *sum += count;
            }
        }
        close(Measure::Accuracy.of(&right), &case["accuracy"], "accuracy");
        close(Measure::MacroF1.of(&sums), &case["macro_f1"], "macro F1");
    }
    assert!(Measure::MacroF1.of(&[0.0; 6]).is_nan());
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
