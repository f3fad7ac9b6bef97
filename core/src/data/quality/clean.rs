//! Which rows to leave out.

use std::collections::HashSet;

use super::checker::Checked;
use super::code::{Code, Codes, Severity};

/// A row to leave out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its number, in the order rows were added.
    pub row: usize,
    /// Why.
    pub reasons: Vec<Code>,
}

/// What is left out unless told otherwise: every error, and repeats.
pub fn default_drops() -> Codes {
    let dropped =
        |code: &Code| code.severity() == Severity::Error || matches!(code, Code::ExactDuplicate | Code::NearDuplicate);
    Code::ALL.iter().copied().filter(dropped).collect()
}

/// The training rows to leave out for `codes`, ascending.
///
/// Of rows that repeat each other the first one stays that has no other reason to go: a repeat of a row that is dropped is kept.
pub fn drops(checked: &Checked, codes: Codes) -> Vec<Dropped> {
    let repeats: Codes = [Code::ExactDuplicate, Code::NearDuplicate].into_iter().collect();
    let mut kept_digests = HashSet::new();
    let mut kept_clusters = HashSet::new();
    let mut dropped = Vec::new();
    for (row, verdict) in checked.rows.iter().enumerate() {
        if checked.report.sources[verdict.source].held_out {
            continue;
        }
        let mut reasons: Vec<Code> = verdict
            .codes
            .and(codes)
            .iter()
            .filter(|&code| !repeats.contains(code))
            .collect();
        if reasons.is_empty() {
            let repeats_row = codes.contains(Code::ExactDuplicate)
                && verdict.digest.is_some_and(|digest| kept_digests.contains(&digest));
            // What answers a question differently is no repeat, however alike.
            let repeats_cluster = codes.contains(Code::NearDuplicate)
                && !verdict.codes.contains(Code::ConflictingAnswer)
                && kept_clusters.contains(&verdict.cluster);
            if repeats_row {
                reasons.push(Code::ExactDuplicate);
            } else if repeats_cluster {
                reasons.push(Code::NearDuplicate);
            }
        }
        if reasons.is_empty() {
            kept_digests.extend(verdict.digest);
            kept_clusters.insert(verdict.cluster);
        } else {
            dropped.push(Dropped { row, reasons });
        }
    }
    dropped
}
