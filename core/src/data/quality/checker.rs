//! Rows added one by one, compared with each other at the end.

use std::collections::{BTreeMap, HashMap};

use super::answers::Ending;
use super::code::{Code, Codes};
use super::facts::{RowFacts, SHORT_GRAM};
use super::minhash::{Clusters, JACCARD, Signature, Sketch};
use super::report::{
    CheckReport, Count, Example, Finding, Length, Overlap, Place, SourceReport, TaskCount, representation,
};
use super::{CheckOptions, Unusable, terms};
use crate::{Error, Result};

/// Examples kept of each finding.
const EXAMPLES: usize = 5;
/// The share of a held-out row's word sequences in training from which it counts as overlapping.
const OVERLAP: f64 = 0.5;
/// The similarity from which on two answers to a question say the same.
const SAME_ANSWER: f64 = 0.5;
/// Prose answers from which on, and the share of them whose end is marked from which on, unmarked ones count as cut off.
const TYPICAL_ROWS: usize = 50;
const TYPICAL_SHARE: f64 = 0.95;

/// Checks rows in one pass. Held-out files come before training files, as training rows are compared with them.
pub struct Checker {
    options: CheckOptions,
    sources: Vec<SourceReport>,
    rows: Vec<State>,
    signatures: Vec<Signature>,
    task_names: Vec<String>,
    tasks: HashMap<String, usize>,
    task_counts: Vec<TaskCount>,
    shapes: BTreeMap<String, usize>,
    languages: BTreeMap<&'static str, usize>,
    flagged: BTreeMap<&'static str, usize>,
    demographics: Vec<usize>,
    lengths: Vec<u32>,
    in_tokens: usize,
    /// The first row with a digest, for training and for held-out rows.
    seen: [HashMap<u128, u32>; 2],
    /// The first row with a question, and its answer.
    questions: [HashMap<u128, (u32, Sketch)>; 2],
    same: Vec<(u32, u32)>,
    examples: BTreeMap<Code, Vec<(u32, String, Option<u32>)>>,
    /// Prose answers whose end is marked, and those where it is not.
    marked: usize,
    unmarked: Vec<(u32, String)>,
    overlap: Grams,
}

/// What is known of a row.
struct State {
    source: u32,
    line: usize,
    digest: Option<u128>,
    task: u32,
    codes: Codes,
    head: Box<str>,
}

/// Word sequences of held-out rows, and which of them training rows have.
#[derive(Default)]
struct Grams {
    number: HashMap<u64, u32>,
    seen: Vec<bool>,
    /// Sequences of each held-out row.
    rows: Vec<(u32, Vec<u32>)>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// For people.
    pub report: CheckReport,
    /// Every row in the order added: what cleaning and splitting go by.
    pub rows: Vec<RowVerdict>,
    /// Names of tasks, by number.
    pub tasks: Vec<String>,
}

/// What was found in one row.
#[derive(Debug, Clone)]
pub struct RowVerdict {
    /// The number of its source.
    pub source: usize,
    /// Its line (in a JSON array: its number), from 1.
    pub line: usize,
    /// Its findings.
    pub codes: Codes,
    /// A digest of what it says; `None` for a row that cannot be used.
    pub digest: Option<u128>,
    /// The number of its task.
    pub task: usize,
    /// The first row of its cluster of near duplicates.
    pub cluster: u32,
}

impl Checker {
    /// Nothing added yet.
    pub fn new(options: CheckOptions) -> Self {
        Self {
            options,
            sources: Vec::new(),
            rows: Vec::new(),
            signatures: Vec::new(),
            task_names: Vec::new(),
            tasks: HashMap::new(),
            task_counts: Vec::new(),
            shapes: BTreeMap::new(),
            languages: BTreeMap::new(),
            flagged: BTreeMap::new(),
            demographics: vec![0; terms::demographic_buckets().count()],
            lengths: Vec::new(),
            in_tokens: 0,
            seen: Default::default(),
            questions: Default::default(),
            same: Vec::new(),
            examples: BTreeMap::new(),
            marked: 0,
            unmarked: Vec::new(),
            overlap: Grams::default(),
        }
    }

    /// What rows are checked against: for [`RowFacts::of`].
    pub fn options(&self) -> &CheckOptions {
        &self.options
    }

