//! Intervals: against scipy's, and whether they cover the truth as often as they say.

use super::{close, items, number, numbers, recorded, text};
use serde_json::Value;
use std::time::Instant;
use wgpu_sft::eval::stats::{Estimate, bootstrap, mean};
use wgpu_sft::random::{Stream, block, normals};

/// The mean difference of two systems on the same items, `tuned` − `base`.
fn paired_difference(base: &[f64], tuned: &[f64], resamples: u32, seed: u64) -> Estimate {
    let differences: Vec<f64> = base.iter().zip(tuned).map(|(b, t)| t - b).collect();
    let mean = |items: &[u32]| items.iter().map(|i| differences[*i as usize]).sum::<f64>() / items.len() as f64;
    bootstrap(differences.len() as u32, mean, resamples, seed)
}

/// A ratio of sums, as the loss of a token is of the losses and the tokens of examples.
fn ratio_of_sums<'a>(numerators: &'a [f64], denominators: &'a [f64]) -> impl Fn(&[u32]) -> f64 + 'a {
    let sum = |of: &[f64], items: &[u32]| items.iter().map(|i| of[*i as usize]).sum::<f64>();
    move |items| sum(numerators, items) / sum(denominators, items)
}

fn check(ours: Estimate, theirs: &Value, what: &str) {
    for (ours, theirs) in [ours.value, ours.stderr, ours.low, ours.high]
        .into_iter()
        .zip(items(theirs))
    {
        match theirs {
            Value::Null => assert!(ours.is_nan(), "{what}: {ours}"),
            theirs => close(ours, theirs, what),
        }
    }
}

#[test]
fn means_have_scipys_intervals() {
    let recorded = recorded("statistics");
    for case in items(&recorded["means"]) {
        let values = numbers(&case["values"]);
        check(mean(&values), &case["estimate"], &format!("{} values", values.len()));
    }
    for case in items(&recorded["shares"]) {
        let (right, of) = (number(&case["right"]) as usize, number(&case["of"]) as usize);
        let values: Vec<f64> = (0..of).map(|i| f64::from(u8::from(i < right))).collect();
        check(mean(&values), &case["estimate"], &format!("{right} of {of}"));
    }
    assert!(mean(&[]).value.is_nan() && mean(&[]).low.is_nan());
    let one = mean(&[0.3]);
    assert!(one.value == 0.3 && one.stderr.is_nan() && one.low.is_nan() && one.high.is_nan());
    // The mean of these rounds, but they do not differ.
    let same = mean(&[0.1; 10]);
    assert!(same.stderr == 0.0 && same.low == same.value && same.high == same.value);
}

#[test]
fn bootstraps_are_near_scipys() {
    let recorded = &recorded("statistics")["bootstrap"];
    let (a, b) = (numbers(&recorded["a"]), numbers(&recorded["b"]));
    for case in items(&recorded["found"]) {
        let ours = match text(&case["statistic"]) {
            "mean_difference" => paired_difference(&b, &a, 20_000, 1),
            _ => bootstrap(a.len() as u32, ratio_of_sums(&a, &b), 20_000, 1),
        };
        let theirs = numbers(&case["estimate"]);
        let theirs_stderr = theirs[1];
        close(ours.value, &case["estimate"][0], "the value");
        // Other draws: of 20,000, the standard error is known to 0.5 %, an end of the interval to about 0.02 of it.
        for (ours, theirs, far) in [
            (ours.stderr, theirs[1], 0.03),
            (ours.low, theirs[2], 0.1),
            (ours.high, theirs[3], 0.1),
        ] {
            assert!((ours - theirs).abs() < far * theirs_stderr, "{ours}, not {theirs}");
        }
    }
}

/// `n` normal deviates of a simulation.
fn deviates(simulation: u32, lane: u32, n: usize) -> Vec<f64> {
    let four = |i| normals(block(77 + u64::from(lane), Stream::Init, simulation, i));
    (0..n.div_ceil(4) as u64).flat_map(four).take(n).collect()
}

