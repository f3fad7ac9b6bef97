//! One file per kernel: the functions that add its dispatches to a plan, forward and backward.
//!
//! Parameter gradients are added to, activation gradients are written unless a function says otherwise.

pub mod adamw;
pub mod argmax;
pub mod attention;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather;
pub mod gradient_norm;
pub mod loss_sum;
pub mod matmul;
pub mod rmsnorm;
pub mod rope;
pub mod swiglu;

use crate::gpu::{Family, Grid, Kernel};

/// One invocation for each item of an elementwise kernel.
const ITEMS: Grid = Grid::Linear(64);

/// How many invocations share a row of a row-wise kernel, and how many rows a workgroup holds.
fn row_shape(family: Family) -> (u32, u32) {
    match family {
        Family::Tiled | Family::Cooperative { .. } => (64, 1),
        // Each invocation is a lane of a vector unit: a lane a row needs no barrier.
        _ => (1, 8),
    }
}

/// The same for rows as long as the vocabulary.
fn long_row_shape(family: Family) -> (u32, u32) {
    if family.is_cpu() { (8, 1) } else { (256, 1) }
}

/// A row-wise kernel, and its grid.
fn row_kernel(label: &'static str, source: &'static str, (lanes, rows): (u32, u32)) -> (Kernel, Grid) {
    let constants = [("LANES", f64::from(lanes)), ("ROWS", f64::from(rows))];
    (Kernel::new(label, source, &constants), Grid::Linear(rows))
}
