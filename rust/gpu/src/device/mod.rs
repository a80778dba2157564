//! The graphics API: wgpu is named in this folder and nowhere else.
//!
//! Everything here returns a typed error. wgpu panics at an error that nobody takes, so every call is made between error
//! scopes of its own thread ([`Device::checked`]), and what comes at another time is kept for the next call.

mod adapter;
mod block;
mod commands;
mod handle;
mod mapping;
mod open;
mod pipeline;
mod stamps;
mod timing;

pub use adapter::{AdapterInfo, Sort};
pub(crate) use block::{DeviceBlock, Usage};
pub(crate) use commands::{Job, Stretch, Work};
pub use handle::{Abilities, Limits};
pub(crate) use handle::{Device, SubmissionIndex};
pub(crate) use mapping::{Bytes, Request};
pub(crate) use open::adapters;
pub(crate) use pipeline::{Pipeline, Pipelines};
