//! Slow, obvious twins of the kernels.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its own twins")]

pub mod attention;
pub mod builders;
pub mod cantor;
pub mod dragon;
pub mod force;
pub mod hilbert;
pub mod index_set;
pub mod julia;
pub mod morton;
