//! Twin of `adamw.wgsl`.

/// Settings of one update.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Learning rate.
    pub learning_rate: f64,
    /// Weight decay of this tensor.
    pub weight_decay: f64,
    /// First moment's decay.
    pub beta1: f64,
    /// Second moment's decay.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The step, from 1.
    pub step: i32,
    /// Factor of the gradient.
    pub clip: f64,
}

/// One update in place.
pub fn update(u: &Update, gradient: &[f64], weight: &mut [f64], m: &mut [f64], v: &mut [f64]) {
    for i in 0..gradient.len() {
        let g = gradient[i] * u.clip;
        weight[i] *= 1.0 - u.learning_rate * u.weight_decay;
        m[i] = u.beta1 * m[i] + (1.0 - u.beta1) * g;
        v[i] = u.beta2 * v[i] + (1.0 - u.beta2) * g * g;
        let m_hat = m[i] / (1.0 - u.beta1.powi(u.step));
        let v_hat = v[i] / (1.0 - u.beta2.powi(u.step));
        weight[i] -= u.learning_rate * m_hat / (v_hat.sqrt() + u.epsilon);
    }
}
