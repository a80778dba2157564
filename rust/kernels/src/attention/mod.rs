//! Index-sparse attention, forward and backward, on the tiles and rows of a [`Plan`](crate::plan::Plan).
//!
//! For query i with keys N(i): `out_i = Σ_j softmax_j(scale · q_i·k_j + bias_ij) v_j` over j in N(i), and `lse_i` the
//! logarithm of the sum. A query without keys gives output 0 and lse −∞. The gradients are those of T. Dao and
//! others, “`FlashAttention`” (2022), with `ds = p · (dp − rowsum(do ∘ o) + dlse)`.

mod backward;
mod call;
mod dropout;
mod edges;
mod element;
mod forward;
mod gather;
mod head;
mod kept;
mod lists;
mod log_sums;
mod micro;
mod problem;
pub mod reference;
mod rows;
mod scratch;
mod widened;

pub use backward::{Gradients, Saved, backward};
pub use call::{Call, Keys};
pub use edges::EdgeMap;
pub use element::{Real, Storage};
pub use fearless_simd::Level;
pub use forward::forward;
pub use lists::{KeyLists, ListValues};
pub use log_sums::LogSums;
pub use problem::{Dropout, EdgeBias, KeyBias, Problem, View};

/// The SIMD levels that this machine can run, best first, each with its name.
pub fn levels() -> Vec<(&'static str, Level)> {
    let best = Level::new();
    let mut levels = Vec::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        levels.extend(best.as_avx512().map(|l| ("avx512", Level::Avx512(l))));
        levels.extend(best.as_avx2().map(|l| ("avx2", Level::Avx2(l))));
        levels.extend(best.as_sse4_2().map(|l| ("sse4.2", Level::Sse4_2(l))));
        levels.extend(best.as_sse2().map(|l| ("sse2", Level::Sse2(l))));
    }
    #[cfg(target_arch = "aarch64")]
    levels.extend(best.as_neon().map(|l| ("neon", Level::Neon(l))));
    levels.push(("scalar", Level::fallback()));
    levels
}
