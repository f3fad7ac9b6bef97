//! Which rows are held out: by row, by task or by cluster of near duplicates; a function of the seed and the rows' contents alone.
//!
//! Each row draws its place in a queue from (seed, digest of its contents), so the order of files and lines changes nothing, and adding
//! rows moves few others. Rows that are equal draw the same place.

use std::collections::BTreeMap;

use crate::random::{Stream, block};
use crate::{Error, Result};

/// What is kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// Nothing: each task gives its share of rows.
    Row,
    /// Rows of one task: these tasks are held out, or, where none is named, tasks drawn until there are enough rows.
    Task(Vec<String>),
    /// Rows of one cluster of near duplicates.
    Cluster,
}

/// How many rows to hold out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeldOut {
    /// A share of all rows, between 0 and 1.
    Fraction(f64),
    /// A number of rows.
    Rows(usize),
}

/// What a row is split by.
#[derive(Debug, Clone)]
pub struct SplitRow<'a> {
    /// A digest of what the row says.
    pub digest: u128,
    /// Its task.
    pub task: &'a str,
    /// The first row of its cluster.
    pub cluster: u32,
}

/// Whether each row is held out, `[rows]`.
///
/// By row, tasks give rows in proportion. By task and by cluster, whole groups are taken in the order drawn; one that is larger than what
/// is still wanted is passed over while another fits, so there may be a few rows fewer than asked for.
///
/// # Errors
/// [`Error::Data`] for fewer than two rows, or where one side would be left empty; [`Error::Config`] for a share outside (0, 1), as many
/// rows as there are, or a task that no row has.
pub fn split(rows: &[SplitRow], by: &SplitBy, held_out: HeldOut, seed: u64) -> Result<Vec<bool>> {
    if rows.len() < 2 {
        return Err(Error::data(format!("{} rows cannot be split", rows.len())));
    }
    let wanted = match held_out {
        HeldOut::Fraction(share) if share > 0.0 && share < 1.0 => ((rows.len() as f64 * share).round() as usize).max(1),
        HeldOut::Fraction(share) => {
            return Err(Error::config(
                "eval_fraction",
                format!("{share} is not between 0 and 1"),
            ));
        }
        HeldOut::Rows(n) if n > 0 && n < rows.len() => n,
        HeldOut::Rows(n) => {
            let why = format!("{n} of {} rows leave one side empty", rows.len());
            return Err(Error::config("eval_rows", why));
        }
    };
    let wanted = wanted.min(rows.len() - 1);
    let place = |digest: u128| {
        let words = block(seed, Stream::Split, (digest >> 64) as u32, digest as u64);
        (u64::from(words[0]) << 32) | u64::from(words[1])
    };
    let mut held = vec![false; rows.len()];
    match by {
        SplitBy::Row => {
            let tasks = groups(rows, |row| row.task);
            for (members, share) in tasks
                .values()
                .zip(shares(tasks.values().map(Vec::len), wanted, rows.len()))
            {
                let mut members = members.clone();
                members.sort_by_key(|&row| (place(rows[row].digest), row));
                members[..share].iter().for_each(|&row| held[row] = true);
            }
        }
        SplitBy::Task(named) if !named.is_empty() => {
            let tasks = groups(rows, |row| row.task);
            for name in named {
                let Some(members) = tasks.get(name.as_str()) else {
                    let known: Vec<&str> = tasks.keys().copied().collect();
                    let why = format!("no row has the task {name:?}; there are: {}", known.join(", "));
                    return Err(Error::config("tasks", why));
                };
                members.iter().for_each(|&row| held[row] = true);
            }
        }
        SplitBy::Task(_) => {
            let digest = |task: &str| u128::from(super::quality::words::hash(task.as_bytes()));
            let queue = groups(rows, |row| row.task)
                .into_iter()
                .map(|(task, members)| (place(digest(task)), members));
            take(&mut held, queue.collect(), wanted);
        }
        SplitBy::Cluster => {
            let clusters = groups(rows, |row| row.cluster).into_values();
            // A cluster stands where its first member would.
            let first = |members: &[usize]| members.iter().map(|&row| place(rows[row].digest)).min().unwrap_or(0);
            take(
                &mut held,
                clusters.map(|members| (first(&members), members)).collect(),
                wanted,
            );
        }
    }
    let count = held.iter().filter(|held| **held).count();
    if count == 0 || count == rows.len() {
        let why = match by {
            SplitBy::Task(_) => "the rows' tasks cannot be split so: one side would be empty",
            _ => "the rows cannot be split so: one side would be empty, as nearly all are in one cluster",
        };
        return Err(Error::data(why));
    }
    Ok(held)
}

fn groups<'a, K: Ord>(rows: &'a [SplitRow<'a>], key: impl Fn(&'a SplitRow<'a>) -> K) -> BTreeMap<K, Vec<usize>> {
    let mut groups = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        groups.entry(key(row)).or_insert_with(Vec::new).push(i);
    }
    groups
}

/// Take whole groups in the order of their places, as long as they fit; the smallest one where none does.
fn take(held: &mut [bool], mut queue: Vec<(u64, Vec<usize>)>, wanted: usize) {
    queue.sort();
    let mut left = wanted;
    for (_, members) in &queue {
        if members.len() <= left {
            left -= members.len();
            members.iter().for_each(|&row| held[row] = true);
        }
    }
    if left == wanted
        && let Some((_, members)) = queue.iter().min_by_key(|(_, members)| members.len())
    {
        members.iter().for_each(|&row| held[row] = true);
    }
}

/// `wanted` of `total` shared out in proportion to `sizes`: whole parts first, then the largest remainders.
fn shares(sizes: impl Iterator<Item = usize>, wanted: usize, total: usize) -> Vec<usize> {
    let exact: Vec<(usize, usize)> = sizes
        .map(|size| (size * wanted / total, size * wanted % total))
        .collect();
    let mut shares: Vec<usize> = exact.iter().map(|(whole, _)| *whole).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(exact[i].1), i));
    let missing = wanted - shares.iter().sum::<usize>();
    order[..missing].iter().for_each(|&i| shares[i] += 1);
    shares
}
