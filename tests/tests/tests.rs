//! tests

mod data;
mod random;
mod schedule;
mod train_config;
