//! The learning-rate schedules against transformers' values.

use std::collections::BTreeMap;

use wgpu_sft::Error;
use wgpu_sft::train::schedule::{LrSchedulerType, warmup_steps};

#[test]
fn factors_are_those_of_transformers() {
    let golden = include_str!("../fixtures/golden/schedules.json");
    let golden: BTreeMap<String, Vec<f64>> = serde_json::from_str(golden).unwrap();
    let mut compared = 0;
    for (key, factors) in golden {
        let parts: Vec<&str> = key.split('/').collect();
        let [name, warmup, total] = parts[..] else {
            panic!("{key}")
        };
        if name == "cosine_with_min_lr" {
            continue; // the file has it, we do not offer it
        }
        compared += 1;
        let schedule: LrSchedulerType = name.parse().unwrap();
        let warmup = warmup.strip_prefix("warmup").unwrap().parse().unwrap();
        let total = total.strip_prefix("total").unwrap().parse().unwrap();
        assert_eq!(factors.len() as u64, total);
        for (step, &want) in factors.iter().enumerate() {
            let got = schedule.factor(step as u64, warmup, total);
            assert!((got - want).abs() < 1e-15, "{key}, step {step}: {got}, want {want}");
        }
    }
    assert_eq!(compared, 8);
}

#[test]
fn factors_stay_finite_at_the_edges() {
    for schedule in LrSchedulerType::ALL {
        for (step, warmup, total) in [(0, 0, 0), (0, 5, 5), (5, 5, 5), (9, 10, 5), (7, 0, 5)] {
            let factor = schedule.factor(step, warmup, total);
            assert!(
                (0.0..=1.0).contains(&factor),
                "{schedule} {step}/{warmup}/{total}: {factor}"
            );
        }
    }
    assert_eq!(LrSchedulerType::Linear.factor(9, 0, 5), 0.0);
}

#[test]
fn names_round_trip() {
    for schedule in LrSchedulerType::ALL {
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
        assert_eq!(serde_json::to_value(schedule).unwrap(), schedule.name());
    }
    let error = "polynomial".parse::<LrSchedulerType>().unwrap_err();
    assert!(
        matches!(&error, Error::Config { field, .. } if field == "lr_scheduler_type"),
        "{error}"
    );
}

#[test]
fn warm_up_is_steps_or_a_ratio() {
    assert_eq!(warmup_steps(0.0, 100), Ok(0));
    assert_eq!(warmup_steps(10.0, 100), Ok(10));
    assert_eq!(warmup_steps(1.0, 100), Ok(1));
    assert_eq!(warmup_steps(0.1, 30), Ok(3)); // as Python's math.ceil(30 * 0.1)
    assert_eq!(warmup_steps(0.03, 101), Ok(4));
    for bad in [-1.0, 1.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(warmup_steps(bad, 100), Err(Error::Config { .. })), "{bad}");
    }
}
