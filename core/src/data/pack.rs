//! Cutting a step into micro-batches. The cut is a matter of memory: it never changes which rows make up a step, nor their order
//! within a micro-batch.

use std::collections::BTreeSet;

use super::{Examples, MicroBatch};
use crate::{Error, Result};

/// Groups of places in `lengths`, each of at most `capacity` in sum: best fit, longest first.
///
/// Places ascend within a group and groups are in the order of their first place, so the result depends on the lengths alone.
///
/// # Errors
/// [`Error::Config`] when a length exceeds the capacity: a row is never split.
pub fn pack(lengths: &[usize], capacity: usize) -> Result<Vec<Vec<usize>>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&place| (std::cmp::Reverse(lengths[place]), place));
    if let Some(&longest) = longest_first.first().map(|&place| &lengths[place])
        && longest > capacity
    {
        let why = format!("{capacity} tokens do not hold the longest row, which has {longest}");
        return Err(Error::config("micro_batch_tokens", why));
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new(); // (tokens left, group)
    for place in longest_first {
        let length = lengths[place];
        let (left, group) = room
            .range((length, 0)..)
            .next()
            .copied()
            .unwrap_or((capacity, groups.len()));
        room.remove(&(left, group));
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(place);
        room.insert((left - length, group));
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_unstable();
    Ok(groups)
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
