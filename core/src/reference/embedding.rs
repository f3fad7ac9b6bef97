//! Twin of `embedding.wgsl` and `embedding_backward.wgsl`.

/// `y[t] = table[token[t]]`, `table [vocabulary, width]`.
pub fn forward(token: &[u32], table: &[f64], width: usize) -> Vec<f64> {
    token
        .iter()
        .flat_map(|&id| &table[id as usize * width..][..width])
        .copied()
        .collect()
}

/// `d_table[token[t]] += dy[t]`.
pub fn backward(token: &[u32], dy: &[f64], width: usize, d_table: &mut [f64]) {
    for (t, &id) in token.iter().enumerate() {
        for c in 0..width {
            d_table[id as usize * width + c] += dy[t * width + c];
        }
    }
}
