//! From a product to dispatches: slices, chains of additions, rows.

use super::tile::{self, scratch_len};
use super::{
    Class, Form, LONGEST_SUM, Layout, Low, Matmul, Matrix, Output, PARTS, Params, Part, Tile, finish, finish_params,
    kernel,
};
use crate::gpu::{Grid, PlanBuilder, Tensor};
use crate::ops::ITEMS;

impl<'a> Matmul<'a> {
    /// Add the product to a plan.
    pub fn record(&self, plan: &mut PlanBuilder) {
        let [m, n, k] = self.sizes();
        let class = Class::new(self.layout, self.b.tensor.storage(), [m, n, k]);
        let tile = plan.gpu().tile(class);
        self.record_tile(plan, tile.unwrap_or_else(|| Tile::pick(plan.gpu().family(), m, n, k)));
    }

    /// Rows and columns of the result (of one part) and steps of the contraction, at most.
    fn sizes(&self) -> [u32; 3] {
        let longest = self.parts.iter().map(|part| part.len).max();
        match self.layout {
            Layout::Tn => [longest.unwrap_or(self.m), self.n, self.most_rows],
            _ => [self.most_rows, self.n, longest.unwrap_or(self.k)],
        }
    }

    /// Rows and columns of the results of all parts.
    fn whole(&self) -> [u32; 2] {
        match self.layout {
            Layout::Tn => [self.m, self.n],
            _ => [self.most_rows, self.n * self.parts.len().max(1) as u32],
        }
    }

    /// Add the product to a plan, cut in this way.
    ///
    /// # Panics
    /// When it has more parts than a dispatch has.
    pub fn record_tile(&self, plan: &mut PlanBuilder, tile: Tile) {
        assert!(self.parts.len() <= PARTS && self.low.is_none_or(|low| low.parts.len() <= PARTS));
        let [m, n, k] = self.sizes();
        let [slices, steps] = match tile {
            Tile::Blocked { .. } => [1, k],
            _ => tile::slices(self.layout, [plan.sliced_as().unwrap_or(m), n, k]),
        };
        if slices > 1 {
            let at_once = tile::rows_with_room(n, slices);
            if self.layout == Layout::Tn || at_once >= m {
                return self.record_slices(plan, tile, [slices, steps]);
            }
            for first in (0..m).step_by(at_once as usize) {
                let some = self.some_rows(first, at_once.min(m - first));
                some.record_slices(plan, tile, [slices, steps]);
            }
            return;
        }
        let [rows, down] = [self.whole()[0], tile.block()[0]];
        let a_row = (self.work() / u64::from(rows.max(1))).max(1);
        let at_once = plan.gpu().work_per_dispatch() / a_row;
        if !self.parts.is_empty() || at_once >= u64::from(rows) {
            return self.record_chains(plan, tile);
        }
        let at_once = (at_once as u32 / down * down).max(down);
        for first in (0..rows).step_by(at_once as usize) {
            self.some_rows(first, at_once.min(rows - first))
                .record_chains(plan, tile);
        }
    }

