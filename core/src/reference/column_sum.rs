//! Twin of `column_sum.wgsl`.

/// `y[n] = Σ_t x[t, n] · z[t, n] · scale[t]`, rows of `width`.
pub fn weighted(x: &[f64], z: &[f64], scale: &[f64], width: usize) -> Vec<f64> {
    let mut y = vec![0.0; width];
    for (t, s) in scale.iter().enumerate() {
        for n in 0..width {
            y[n] += x[t * width + n] * z[t * width + n] * s;
        }
    }
    y
}
