//! Builders of index sets: each gives the keys of the last `n_queries` of `n_keys` positions.
//!
//! A builder is prefix-stable where the keys of a position among the first m positions do not depend on how many
//! positions follow: that is what streaming decode needs.

mod block_order;
mod dragon;
mod hilbert;
mod julia;
mod neighborhood;
mod offsets;
mod random;
mod sierpinski;
mod span;

pub use dragon::dragon;
pub use hilbert::{hilbert, hilbert_box};
pub use julia::julia;
pub use neighborhood::{Axis, neighborhood};
pub use offsets::{cantor, cantor_samples, window};
pub use random::random;
pub use sierpinski::sierpinski;
pub use span::Span;