    /// A file whose rows follow; its number is what [`add`](Self::add) wants.
    ///
    /// # Errors
    /// [`Error::Data`] for a held-out file behind training rows.
    pub fn source(&mut self, name: &str, held_out: bool) -> Result<usize> {
        if held_out && self.sources.iter().any(|source| !source.held_out && source.rows > 0) {
            return Err(Error::data(format!(
                "{name}: held-out files must be checked before training files"
            )));
        }
        self.sources.push(SourceReport {
            name: name.to_owned(),
            held_out,
            rows: 0,
        });
        Ok(self.sources.len() - 1)
    }

    /// The next row, as [`Look::at`](super::Look::at) found it; as [`add`](Self::add) or [`reject`](Self::reject).
    ///
    /// # Errors
    /// [`Error::Data`] for more than 2³² − 1 rows.
    pub fn take(&mut self, source: usize, line: usize, found: std::result::Result<RowFacts, Unusable>) -> Result<()> {
        match found {
            Ok(facts) => self.add(source, line, facts),
            Err((code, why)) => self.reject(source, line, code, &why),
        }
    }

    /// A row that could not be read or prepared: `code` says which, `why` what is wrong.
    ///
    /// # Errors
    /// [`Error::Data`] for more than 2³² − 1 rows.
    pub fn reject(&mut self, source: usize, line: usize, code: Code, why: &str) -> Result<()> {
        let row = self.push(source, line, None, 0, "".into(), Signature::default())?;
        self.found(row, code, || why.to_owned(), None);
        Ok(())
    }

    /// Add the next row. `line` is its line in the file (in a JSON array: its number), from 1.
    ///
    /// # Errors
    /// [`Error::Data`] for more than 2³² − 1 rows.
    pub fn add(&mut self, source: usize, line: usize, facts: RowFacts) -> Result<()> {
        let held_out = self.sources[source].held_out;
        let side = usize::from(held_out);
        let task = self.count_task(&facts.task, held_out);
        let row = self.push(source, line, Some(facts.digest), task, facts.head, facts.signature)?;
        *self.shapes.entry(facts.shape).or_default() += 1;
        *self.languages.entry(facts.language.unwrap_or("unknown")).or_default() += 1;
        for line in &facts.demographics {
            self.demographics[usize::from(*line)] += 1;
        }
        let mut categories: Vec<&str> = facts
            .flagged
            .iter()
            .map(|&line| terms::flagged_category(line))
            .collect();
        categories.dedup();
        for category in categories {
            *self.flagged.entry(category).or_default() += 1;
        }
        self.in_tokens += usize::from(facts.tokens.is_some());
        self.lengths
            .push(facts.tokens.map_or(facts.words, |tokens| tokens.length) as u32);
        for hit in facts.hits {
            self.found(row, hit.code, || hit.snippet, None);
        }
        match facts.ending {
            Ending::Marked => self.marked += 1,
            Ending::Unmarked => {
                // The ends of the first ones are kept to be shown.
                let tail = if self.unmarked.len() < EXAMPLES {
                    facts.tail
                } else {
                    String::new()
                };
                self.unmarked.push((row, tail));
            }
            Ending::Cut | Ending::Unknown => {}
        }
        self.duplicates(row, side, facts.digest, facts.question, facts.answer);
        self.overlap.add(row, held_out, &facts.long_grams, &facts.short_grams);
        Ok(())
    }

    fn push(
        &mut self,
        source: usize,
        line: usize,
        digest: Option<u128>,
        task: usize,
        head: Box<str>,
        signature: Signature,
    ) -> Result<u32> {
        let row = u32::try_from(self.rows.len()).map_err(|_| Error::data("there are more than 2^32 - 1 rows"))?;
        self.sources[source].rows += 1;
        self.signatures.push(signature);
        self.rows.push(State {
            source: source as u32,
            line,
            digest,
            task: task as u32,
            codes: Codes::default(),
            head,
        });
        Ok(row)
    }

