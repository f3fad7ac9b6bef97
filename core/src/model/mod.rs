//! Model configuration, weights, forward and backward.
