//! Twin of `attention*.wgsl`.

/// Heads and sizes.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub key: usize,
    /// Numbers in a head.
    pub size: usize,
    /// What products of queries and keys are multiplied by.
    pub scale: f64,
}

impl Heads {
    /// With a scale of `1 / sqrt(size)`.
    pub fn new(query: usize, key: usize, size: usize) -> Self {
        Self {
            query,
            key,
            size,
            scale: 1.0 / (size as f64).sqrt(),
        }
    }

    fn q(&self, i: usize, h: usize) -> std::ops::Range<usize> {
        let at = (i * self.query + h) * self.size;
        at..at + self.size
    }

    fn kv(&self, j: usize, h: usize) -> std::ops::Range<usize> {
        let at = (j * self.key + h / (self.query / self.key)) * self.size;
        at..at + self.size
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Output `[R, H, S]` and log-sum-exp `[R, H]`; `q [R, H, S]`, `k` and `v [*, K, S]`, query `i` sees `range[i]`.
pub fn forward(heads: Heads, q: &[f64], k: &[f64], v: &[f64], range: &[[u32; 2]]) -> (Vec<f64>, Vec<f64>) {
    let (mut o, mut lse) = (vec![0.0; q.len()], Vec::new());
    for (i, &[first, last]) in range.iter().enumerate() {
        for h in 0..heads.query {
            let s: Vec<f64> = (first..last)
                .map(|j| heads.scale * dot(&q[heads.q(i, h)], &k[heads.kv(j as usize, h)]))
                .collect();
            let peak = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let l = s.iter().map(|s| (s - peak).exp()).sum::<f64>().ln() + peak;
            lse.push(l);
            for (s, j) in s.iter().zip(first..last) {
                for (o, v) in o[heads.q(i, h)].iter_mut().zip(&v[heads.kv(j as usize, h)]) {
                    *o += (s - l).exp() * v;
                }
            }
        }
    }
    (o, lse)
}

/// Gradients in `q`, `k` and `v`.
pub fn backward(
    heads: Heads,
    q: &[f64],
    k: &[f64],
    v: &[f64],
    range: &[[u32; 2]],
    d_o: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (o, lse) = forward(heads, q, k, v, range);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for (i, &[first, last]) in range.iter().enumerate() {
        for h in 0..heads.query {
            let qi = heads.q(i, h);
            let delta = dot(&o[qi.clone()], &d_o[qi.clone()]);
            for j in first as usize..last as usize {
                let kj = heads.kv(j, h);
                let p = (heads.scale * dot(&q[qi.clone()], &k[kj.clone()]) - lse[i * heads.query + h]).exp();
                let ds = p * (dot(&d_o[qi.clone()], &v[kj.clone()]) - delta) * heads.scale;
                for c in 0..heads.size {
                    dq[qi.start + c] += ds * k[kj.start + c];
                    dk[kj.start + c] += ds * q[qi.start + c];
                    dv[kj.start + c] += p * d_o[qi.start + c];
                }
            }
        }
    }
    (dq, dk, dv)
}
