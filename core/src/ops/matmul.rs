//! Matrix products in the three layouts that training needs, generated for each kernel family.

use crate::gpu::{Family, Rows, Storage, Tensor, params};
use serde::{Deserialize, Serialize};

mod blocked;
mod cooperative;
mod generate;
mod record;
mod tile;
mod tiled;
mod tune;

pub use cooperative::{TOLERANCE, prove};
pub use generate::{finish, kernel};
pub use tile::{Tile, scratch_len};
pub(crate) use tune::fastest;
pub use tune::{Class, Product, tune};

/// Which operand is transposed; see `shaders/src/matmul.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Layout {
    /// `C[M,N] = A[M,K] · B[N,K]ᵀ`: `y = x·Wᵀ`. The batch decides `M`.
    Nt,
    /// `C[M,N] = A[M,K] · B[K,N]`: `dx = dy·W`. The batch decides `M`.
    Nn,
    /// `C[M,N] = A[K,M]ᵀ · B[K,N]`: `dW = dyᵀ·x`. The batch decides `K`.
    Tn,
}

/// What becomes of `C`'s former content, and what is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// `C` is written.
    Write,
    /// The product is added to `C`.
    Accumulate,
    /// `C` is written: the product plus a bias for each column.
    Bias,
    /// `C` is written: the product plus a matrix of `C`'s shape, stride and offset, in another buffer.
    Add,
    /// `C` is written: the product plus a bias and such a matrix.
    BiasAdd,
    /// `C` holds the sums of each slice of the contraction, one slice after another: the first of two passes.
    Slices,
    /// [`Layout::Nt`]: the product's columns are gates, then as many ups. `C` is written, and `hidden`, `silu(gate)·up`.
    Swiglu,
    /// The product is the gradient of `silu(gate)·up`; `C`, twice as wide, becomes that of gates and ups, which `add` holds.
    SwigluGradient,
}

/// A row-major matrix inside a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// Where its numbers are.
    pub tensor: &'a Tensor,
    /// Numbers from one row to the next.
    pub stride: u32,
    /// Place of its first number in the tensor.
    pub offset: u32,
}

impl<'a> Matrix<'a> {
    /// The whole of a tensor, with rows of `stride` numbers.
    pub fn new(tensor: &'a Tensor, stride: u32) -> Self {
        Self {
            tensor,
            stride,
            offset: 0,
        }
    }

    /// The same from number `offset` of each row on.
    pub fn column(self, offset: u32) -> Self {
        Self {
            offset: self.offset + offset,
            ..self
        }
    }

    fn aligned(&self) -> bool {
        self.stride.is_multiple_of(4) && self.offset.is_multiple_of(4)
    }
}

/// One of several modules whose outputs lie side by side and whose matrices lie one below the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its first output among all.
    pub first: u32,
    /// How many outputs it has.
    pub len: u32,
    /// Its first row among the matrices.
    pub start: u32,
}

/// Most parts of a product.
pub const PARTS: usize = 3;

/// A second, narrow product of the same layout that is added to the first.
#[derive(Debug, Clone, Copy)]
pub struct Low<'a> {
    /// Left operand, f32: in [`Layout::Nt`] `k` columns for each part.
    pub a: Matrix<'a>,
    /// Right operand, f32: in [`Layout::Nt`] a row for each output of a part.
    pub b: Matrix<'a>,
    /// Length of its contraction.
    pub k: u32,
    /// [`Layout::Nt`]: which outputs it is for. Not used by [`Layout::Nn`].
    pub parts: &'a [Part],
}

