//! Cutting a step into micro-batches. The cut is a matter of memory: it never changes which rows make up a step, nor their order
//! within a micro-batch.

use super::{Examples, MicroBatch};
use crate::{Error, Result};

/// Groups of places in `lengths`, each of at most `capacity` in sum: each begins with the longest that is left and is filled up with those
/// that fit best together.
///
/// Places ascend within a group and groups are in the order of their first place, so the result depends on the lengths alone.
///
/// # Errors
/// [`Error::Config`] when a length exceeds the capacity: a row is never split.
pub fn pack(lengths: &[usize], capacity: usize) -> Result<Vec<Vec<usize>>> {
    let mut left: Vec<usize> = (0..lengths.len()).collect();
    left.sort_by_key(|&place| (std::cmp::Reverse(lengths[place]), place));
    if let Some(&longest) = left.first().map(|&place| &lengths[place])
        && longest > capacity
    {
        let why = format!("{capacity} tokens do not hold the longest row, which has {longest}");
        return Err(Error::config("micro_batch_tokens", why));
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    while let Some((&longest, others)) = left.split_first() {
        let taken = fill(
            &others.iter().map(|&place| lengths[place]).collect::<Vec<_>>(),
            capacity - lengths[longest],
        );
        let (mut group, mut rest) = (vec![longest], Vec::with_capacity(others.len()));
        for (&place, taken) in others.iter().zip(taken) {
            if taken { &mut group } else { &mut rest }.push(place);
        }
        group.sort_unstable();
        groups.push(group);
        left = rest;
    }
    groups.sort_unstable();
    Ok(groups)
}

/// Which of `lengths`, descending, to take so that their sum is as large as it can be within `room`: those of the first ones that do.
fn fill(lengths: &[usize], room: usize) -> Vec<bool> {
    if lengths.iter().sum::<usize>() <= room {
        return vec![true; lengths.len()];
    }
    // A bit for each sum that can be reached, and the length with which it was reached first: the sum before it needs earlier ones only.
    let mut reached = vec![0u64; room / 64 + 1];
    let mut last_of = vec![0u32; room + 1];
    reached[0] = 1;
    let (mut highest, mut useless) = (0, 0);
    for (at, &length) in (0u32..).zip(lengths) {
        // Another one of a length that reached nothing new reaches nothing either.
        if length > room || length == useless {
            continue;
        }
        let (words, bits) = (length / 64, length % 64);
        let mut new = false;
        for word in (words..=(highest + length).min(room) / 64).rev() {
            let low = match (bits, word - words) {
                (0, _) | (_, 0) => 0,
                (bits, from) => reached[from - 1] >> (64 - bits),
            };
            let mut sums = (reached[word - words] << bits | low) & !reached[word];
            if word == room / 64 {
                sums &= u64::MAX >> (63 - room % 64);
            }
            reached[word] |= sums;
            new |= sums != 0;
            while sums != 0 {
                last_of[64 * word + sums.trailing_zeros() as usize] = at;
                sums &= sums - 1;
            }
        }
        highest = (highest + length).min(room);
        if !new {
            useless = length;
        }
        if reached[room / 64] >> (room % 64) & 1 == 1 {
            break;
        }
    }
    let best = (0..=room).rev().find(|sum| reached[sum / 64] >> (sum % 64) & 1 == 1);
    let (mut sum, mut taken) = (best.unwrap_or(0), vec![false; lengths.len()]);
    while sum > 0 {
        let at = last_of[sum] as usize;
        taken[at] = true;
        sum -= lengths[at];
    }
    taken
}

/// The micro-batches of a step, each of at most `capacity` tokens. `rows` are numbers of `examples`.
///
/// # Errors
/// As [`pack`] and [`Examples::example`].
pub fn micro_batches<E: Examples + ?Sized>(examples: &E, rows: &[u32], capacity: usize) -> Result<Vec<MicroBatch>> {
    let lengths: Vec<usize> = rows.iter().map(|&row| examples.tokens(row as usize)).collect();
    let groups = pack(&lengths, capacity)?;
    let batch = |group: Vec<usize>| {
        let mut batch = MicroBatch::default();
        for place in group {
            batch.push(rows[place], &examples.example(rows[place] as usize)?);
        }
        Ok(batch)
    };
    groups.into_iter().map(batch).collect()
}