    fn count_task(&mut self, (name, confidence): &(String, Option<f32>), held_out: bool) -> usize {
        let next = self.task_names.len();
        let number = *self.tasks.entry(name.clone()).or_insert(next);
        if number == next {
            self.task_names.push(name.clone());
            self.task_counts.push(TaskCount {
                name: name.clone(),
                ..TaskCount::default()
            });
        }
        let count = &mut self.task_counts[number];
        if held_out {
            count.held_out += 1;
        } else {
            count.rows += 1;
        }
        if let Some(confidence) = confidence {
            // The mean, kept up to date.
            count.guessed += 1;
            count.confidence += (f64::from(*confidence) - count.confidence) / count.guessed as f64;
        }
        number
    }

    fn found(&mut self, row: u32, code: Code, snippet: impl FnOnce() -> String, like: Option<u32>) {
        let codes = &mut self.rows[row as usize].codes;
        if codes.contains(code) {
            return;
        }
        codes.insert(code);
        let examples = self.examples.entry(code).or_default();
        if examples.len() < EXAMPLES {
            examples.push((row, snippet(), like));
        }
    }

    fn head(&self, row: u32) -> String {
        self.rows[row as usize].head.to_string()
    }

    /// The same row or the same question before, on this side or among held-out rows.
    fn duplicates(&mut self, row: u32, side: usize, digest: u128, question: Option<u128>, answer: Sketch) {
        const HELD_OUT: usize = 1;
        let head = self.head(row);
        if side != HELD_OUT {
            let same_row = self.seen[HELD_OUT].get(&digest).copied();
            let same_question = question
                .and_then(|question| self.questions[HELD_OUT].get(&question))
                .map(|found| found.0);
            if let Some(other) = same_row.or(same_question) {
                self.found(row, Code::EvalDuplicate, || head.clone(), Some(other));
                self.same.push((row, other));
            }
        }
        if let Some(&other) = self.seen[side].get(&digest) {
            self.found(row, Code::ExactDuplicate, || head, Some(other));
            self.same.push((row, other));
            return;
        }
        self.seen[side].insert(digest, row);
        let Some(question) = question else { return };
        match self.questions[side].get(&question) {
            Some((other, first)) if first.jaccard(&answer) < SAME_ANSWER => {
                let other = *other;
                self.found(row, Code::ConflictingAnswer, || head, Some(other));
            }
            Some(_) => {}
            None => {
                self.questions[side].insert(question, (row, answer));
            }
        }
    }

    /// Compare rows with each other and sum up.
    pub fn finish(mut self) -> Checked {
        let prose = self.marked + self.unmarked.len();
        if prose >= TYPICAL_ROWS && self.marked as f64 >= TYPICAL_SHARE * prose as f64 {
            for (row, tail) in std::mem::take(&mut self.unmarked) {
                self.found(row, Code::TruncatedAnswer, || tail, None);
            }
        }
        let clusters = Clusters::find(&std::mem::take(&mut self.signatures), &self.same);
        self.near_duplicates(&clusters);
        let overlap = self.measure_overlap();
        let report = self.report(overlap);
        let verdict = |(state, cluster): (&State, &u32)| RowVerdict {
            source: state.source as usize,
            line: state.line,
            codes: state.codes,
            digest: state.digest,
            task: state.task as usize,
            cluster: *cluster,
        };
        Checked {
            report,
            rows: self.rows.iter().zip(&clusters.first).map(verdict).collect(),
            tasks: self.task_names,
        }
    }

    fn is_held_out(&self, row: u32) -> bool {
        self.sources[self.rows[row as usize].source as usize].held_out
    }

    fn near_duplicates(&mut self, clusters: &Clusters) {
        // A pair that was compared is a better example than the first of the cluster.
        let mut partner: HashMap<u32, u32> = HashMap::new();
        for &(row, other) in &clusters.pairs {
            partner.entry(row).or_insert(other);
        }
        // The first training row and the first held-out row of each cluster.
        let mut first: [HashMap<u32, u32>; 2] = Default::default();
        for row in 0..self.rows.len() as u32 {
            let (side, cluster) = (usize::from(self.is_held_out(row)), clusters.first[row as usize]);
            let own = *first[side].entry(cluster).or_insert(row);
            let codes = self.rows[row as usize].codes;
            let on_side = |&other: &u32| usize::from(self.is_held_out(other)) == side;
            let other = partner.get(&row).copied().filter(on_side).unwrap_or(own);
            let held_out = first[1].get(&cluster).copied();
            let head = self.head(row);
            if own != row && !codes.contains(Code::ExactDuplicate) && !codes.contains(Code::ConflictingAnswer) {
                self.found(row, Code::NearDuplicate, || head.clone(), Some(other));
            }
            if let (0, Some(held_out), false) = (side, held_out, codes.contains(Code::EvalDuplicate)) {
                self.found(row, Code::EvalNearDuplicate, || head, Some(held_out));
            }
        }
    }

