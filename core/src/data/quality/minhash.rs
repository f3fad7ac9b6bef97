//! Near duplicates: MinHash signatures find candidates, the shingles themselves decide.
//!
//! A. Broder, "On the resemblance and containment of documents" (1997); bands as in Leskovec, Rajaraman and Ullman, "Mining of
//! Massive Datasets", chapter 3. Of a row are kept a hash of each band of its signature and its smallest shingle hashes, not the
//! signature: 204 bytes and 4 bytes a shingle.

use super::words::{grams, mix};

/// Words in a shingle.
pub const SHINGLE_WORDS: usize = 5;
/// Rows at least this similar (shared shingles ÷ all shingles) are near duplicates.
pub const JACCARD: f64 = 0.7;
/// Bands of a signature: at a similarity of 0.7, two rows share none once in 11,000 times.
const BANDS: usize = 51;
/// Minima in a band.
const BAND_ROWS: usize = 5;
/// Permutations: 255.
const PERMUTATIONS: usize = BANDS * BAND_ROWS;
/// Most shingle hashes kept of a row. Rows with more are compared by their smallest (a bottom-k sketch), within ± 3 %.
const SKETCH: usize = 1024;
/// Rows of a bucket that a new one is compared with; those in a cluster already count once.
const REPRESENTATIVES: usize = 24;

/// The smallest distinct hashes of a set.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketch {
    /// Ascending.
    hashes: Box<[u32]>,
    /// Whether these are all of them.
    whole: bool,
}

impl Sketch {
    /// At most `most` of some hashes.
    pub fn new(hashes: impl Iterator<Item = u64>, most: usize) -> Self {
        let mut hashes: Vec<u32> = hashes.map(|hash| hash as u32).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let whole = hashes.len() <= most;
        hashes.truncate(most);
        Self {
            hashes: hashes.into(),
            whole,
        }
    }

    /// Shared ÷ all; estimated from the smallest hashes where one is not whole.
    pub fn jaccard(&self, other: &Self) -> f64 {
        let (a, b) = (&self.hashes, &other.hashes);
        let limit = |sketch: &Self| match sketch.whole {
            true => u32::MAX,
            false => sketch.hashes.last().copied().unwrap_or(u32::MAX),
        };
        let limit = limit(self).min(limit(other)); // up to here, all hashes of both are known
        let (mut i, mut j, mut shared, mut all) = (0, 0, 0u32, 0u32);
        while i < a.len() || j < b.len() {
            let x = a.get(i).copied().unwrap_or(u32::MAX);
            let y = b.get(j).copied().unwrap_or(u32::MAX);
            if x.min(y) > limit {
                break;
            }
            i += usize::from(i < a.len() && x <= y);
            j += usize::from(j < b.len() && y <= x);
            shared += u32::from(x == y);
            all += 1;
        }
        if all == 0 {
            0.0
        } else {
            f64::from(shared) / f64::from(all)
        }
    }
}

/// What is kept of a row to find its near duplicates.
#[derive(Debug, Clone, Default)]
pub(super) struct Signature {
    /// A hash of each band; none for a text without words, which is like no other.
    bands: Box<[u32]>,
    sketch: Sketch,
}

impl Signature {
    /// Of a text's words, hashed.
    pub fn new(words: &[u64]) -> Self {
        // All shingles make the signature, the smallest hashes are kept.
        let shingles = Sketch::new(grams(words, SHINGLE_WORDS), usize::MAX);
        if shingles.hashes.is_empty() {
            return Self::default();
        }
        let mut minima = [u32::MAX; PERMUTATIONS];
        for &shingle in &shingles.hashes {
            // Multiply-add permutations of 32-bit words; the shingle is mixed already, so that its high bits are good.
            for (minimum, (a, b)) in minima.iter_mut().zip(&FACTORS) {
                *minimum = (*minimum).min(shingle.wrapping_mul(*a).wrapping_add(*b));
            }
        }
        let band = |rows: &[u32]| rows.iter().fold(0, |hash, &minimum| mix(hash ^ u64::from(minimum))) as u32;
        Self {
            bands: minima.chunks(BAND_ROWS).map(band).collect(),
            sketch: Sketch {
                whole: shingles.hashes.len() <= SKETCH,
                hashes: shingles.hashes.iter().take(SKETCH).copied().collect(),
            },
        }
    }
}

/// Odd factors and offsets of the permutations.
static FACTORS: [(u32, u32); PERMUTATIONS] = factors();

const fn factors() -> [(u32, u32); PERMUTATIONS] {
    let mut factors = [(0, 0); PERMUTATIONS];
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut at = 0;
    while at < PERMUTATIONS {
        // SplitMix64, as `mix`, which is not const.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        factors[at] = (x as u32 | 1, (x >> 32) as u32);
        at += 1;
    }
    factors
}

/// Rows in clusters of near duplicates: chains of rows each like the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Clusters {
    /// The first row of each row's cluster, `[rows]`.
    pub first: Vec<u32>,
    /// Pairs that were compared and found alike: a row and an earlier one.
    pub pairs: Vec<(u32, u32)>,
}

impl Clusters {
    /// Of signatures in the rows' order; `same` are pairs known to be alike, such as exact duplicates.
    pub fn find(signatures: &[Signature], same: &[(u32, u32)]) -> Self {
        let mut union = Union((0..signatures.len() as u32).collect());
        for &(a, b) in same {
            union.join(a, b);
        }
        let mut pairs = Vec::new();
        let mut order: Vec<(u32, u32)> = Vec::with_capacity(signatures.len());
        for band in 0..BANDS {
            order.clear();
            order.extend(
                (0..)
                    .zip(signatures)
                    .filter_map(|(row, s)| Some((*s.bands.get(band)?, row))),
            );
            order.sort_unstable();
            for bucket in order.chunk_by(|a, b| a.0 == b.0).filter(|bucket| bucket.len() > 1) {
                let mut representatives: Vec<u32> = Vec::new();
                for &(_, row) in bucket {
                    let root = union.root(row);
                    if representatives.iter().any(|&other| union.root(other) == root) {
                        continue;
                    }
                    let sketch = &signatures[row as usize].sketch;
                    let mut like = representatives.iter().copied();
                    match like.find(|&other| sketch.jaccard(&signatures[other as usize].sketch) >= JACCARD) {
                        Some(other) => {
                            union.join(row, other);
                            pairs.push((row.max(other), row.min(other)));
                        }
                        None if representatives.len() < REPRESENTATIVES => representatives.push(row),
                        None => {}
                    }
                }
            }
        }
        pairs.sort_unstable();
        Self {
            first: (0..signatures.len() as u32).map(|row| union.root(row)).collect(),
            pairs,
        }
    }
}

/// Disjoint sets; the root of each is its smallest member.
struct Union(Vec<u32>);

impl Union {
    fn root(&mut self, mut row: u32) -> u32 {
        while self.0[row as usize] != row {
            let parent = self.0[row as usize];
            self.0[row as usize] = self.0[parent as usize];
            row = self.0[row as usize];
        }
        row
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}
