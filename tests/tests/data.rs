//! Rows, masks, order and packing.

mod order;
