//! The kernels' twins against finite differences and numbers obtained elsewhere.
//!
//! Each operation stands in the middle of a graph: `L = Σ g · f(op(pre(x)))` with random `g` and smooth nonlinear `f` and
//! `pre`, so that a backward pass that takes its upstream gradient for one, or its input for the leaf, is found out.

use wgpu_sft::ops::gather::NONE;
use wgpu_sft::ops::matmul::Layout;
use wgpu_sft::random::{Stream, block, normals};
use wgpu_sft::reference;

/// Largest difference allowed, as a share of the largest gradient (and no smaller than that share of 1).
const TOLERANCE: f64 = 1e-7;
/// Step of the central differences, as a share of the number (and no smaller than that share of 1). Their own error is about
/// the step's square, and the loss's rounding over the step: both near 1e-10.
const STEP: f64 = 1e-5;

/// `n` normal deviates; another `lane`, other numbers.
fn normal(lane: u32, n: usize) -> Vec<f64> {
    (0..n as u64)
        .flat_map(|i| normals(block(11, Stream::Init, lane, i)))
        .take(n)
        .collect()
}

/// What stands before the operation, and its derivative.
fn pre(x: f64) -> (f64, f64) {
    (x + 0.3 * (1.7 * x).sin(), 1.0 + 0.51 * (1.7 * x).cos())
}

/// What stands behind it, and its derivative.
fn post(y: f64) -> (f64, f64) {
    ((0.8 * y).sin() + 0.2 * y * y, 0.8 * (0.8 * y).cos() + 0.4 * y)
}

/// Compare `gradient` with the central differences of `loss` at `x`, number by number.
fn prove(name: &str, x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{name}: as many derivatives as numbers");
    let largest = gradient.iter().fold(1.0f64, |m, g| m.max(g.abs()));
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let step = STEP * x[i].abs().max(1.0);
        let (above, below) = (x[i] + step, x[i] - step);
        moved[i] = above;
        let high = loss(&moved);
        moved[i] = below;
        let low = loss(&moved);
        moved[i] = x[i];
        let want = (high - low) / (above - below);
        let error = (gradient[i] - want).abs() / largest;
        assert!(
            error <= TOLERANCE,
            "{name}: derivative {i} is {}, by differences {want}: off by {error:.1e}",
            gradient[i]
        );
    }
}

/// Prove `backward(inputs, dy)`, which gives a gradient for each input, for `forward(inputs)`.
fn mid_graph(
    name: &str,
    inputs: &[Vec<f64>],
    forward: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    backward: impl Fn(&[Vec<f64>], &[f64]) -> Vec<Vec<f64>>,
) {
    let before = |inputs: &[Vec<f64>]| -> Vec<Vec<f64>> {
        inputs.iter().map(|x| x.iter().map(|&x| pre(x).0).collect()).collect()
    };
    let middle = before(inputs);
    let y = forward(&middle);
    let g = normal(900, y.len());
    let dy: Vec<f64> = y.iter().zip(&g).map(|(&y, g)| g * post(y).1).collect();
    let gradients = backward(&middle, &dy);
    assert_eq!(gradients.len(), inputs.len(), "{name}: a gradient for each input");
    for (which, gradient) in gradients.iter().enumerate() {
        let gradient: Vec<f64> = gradient
            .iter()
            .zip(&inputs[which])
            .map(|(d, &x)| d * pre(x).1)
            .collect();
        prove(&format!("{name}, input {which}"), &inputs[which], &gradient, |x| {
            let mut inputs = inputs.to_vec();
            inputs[which] = x.to_vec();
            let y = forward(&before(&inputs));
            y.iter().zip(&g).map(|(&y, g)| g * post(y).0).sum()
        });
    }
}

#[test]
fn embedding() {
    let (vocabulary, width) = (7, 3);
    // Some tokens twice or thrice, some never.
    let token = [4, 0, 4, 6, 1, 4, 0, 6];
    let held = normal(1, vocabulary * width);
    mid_graph(
        "embedding",
        &[normal(0, vocabulary * width)],
        |x| reference::embedding::forward(&token, &x[0], width, 1.7),
        |_, dy| {
            // A parameter's gradient is added to what it holds.
            let mut d_table = held.clone();
            reference::embedding::backward(&token, dy, width, 1.7, &mut d_table);
            vec![d_table.iter().zip(&held).map(|(d, h)| d - h).collect()]
        },
    );
}