    fn measure_overlap(&mut self) -> Option<Overlap> {
        if !self.sources.iter().any(|source| source.held_out) {
            return None;
        }
        let (grams, mut shares) = (std::mem::take(&mut self.overlap), Vec::new());
        for (row, numbers) in &grams.rows {
            let seen = numbers.iter().filter(|&&number| grams.seen[number as usize]).count();
            let share = seen as f64 / numbers.len() as f64;
            shares.push(share);
            if share >= OVERLAP {
                let head = self.head(*row);
                self.found(
                    *row,
                    Code::EvalOverlap,
                    || format!("{:.0} %: {head}", 100.0 * share),
                    None,
                );
            }
        }
        let count = |code| self.rows.iter().filter(|row| row.codes.contains(code)).count();
        Some(Overlap {
            held_out_rows: self
                .sources
                .iter()
                .filter(|source| source.held_out)
                .map(|source| source.rows)
                .sum(),
            duplicates: count(Code::EvalDuplicate),
            near_duplicates: count(Code::EvalNearDuplicate),
            measured_rows: shares.len(),
            overlapping_rows: shares.iter().filter(|share| **share >= OVERLAP).count(),
            mean_share: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        })
    }

    fn report(&mut self, overlap: Option<Overlap>) -> CheckReport {
        let place = |rows: &[State], row: u32| {
            let state = &rows[row as usize];
            Place {
                file: self.sources[state.source as usize].name.clone(),
                line: state.line,
            }
        };
        let mut findings = Vec::new();
        for &code in Code::ALL {
            let count = self.rows.iter().filter(|row| row.codes.contains(code)).count();
            if count == 0 {
                continue;
            }
            let examples = self.examples.remove(&code).unwrap_or_default();
            let examples = examples.into_iter().map(|(row, snippet, like)| Example {
                place: place(&self.rows, row),
                like: like.map(|other| place(&self.rows, other)),
                snippet,
            });
            findings.push(Finding {
                code,
                severity: code.severity(),
                title: code.title().to_owned(),
                count,
                share: count as f64 / self.rows.len() as f64,
                examples: examples.collect(),
                advice: code.advice().to_owned(),
            });
        }
        findings.sort_by_key(|finding| finding.severity);
        let counts = |map: &BTreeMap<&'static str, usize>| Count::sorted(map.iter().map(|(name, rows)| (*name, *rows)));
        let mut tasks = std::mem::take(&mut self.task_counts);
        tasks.sort_by(|a, b| (b.rows + b.held_out, &a.name).cmp(&(a.rows + a.held_out, &b.name)));
        CheckReport {
            version: CheckReport::VERSION,
            rows: self.rows.len(),
            sources: self.sources.clone(),
            shapes: Count::sorted(self.shapes.iter().map(|(name, rows)| (name.as_str(), *rows))),
            tasks,
            length: Length::of(
                std::mem::take(&mut self.lengths),
                self.in_tokens > 0,
                self.options.max_length,
            ),
            languages: counts(&self.languages),
            similarity: JACCARD,
            overlap,
            flagged_terms: counts(&self.flagged),
            representation: representation(&self.demographics),
            findings,
        }
    }
}

impl Grams {
    fn add(&mut self, row: u32, held_out: bool, long: &[u64], short: &[u64]) {
        if held_out {
            // Short rows have too few long sequences to speak of a share.
            let grams = if long.len() >= SHORT_GRAM { long } else { short };
            if grams.is_empty() {
                return;
            }
            let mut numbers = Vec::with_capacity(grams.len());
            for &gram in grams {
                let next = self.seen.len() as u32;
                let number = *self.number.entry(gram).or_insert(next);
                if number == next {
                    self.seen.push(false);
                }
                numbers.push(number);
            }
            self.rows.push((row, numbers));
        } else if !self.number.is_empty() {
            for gram in long.iter().chain(short) {
                if let Some(&number) = self.number.get(gram) {
                    self.seen[number as usize] = true;
                }
            }
        }
    }
}
