//! The log-sum-exp of each row, in two parts.

use super::element::Accumulator;
use std::ops::Range;

/// Where the log-sums of rows go, `(B, H, Nq)`, contiguous.
#[derive(Debug)]
pub struct LogSums<'a, A> {
    /// The natural logarithm, rounded; −∞ where a query has no key.
    pub lse: &'a mut [A],
    /// Its rounding error, for the backward pass: beside a maximum of −1e9, `f32` keeps nothing of the sum.
    pub rest: Option<&'a mut [A]>,
}

impl<'a, A: Accumulator> LogSums<'a, A> {
    /// The log-sums of some rows.
    pub(super) fn part(&mut self, rows: Range<usize>) -> LogSums<'_, A> {
        LogSums { lse: &mut self.lse[rows.clone()], rest: self.rest.as_deref_mut().map(|rest| &mut rest[rows]) }
    }

    /// In chunks of `rows` rows.
    pub(super) fn chunks(self, rows: usize) -> impl Iterator<Item = LogSums<'a, A>> {
        let mut rest = self.rest.map(|rest| rest.chunks_mut(rows));
        self.lse.chunks_mut(rows).map(move |lse| LogSums { lse, rest: rest.as_mut().and_then(Iterator::next) })
    }

    pub(super) fn set(&mut self, row: usize, log: LogSum<A>) {
        self.lse[row] = log.lse;
        if let Some(rest) = &mut self.rest {
            rest[row] = log.rest;
        }
    }
}

/// `lse + rest` is the logarithm of a row's sum.
#[derive(Clone, Copy)]
pub(super) struct LogSum<A> {
    pub(super) lse: A,
    pub(super) rest: A,
}

impl<A: Accumulator> LogSum<A> {
    /// `max + log(sum)`.
    #[inline(always)]
    pub(super) fn new(max: A, sum: A) -> Self {
        if sum == A::default() {
            return Self { lse: A::NEG_INFINITY, rest: A::default() };
        }
        let (max, log) = (max.to_f64(), sum.to_f64().ln());
        let lse = A::from_f64(max + log);
        // The difference is exact where the maximum is the larger part; elsewhere the error is small.
        Self { lse, rest: A::from_f64((max - lse.to_f64()) + log) }
    }

    /// With one more logit: the log-sum, and the share of the sum that it leaves to the others.
    #[inline(always)]
    pub(super) fn with_sink(self, sink: A) -> (Self, A) {
        if sink == A::NEG_INFINITY {
            return (self, A::ONE);
        }
        if self.lse == A::NEG_INFINITY {
            return (Self { lse: sink, rest: A::default() }, A::default());
        }
        let (sink, own) = (sink.to_f64(), self.lse.to_f64() + self.rest.to_f64());
        let more = (sink - own).exp();
        let all = if more.is_finite() { own + more.ln_1p() } else { sink };
        let lse = A::from_f64(all);
        (Self { lse, rest: A::from_f64(all - lse.to_f64()) }, A::from_f64(1.0 / (1.0 + more)))
    }
}
