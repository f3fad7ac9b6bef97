//! Twin of `swiglu.wgsl` and `swiglu_backward.wgsl`.

/// `h = silu(g) · u`; `gu` holds rows of g, then u, `width` each.
pub fn forward(gu: &[f64], width: usize) -> Vec<f64> {
    let mut h = Vec::with_capacity(gu.len() / 2);
    for row in gu.chunks(2 * width) {
        h.extend((0..width).map(|c| row[c] / (1.0 + (-row[c]).exp()) * row[width + c]));
    }
    h
}

/// Gradient in `gu`.
pub fn backward(gu: &[f64], dh: &[f64], width: usize) -> Vec<f64> {
    let mut dgu = vec![0.0; gu.len()];
    for (t, row) in gu.chunks(2 * width).enumerate() {
        for c in 0..width {
            let (g, u, d) = (row[c], row[width + c], dh[t * width + c]);
            let s = 1.0 / (1.0 + (-g).exp());
            dgu[2 * t * width + c] = d * u * s * (1.0 + g * (1.0 - s));
            dgu[(2 * t + 1) * width + c] = d * g * s;
        }
    }
    dgu
}
