//! How products are cut.

use super::{Layout, cooperative};
use crate::gpu::Family;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a product is cut into workgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tile {
    /// `across`×`down` invocations, each `rows` × 4·`vectors` results, operands staged in workgroup memory.
    Tiled {
        /// Invocations across.
        across: u32,
        /// Invocations down.
        down: u32,
        /// Rows of results for each.
        rows: u32,
        /// Vectors of four columns for each.
        vectors: u32,
        /// Steps of the contraction that are staged at a time, a multiple of 4.
        depth: u32,
    },
    /// 64×64 results, a quarter for each of four subgroups, by cooperative matrices.
    Cooperative {
        /// Rows and columns of the small matrices.
        size: u32,
        /// Fewest and most lanes of a subgroup.
        lanes: [u32; 2],
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

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [down, across] = self.block();
        let kind = match self {
            Self::Tiled { .. } => "tile",
            Self::Cooperative { .. } => "cooperative tile",
            Self::Blocked { .. } => "block",
        };
        write!(f, "{kind} {down}x{across}")
    }
}

const fn tiled([across, down]: [u32; 2], [rows, vectors]: [u32; 2], depth: u32) -> Tile {
    Tile::Tiled {
        across,
        down,
        rows,
        vectors,
        depth,
    }
}

/// The tiles of GPUs, largest first: 128×128, 64×128, 64×64, 32×32; and 16×64 and 4×64 for few rows.
const TILED: [Tile; 6] = [
    tiled([16, 16], [8, 2], 8),
    tiled([32, 8], [8, 1], 16),
    tiled([16, 16], [4, 1], 16),
    tiled([8, 8], [4, 1], 16),
    tiled([16, 4], [4, 1], 32),
    tiled([16, 4], [1, 1], 32),
];

/// Workgroups that are taken to fill a GPU. Not measured: twice as many as a middling card has cores.
const BUSY: u32 = 128;

/// Most numbers that the partial sums of one product may take: 4 MiB.
const PARTIAL_SUMS: u32 = 1 << 20;

/// Steps in a slice of the contraction, where it is cut: a multiple of every tile's depth. Not measured.
const SLICE: u32 = 256;

/// Into how many slices a contraction is cut on GPUs, and their steps: where the result is so small that it alone would not
/// fill the device. What the batch decides has no part in where a slice ends, as long as their sums find room, so that
/// micro-batches of another capacity give the same bits.
pub(super) fn slices(layout: Layout, [m, n, k]: [u32; 3]) -> [u32; 2] {
    let small = match layout {
        Layout::Tn => m.saturating_mul(n) <= 1 << 16,
        _ => n <= 64 || (m <= 16 && n <= 4096),
    };
    let sums = m.saturating_mul(n.next_multiple_of(4)).max(1);
    let most = PARTIAL_SUMS / sums;
    let mut steps = SLICE;
    while layout == Layout::Tn && small && k.div_ceil(steps) > most {
        steps *= 2;
    }
    match k.div_ceil(steps) {
        slices if small && slices <= most => [slices.max(1), steps],
        _ => [1, k],
    }
}

/// Rows of a result of `n` columns whose sums of so many slices find room.
pub(super) fn rows_with_room(n: u32, slices: u32) -> u32 {
    (PARTIAL_SUMS / n.next_multiple_of(4).saturating_mul(slices)).max(1)
}

/// Numbers of scratch that a plan's products need on a family.
pub fn scratch_len(family: Family) -> u64 {
    if family.is_cpu() { 0 } else { u64::from(PARTIAL_SUMS) }
}

impl Tile {
    /// Every tile that a family may use.
    pub fn all(family: Family) -> Vec<Self> {
        match family {
            Family::Tiled => return TILED.to_vec(),
            Family::Cooperative { size, lanes } => return vec![Self::Cooperative { size, lanes }],
            _ => {}
        }
        let mut tiles = [4, 8, 16, 24, 32, 48, 1024]
            .map(|rows| Self::pick(family, rows, 1024, 1 << 20))
            .to_vec();
        tiles.dedup();
        tiles
    }

