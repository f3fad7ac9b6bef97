//! Twin of `gradient_norm.wgsl` and `gradient_norm_finish.wgsl`.

/// The norm and the clip factor.
pub fn apply(gradient: &[f64], max_norm: f64) -> (f64, f64) {
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    (
        norm,
        if max_norm > 0.0 {
            (max_norm / (norm + 1e-6)).min(1.0)
        } else {
            1.0
        },
    )
}
