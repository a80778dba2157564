//! Dispatches of a kernel over the tiles of some heads.

use super::tables::Parts;
use crate::buffer::View;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use crate::recorder::Recorder;
use fractal_shaders::attention::AttentionParams;
use std::ops::Range;

/// Operations that one dispatch aims for at most: about 100 ms of a small integrated GPU.
const MOST: f64 = 1e10;

/// Pairs that one block multiplies.
const PAIRS: f64 = 16.0 * 32.0;

/// Vectors of a slice.
const SLICE: u32 = 32;

/// The parameters that a plan gives.
pub(super) fn with_plan(params: AttentionParams, plan: &Parts) -> AttentionParams {
    AttentionParams {
        rows: plan.rows,
        columns: plan.columns,
        tiles: plan.tiles,
        shifted: u32::from(plan.shifted),
        order_at: plan.order,
        tile_order_at: plan.tile_order,
        block_ptr_at: plan.block_ptr,
        blocks_at: plan.blocks,
        list_at: plan.list,
        row_ptr_at: plan.row_ptr,
        row_keys_at: plan.row_keys,
        tile_edges_at: plan.tile_edges,
        row_edges_at: plan.row_edges,
        ..params
    }
}

/// One kernel over the tiles of a plan.
pub(super) struct Launch<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) plan: &'a Parts,
    pub(super) params: AttentionParams,
    /// Heads, and how many of them may run at once.
    pub(super) heads: Range<u32>,
    pub(super) together: u32,
    /// Vectors of the widest result.
    pub(super) widest: u32,
    /// Vectors that a pair is multiplied along, in all its products.
    pub(super) vectors: u32,
}

impl Launch<'_> {
    /// Records it, in dispatches that no adapter takes for a hang. Each sees what those before it wrote.
    pub(super) fn record(&self, commands: &mut Recorder, arrays: &[View]) -> Result<()> {
        let slices = self.widest.div_ceil(SLICE);
        let params = AttentionParams { slices, ..with_plan(self.params, self.plan) };
        let work = self.plan.blocks_per_tile.max(1.0) * PAIRS * f64::from(self.vectors) * 8.0;
        let most = (MOST / work).clamp(1.0, f64::from(1 << 20)) as u32;
        let of_head = u64::from(self.plan.tiles) * u64::from(slices);
        // Workgroups are numbered by 32 bits.
        let together = self.together.min(u32::try_from((1 << 31) / of_head.max(1)).unwrap_or(u32::MAX)).max(1);
        for first_head in self.heads.clone().step_by(together as usize) {
            let heads = together.min(self.heads.end - first_head);
            let all = u32::try_from(u64::from(heads) * of_head).unwrap_or(u32::MAX);
            for first_group in (0..all).step_by(most as usize) {
                let groups = most.min(all - first_group);
                let params = AttentionParams { first_head, first_group, groups, ..params };
                commands.dispatch(self.kernel, arrays, &params, Groups::of(u64::from(groups)))?;
            }
        }
        Ok(())
    }
}
