//! Halves widened once a call: where keys are read again and again, converting them at every reading costs more than the
//! attention over them.

use super::backward::{Gradients, Saved, check};
use super::call::Call;
use super::element::Storage;
use super::forward::check_outputs;
use super::problem::{Problem, View};
use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use fearless_simd::Level;

/// Readings of a key, on average, from which on its conversion is done beforehand.
const READINGS: usize = 2;

/// Rows that one task converts.
const ROWS: usize = 512;

/// A tensor as computed, contiguous.
fn widen<T: Storage>(view: View<'_, T>, executor: &dyn Executor) -> Vec<T::Acc> {
    let [batch, heads, n, width] = view.shape;
    let mut wide = vec![T::Acc::default(); batch * heads * n * width];
    for_each_chunk(executor, &mut wide, ROWS * width, |part, wide| {
        let mut row = part * ROWS;
        let end = row + wide.len() / width;
        let mut rest = wide;
        while row < end {
            // Rows up to the end of the head, or one.
            let together = view.strides[2] == width as isize;
            let rows = if together { (n - row % n).min(end - row) } else { 1 };
            let (to, left) = rest.split_at_mut(rows * width);
            let start = view.start(row / n / heads, row / n % heads, row % n);
            T::widen(&view.data[start..start + rows * width], to);
            (row, rest) = (row + rows, left);
        }
    });
    wide
}

fn narrow<T: Storage>(wide: &[T::Acc], executor: &dyn Executor, to: &mut [T]) {
    const PIECE: usize = 1 << 15;
    for_each_chunk(executor, to, PIECE, |part, to| T::narrow(&wide[part * PIECE..][..to.len()], to));
}

impl<T: Storage> Call<'_, T> {
    /// The tensors are to be widened first.
    pub(super) fn widens(&self) -> bool {
        let [batch, heads, ..] = self.problem.q.shape;
        let keys = self.problem.k.shape[..3].iter().product::<usize>();
        T::as_acc(&[]).is_none() && self.edges().saturating_mul(batch * heads) >= READINGS * keys
    }

    pub(super) fn forward_widened(
        &self,
        level: Level,
        executor: &dyn Executor,
        out: &mut [T],
        lse: &mut [T::Acc],
    ) -> Result<()> {
        let (n_queries, n_keys) = self.sizes();
        self.problem.check_sizes(n_queries, n_keys)?;
        check_outputs(&self.problem, out, lse)?;
        let mut wide = vec![T::Acc::default(); out.len()];
        self.with_wide(executor, |call| call.forward(level, executor, &mut wide, lse))?;
        narrow(&wide, executor, out);
        Ok(())
    }

    pub(super) fn backward_widened(
        &self,
        level: Level,
        executor: &dyn Executor,
        saved: Saved<'_, T>,
        gradients: Gradients<'_, T>,
    ) -> Result<()> {
        let (n_queries, n_keys) = self.sizes();
        self.problem.check_sizes(n_queries, n_keys)?;
        check(&self.problem, &saved, &gradients)?;
        let (out, dout) = (widen(saved.out, executor), widen(saved.dout, executor));
        let zeros = |to: &[T]| vec![T::Acc::default(); to.len()];
        let (mut q, mut k, mut v) = (zeros(gradients.q), zeros(gradients.k), zeros(gradients.v));
        self.with_wide(executor, |call| {
            let saved = Saved {
                out: View::contiguous(&out, saved.out.shape),
                dout: View::contiguous(&dout, saved.dout.shape),
                lse: saved.lse,
                dlse: saved.dlse,
            };
            let gradients = Gradients {
                q: &mut q,
                k: &mut k,
                v: &mut v,
                key_bias: gradients.key_bias,
                edge_bias: gradients.edge_bias,
            };
            call.backward(level, executor, saved, gradients)
        })?;
        for (wide, to) in [(&q, gradients.q), (&k, gradients.k), (&v, gradients.v)] {
            narrow(wide, executor, to);
        }
        Ok(())
    }

    /// Runs a pass on the same call over widened tensors.
    fn with_wide(&self, executor: &dyn Executor, pass: impl FnOnce(Call<'_, T::Acc>) -> Result<()>) -> Result<()> {
        let of = &self.problem;
        let (q, k, v) = (widen(of.q, executor), widen(of.k, executor), widen(of.v, executor));
        let problem = Problem {
            q: View::contiguous(&q, of.q.shape),
            k: View::contiguous(&k, of.k.shape),
            v: View::contiguous(&v, of.v.shape),
            scale: of.scale,
            key_bias: of.key_bias,
            key_padding: of.key_padding,
            edge_bias: None,
            dropout: of.dropout,
        };
        pass(Call { problem, keys: self.keys, edge_bias: self.edge_bias })
    }
}