    /// The product for `count` rows of the result from `first` on.
    fn some_rows(&self, first: u32, count: u32) -> Self {
        let below = |matrix: Matrix<'a>| Matrix {
            offset: matrix.offset + first * matrix.stride,
            ..matrix
        };
        let c = below(self.c);
        if self.layout == Layout::Tn {
            let a = self.a.column(first);
            return Self {
                a,
                c,
                m: count,
                ..*self
            };
        }
        Self {
            a: below(self.a),
            c,
            rows: self.rows.chunk(first, count),
            most_rows: count,
            low: self.low.map(|low| Low { a: below(low.a), ..low }),
            ..*self
        }
    }

    /// The product by contractions of at most [`LONGEST_SUM`] steps.
    fn record_chains(&self, plan: &mut PlanBuilder, tile: Tile) {
        let [_, _, k] = self.sizes();
        if Self::is_one_chain(self.layout, k) {
            return self.record_piece(plan, tile, [1, k, 0]);
        }
        for first in (0..k).step_by(LONGEST_SUM as usize) {
            let (a, mut b) = (self.a.column(first), self.b);
            b.offset += first * b.stride;
            let output = if first == 0 { self.output } else { Output::Accumulate };
            let steps = LONGEST_SUM.min(k - first);
            let cut = |part: &Part| Part {
                len: part.len.saturating_sub(first).min(LONGEST_SUM),
                ..*part
            };
            let parts: Vec<_> = self.parts.iter().map(cut).collect();
            Matmul {
                a,
                b,
                k: steps,
                output,
                low: self.low.filter(|_| first == 0),
                parts: &parts,
                ..*self
            }
            .record_piece(plan, tile, [1, steps, 0]);
        }
    }

    /// The sums of each slice of the contraction, of so many steps, and then, in the order of the slices, their sum.
    fn record_slices(&self, plan: &mut PlanBuilder, tile: Tile, [slices, steps]: [u32; 2]) {
        let [m, n] = self.whole();
        let columns = n.div_ceil(4);
        let slice = m * columns;
        let sums = plan.scratch(scratch_len(plan.gpu().family()));
        let piece = Matmul {
            c: Matrix::new(&sums, 4 * columns),
            alpha: 1.0,
            output: Output::Slices,
            ..*self
        };
        piece.record_piece(plan, tile, [slices, steps, 4 * slice]);

        let whole = Matmul { m, n, ..*self };
        let params = finish_params::new(&whole, columns, slices, slice);
        let (rows, grid) = match self.layout {
            Layout::Tn => (self.rows, Grid::Fixed([slice.div_ceil(64), 1, 1])),
            _ => (self.rows.times(columns), ITEMS),
        };
        let kernel = finish(self.layout, self.output, whole.c_wide());
        let mut tensors = vec![&sums, self.c.tensor];
        tensors.extend(self.extras());
        plan.dispatch(&kernel, &params, rows, grid, &tensors, 0);
    }

    /// What the output needs besides C.
    fn extras(&self) -> impl Iterator<Item = &'a Tensor> {
        let wanted = if self.output == Output::Slices {
            [None; 3]
        } else {
            [self.bias, self.add, self.hidden]
        };
        wanted.into_iter().flatten()
    }

    fn c_wide(&self) -> bool {
        self.c.aligned() && self.n.is_multiple_of(4)
    }

    /// What the text of the kernel depends on.
    fn form(&self, tile: Tile) -> Form {
        let inner = |wide: bool, extent: u32| wide && extent.is_multiple_of(4);
        let parts_fit = |fits: &dyn Fn(&Part) -> bool| self.parts.iter().all(fits);
        let a_wide = match self.layout {
            // The last vector of a row of A may reach into the row's padding, or the next part: those rows of C are not stored.
            Layout::Tn if self.parts.is_empty() => {
                self.a.aligned() && self.m.next_multiple_of(4) + self.a.offset <= self.a.stride
            }
            Layout::Tn => {
                let fits = |part: &Part| {
                    let last = self.a.offset + part.first + part.len.next_multiple_of(4);
                    part.first.is_multiple_of(4) && last <= self.a.stride
                };
                self.a.aligned() && parts_fit(&fits)
            }
            _ => {
                let fits = |part: &Part| part.first.is_multiple_of(4) && part.len.is_multiple_of(4);
                inner(self.a.aligned(), self.k) && parts_fit(&fits)
            }
        };
        let b_wide = inner(
            self.b.aligned(),
            if self.layout == Layout::Nt { self.k } else { self.n },
        );
        Form {
            layout: self.layout,
            storage: self.b.tensor.storage(),
            output: self.output,
            wide: [a_wide, b_wide, self.c_wide()],
            tile,
            low: self.low.map(|low| {
                let extent = if self.layout == Layout::Nt { low.k } else { self.n };
                [inner(low.a.aligned(), low.k), inner(low.b.aligned(), extent)]
            }),
            parts: !self.parts.is_empty(),
            paired: self.hidden.is_some(),
        }
    }

    /// Floating-point operations.
    fn work(&self) -> u64 {
        let [m, n, k] = self.sizes();
        let product = |sizes: [u32; 3]| 2 * sizes.map(u64::from).iter().product::<u64>();
        let all = self.parts.iter().map(|part| part.len).sum();
        match (self.layout, self.parts) {
            (_, []) => product([m, n, k]) + self.low.map_or(0, |low| product([m, n, low.k])),
            (Layout::Tn, _) => product([all, n, k]),
            (_, _) => product([m, n, all]),
        }
    }

    /// One dispatch; `slices` of so many steps each, their results so many numbers apart.
    fn record_piece(&self, plan: &mut PlanBuilder, tile: Tile, [slices, slice_steps, slice_stride]: [u32; 3]) {
        let low = self.low.as_ref();
        let parts = low.map_or(self.parts, |low| low.parts);
        let [part0, part1, part2] = [0, 1, 2].map(|j| {
            let none = Part {
                first: 0,
                len: 0,
                start: 0,
            };
            parts.get(j).copied().unwrap_or(none)
        });
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
            slice_steps,
            slice_stride,
            alpha: self.alpha,
            low_k: low.map_or(0, |low| low.k),
            low_lda: low.map_or(0, |low| low.a.stride),
            low_ldb: low.map_or(0, |low| low.b.stride),
            low_a_offset: low.map_or(0, |low| low.a.offset),
            low_b_offset: low.map_or(0, |low| low.b.offset),
            parts: parts.len() as u32,
            first0: part0.first,
            len0: part0.len,
            start0: part0.start,
            first1: part1.first,
            len1: part1.len,
            start1: part1.start,
            first2: part2.first,
            len2: part2.len,
            start2: part2.start,
        };
        let [down, across] = tile.block();
        let [m, n, k] = self.sizes();
        let (columns, z) = (n.div_ceil(across), self.parts.len().max(1) as u32);
        let grid = match (self.layout, tile) {
            // A CPU runs workgroups one after another: those that share columns of B come together, while B is in its cache.
            (Layout::Tn, Tile::Blocked { .. }) => Grid::Fixed([m.div_ceil(down), columns, z]),
            (_, Tile::Blocked { .. }) => Grid::Rows {
                rows: down,
                y: columns,
                z,
            },
            (Layout::Tn, _) => Grid::Fixed([columns * slices, m.div_ceil(down), z]),
            _ => Grid::Tiles {
                x: columns * slices,
                rows: down,
                z,
            },
        };
        let mut tensors = vec![self.a.tensor, self.b.tensor, self.c.tensor];
        tensors.extend(self.extras());
        tensors.extend(low.iter().flat_map(|low| [low.a.tensor, low.b.tensor]));
        let mut kernel = kernel(&self.form(tile));
        let inner = if self.layout == Layout::Tn { m } else { k };
        kernel.label += &format!(" {n}x{inner}");
        plan.dispatch(&kernel, &params, self.rows, grid, &tensors, self.work());
    }
}
