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
    /// The tile for a family and a number of rows of the result.
    pub fn pick(family: Family, rows: u32) -> Self {
        match family {
            Family::Tiled => Self::Tiled {
                across: 16,
                down: if rows > 16 { 16 } else { 4 },
                rows: 4,
            },
            Family::Subgroup(lanes) => {
                let (rows, vectors) = match rows {
                    0..=4 => (4, 2),
                    5..=16 => (16, 1),
                    17..=128 => (32, 1),
                    _ => (64, 1),
                };
                Self::Blocked {
                    lanes,
                    rows,
                    vectors,
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
