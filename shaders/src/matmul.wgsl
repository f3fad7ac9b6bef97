// C = alpha * op(A) op(B) (+ bias[n]) (+ D)     C [M, N], contraction over K
//   NT: A [M, K], B [N, K]   y = x W^T          NN: A [M, K], B [K, N]   dx = dy W          TN: A [K, M], B [K, N]   dW = dy^T x
// With a second product: C = alpha * (op(A) op(B) + op(L_A) op(L_B)) ..., for NT by parts: C's columns of part j take L_A's columns
// j * low_k on and L_B's rows of the part. With a product for each part, workgroups of layer z make part z.
// Every operand is row-major with its own row stride (lda, ldb, ldc) and offset, in numbers. The batch decides M (NT, NN) or
// K (TN): `rows`. Writes C or, where D is C itself, adds to it.
// A template: `$NAME$` is replaced by the generator in core/src/ops/matmul.rs, which also makes `main`.
struct Params {
    m: u32,
    n: u32,
    k: u32,
    lda: u32,
    ldb: u32,
    ldc: u32,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    slice_steps: u32, // where the contraction is cut: steps of a slice, numbers from the results of one to the next's
    slice_stride: u32,
    alpha: f32,
    low_k: u32, // the second product
    low_lda: u32,
    low_ldb: u32,
    low_a_offset: u32,
    low_b_offset: u32,
    parts: u32, // first output, outputs and first row of up to three parts
    first0: u32,
    len0: u32,
    start0: u32,
    first1: u32,
    len1: u32,
    start1: u32,
    first2: u32,
    len2: u32,
    start2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32;
@group(0) @binding(2) var<storage, read> a: array<$A_WORD$>;
@group(0) @binding(3) var<storage, read> b: array<$B_WORD$>;
@group(0) @binding(4) var<storage, read_write> c: array<$C_WORD$>;
$EXTRA_BINDINGS$

// Four numbers of A from column `inner` on, of the row that begins at `base`.
fn load_a(base: u32, inner: u32) -> vec4<f32> {
    $LOAD_A$
}

// Four numbers of B from column `inner` on, of the row that begins at `base`.
fn load_b(base: u32, inner: u32) -> vec4<f32> {
    $LOAD_B$
}

// Four numbers of C's row `m` from column `n` on, where both are inside.
fn store(m: u32, n: u32, sum: vec4<f32>) {
    if m >= $M$ || n >= p.n {
        return;
    }
    var y = p.alpha * sum;
    let at = m * p.ldc + $C_OFFSET$ + n;
    $STORE$
}
