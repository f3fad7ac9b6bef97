//! Near duplicates against every pair compared; splits that keep them together.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};
use wgpu_sft::data::quality::{JACCARD, SHINGLE_WORDS};
use wgpu_sft::data::split::{HeldOut, SplitBy, SplitRow, split};
use wgpu_sft::random::philox;
use wgpu_sft::{Error, Result};
use wgpu_sft_tests::made_rows::alpaca;

use super::quality::check;

/// Words, lower-cased, without punctuation: for texts of ASCII words.
fn shingles(text: &str) -> HashSet<Vec<String>> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words
        .windows(SHINGLE_WORDS.min(words.len()))
        .map(<[String]>::to_vec)
        .collect()
}

fn jaccard(a: &HashSet<Vec<String>>, b: &HashSet<Vec<String>>) -> f64 {
    let shared = a.intersection(b).count();
    shared as f64 / (a.len() + b.len() - shared) as f64
}

/// Rows of which each third comes with two copies that have a few words replaced, more or fewer.
fn rows() -> Vec<Value> {
    let mut rows = Vec::new();
    for number in 0..700 {
        let row = alpaca(9, number);
        let copies = if number % 3 == 0 { 2 } else { 0 };
        for copy in 1..=copies {
            let draw = |at: usize| philox([number, copy], [at as u32, 0, 0, 0])[0];
            let rate = draw(9999) % 8; // in 100 words
            let replace = |(at, word): (usize, &str)| {
                if draw(at) % 100 < rate {
                    format!("{word}x{copy}")
                } else {
                    word.to_owned()
                }
            };
            let text: Vec<String> = row["output"]
                .as_str()
                .unwrap()
                .split(' ')
                .enumerate()
                .map(replace)
                .collect();
            rows.push(json!({"instruction": format!("{} Answer {copy}.", row["instruction"].as_str().unwrap()), "input": row["input"], "output": text.join(" ")}));
        }
        rows.push(row);
    }
    rows
}

#[test]
fn near_duplicates_are_those_that_comparing_all_pairs_finds() {
    let rows = rows();
    let checked = check(&[], &rows);
    let text = |row: &Value| {
        ["instruction", "input", "output"]
            .map(|field| row[field].as_str().unwrap_or(""))
            .join(" ")
    };
    let sets: Vec<_> = rows.iter().map(|row| shingles(&text(row))).collect();
    let (mut pairs, mut joined) = (0, 0);
    let mut near = vec![false; rows.len()];
    for a in 0..rows.len() {
        for b in a + 1..rows.len() {
            if jaccard(&sets[a], &sets[b]) >= JACCARD {
                pairs += 1;
                joined += usize::from(checked.rows[a].cluster == checked.rows[b].cluster);
                (near[a], near[b]) = (true, true);
            }
        }
    }
    assert!(pairs > 200, "{pairs} pairs: too few to tell");
    assert!(
        joined as f64 >= 0.995 * pairs as f64,
        "{joined} of {pairs} pairs are in one cluster"
    );
    let alone = |row: usize| {
        checked
            .rows
            .iter()
            .filter(|other| other.cluster == checked.rows[row].cluster)
            .count()
            == 1
    };
    let wrong: Vec<usize> = (0..rows.len()).filter(|&row| !near[row] && !alone(row)).collect();
    assert!(wrong.is_empty(), "rows {wrong:?} are in a cluster, but like no other");
    let clusters: BTreeSet<u32> = checked.rows.iter().map(|row| row.cluster).collect();
    assert!(clusters.len() < rows.len() - 100);
}

