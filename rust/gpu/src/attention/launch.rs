//! Dispatches of a kernel over the tiles of some heads.

use super::tables::Parts;
use crate::buffer::BufferSlice;
use crate::context::Context;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use crate::recorder::Recorder;
use fractal_shaders::attention::AttentionParams;
use std::ops::Range;

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
    pub(super) fn record(&self, context: &Context, commands: &mut Recorder, arrays: &[BufferSlice]) -> Result<()> {
        let slices = self.widest.div_ceil(SLICE);
        let params = AttentionParams { slices, ..with_plan(self.params, self.plan) };
        let work = self.plan.blocks_per_tile.max(1.0) * PAIRS * f64::from(self.vectors) * 4.0;
        let most = (context.adapter().sort.steps_per_dispatch() as f64 / work).clamp(1.0, f64::from(1 << 20)) as u32;
        let of_head = u64::from(self.plan.tiles) * u64::from(slices);
        for Cut { first_head, first_group, groups } in cuts(self.heads.clone(), self.together, of_head, most) {
            let params = AttentionParams { first_head, first_group, groups, ..params };
            commands.dispatch(self.kernel, arrays, &params, Groups::of(u64::from(groups)))?;
        }
        Ok(())
    }
}

/// One dispatch: workgroups from one on, counted from those of a head on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    first_head: u32,
    first_group: u32,
    groups: u32,
}

/// The workgroups of some heads, at most so many at once, and of no more than `together` heads.
fn cuts(heads: Range<u32>, together: u32, of_head: u64, most: u32) -> impl Iterator<Item = Cut> {
    // Workgroups are numbered by 32 bits.
    let together = together.min(u32::try_from((1 << 31) / of_head.max(1)).unwrap_or(u32::MAX)).max(1);
    heads.clone().step_by(together as usize).flat_map(move |first_head| {
        let all = u64::from(together.min(heads.end - first_head)) * of_head;
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        (0..all).step_by(most as usize).map(move |first_group| {
            let groups = most.min(all - first_group);
            Cut { first_head, first_group, groups }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_every_workgroup_once() {
        let cut = |[first_head, first_group, groups]: [u32; 3]| Cut { first_head, first_group, groups };
        let all = |heads, together, of_head, most| cuts(heads, together, of_head, most).collect::<Vec<_>>();
        assert_eq!(all(0..3, 3, 5, 100), [cut([0, 0, 15])]);
        assert_eq!(all(2..4, 2, 5, 4), [cut([2, 0, 4]), cut([2, 4, 4]), cut([2, 8, 2])]);
        assert_eq!(all(0..3, 2, 5, 100), [cut([0, 0, 10]), cut([2, 0, 5])]);
        // More workgroups than have numbers.
        let heads: Vec<u32> = all(0..4, 4, 1 << 30, 1 << 20).iter().map(|cut| cut.first_head).collect();
        assert!(heads.is_sorted() && heads.contains(&2) && !heads.contains(&1));
    }
}
