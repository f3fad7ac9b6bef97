//! Examples and the flat micro-batches that the GPU sees.

/// The label of a token that is not a target, as in PyTorch's `CrossEntropyLoss(ignore_index=-100)`.
pub const IGNORE: i32 = -100;

/// One tokenised row. `labels` are aligned with `ids` and unshifted; the shift by one happens once, in [`MicroBatch::push`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Token ids, `[n]`.
    pub ids: Vec<u32>,
    /// `[n]`; the token's own id where it is supervised, else [`IGNORE`]. The first token of a row is never a target.
    pub labels: Vec<i32>,
}

impl Example {
    /// How many shifted targets the row has: supervised tokens other than the first.
    pub fn targets(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&l| l != IGNORE).count()
    }

    /// Whether the row begins with two of the tokens that begin a document.
    pub fn has_double_bos(&self, bos: Option<u32>) -> bool {
        matches!((&self.ids[..], bos), ([first, second, ..], Some(bos)) if *first == bos && *second == bos)
    }
}

/// `R` tokens in a row: whole examples one after another, attention causal within each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MicroBatch {
    /// Token ids, `[n]`, `n <= R`.
    pub tokens: Vec<u32>,
    /// Position of each token in its example, `[n]`.
    pub positions: Vec<u32>,
    /// First row of each token's example, `[n]`.
    pub segment_start: Vec<u32>,
    /// One past the last row of each token's example, `[n]`.
    pub segment_end: Vec<u32>,
    /// The example's number in its data set, `[n]`: what dropout is keyed by, so that packing does not change it.
    pub example: Vec<u32>,
    /// Rows whose *next* token is supervised, ascending, `[m]`.
    pub target_rows: Vec<u32>,
    /// The supervised next token of each of those rows, `[m]`.
    pub targets: Vec<u32>,
}

impl MicroBatch {
    /// Append a whole example, `number` being its place in the data set.
    pub fn push(&mut self, number: u32, example: &Example) {
        let start = self.tokens.len() as u32;
        let n = example.ids.len() as u32;
        self.tokens.extend(&example.ids);
        self.positions.extend(0..n);
        self.segment_start.extend((0..n).map(|_| start));
        self.segment_end.extend((0..n).map(|_| start + n));
        self.example.extend((0..n).map(|_| number));
        for (t, &label) in example.labels.iter().enumerate().skip(1) {
            if label != IGNORE {
                self.target_rows.push(start + t as u32 - 1);
                self.targets.push(label as u32);
            }
        }
    }
}
