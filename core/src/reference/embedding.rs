//! Twin of `embedding.wgsl` and `embedding_backward.wgsl`.

/// `y[t] = scale · table[token[t]]`, `table [vocabulary, width]`.
pub fn forward(token: &[u32], table: &[f64], width: usize, scale: f64) -> Vec<f64> {
    token
        .iter()
        .flat_map(|&id| &table[id as usize * width..][..width])
        .map(|number| scale * number)
        .collect()
}

/// `d_table[token[t]] += scale · dy[t]`.
pub fn backward(token: &[u32], dy: &[f64], width: usize, scale: f64, d_table: &mut [f64]) {
    for (t, &id) in token.iter().enumerate() {
        for c in 0..width {
            d_table[id as usize * width + c] += scale * dy[t * width + c];
        }
    }
}
