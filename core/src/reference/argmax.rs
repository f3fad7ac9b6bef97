//! Twin of `argmax.wgsl`.

/// The place of the largest number of each row of `x [rows, width]`, the first of equals.
pub fn apply(x: &[f64], width: usize) -> Vec<u32> {
    let first = |row: &[f64]| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32;
    x.chunks(width).map(first).collect()
}