/// One product. `m`, `n`, `k` as in [`Layout`]; the dimension that the batch decides is given by `rows` and its value
/// here is not used.
#[derive(Debug, Clone, Copy)]
pub struct Matmul<'a> {
    /// Which operand is transposed.
    pub layout: Layout,
    /// Left operand, in any storage; in 16 bits only where it can be read four numbers at a time.
    pub a: Matrix<'a>,
    /// Right operand, in any storage.
    pub b: Matrix<'a>,
    /// Result, likewise.
    pub c: Matrix<'a>,
    /// Rows of the result (for [`Layout::Tn`]).
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Length of the contraction (for [`Layout::Nt`] and [`Layout::Nn`]).
    pub k: u32,
    /// What the batch decides.
    pub rows: Rows,
    /// The most rows there can be, to choose a tile.
    pub most_rows: u32,
    /// Factor of the product.
    pub alpha: f32,
    /// What becomes of `C`.
    pub output: Output,
    /// The bias `[n]`, where `output` asks for one.
    pub bias: Option<&'a Tensor>,
    /// The matrix to add, where `output` asks for one; for [`Output::SwigluGradient`] gates and ups, laid out as `C` is.
    pub add: Option<&'a Tensor>,
    /// `[M, N / 2]`, for [`Output::Swiglu`].
    pub hidden: Option<&'a Tensor>,
    /// A product to add to this one.
    pub low: Option<Low<'a>>,
    /// Several products in one dispatch, one for each part `j`. [`Layout::Nn`]: contractions over the part's columns of `A` and
    /// rows of `B`, whose results are columns `j·n` on of `C`; `k` is not used. [`Layout::Tn`]: of the part's columns of `A` and
    /// columns `j·n` on of `B`, whose results are the part's rows of `C`; `m` is the rows of all.
    pub parts: &'a [Part],
}

params! {
    m: u32,
    n: u32,
    k: u32,
    lda: u32,
    ldb: u32,
    ldc: u32,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    slice_steps: u32,
    slice_stride: u32,
    alpha: f32,
    low_k: u32,
    low_lda: u32,
    low_ldb: u32,
    low_a_offset: u32,
    low_b_offset: u32,
    parts: u32,
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

mod finish_params {
    crate::gpu::params! { m: u32, n: u32, columns: u32, ldc: u32, c_offset: u32, slices: u32, slice_stride: u32, alpha: f32 }

    /// `slices` of `m` rows of `columns` vectors, `slice_stride` vectors from one to the next, become C.
    pub(super) fn new(
        product: &super::Matmul,
        columns: u32,
        slices: u32,
        slice_stride: u32,
    ) -> impl crate::gpu::Params + use<> {
        Params {
            m: product.m,
            n: product.n,
            columns,
            ldc: product.c.stride,
            c_offset: product.c.offset,
            slices,
            slice_stride,
            alpha: product.alpha,
        }
    }
}

/// Everything the text of a kernel depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// Which operand is transposed.
    pub layout: Layout,
    /// How `B` is stored.
    pub storage: Storage,
    /// What becomes of `C`.
    pub output: Output,
    /// Whether A, B and C can be read and written four numbers at a time.
    pub wide: [bool; 3],
    /// How the work is cut.
    pub tile: Tile,
    /// Whether there is a second product, and whether its operands can be read four numbers at a time.
    pub low: Option<[bool; 2]>,
    /// Whether there is a product for each part.
    pub parts: bool,
    /// Whether four columns of the result are two gates and their two ups.
    pub paired: bool,
}

/// Terms of one chain of additions in [`Layout::Nn`]: a gradient through the whole vocabulary in a single chain was 2.7e-4
/// off on SmolLM2, where PyTorch's is 2.5e-6 off.
const LONGEST_SUM: u32 = 1024;

impl<'a> Matmul<'a> {
    /// `C = op(A)·op(B)` with neither bias nor factor; `rows` of at most `most_rows` is what the batch decides.
    pub fn new(
        layout: Layout,
        (a, b, c): (Matrix<'a>, Matrix<'a>, Matrix<'a>),
        (m, n, k): (u32, u32, u32),
        (rows, most_rows): (Rows, u32),
        output: Output,
    ) -> Self {
        Self {
            layout,
            a,
            b,
            c,
            m,
            n,
            k,
            rows,
            most_rows,
            alpha: 1.0,
            output,
            bias: None,
            add: None,
            hidden: None,
            low: None,
            parts: &[],
        }
    }

    /// Whether products of a family take a second product and SwiGLU with them. Cooperative matrices round to 16 bits what is
    /// small beside the first product, and their sums are not in the order of columns.
    pub fn fuses(family: Family) -> bool {
        !matches!(family, Family::Cooperative { .. })
    }

    /// Whether the contraction is one chain of additions, so that what is made of the whole sum can be made at once.
    pub fn is_one_chain(layout: Layout, k: u32) -> bool {
        layout != Layout::Nn || k <= LONGEST_SUM
    }
}