#[test]
fn rmsnorm_in_its_input_and_its_weight() {
    let (rows, width, eps) = (5, 7, 0.1);
    mid_graph(
        "rmsnorm",
        &[normal(0, rows * width), normal(1, width)],
        |x| reference::rmsnorm::forward(&x[0], &x[1], eps).0,
        |x, dy| {
            let (y, rstd) = reference::rmsnorm::forward(&x[0], &x[1], eps);
            assert_eq!((y.len(), rstd.len()), (rows * width, rows));
            let (dx, dw) = reference::rmsnorm::backward(&x[0], &x[1], &rstd, dy);
            vec![dx, dw]
        },
    );
}

#[test]
fn column_sums_are_the_gradients_of_biases_and_of_norm_weights() {
    let (rows, width, eps) = (6, 5, 0.1);
    let x = normal(2, rows * width);
    let (_, rstd) = reference::rmsnorm::forward(&x, &vec![1.0; width], eps);
    mid_graph(
        "rmsnorm's weight",
        &[normal(0, width)],
        |w| reference::rmsnorm::forward(&x, &w[0], eps).0,
        |_, dy| vec![reference::column_sum::weighted(dy, &x, &rstd, width)],
    );
    mid_graph(
        "bias",
        &[normal(0, width)],
        |b| x.iter().enumerate().map(|(i, x)| x + b[0][i % width]).collect(),
        |_, dy| {
            vec![reference::column_sum::weighted(
                dy,
                &vec![1.0; dy.len()],
                &vec![1.0; rows],
                width,
            )]
        },
    );
}

#[test]
fn a_linear_layer_is_nt_its_gradients_nn_and_tn() {
    let (rows, wide, narrow) = (5, 7, 3);
    use reference::matmul::product;
    // y [rows, wide] = x [rows, narrow] · W [wide, narrow]ᵀ
    mid_graph(
        "linear",
        &[normal(0, rows * narrow), normal(1, wide * narrow)],
        |x| product(Layout::Nt, &x[0], &x[1], (rows, wide, narrow)),
        |x, dy| {
            vec![
                product(Layout::Nn, dy, &x[1], (rows, narrow, wide)),
                product(Layout::Tn, dy, &x[0], (wide, narrow, rows)),
            ]
        },
    );
}

#[test]
fn rope() {
    let (heads, half) = (3, 2);
    let frequencies = [1.0, 0.37];
    let position = [0, 1, 2, 0, 1, 900, 5];
    mid_graph(
        "rope",
        &[normal(0, position.len() * heads * 2 * half)],
        |x| reference::rope::apply(&x[0], &position, heads, &frequencies, 1.0),
        |_, dy| vec![reference::rope::apply(dy, &position, heads, &frequencies, -1.0)],
    );
}

#[test]
fn rope_turns_halves_by_the_position() {
    // Numbers i and i + S/2 are a complex number; position p multiplies it by e^(i p f). By hand: a quarter turn of (1, 2).
    let quarter = std::f64::consts::FRAC_PI_2;
    let y = reference::rope::apply(&[1.0, 5.0, 2.0, 6.0], &[1], 1, &[quarter, 2.0 * quarter], 1.0);
    for (y, want) in y.iter().zip([-2.0, -5.0, 1.0, -6.0]) {
        assert!((y - want).abs() < 1e-15, "{y} is not {want}");
    }
}

/// Queries `[R, H, S]`, keys and values `[R, K, S]`, causal within segments of 3, 1 and 5 tokens.
fn prove_attention(query: usize, key: usize, size: usize) {
    prove_scaled_attention(reference::attention::Heads::new(query, key, size));
}

fn prove_scaled_attention(heads: reference::attention::Heads) {
    let reference::attention::Heads {
        query,
        key,
        size,
        scale,
    } = heads;
    let range: Vec<[u32; 2]> = [(0, 3), (3, 4), (4, 9)]
        .iter()
        .flat_map(|&(first, end)| (first..end).map(move |i| [first, i + 1]))
        .collect();
    let rows = range.len();
    mid_graph(
        &format!("attention {query}:{key} of {size} by {scale}"),
        &[
            normal(0, rows * query * size),
            normal(1, rows * key * size),
            normal(2, rows * key * size),
        ],
        |x| reference::attention::forward(heads, &x[0], &x[1], &x[2], &range).0,
        |x, dy| {
            let (dq, dk, dv) = reference::attention::backward(heads, &x[0], &x[1], &x[2], &range, dy);
            vec![dq, dk, dv]
        },
    );
}

#[test]
fn attention_in_queries_keys_and_values() {
    prove_attention(2, 2, 5);
    prove_attention(6, 2, 3);
    prove_attention(3, 1, 4);
    prove_scaled_attention(reference::attention::Heads {
        scale: 0.8,
        ..reference::attention::Heads::new(4, 2, 3)
    });
}

