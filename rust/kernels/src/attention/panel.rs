//! The rows that a kernel reads, in place or converted.

use super::blocked_rows::BlockedRows;
use super::buffers::{Aligned, padded};
use super::element::Storage;
use super::gathered_rows::GatheredRows;
use super::problem::View;

/// Rows of one head in the type of the computation: in place where possible, else converted and padded in a buffer.
#[derive(Debug)]
pub(crate) struct Panel<'p, T: Storage> {
    view: View<'p, T>,
    in_place: bool,
    base: isize,
    head: (usize, usize),
    data: Aligned<T::Acc>,
    starts: Vec<usize>,
}

impl<'p, T: Storage> Panel<'p, T> {
    pub(crate) fn new(view: View<'p, T>) -> Self {
        let width = view.shape[3];
        let in_place = T::as_acc(view.data).is_some() && width == padded(width);
        Self { view, in_place, base: 0, head: (0, 0), data: Aligned::zeros(0), starts: Vec::new() }
    }

    /// Chooses the head to read.
    pub(crate) fn select(&mut self, batch: usize, head: usize) {
        self.head = (batch, head);
        self.base = self.view.start(batch, head, 0) as isize;
    }

    /// The given rows of the head, in their order.
    #[inline(always)]
    pub(crate) fn gather<I: ExactSizeIterator<Item = usize>>(&mut self, rows: I) -> GatheredRows<'_, T::Acc> {
        self.starts.clear();
        if let (true, Some(data)) = (self.in_place, T::as_acc(self.view.data)) {
            let (base, stride) = (self.base, self.view.strides[2]);
            self.starts.extend(rows.map(|r| (base + r as isize * stride) as usize));
            return GatheredRows { data, starts: &self.starts };
        }
        self.convert(rows);
        GatheredRows { data: &self.data, starts: &self.starts }
    }

    /// The head's rows as whole blocks, if they can be read so.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> Option<BlockedRows<'p, T::Acc>> {
        let data = T::as_acc(self.view.data).filter(|_| self.in_place)?;
        BlockedRows::new(data, usize::try_from(self.base).ok()?, self.view.strides[2], self.view.shape[3])
    }

    /// The rows that were gathered last.
    #[inline(always)]
    pub(crate) fn rows(&self) -> GatheredRows<'_, T::Acc> {
        let data = T::as_acc(self.view.data).filter(|_| self.in_place).unwrap_or(&self.data);
        GatheredRows { data, starts: &self.starts }
    }

    /// Brings a row into cache: there is no safe prefetch, but a load that nothing waits for does as well.
    #[inline(always)]
    pub(crate) fn touch(&self, row: usize) {
        let Some(data) = T::as_acc(self.view.data).filter(|_| self.in_place) else { return };
        let start = (self.base + row as isize * self.view.strides[2]) as usize;
        let row = &data[start..start + self.view.shape[3]];
        let sum = row.iter().step_by(64 / size_of::<T::Acc>()).fold(T::Acc::default(), |sum, &x| sum + x);
        std::hint::black_box(sum);
    }

    /// Up to `N` rows, by their keys; the last one is repeated to fill up the starts.
    #[inline(always)]
    pub(crate) fn fetch<const N: usize>(&mut self, keys: &[u32], starts: &mut [usize; N]) -> &[T::Acc] {
        if let (true, Some(data)) = (self.in_place, T::as_acc(self.view.data)) {
            let (base, stride) = (self.base, self.view.strides[2]);
            let at = |key: u32| (base + key as isize * stride) as usize;
            if let Ok(keys) = <&[u32; N]>::try_from(keys) {
                for i in 0..N {
                    starts[i] = at(keys[i]);
                }
            } else {
                for (start, &key) in starts.iter_mut().zip(keys) {
                    *start = at(key);
                }
                let last = starts[keys.len() - 1];
                starts[keys.len()..].fill(last);
            }
            return data;
        }
        self.starts.clear();
        self.convert(keys.iter().map(|&key| key as usize));
        for i in 0..N {
            starts[i] = self.starts[i.min(keys.len() - 1)];
        }
        &self.data
    }

    #[inline(never)]
    fn convert(&mut self, rows: impl ExactSizeIterator<Item = usize>) {
        let width = self.view.shape[3];
        let full = padded(width);
        if self.data.len() < rows.len() * full {
            self.data = Aligned::zeros(rows.len() * full);
        }
        for (i, (row, out)) in rows.zip(self.data.chunks_exact_mut(full)).enumerate() {
            let (out, pad) = out.split_at_mut(width);
            T::widen(self.view.row(self.head.0, self.head.1, row), out);
            pad.fill(T::Acc::default());
            self.starts.push(i * full);
        }
    }
}
