//! Cantor sets and their integer analogues.

pub mod cantor;
