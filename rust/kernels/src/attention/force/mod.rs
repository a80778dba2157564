//! Attention by forces between points, over the rows of an index set, forward and backward.
//!
//! Query i stands at `e_i`, key j at `r_j`, `D = |e_i − r_j|`, and head h has the score
//! `s = strength_h · (a_ih − c_jh) / (D + eps) · exp(−rate_h D) [+ scale · q_i·k_j]`; with `a = e Wᵀ` and `c = r Wᵀ` the
//! fraction is the component of the unit vector from `r_j` to `e_i` along `w_h`. The weights are the softmax of the
//! scores over the keys of i. Heads may share their points.
//!
//! Nothing of size edges is kept: the backward pass computes distances and scores anew, once by query and once by key
//! over the transposed set. Both are one loop ([`sweep`]), in which the near points are the queries or the keys.

mod call;
mod edges;
mod padded;
mod piece;
mod problem;
mod rows;
mod side;
mod sweep;

pub use call::ForceCall;
pub use problem::{ForceGradients, ForceProblem, ForceSaved};
