//! Tensors whose rows are whole vectors: copies with zeros at the end of each row, where they are not. The rows of one
//! token lie together in a copy, as a pass reads all of them.

use crate::attention::buffers::padded;
use crate::attention::element::Accumulator;
use crate::attention::problem::View;
use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use crate::memory;

/// Rows that one task copies.
const ROWS: usize = 512;

/// The memory of a copy; empty where none is needed.
pub(super) fn copied<A: Accumulator>(view: &View<'_, A>, executor: &dyn Executor) -> Result<Vec<A>> {
    let [batch, heads, n, width] = view.shape;
    let wide = padded(width);
    if wide == width {
        return Ok(Vec::new());
    }
    let mut copy = memory::zeros("v", memory::product::<A>("v", &[batch, heads, n, wide])?)?;
    for_each_chunk(executor, &mut copy, ROWS * wide, |task, rows| {
        for (i, row) in rows.chunks_exact_mut(wide).enumerate() {
            let at = task * ROWS + i;
            row[..width].copy_from_slice(view.row(at / heads / n, at % heads, at / heads % n));
        }
    });
    Ok(copy)
}

/// The copy, or the tensor itself.
pub(super) fn wide<'a, A>(view: View<'a, A>, copy: &'a [A]) -> View<'a, A> {
    let [batch, heads, n, width] = view.shape;
    if copy.is_empty() {
        return view;
    }
    let wide = padded(width);
    let strides = [n * heads * wide, wide, heads * wide].map(|step| step as isize);
    View { data: copy, offset: 0, strides, shape: [batch, heads, n, wide] }
}