/// In what share of 500 simulations the interval covers the truth.
fn coverage(truth: f64, simulate: impl Fn(u32) -> Estimate) -> f64 {
    let covers = |i: u32| {
        let found = simulate(i);
        found.low <= truth && truth <= found.high
    };
    (0..500).filter(|i| covers(*i)).count() as f64 / 500.0
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    let bounds = 0.92..=0.98;
    let of_mean = |n| {
        coverage(2.0, move |i| {
            mean(&deviates(i, 0, n).iter().map(|x| 2.0 + x).collect::<Vec<_>>())
        })
    };
    for n in [5, 100] {
        let share = of_mean(n);
        assert!(bounds.contains(&share), "means of {n}: {share}");
    }
    let share = coverage(0.9, |i| {
        let right = |x: &f64| f64::from(u8::from(*x < 1.281_551_565_5)); // the 90 % quantile
        mean(&deviates(i, 1, 40).iter().map(right).collect::<Vec<_>>())
    });
    assert!(bounds.contains(&share), "shares: {share}");
    let share = coverage(0.3, |i| {
        let base = deviates(i, 2, 80);
        let tuned: Vec<f64> = base
            .iter()
            .zip(deviates(i, 3, 80))
            .map(|(b, d)| b + 0.3 + 0.5 * d)
            .collect();
        paired_difference(&base, &tuned, 1000, u64::from(i))
    });
    assert!(bounds.contains(&share), "paired differences: {share}");
    // Losses of examples of 1 to 100 tokens, 1.5 a token on average, whatever the length.
    let share = coverage(1.5, |i| {
        let tokens: Vec<f64> = deviates(i, 4, 100)
            .iter()
            .map(|x| 1.0 + (x.abs() * 40.0).floor().min(99.0))
            .collect();
        let losses: Vec<f64> = tokens
            .iter()
            .zip(deviates(i, 5, 100))
            .map(|(n, x)| n * 1.5 + n.sqrt() * 3.0 * x)
            .collect();
        bootstrap(100, ratio_of_sums(&losses, &tokens), 1000, u64::from(i))
    });
    assert!(bounds.contains(&share), "ratios: {share}");
}

#[test]
fn the_same_scores_differ_by_exactly_nothing() {
    let scores = deviates(0, 6, 333);
    let found = paired_difference(&scores, &scores, 1000, 9);
    assert_eq!([found.value, found.stderr, found.low, found.high], [0.0; 4]);
    let same = |items: &[u32]| items.iter().map(|i| scores[*i as usize]).sum::<f64>();
    let found = bootstrap(333, |items| same(items) - same(items), 1000, 9);
    assert_eq!([found.value, found.stderr, found.low, found.high], [0.0; 4]);
}

#[test]
fn a_bootstrap_is_a_function_of_its_seed() {
    let (a, b) = (deviates(1, 7, 50), deviates(2, 7, 50));
    let of = |seed| paired_difference(&a, &b, 500, seed);
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
    // Every item is drawn about as often as any other, and no resample is like another.
    let draws = std::cell::RefCell::new(Vec::new());
    let sum = |items: &[u32]| {
        draws.borrow_mut().push(items.to_vec());
        0.0
    };
    bootstrap(7, sum, 10_000, 0);
    let draws = draws.into_inner();
    assert_eq!(draws.len(), 10_001);
    for item in 0..7 {
        let drawn = draws[1..].iter().flatten().filter(|i| **i == item).count();
        assert!((9_500..10_500).contains(&drawn), "{item}: {drawn} of 70,000");
    }
    let equal = draws[1..].windows(2).filter(|two| two[0] == two[1]).count();
    assert!(equal <= 1, "{equal} equal to the one before");
}

#[test]
fn what_cannot_be_told_is_nan_and_null() {
    let none = bootstrap(0, |_| panic!("no items"), 100, 0);
    let one = paired_difference(&[1.0], &[2.0], 100, 0);
    assert!(none.value.is_nan() && one.value == 1.0 && one.low.is_nan());
    let broken = bootstrap(10, |items| if items[0] == 3 { f64::NAN } else { 1.0 }, 1000, 0);
    assert!(broken.value == 1.0 && broken.stderr.is_nan() && broken.high.is_nan());
    let written = serde_json::to_string(&one).unwrap();
    assert_eq!(written, r#"{"value":1.0,"stderr":null,"low":null,"high":null}"#);
    let read: Estimate = serde_json::from_str(&written).unwrap();
    assert!(read.value == 1.0 && read.low.is_nan());
}

#[test]
fn ten_thousand_resamples_take_a_moment() {
    let (a, b) = (deviates(0, 8, 1000), deviates(1, 8, 1000));
    let fastest = (0..3)
        .map(|seed| {
            let start = Instant::now();
            paired_difference(&a, &b, 10_000, seed);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{fastest:.3} s");
    // A quarter of a second; more where other programs want the processor.
    assert!(fastest < 5.0, "{fastest} s");
}
