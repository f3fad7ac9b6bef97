//! tests

mod data;
mod random;
mod schedule;
mod template;
