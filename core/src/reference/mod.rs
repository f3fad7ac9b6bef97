//! The kernels' twins: the same functions in plain Rust, in f64, one obvious loop at a time.
//!
//! Finite differences prove a twin (see the tests); the twin proves the kernel (see [`crate::check`]).

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
