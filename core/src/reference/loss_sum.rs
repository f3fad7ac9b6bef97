//! Twin of `loss_sum.wgsl`.

/// Adds the sums to the metrics' first two numbers.
pub fn apply(loss: &[f64], correct: &[f64], metrics: &mut [f64]) {
    metrics[0] += loss.iter().sum::<f64>();
    metrics[1] += correct.iter().sum::<f64>();
}