#[test]
fn attentions_log_sum_exp_is_what_it_says() {
    let heads = reference::attention::Heads::new(1, 1, 4);
    // Scores 1/√4 · q·k = 0.5·(2, −4): by hand, log(e¹ + e⁻²), and weights e¹, e⁻² over their sum.
    let (q, k, v) = (
        [1.0, 0.0, 0.0, 1.0],
        [2.0, 7.0, 7.0, 0.0, -4.0, 1.0, 1.0, 0.0],
        [1.0; 8],
    );
    let (o, lse) = reference::attention::forward(heads, &q, &k, &v, &[[0, 2]]);
    let want = (1f64.exp() + (-2f64).exp()).ln();
    assert!((lse[0] - want).abs() < 1e-14, "{} is not {want}", lse[0]);
    assert!(o.iter().all(|o| (o - 1.0).abs() < 1e-14), "{o:?}: weights sum to one");
}

#[test]
fn swiglu() {
    let (rows, width) = (4, 5);
    mid_graph(
        "swiglu",
        &[normal(0, rows * 2 * width)],
        |x| reference::swiglu::forward(&x[0], width),
        |x, dh| vec![reference::swiglu::backward(&x[0], dh, width)],
    );
}

#[test]
fn cross_entropy_scales_its_gradient() {
    let (target, vocabulary) = ([3, 0, 6, 3, 5], 7);
    // The operation sums over its rows, so what stands behind it is one function of the sum: L = post(Σ loss / 4).
    let sum = |z: &[f64]| -> f64 {
        let z: Vec<f64> = z.iter().map(|&z| pre(z).0).collect();
        reference::cross_entropy::apply(&z, &target, vocabulary, 1.0)
            .0
            .iter()
            .sum::<f64>()
            / 4.0
    };
    let z = normal(0, target.len() * vocabulary);
    let scale = post(sum(&z)).1 / 4.0;
    assert!((scale - 1.0).abs() > 0.1, "a scale of {scale} proves little");
    let middle: Vec<f64> = z.iter().map(|&z| pre(z).0).collect();
    let (_, _, gradient) = reference::cross_entropy::apply(&middle, &target, vocabulary, scale);
    let gradient: Vec<f64> = gradient.iter().zip(&z).map(|(d, &z)| d * pre(z).1).collect();
    prove("cross_entropy", &z, &gradient, |z| post(sum(z)).0);
}

#[test]
fn cross_entropy_by_hand() {
    // Four equal logits: log 4, and the first of equals is the answer.
    let (loss, correct, gradient) = reference::cross_entropy::apply(&[7.0; 8], &[0, 1], 4, 2.0);
    assert!(loss.iter().all(|l| (l - 4f64.ln()).abs() < 1e-15), "{loss:?}");
    assert_eq!(correct, [1.0, 0.0]);
    assert_eq!(gradient, [-1.5, 0.5, 0.5, 0.5, 0.5, -1.5, 0.5, 0.5]);
    // Logits far apart: no overflow, the loss is their distance.
    let (loss, ..) = reference::cross_entropy::apply(&[900.0, -900.0], &[1], 2, 1.0);
    assert_eq!(loss, [1800.0]);
}

#[test]
fn gather_is_the_adjoint_of_scatter() {
    let width = 3;
    let index = [5, 0, 2, 6];
    let held = normal(1, 8 * width);
    mid_graph(
        "scatter",
        &[normal(0, index.len() * width)],
        |x| {
            let mut y = held.clone();
            reference::gather::scatter(&index, &x[0], width, &mut y);
            y
        },
        |_, dy| vec![reference::gather::gather(&index, dy, width)],
    );
    // An index that is absent gathers zeros, and nothing flows back from it.
    let some = [5, NONE, 2, NONE];
    mid_graph(
        "gather",
        &[normal(0, 8 * width)],
        |x| reference::gather::gather(&some, &x[0], width),
        |_, dy| {
            let mut dx = vec![0.0; 8 * width];
            let rows = [&dy[..width], &dy[2 * width..3 * width]].concat();
            reference::gather::scatter(&[5, 2], &rows, width, &mut dx);
            vec![dx]
        },
    );
    assert_eq!(reference::gather::gather(&[NONE, 1], &[1.0, 2.0], 1), [0.0, 2.0]);
}

