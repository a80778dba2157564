//! Index-sparse attention, forward and backward, on the tiles and rows of a [`Plan`](crate::plan::Plan).
//!
//! For query i with keys N(i): `out_i = Σ_j softmax_j(scale · q_i·k_j + bias_ij) v_j` over j in N(i), and `lse_i` the
//! logarithm of the sum. A query without keys gives output 0 and lse −∞. The gradients are those of T. Dao and
//! others, “`FlashAttention`” (2022), with `ds = p · (dp − rowsum(do ∘ o) + dlse)`.

mod accumulate;
mod backward;
mod bias;
mod blocked_rows;
mod buffers;
mod call;
mod deal;
mod distances;
mod dropout;
mod edge_lanes;
mod element;
mod force;
mod forward;
mod gather;
mod gathered_rows;
mod head;
mod kept;
mod lane_keys;
mod lists;
mod log_sums;
mod micro;
mod modifiers;
mod panel;
mod problem;
mod row_softmax;
mod soft_cap;
mod statistics;
mod widened;
mod widths;

pub use backward::{Gradients, Saved, StatisticsGradients, backward};
pub use call::{Call, Keys};
pub use dropout::Dropout;
pub use element::{Accumulator, Storage};
pub use force::{ForceCall, ForceGradients, ForceProblem, ForceSaved};
pub use forward::forward;
pub use lists::{KeyLists, ListValues};
pub use log_sums::LogSums;
pub use modifiers::{DistanceBias, Modifiers};
pub use problem::{EdgeBias, KeyBias, Problem, View};
pub use statistics::WeightStatistics;
