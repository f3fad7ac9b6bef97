//! Which of a family's tiles is the fastest on this device: measured once for each class of products.
//!
//! A tile decides nothing of a product's numbers: each is one sum, in the order of the contraction, whatever the tile.

use super::{Layout, Matmul, Matrix, Output, Tile};
use crate::Result;
use crate::gpu::{Counts, Gpu, Of, Plan, PlanBuilder, Rows, Scalars, Storage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One product; sizes as in [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Which operand is transposed.
    pub layout: Layout,
    /// Rows of the result.
    pub m: u32,
    /// Its columns.
    pub n: u32,
    /// Length of the contraction.
    pub k: u32,
}

/// Products that are alike: of one layout and storage, their sizes between the same powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Class {
    layout: Layout,
    storage: Storage,
    sizes: [u32; 3],
}

impl Class {
    /// The class of a product of `[m, n, k]` with `B` in this storage.
    pub fn new(layout: Layout, storage: Storage, sizes: [u32; 3]) -> Self {
        let sizes = sizes.map(|size| size.checked_next_power_of_two().unwrap_or(u32::MAX));
        Self { layout, storage, sizes }
    }
}

impl Product {
    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        2 * u64::from(self.m) * u64::from(self.n) * u64::from(self.k)
    }

    /// How `B` is stored where weights and activations are stored so: in [`Layout::Tn`] it is an activation.
    pub fn storage(&self, [weights, activations]: [Storage; 2]) -> Storage {
        if self.layout == Layout::Tn {
            activations
        } else {
            weights
        }
    }

    /// A plan of this product alone, `B` in `storage`, cut as the plans of a run are or in a given way. None where an
    /// operand does not fit a binding.
    ///
    /// # Errors
    /// As [`PlanBuilder::finish`].
    pub async fn plan(&self, gpu: &Gpu, storage: Storage, tile: Option<Tile>) -> Result<Option<Plan>> {
        let Self { layout, m, n, k } = *self;
        let [a_width, b_width] = [
            if layout == Layout::Tn { m } else { k },
            if layout == Layout::Nt { k } else { n },
        ];
        let numbers = |rows: u32, columns: u32| u64::from(rows) * u64::from(columns);
        let operands = [
            (numbers(m, k), Storage::F32),
            (numbers(n, k), storage),
            (numbers(m, n), Storage::F32),
        ];
        let fits = |(len, storage): &(u64, Storage)| len * storage.bytes() <= gpu.max_binding();
        if !operands.iter().all(fits) {
            return Ok(None);
        }
        let make = || operands.map(|(len, storage)| gpu.tensor("product", len, storage));
        let [a, b, c] = gpu.told("timing a product", make).await?;
        let (rows, output) = match layout {
            Layout::Tn => (k, Output::Accumulate),
            _ => (m, Output::Write),
        };
        let matrices = (Matrix::new(&a, a_width), Matrix::new(&b, b_width), Matrix::new(&c, n));
        let batch = (Rows::of(Of::Tokens).chunk(0, rows), rows);
        let product = Matmul::new(layout, matrices, (m, n, k), batch, output);
        let mut builder = PlanBuilder::new(gpu, "product");
        match tile {
            Some(tile) => product.record_tile(&mut builder, tile),
            None => product.record(&mut builder),
        }
        Ok(Some(builder.finish().await?))
    }
}

/// The least seconds of so many runs of a plan over full buffers by `now`, after one that is not counted.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) when the device fails.
pub(crate) async fn fastest(gpu: &Gpu, plan: &Plan, runs: u32, now: &impl Fn() -> f64) -> Result<f64> {
    let counts = Counts {
        tokens: u32::MAX,
        ..Counts::default()
    };
    let mut least = f64::INFINITY;
    for run in 0..=runs {
        let begun = now();
        gpu.told("timing a product", || plan.run(&counts, &Scalars::default()))
            .await?;
        gpu.finish().await?;
        if run > 0 {
            least = least.min(now() - begun);
        }
    }
    Ok(least)
}

/// Time the tiles that suit each product, weights and activations stored as in `storages`, the largest product first, for at most about `seconds` by `now`, and use the
/// fastest from then on; see [`Gpu::tiles`]. Classes that have a tile, and families with one choice (those of CPU adapters:
/// they were measured once for all), are passed over. Gives the classes that were measured.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) when a shader does not compile or the device fails.
pub async fn tune(
    gpu: &Gpu,
    products: &[Product],
    storages: [Storage; 2],
    now: impl Fn() -> f64,
    seconds: f64,
) -> Result<usize> {
    let begun = now();
    let mut products = products.to_vec();
    products.sort_by_key(|product| std::cmp::Reverse(product.flops()));
    let known = gpu.tiles();
    let mut seen = BTreeSet::new();
    for product in products {
        let Product { layout, m, n, k } = product;
        let storage = product.storage(storages);
        let class = Class::new(layout, storage, [m, n, k]);
        let tiles = Tile::candidates(gpu.family(), m, n, k);
        if tiles.len() < 2 || known.contains_key(&class) || !seen.insert(class) {
            continue;
        }
        let mut best: Option<(f64, Tile)> = None;
        for tile in tiles {
            let Some(plan) = product.plan(gpu, storage, Some(tile)).await? else {
                continue;
            };
            let time = fastest(gpu, &plan, 2, &now).await?;
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, tile));
            }
            if now() - begun > seconds {
                // A class that was not measured to its end keeps the family's choice.
                return Ok(seen.len() - 1);
            }
        }
        gpu.set_tiles(best.map(|(_, tile)| (class, tile)));
    }
    Ok(seen.len())
}
