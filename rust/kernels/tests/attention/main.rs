//! The planned kernel against its slow twin: every form of plan, level, width, bias, grouping, executor.
#![allow(missing_docs, clippy::pedantic)]

mod dropout;
mod executors;
mod inputs;
mod long;
mod modifiers;
#[path = "../naive/mod.rs"]
mod naive;
mod plans;
mod runs;
mod statistics;
mod twins;
mod values;
