//! One call of attention: shapes, strided inputs, biases.

use super::dropout::Dropout;
use super::element::{Accumulator, Storage};
use super::log_sums::LogSums;
use super::modifiers::Modifiers;
use crate::error::{KernelError, Result};
use crate::plan::{EdgeMap, EdgeRows, Planned};
use std::ops::Range;

/// A `(batch, heads, n, width)` tensor with any strides and contiguous rows.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// Memory that holds every row.
    pub data: &'a [T],
    /// Index in `data` of element (0, 0, 0, 0).
    pub offset: isize,
    /// Steps of batch, head and row, in elements; may be 0 or negative.
    pub strides: [isize; 3],
    /// Batch, heads, rows, width.
    pub shape: [usize; 4],
}

impl<'a, T> View<'a, T> {
    /// A contiguous tensor.
    pub fn contiguous(data: &'a [T], shape: [usize; 4]) -> Self {
        let [_, h, n, d] = shape.map(|x| x as isize);
        Self { data, offset: 0, strides: [h * n * d, n * d, d], shape }
    }

    /// The tensor itself, if it is stored in the type that attention is computed in.
    pub(super) fn as_acc(&self) -> Option<View<'a, T::Acc>>
    where
        T: Storage,
    {
        let Self { data, offset, strides, shape } = *self;
        T::as_acc(data).map(|data| View { data, offset, strides, shape })
    }

    #[inline]
    pub(crate) fn start(&self, batch: usize, head: usize, row: usize) -> usize {
        let [b, h, n] = self.strides;
        (self.offset + batch as isize * b + head as isize * h + row as isize * n) as usize
    }

    #[inline]
    pub(crate) fn row(&self, batch: usize, head: usize, row: usize) -> &'a [T] {
        let start = self.start(batch, head, row);
        &self.data[start..start + self.shape[3]]
    }

    /// Whether every row lies inside the memory.
    pub(super) fn fits(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let (mut low, mut high) = (self.offset as i128, self.offset as i128 + self.shape[3] as i128);
        for (&n, &stride) in self.shape.iter().zip(&self.strides) {
            let reach = (n as i128 - 1) * stride as i128;
            low += reach.min(0);
            high += reach.max(0);
        }
        low >= 0 && high <= self.data.len() as i128
    }
}

/// Added to the logits of each key: `(batch or 1, heads or 1, n_keys)`.
#[derive(Clone, Copy, Debug)]
pub struct KeyBias<'a, A> {
    /// Contiguous values.
    pub values: &'a [A],
    /// Batch or 1.
    pub batch: usize,
    /// Heads or 1.
    pub heads: usize,
}

impl<'a, A> KeyBias<'a, A> {
    pub(crate) fn row(&self, batch: usize, head: usize, n_keys: usize) -> &'a [A] {
        let row = batch.min(self.batch - 1) * self.heads + head.min(self.heads - 1);
        &self.values[row * n_keys..(row + 1) * n_keys]
    }
}

/// Added to the logit of each edge: `(heads or 1, nnz)` in row order.
#[derive(Clone, Copy, Debug)]
pub struct EdgeBias<'a, A> {
    /// Contiguous values.
    pub values: &'a [A],
    /// Heads or 1.
    pub heads: usize,
}

/// One call of attention.
#[derive(Clone, Debug)]
pub struct Problem<'a, T: Storage> {
    /// Queries `(B, H, Nq, D)`.
    pub q: View<'a, T>,
    /// Keys `(B, Hkv, Nk, D)`.
    pub k: View<'a, T>,
    /// Values `(B, Hkv, Nk, Dv)`.
    pub v: View<'a, T>,
    /// Factor on the dot products.
    pub scale: f64,
    /// Bias of keys.
    pub key_bias: Option<KeyBias<'a, T::Acc>>,
    /// Keys that no query attends to, `(B, Nk)`.
    pub key_padding: Option<&'a [bool]>,
    /// Bias of edges.
    pub edge_bias: Option<EdgeBias<'a, T::Acc>>,
    /// Dropout of weights.
    pub dropout: Option<Dropout>,
    /// Changes of scores by rule.
    pub modifiers: Modifiers<'a, T::Acc>,
}

