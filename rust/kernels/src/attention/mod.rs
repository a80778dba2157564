//! Index-sparse attention, forward and backward.

pub mod reference;
