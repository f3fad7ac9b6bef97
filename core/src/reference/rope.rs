//! Twin of `rope.wgsl`.

/// Rotate each head of `x [R, heads, S]` by `position[t] · frequencies[i]`; `sign` is −1 for the backward pass.
pub fn apply(x: &[f64], position: &[u32], heads: usize, frequencies: &[f64], sign: f64) -> Vec<f64> {
    let half = frequencies.len();
    let mut y = x.to_vec();
    for (t, &position) in position.iter().enumerate() {
        for h in 0..heads {
            let at = (t * heads + h) * 2 * half;
            for i in 0..half {
                let (sine, cosine) = (f64::from(position) * frequencies[i]).sin_cos();
                let (low, high) = (x[at + i], x[at + half + i]);
                y[at + i] = low * cosine - high * sine * sign;
                y[at + half + i] = high * cosine + low * sine * sign;
            }
        }
    }
    y
}
