//! What the examples share: the small base model of this repository, its rows, and the frames of a program that draws.

pub mod frames;
pub mod gray_scott;
pub mod session;
pub mod tuning;
