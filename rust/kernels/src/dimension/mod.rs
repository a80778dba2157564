//! Numbers that say how attention, surfaces, series and sets of points fill their space.
//!
//! Nothing here knows what attention is: matrices come with the [`support`] on which they are measured, and every
//! kernel gives the counts and sums of each scale. [`fit`] draws the line through them.
//!
//! Tasks are matrices, rows or points, so results do not depend on threads.

pub mod boxes;
pub mod correlation;
pub mod edges;
pub mod fit;
pub mod foreground;
mod gliding;
pub mod grid;
pub mod lacunarity;
mod logs;
pub mod measure;
pub mod profile;
pub mod rollout;
pub mod rows;
pub mod segments;
pub mod series;
pub mod support;
pub mod surface;
pub mod tiling;