#[test]
fn long_rows_are_compared_by_their_smallest_hashes() {
    let words = |from: usize, n: usize| {
        (from..from + n)
            .map(|word| format!("w{word}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    // 4,000 words of which 3,500 are shared: 0.777; 3,000: 0.6.
    let row = |from: usize| json!({"text": words(from, 4000)});
    let checked = check(&[], &[row(0), row(500), row(10_000), row(11_000)]);
    let clusters: Vec<u32> = checked.rows.iter().map(|row| row.cluster).collect();
    assert_eq!(clusters, [0, 0, 2, 3]);
}

#[test]
fn a_bucket_of_many_alike_rows_takes_no_square_of_time() {
    let rows: Vec<Value> = (0..20_000).map(|n| json!({"text": format!("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen {n}")})).collect();
    let started = std::time::Instant::now();
    let checked = check(&[], &rows);
    assert!(checked.rows.iter().all(|row| row.cluster == 0));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// 1,000 rows of four tasks in clusters of up to three.
fn to_split() -> Vec<SplitRow<'static>> {
    let task = |row: u32| ["code", "classification", "translation", "translation", "reasoning"][row as usize % 5];
    let row = |row: u32| SplitRow {
        digest: u128::from_le_bytes(bytemuck::cast(philox([7, 7], [row, 0, 0, 0]))),
        task: task(row),
        cluster: if row.is_multiple_of(4) { row } else { row / 3 * 3 },
    };
    (0..1000).map(row).collect()
}

fn held(rows: &[SplitRow], by: &SplitBy, held_out: HeldOut, seed: u64) -> BTreeSet<u128> {
    let held = split(rows, by, held_out, seed).unwrap();
    rows.iter()
        .zip(held)
        .filter(|(_, held)| *held)
        .map(|(row, _)| row.digest)
        .collect()
}

#[test]
fn rows_are_held_out_in_proportion_and_whatever_their_order() {
    let rows = to_split();
    let first = held(&rows, &SplitBy::Row, HeldOut::Fraction(0.1), 42);
    assert_eq!(first.len(), 100);
    let of = |task: &str| {
        rows.iter()
            .filter(|row| row.task == task && first.contains(&row.digest))
            .count()
    };
    assert_eq!([of("code"), of("translation")], [20, 40]);
    let mut turned = rows.clone();
    turned.reverse();
    turned.rotate_left(137);
    assert_eq!(held(&turned, &SplitBy::Row, HeldOut::Fraction(0.1), 42), first);
    let other = held(&rows, &SplitBy::Row, HeldOut::Fraction(0.1), 43);
    assert!(other.intersection(&first).count() < 30, "another seed draws other rows");
    assert_eq!(held(&rows, &SplitBy::Row, HeldOut::Rows(7), 42).len(), 7);
    // More rows move few others.
    let fewer = held(&rows[..950], &SplitBy::Row, HeldOut::Fraction(0.1), 42);
    assert!(fewer.intersection(&first).count() > 80);
}

#[test]
fn clusters_and_tasks_stay_together() {
    let rows = to_split();
    let sides = |by: &SplitBy, share: f64| split(&rows, by, HeldOut::Fraction(share), 1).unwrap();
    let by_cluster = sides(&SplitBy::Cluster, 0.25);
    assert_eq!(by_cluster.iter().filter(|held| **held).count(), 250);
    for (a, held) in rows.iter().zip(&by_cluster) {
        assert!(
            rows.iter()
                .zip(&by_cluster)
                .all(|(b, other)| a.cluster != b.cluster || held == other)
        );
    }
    let by_task = sides(&SplitBy::Task(vec!["translation".into(), "code".into()]), 0.1);
    assert!(
        rows.iter()
            .zip(&by_task)
            .all(|(row, held)| *held == ["translation", "code"].contains(&row.task))
    );
    let drawn = sides(&SplitBy::Task(Vec::new()), 0.25);
    let tasks: BTreeSet<&str> = rows
        .iter()
        .zip(&drawn)
        .filter(|(_, held)| **held)
        .map(|(row, _)| row.task)
        .collect();
    assert_eq!(
        drawn.iter().filter(|held| **held).count(),
        200,
        "a task of 200 rows fits, one of 400 does not: {tasks:?}"
    );
    assert_eq!(tasks.len(), 1);
}

#[test]
fn what_cannot_be_split_is_refused() {
    let rows = to_split();
    let why = |result: Result<Vec<bool>>| match result {
        Err(Error::Config { field, why }) => format!("{field}: {why}"),
        Err(Error::Data { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let by_row = |held_out| split(&rows, &SplitBy::Row, held_out, 0);
    assert!(why(by_row(HeldOut::Fraction(1.0))).starts_with("eval_fraction: 1 is not"));
    assert!(why(by_row(HeldOut::Fraction(f64::NAN))).starts_with("eval_fraction: NaN"));
    assert!(why(by_row(HeldOut::Rows(1000))).starts_with("eval_rows: 1000 of 1000"));
    assert!(why(by_row(HeldOut::Rows(0))).starts_with("eval_rows: 0 of"));
    assert!(why(split(&rows[..1], &SplitBy::Row, HeldOut::Rows(1), 0)).contains("1 rows cannot be split"));
    let unknown = SplitBy::Task(vec!["cooking".into()]);
    let reason = why(split(&rows, &unknown, HeldOut::Fraction(0.1), 0));
    assert!(
        reason.contains("\"cooking\"") && reason.contains("classification, code, reasoning"),
        "{reason}"
    );
    let all = SplitBy::Task(
        ["code", "classification", "translation", "reasoning"]
            .map(String::from)
            .to_vec(),
    );
    assert!(why(split(&rows, &all, HeldOut::Fraction(0.1), 0)).contains("one side would be empty"));
    let one: Vec<SplitRow> = rows.iter().map(|row| SplitRow { cluster: 0, ..*row }).collect();
    assert!(why(split(&one, &SplitBy::Cluster, HeldOut::Fraction(0.1), 0)).contains("one cluster"));
}
