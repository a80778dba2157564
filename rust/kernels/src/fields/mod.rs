//! Escape fields of the Julia and Mandelbrot sets, the soft Julia field and the potential, with their gradients.

mod batch;
pub mod gradient;
pub mod julia;
pub mod lanes;
mod orbit;
pub mod potential;
pub mod soft_julia;