impl<T: Storage> Problem<'_, T> {
    /// Shape of the output, `(B, H, Nq, Dv)`.
    pub fn out_shape(&self) -> [usize; 4] {
        let [batch, heads, n, _] = self.q.shape;
        [batch, heads, n, self.v.shape[3]]
    }

    /// Batch, query heads, key heads.
    pub(crate) fn heads(&self) -> (usize, usize, usize) {
        (self.q.shape[0], self.q.shape[1], self.k.shape[1])
    }

    /// Query heads of a group.
    pub(crate) fn group_size(&self) -> usize {
        let (_, heads, kv_heads) = self.heads();
        heads / kv_heads
    }

    /// The query heads of some groups, numbered across the batch.
    pub(crate) fn query_heads(&self, groups: &Range<usize>) -> Range<usize> {
        let size = self.group_size();
        groups.start * size..groups.end * size
    }

    /// All groups, numbered across the batch. A group is a key/value head of a batch entry, with the query heads that
    /// share it.
    pub(crate) fn groups(&self) -> Range<usize> {
        0..self.k.shape[0] * self.k.shape[1]
    }

    /// Width of a key and of a value.
    pub(crate) fn widths(&self) -> (usize, usize) {
        (self.q.shape[3], self.v.shape[3])
    }

    /// The factor on the dot products, in the type of the computation.
    pub(crate) fn scale(&self) -> T::Acc {
        T::Acc::from_f64(self.scale)
    }

    /// Refuses what the kernels could not run with the plan.
    pub fn check(&self, plan: Planned<'_>) -> Result<()> {
        self.check_sizes(plan.n_queries(), plan.n_keys())?;
        let nnz = plan.edges.map(EdgeMap::nnz).or(plan.edge_rows.map(EdgeRows::nnz));
        let heads = self.q.shape[1];
        let fits = match (&self.edge_bias, nnz) {
            (Some(b), Some(nnz)) => b.values.len() == b.heads * nnz && [1, heads].contains(&b.heads),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !fits {
            let given = self
                .edge_bias
                .map_or_else(|| "None".to_owned(), |b| format!("{} values for {} heads", b.values.len(), b.heads));
            let allowed = nnz.map_or_else(|| "None".to_owned(), |nnz| format!("({heads} or 1, {nnz})"));
            return Err(KernelError::shape("edge_bias", given, allowed));
        }
        Ok(())
    }

    /// Refuses outputs of the forward pass that have another size than the problem's.
    pub fn check_outputs(&self, out: &[T], logs: &LogSums<'_, T::Acc>) -> Result<()> {
        let rows = self.q.shape[..3].iter().product::<usize>();
        if out.len() != rows * self.widths().1 || logs.lse.len() != rows {
            return Err(KernelError::shape("out", format!("{} values", out.len()), rows * self.widths().1));
        }
        if let Some(rest) = logs.rest.as_ref().filter(|rest| rest.len() != rows) {
            return Err(KernelError::shape("lse_rest", format!("{} values", rest.len()), rows));
        }
        Ok(())
    }

    /// [`Self::check`] for the sizes of an index set.
    pub(super) fn check_sizes(&self, n_queries: usize, n_keys: usize) -> Result<()> {
        let (q, k, v) = (self.q.shape, self.k.shape, self.v.shape);
        let shown = |s: [usize; 4]| format!("shape {s:?}");
        for (name, shape) in [("q", q), ("k", k), ("v", v)] {
            if shape.contains(&0) {
                return Err(KernelError::shape(name, shown(shape), "no empty dimension"));
            }
        }
        if k[0] != q[0] || k[3] != q[3] {
            return Err(KernelError::shape("k", shown(k), format!("batch {} and width {} of q", q[0], q[3])));
        }
        if v[..3] != k[..3] {
            return Err(KernelError::shape("v", shown(v), format!("batch, heads and length of k, {:?}", &k[..3])));
        }
        if !q[1].is_multiple_of(k[1]) {
            return Err(KernelError::shape("k", format!("{} heads", k[1]), format!("a divisor of q's {} heads", q[1])));
        }
        if q[2] != n_queries {
            return Err(KernelError::shape(
                "q",
                format!("{} queries", q[2]),
                format!("the index set's {n_queries} queries"),
            ));
        }
        if k[2] != n_keys {
            return Err(KernelError::shape("k", format!("{} keys", k[2]), format!("the index set's {n_keys}")));
        }
        if !self.scale.is_finite() {
            return Err(KernelError::value("scale", self.scale, "a finite number"));
        }
        if let Some(d) = &self.dropout
            && !(0.0..1.0).contains(&d.p)
        {
            return Err(KernelError::value("dropout_p", d.p, "0 <= dropout_p < 1"));
        }
        if let Some(b) = &self.key_bias
            && (b.values.len() != b.batch * b.heads * k[2]
                || ![1, q[0]].contains(&b.batch)
                || ![1, q[1]].contains(&b.heads))
        {
            return Err(KernelError::shape(
                "bias",
                format!("{} values as {} x {}", b.values.len(), b.batch, b.heads),
                format!("({} or 1, {} or 1, {})", q[0], q[1], k[2]),
            ));
        }
        if let Some(padding) = self.key_padding
            && padding.len() != q[0] * k[2]
        {
            return Err(KernelError::shape(
                "key_padding_mask",
                format!("{} values", padding.len()),
                format!("({}, {})", q[0], k[2]),
            ));
        }
        self.check_modifiers()?;
        if !(self.q.fits() && self.k.fits() && self.v.fits()) {
            return Err(KernelError::shape("q, k, v", "strides that leave their memory", "strides inside of it"));
        }
        Ok(())
    }
}
