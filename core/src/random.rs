//! Counter-based random numbers: every draw is a pure function of (seed, stream, lane, index), so runs resume exactly and are the same
//! on every platform.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

/// Philox4x32-10: a keyed bijection of 128-bit counters whose outputs pass as random.
pub fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let [low0, high0] = wide_mul(MULTIPLIER[0], counter[0]);
        let [low1, high1] = wide_mul(MULTIPLIER[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// `[low, high]` words of the 64-bit product.
fn wide_mul(a: u32, b: u32) -> [u32; 2] {
    let product = u64::from(a) * u64::from(b);
    [product as u32, (product >> 32) as u32]
}

/// What the numbers are for. Streams of one seed never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The order of the rows; the lane is the epoch.
    Order = 0,
    /// Dropout masks.
    Dropout = 1,
    /// Sampling from a model; the lane is the conversation.
    Sampling = 2,
    /// Initial weights; the lane is the tensor.
    Init = 3,
    /// Which rows of a group an epoch has; the lane is the group and how often its rows have been dealt out.
    Mixture = 4,
    /// Which rows are held out; lane and index are the row's digest.
    Split = 5,
    /// Which items a bootstrap draws; the lane is the resample.
    Bootstrap = 6,
}

/// Four random words, number `index` of a lane of a stream.
pub fn block(seed: u64, stream: Stream, lane: u32, index: u64) -> [u32; 4] {
    attempt(seed, stream, lane, index, 0)
}

/// [`block`], with a counter of retries for draws that may be rejected.
fn attempt(seed: u64, stream: Stream, lane: u32, index: u64, attempt: u32) -> [u32; 4] {
    let key = [seed as u32, (seed >> 32) as u32];
    philox(
        key,
        [index as u32, (index >> 32) as u32, lane, stream as u32 | (attempt << 8)],
    )
}

/// A number in [0, 1) from the upper 24 bits of a word: every value is exact in f32, and WGSL computes the same.
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// An unbiased number in `0..n`, number `index` of a lane of a stream (Lemire, "Fast random integer generation in an interval", 2019).
///
/// # Panics
/// When `n` is 0.
pub fn below(seed: u64, stream: Stream, lane: u32, index: u64, n: u32) -> u32 {
    assert!(n > 0, "an empty range has no member to draw");
    let threshold = n.wrapping_neg() % n; // 2³² mod n products are one too many
    (0..)
        .flat_map(|tries| attempt(seed, stream, lane, index, tries))
        .map(|word| wide_mul(word, n))
        .find(|[low, _]| *low >= threshold)
        .map(|[_, high]| high)
        .expect("an accepted word comes within a few tries")
}

/// The numbers `0..n` in the order of one epoch: [`shuffled`] by (seed, epoch, n) alone.
pub fn permutation(seed: u64, epoch: u32, n: u32) -> Vec<u32> {
    shuffled(seed, Stream::Order, epoch, n)
}

/// The numbers `0..n` in an order drawn from a lane of a stream (Fisher and Yates).
pub fn shuffled(seed: u64, stream: Stream, lane: u32, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        let j = below(seed, stream, lane, u64::from(i), i + 1);
        order.swap(i as usize, j as usize);
    }
    order
}

/// Four independent standard normal deviates from four words (Box and Muller, 1958), in f64 so that rounding to f32 hides what
/// platforms' `ln` and `cos` differ in.
pub fn normals(words: [u32; 4]) -> [f64; 4] {
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * ((f64::from(a) + 1.0) / 4_294_967_296.0).ln()).sqrt(); // the argument is in (0, 1]
        let (sin, cos) = (std::f64::consts::TAU * (f64::from(b) / 4_294_967_296.0)).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([x, y], [z, w]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [x, y, z, w]
}
