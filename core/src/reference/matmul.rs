//! Twin of `matmul.wgsl`.

use crate::ops::matmul::Layout;

/// `op(A)·op(B)`, dense row-major operands, `[m, n]`.
pub fn product(layout: Layout, a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize)) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0;
            for t in 0..k {
                sum += match layout {
                    Layout::Nt => a[i * k + t] * b[j * k + t],
                    Layout::Nn => a[i * k + t] * b[t * n + j],
                    Layout::Tn => a[t * m + i] * b[t * n + j],
                };
            }
            c[i * n + j] = sum;
        }
    }
    c
}
