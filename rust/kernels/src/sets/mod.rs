//! Cantor sets and their kin among the integers.

pub mod cantor;
