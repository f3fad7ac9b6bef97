//! tests

mod data;
mod random;
mod schedule;
mod template;
mod train_config;
