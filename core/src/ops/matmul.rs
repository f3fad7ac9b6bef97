//! Matrix products in the three layouts that training needs, generated for each kernel family.

use crate::gpu::{Grid, PlanBuilder, Rows, Storage, Tensor, params};
use serde::{Deserialize, Serialize};

mod blocked;
mod cooperative;
mod generate;
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
    /// The matrix to add, where `output` asks for one.
    pub add: Option<&'a Tensor>,
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
    b_rows: u32,
    slice_steps: u32,
    slice_stride: u32,
    alpha: f32,
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
        }
    }

    /// Add the product to a plan.
    pub fn record(&self, plan: &mut PlanBuilder) {
        let [m, n, k] = self.sizes();
        let class = Class::new(self.layout, self.b.tensor.storage(), [m, n, k]);
        let tile = plan.gpu().tile(class);
        self.record_tile(plan, tile.unwrap_or_else(|| Tile::pick(plan.gpu().family(), m, n, k)));
    }

    /// Rows and columns of the result and steps of the contraction, at most.
    fn sizes(&self) -> [u32; 3] {
        match self.layout {
            Layout::Tn => [self.m, self.n, self.most_rows],
            _ => [self.most_rows, self.n, self.k],
        }
    }

    /// Add the product to a plan, cut in this way.
    pub fn record_tile(&self, plan: &mut PlanBuilder, tile: Tile) {
        let [slices, steps] = match tile {
            Tile::Blocked { .. } => [1, self.sizes()[2]],
            _ => tile::slices(self.layout, self.sizes()),
        };
        if slices > 1 {
            return self.record_slices(plan, tile, [slices, steps]);
        }
        if self.layout != Layout::Nn || self.k <= LONGEST_SUM {
            return self.record_piece(plan, tile, [1, steps, 0]);
        }
        for first in (0..self.k).step_by(LONGEST_SUM as usize) {
            let (a, mut b) = (self.a.column(first), self.b);
            b.offset += first * b.stride;
            let output = if first == 0 { self.output } else { Output::Accumulate };
            let k = LONGEST_SUM.min(self.k - first);
            Self {
                a,
                b,
                k,
                output,
                ..*self
            }
            .record_piece(plan, tile, [1, k, 0]);
        }
    }

    /// The sums of each slice of the contraction, of so many steps, and then, in the order of the slices, their sum.
    fn record_slices(&self, plan: &mut PlanBuilder, tile: Tile, [slices, steps]: [u32; 2]) {
        let [m, n, _] = self.sizes();
        let columns = n.div_ceil(4);
        let slice = m * columns;
        let sums = plan.scratch(scratch_len(plan.gpu().family()));
        let piece = Matmul {
            c: Matrix::new(&sums, 4 * columns),
            alpha: 1.0,
            output: Output::Slices,
            bias: None,
            add: None,
            ..*self
        };
        piece.record_piece(plan, tile, [slices, steps, 4 * slice]);

        let params = finish_params::new(self, columns, slices, slice);
        let (rows, grid) = match self.layout {
            Layout::Tn => (self.rows, Grid::Fixed([slice.div_ceil(64), 1, 1])),
            _ => (self.rows.times(columns), super::ITEMS),
        };
        let kernel = finish(self.layout, self.output, self.c_wide());
        let mut tensors = vec![&sums, self.c.tensor];
        tensors.extend(self.bias);
        tensors.extend(self.add);
        plan.dispatch(&kernel, &params, rows, grid, &tensors, 0);
    }

    fn c_wide(&self) -> bool {
        self.c.aligned() && self.n.is_multiple_of(4)
    }

    /// One dispatch; `slices` of so many steps each, their results so many numbers apart.
    fn record_piece(&self, plan: &mut PlanBuilder, tile: Tile, [slices, slice_steps, slice_stride]: [u32; 3]) {
        let inner = |wide: bool, extent: u32| wide && extent.is_multiple_of(4);
        let a_wide = match self.layout {
            // The last vector of a row of A may reach into the row's padding: those rows of C are not stored.
            Layout::Tn => self.a.aligned() && self.m.next_multiple_of(4) + self.a.offset <= self.a.stride,
            _ => inner(self.a.aligned(), self.k),
        };
        let b_wide = inner(
            self.b.aligned(),
            if self.layout == Layout::Nt { self.k } else { self.n },
        );
        let c_wide = self.c_wide();
        let form = Form {
            layout: self.layout,
            storage: self.b.tensor.storage(),
            output: self.output,
            wide: [a_wide, b_wide, c_wide],
            tile,
        };
        let params = Params {
            m: self.m,
            n: self.n,
            k: self.k,
            lda: self.a.stride,
            ldb: self.b.stride,
            ldc: self.c.stride,
            a_offset: self.a.offset,
            b_offset: self.b.offset,
            c_offset: self.c.offset,
            b_rows: if self.layout == Layout::Nt { self.n } else { self.k },
            slice_steps,
            slice_stride,
            alpha: self.alpha,
        };
        let [down, across] = tile.block();
        let columns = self.n.div_ceil(across);
        let grid = match (self.layout, tile) {
            // A CPU runs workgroups one after another: those that share columns of B come together, while B is in its cache.
            (Layout::Tn, Tile::Blocked { .. }) => Grid::Fixed([self.m.div_ceil(down), columns, 1]),
            (_, Tile::Blocked { .. }) => Grid::Rows { rows: down, y: columns },
            (Layout::Tn, _) => Grid::Fixed([columns * slices, self.m.div_ceil(down), 1]),
            _ => Grid::Tiles {
                x: columns * slices,
                rows: down,
            },
        };
        let work = 2 * [
            self.n,
            if self.layout == Layout::Tn { self.m } else { self.k },
            self.most_rows,
        ]
        .iter()
        .map(|&d| u64::from(d))
        .product::<u64>();
        let mut tensors = vec![self.a.tensor, self.b.tensor, self.c.tensor];
        tensors.extend(self.bias);
        tensors.extend(self.add);
        let mut kernel = kernel(&form);
        let inner = if self.layout == Layout::Tn { self.m } else { self.k };
        kernel.label += &format!(" {}x{inner}", self.n);
        plan.dispatch(&kernel, &params, self.rows, grid, &tensors, work);
    }
}