#[test]
fn dropout_is_linear_with_a_fixed_key() {
    let (width, probability) = (6, 0.4f32);
    let (position, example) = ([0, 1, 2, 0, 1], [3, 3, 3, 8, 8]);
    let key = reference::dropout::Key {
        seed: 0x1234_5678_9abc,
        step: 3,
        site: 21,
    };
    let apply = |x: &[f64], key| reference::dropout::apply(x, &position, &example, width, key, probability);
    mid_graph(
        "dropout",
        &[normal(0, position.len() * width)],
        |x| apply(&x[0], key),
        |_, dy| vec![apply(dy, key)],
    );
    let ones = vec![1.0; position.len() * width];
    let kept = apply(&ones, key);
    let factor = 1.0 / f64::from(1.0 - probability);
    assert!(kept.iter().all(|&y| y == 0.0 || y == factor), "{kept:?}");
    assert!(kept.contains(&0.0) && kept.contains(&factor), "{kept:?}");
    for other in [
        reference::dropout::Key {
            seed: key.seed ^ 1 << 40,
            ..key
        },
        reference::dropout::Key { step: 4, ..key },
        reference::dropout::Key { site: 22, ..key },
    ] {
        assert_ne!(apply(&ones, other), kept, "{other:?} draws the same");
    }
    // The mask keeps about 1 − probability, so that the mean stays: 40,000 draws, four standard deviations.
    let (long, many) = (400usize, 100);
    let (position, example) = ((0..many).collect::<Vec<_>>(), vec![0; many as usize]);
    let x = vec![1.0; long * many as usize];
    let y = reference::dropout::apply(&x, &position, &example, long, key, probability);
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    assert!((mean - 1.0).abs() < 4.0 * (0.4 / 0.6 / 40_000f64).sqrt(), "{mean}");
}

#[test]
fn loss_sums_are_added() {
    let mut metrics = [1.0, 2.0, 3.0];
    reference::loss_sum::apply(&[0.5, 0.25], &[1.0, 1.0], &mut metrics);
    assert_eq!(metrics, [1.75, 4.0, 3.0]);
}

/// What `torch.optim.AdamW` (PyTorch 2.15, float64) gives, as recorded by
///
/// ```python
/// w = torch.nn.Parameter(torch.tensor([0.3, -2.0, 1.0]))
/// o = torch.optim.AdamW([w], lr=0.05, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-2)
/// for g in [[0.5, -1.25, 0.0], [-0.75, 0.5, 2.0], [1.5, 0.25, -1.0]]:
///     w.grad = clip * torch.tensor(g)
///     o.step()
///     print(w.tolist())
/// ```
///
/// and, to the last digit or two, the paper's formula (Loshchilov & Hutter 2019, algorithm 2) with the moments written as
/// sums over all gradients so far.
#[test]
fn adamw_is_torchs() {
    let gradients = [[0.5, -1.25, 0.0], [-0.75, 0.5, 2.0], [1.5, 0.25, -1.0]];
    let recorded = [
        (
            1.0,
            [
                [0.24948039215686274, -1.9403968253968253, 0.995],
                [0.26317846856920574, -1.9161223922410504, 0.9515043997769366],
                [0.23776006806314298, -1.9026226169902973, 0.937341233632357],
            ],
        ),
        (
            0.6,
            [
                [0.2501129032258064, -1.940657894736842, 0.995],
                [0.263656204691432, -1.9164833792122922, 0.9516816408818725],
                [0.23838934108004423, -1.9030148320268352, 0.937565313445127],
            ],
        ),
    ];
    for (clip, want) in recorded {
        let (mut w, mut m, mut v) = ([0.3, -2.0, 1.0], [0.0; 3], [0.0; 3]);
        for (step, (gradient, want)) in (1..).zip(gradients.iter().zip(want)) {
            let update = reference::adamw::Update {
                learning_rate: 0.05,
                weight_decay: 0.1,
                beta1: 0.8,
                beta2: 0.95,
                epsilon: 1e-2,
                step,
                clip,
            };
            reference::adamw::update(&update, gradient, &mut w, &mut m, &mut v);
            for (w, want) in w.iter().zip(want) {
                assert!((w - want).abs() < 1e-14, "clip {clip}, step {step}: {w} is not {want}");
            }
        }
    }
}

#[test]
fn gradient_norm_and_clip_factor_by_hand() {
    let norm_of = reference::gradient_norm::apply;
    // 2² + 3² + 6² = 7².
    let gradient = [2.0, -3.0, 0.0, 6.0];
    assert_eq!(norm_of(&gradient, 0.0), (7.0, 1.0), "0 is no clipping");
    assert_eq!(norm_of(&gradient, 8.0), (7.0, 1.0), "never more than 1");
    assert_eq!(norm_of(&gradient, 3.5), (7.0, 3.5 / 7.000_001));
    assert_eq!(
        norm_of(&gradient, 7.0),
        (7.0, 7.0 / 7.000_001),
        "torch adds 1e-6 even here"
    );
    assert_eq!(norm_of(&[0.0; 3], 1.0), (0.0, 1.0));
}
