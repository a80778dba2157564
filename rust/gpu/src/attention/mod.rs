//! Sparse attention on the device, forward and backward, on the CPU's own plan of the index set.
//!
//! [`forward`] and [`backward`] take what the CPU's do, in the memory of the host; [`forward_resident`] and
//! [`backward_resident`] take tensors that lie on the device and leave their results there. A set's plan is laid out and
//! uploaded once and kept with it, that of its transpose at the first backward pass. Nothing is added by two workgroups at
//! once: every sum has one order, and results are the same bits from run to run.

mod backward;
mod calls;
mod check;
mod forward;
mod host;
mod launch;
mod operands;
mod parts;
mod plan;
mod scalars;
mod tables;
mod tensor;

pub use backward::{ResidentGradients, ResidentSaved, SavedLogs};
pub use calls::{backward, backward_resident, forward, forward_resident};
pub use check::family;
pub use forward::{Forward, Logs};
pub use operands::Operands;
pub use tensor::{Element, Tensor};
