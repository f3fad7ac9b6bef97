//! Twin of `rmsnorm.wgsl` and `rmsnorm_backward.wgsl`.

/// `y = x · rstd · w` and `rstd`, over rows of `w.len()` numbers.
pub fn forward(x: &[f64], w: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let mut y = Vec::with_capacity(x.len());
    let mut rstd = Vec::new();
    for row in x.chunks(w.len()) {
        let mean = row.iter().map(|v| v * v).sum::<f64>() / w.len() as f64;
        let r = 1.0 / (mean + eps).sqrt();
        y.extend(row.iter().zip(w).map(|(v, w)| v * r * w));
        rstd.push(r);
    }
    (y, rstd)
}

/// Gradients in `x` and in `w`.
pub fn backward(x: &[f64], w: &[f64], rstd: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = w.len();
    let mut dx = Vec::with_capacity(x.len());
    let mut dw = vec![0.0; n];
    for (t, &r) in rstd.iter().enumerate() {
        let (x, dy) = (&x[t * n..][..n], &dy[t * n..][..n]);
        let mean = (0..n).map(|c| x[c] * w[c] * dy[c]).sum::<f64>() / n as f64;
        for c in 0..n {
            dx.push(r * (w[c] * dy[c] - x[c] * r * r * mean));
            dw[c] += dy[c] * x[c] * r;
        }
    }
    (dx, dw)
}
