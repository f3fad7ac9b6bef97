//! The random numbers: known answers, ranges, independence from the order of asking.

use wgpu_sft::random::{Stream, below, block, normals, permutation, philox, uniform};

/// The known answers that the Random123 library publishes for `philox4x32 10` (its `kat_vectors`).
#[test]
fn philox_gives_the_known_answers() {
    let pi = (
        [0xa409_3822, 0x299f_31d0],
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
    );
    assert_eq!(
        philox([0; 2], [0; 4]),
        [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
    );
    assert_eq!(
        philox([u32::MAX; 2], [u32::MAX; 4]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    assert_eq!(philox(pi.0, pi.1), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn streams_lanes_and_indices_differ() {
    let mut seen: Vec<[u32; 4]> = Vec::new();
    for stream in [Stream::Order, Stream::Dropout, Stream::Sampling, Stream::Init] {
        for (lane, index) in [(0, 0), (1, 0), (0, 1), (0, 1 << 32), (1 << 31, 5)] {
            for seed in [0, 42, 42 << 32] {
                seen.push(block(seed, stream, lane, index));
            }
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn uniform_is_exact_and_below_one() {
    assert_eq!(uniform(0), 0.0);
    assert_eq!(uniform(0x8000_0000), 0.5);
    assert_eq!(uniform(u32::MAX), 1.0 - 2f32.powi(-24));
}

#[test]
fn below_is_uniform() {
    let mut counts = [0u32; 7];
    for index in 0..70_000 {
        counts[below(1, Stream::Sampling, 0, index, 7) as usize] += 1;
    }
    // A chi-squared of 6 degrees exceeds 22.5 once in a thousand seeds.
    let chi: f64 = counts
        .iter()
        .map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0)
        .sum();
    assert!(chi < 22.5, "{counts:?}");
    // A range where almost every second word must be rejected still ends, and stays inside.
    assert!((0..1000).all(|index| below(1, Stream::Sampling, 0, index, (1 << 31) + 1) <= 1 << 31));
    assert_eq!(below(1, Stream::Sampling, 0, 0, 1), 0);
}

#[test]
fn permutations_hold_every_number_once() {
    for n in [0, 1, 2, 257] {
        let mut order = permutation(42, 3, n);
        order.sort_unstable();
        assert_eq!(order, (0..n).collect::<Vec<_>>());
    }
    assert_eq!(permutation(42, 3, 100), permutation(42, 3, 100));
    assert_ne!(permutation(42, 3, 100), permutation(42, 4, 100));
    assert_ne!(permutation(42, 3, 100), permutation(43, 3, 100));
}

#[test]
fn every_permutation_is_as_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..12_000 {
        *counts.entry(permutation(seed, 0, 3)).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 6);
    let chi: f64 = counts
        .values()
        .map(|&c| (f64::from(c) - 2_000.0).powi(2) / 2_000.0)
        .sum();
    assert!(chi < 20.5, "{counts:?}"); // 5 degrees, once in a thousand
}

#[test]
fn normals_have_the_moments_of_a_normal() {
    let draws: Vec<f64> = (0..50_000)
        .flat_map(|index| normals(block(7, Stream::Init, 0, index)))
        .collect();
    let n = draws.len() as f64;
    let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / n;
    // Five standard errors of each moment: sqrt(var(x^k) / n).
    assert!(moment(1).abs() < 5.0 * (1.0 / n).sqrt());
    assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
    assert!(moment(3).abs() < 5.0 * (15.0 / n).sqrt());
    assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    let lag: f64 = draws.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
    assert!(lag.abs() < 5.0 * (1.0 / n).sqrt());
    assert!(normals([0, 0, u32::MAX, u32::MAX]).iter().all(|x| x.is_finite()));
}
