//! Twin of `gather.wgsl`.

use crate::ops::gather::NONE;

/// `y[i] = x[index[i]]`, zero where the index is [`NONE`].
pub fn gather(index: &[u32], x: &[f64], width: usize) -> Vec<f64> {
    index
        .iter()
        .flat_map(|&i| (0..width).map(move |c| if i == NONE { 0.0 } else { x[i as usize * width + c] }))
        .collect()
}

/// `y[index[i]] = x[i]`.
pub fn scatter(index: &[u32], x: &[f64], width: usize, y: &mut [f64]) {
    for (i, &to) in index.iter().enumerate() {
        y[to as usize * width..][..width].copy_from_slice(&x[i * width..][..width]);
    }
}