    /// The tiles that suit a result of `m`×`n` through a contraction of `k`, the likeliest first: on GPUs those that are
    /// not mostly outside the result, of which the largest comes first whose workgroups fill the GPU; where none does, the
    /// one with the most workgroups.
    pub fn candidates(family: Family, m: u32, n: u32, k: u32) -> Vec<Self> {
        if family.is_cpu() {
            return vec![Self::pick(family, m, n, k)];
        }
        if let (Family::Cooperative { size, lanes }, 32.., 32.., 16..) = (family, m, n, k) {
            return vec![Self::Cooperative { size, lanes }];
        }
        let mut tiles: Vec<_> = match m {
            0..=4 => TILED[5..].to_vec(),
            5..=16 => TILED[4..5].to_vec(),
            _ => {
                let fits = |tile: &Self| {
                    let [down, across] = tile.block();
                    down <= m.next_power_of_two() && across <= n.next_power_of_two().max(32)
                };
                TILED[..4].iter().copied().filter(fits).collect()
            }
        };
        let groups = |tile: &Self| tile.workgroups(m, n);
        let first = tiles.iter().position(|tile| groups(tile) >= BUSY);
        let first = first.unwrap_or_else(|| {
            let most = tiles.iter().map(groups).max();
            tiles.iter().position(|tile| Some(groups(tile)) == most).unwrap_or(0)
        });
        tiles[..=first].rotate_right(1);
        tiles
    }

    /// The tile for a family, a result of `m`×`n` and a contraction of `k`.
    pub fn pick(family: Family, m: u32, n: u32, k: u32) -> Self {
        match family {
            Family::Tiled | Family::Cooperative { .. } => Self::candidates(family, m, n, k)[0],
            Family::Subgroup(lanes) => {
                // A small product takes less time than a large block's compilation.
                let small = u64::from(m) * u64::from(n) * u64::from(k) <= SMALL;
                let blocks = &SUBGROUP_BLOCKS[..if small { 3 } else { SUBGROUP_BLOCKS.len() }];
                Self::blocked(lanes, blocks, m, n, true)
            }
            Family::Register => Self::blocked(8, &REGISTER_BLOCKS, m, n, false),
        }
    }

    fn blocked(lanes: u32, blocks: &[Block], rows: u32, columns: u32, broadcast: bool) -> Self {
        let (rows, vectors) = fewest(blocks, rows);
        Self::Blocked {
            lanes,
            rows,
            // Columns past the last would be computed for nothing.
            vectors: vectors.min(columns.div_ceil(4 * lanes)),
            broadcast,
        }
    }

    /// Rows and columns of the result that a workgroup computes.
    pub(super) fn block(self) -> [u32; 2] {
        match self {
            Self::Tiled {
                across,
                down,
                rows,
                vectors,
                ..
            } => [down * rows, across * vectors * 4],
            Self::Cooperative { .. } => [cooperative::BLOCK; 2],
            Self::Blocked {
                lanes, rows, vectors, ..
            } => [rows, lanes * vectors * 4],
        }
    }

    fn workgroups(self, m: u32, n: u32) -> u32 {
        let [down, across] = self.block();
        m.div_ceil(down).saturating_mul(n.div_ceil(across))
    }
}

/// Rows and vectors of a block, and how fast it is on sizes that it divides, beside the others.
type Block = (u32, u32, f64);

/// Multiplications of a small product: half a millisecond's.
const SMALL: u64 = 1 << 22;

/// Measured on lavapipe.
const SUBGROUP_BLOCKS: [Block; 7] = [
    (4, 2, 0.3),
    (8, 4, 0.55),
    (16, 2, 0.8),
    (24, 2, 0.92),
    (32, 2, 1.0),
    (48, 1, 1.03),
    (64, 1, 1.1),
];

/// Measured on SwiftShader.
const REGISTER_BLOCKS: [Block; 3] = [(4, 2, 0.6), (8, 2, 0.8), (16, 2, 1.0)];

/// The block that takes the least time for so many rows, those that pad the last block included.
fn fewest(blocks: &[Block], rows: u32) -> (u32, u32) {
    let time = |(block, _, speed): &Block| f64::from(rows.next_multiple_of(*block)) / speed;
    let least = blocks.iter().min_by(|a, b| time(a).total_cmp(&time(b)));
    least
        .map(|&(rows, vectors, _)| (rows, vectors))
        .expect("there are blocks")
}
