//! Twin of `cross_entropy.wgsl`.

/// Loss and correctness of each row of `logits [rows, vocabulary]`, and the gradient of `scale · Σ loss`.
pub fn apply(logits: &[f64], target: &[u32], vocabulary: usize, scale: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut loss, mut correct, mut gradient) = (Vec::new(), Vec::new(), Vec::new());
    for (row, &target) in logits.chunks(vocabulary).zip(target) {
        let target = target as usize;
        let peak = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|z| (z - peak).exp()).sum();
        loss.push(sum.ln() + peak - row[target]);
        let first = row.iter().position(|&z| z == peak);
        correct.push(f64::from(u8::from(first == Some(target))));
        gradient.extend(
            row.iter()
                .enumerate()
                .map(|(i, z)| ((z - peak).exp() / sum - f64::from(u8::from(i == target))) * scale),
        );
    }
    (loss, correct, gradient)
}
