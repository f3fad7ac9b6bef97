//! How products are cut.

use crate::gpu::Family;

/// How a product is cut into workgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tile {
    /// `across`×`down` invocations, each `rows`×4 results, operands staged in workgroup memory.
    Tiled {
        /// Invocations across.
        across: u32,
        /// Invocations down.
        down: u32,
        /// Rows of results for each.
        rows: u32,
    },
    /// `lanes` invocations side by side, each `rows` × 4·`vectors` results in registers; A is broadcast from lane to
    /// lane where `broadcast`, else each loads its own.
    Blocked {
        /// Invocations in a workgroup.
        lanes: u32,
        /// Rows of results.
        rows: u32,
        /// Vectors of four columns for each lane.
        vectors: u32,
        /// Whether subgroup broadcasts are used.
        broadcast: bool,
    },
}

impl Tile {
    /// The tile for a family and a result's rows and columns.
    pub fn pick(family: Family, rows: u32, columns: u32) -> Self {
        match family {
            Family::Tiled => Self::Tiled {
                across: 16,
                down: if rows > 16 { 16 } else { 4 },
                rows: 4,
            },
            Family::Subgroup(lanes) => {
                let (rows, vectors) = fewest(rows);
                Self::Blocked {
                    lanes,
                    rows,
                    // Columns past the last are computed for nothing.
                    vectors: vectors.min(columns.div_ceil(4 * lanes)),
                    broadcast: true,
                }
            }
            Family::Register => Self::Blocked {
                lanes: 8,
                rows: if rows > 4 { 8 } else { 4 },
                vectors: 1,
                broadcast: false,
            },
        }
    }

    /// Rows and columns of the result that a workgroup computes.
    pub(super) fn block(self) -> [u32; 2] {
        match self {
            Self::Tiled { across, down, rows } => [down * rows, across * 4],
            Self::Blocked {
                lanes, rows, vectors, ..
            } => [rows, lanes * vectors * 4],
        }
    }
}

/// Rows and vectors of a block, and how fast it is beside 32 rows: measured on lavapipe, each on sizes that it divides.
const BLOCKS: [(u32, u32, f64); 7] = [
    (4, 2, 0.3),
    (8, 4, 0.55),
    (16, 2, 0.8),
    (24, 2, 0.92),
    (32, 2, 1.0),
    (48, 1, 1.03),
    (64, 1, 1.1),
];

/// The block that takes the least time for so many rows, those that pad the last block included.
fn fewest(rows: u32) -> (u32, u32) {
    let time = |(block, _, speed): &(u32, u32, f64)| f64::from(rows.next_multiple_of(*block)) / speed;
    let least = BLOCKS.iter().min_by(|a, b| time(a).total_cmp(&time(b)));
    least
        .map(|&(rows, vectors, _)| (rows, vectors))
        .expect("there are blocks")
}
