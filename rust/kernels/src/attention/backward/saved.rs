//! What the backward pass takes beside the call, and the gradients that it writes.

use crate::attention::element::Storage;
use crate::attention::problem::{Problem, View};
use crate::error::{KernelError, Result};

/// What the forward pass left, and the incoming gradients.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T: Storage> {
    /// Output `(B, H, Nq, Dv)`.
    pub out: View<'a, T>,
    /// Log-sum-exp `(B, H, Nq)`, contiguous.
    pub lse: &'a [T::Acc],
    /// Its rounding error, in the same shape.
    pub rest: &'a [T::Acc],
    /// Gradient of the output.
    pub dout: View<'a, T>,
    /// Gradient of lse `(B, H, Nq)`, contiguous.
    pub dlse: Option<&'a [T::Acc]>,
}

/// Where the gradients go; all contiguous.
#[derive(Debug)]
pub struct Gradients<'a, T: Storage> {
    /// `(B, H, Nq, D)`.
    pub q: &'a mut [T],
    /// `(B, Hkv, Nk, D)`.
    pub k: &'a mut [T],
    /// `(B, Hkv, Nk, Dv)`.
    pub v: &'a mut [T],
    /// In the shape of the key bias; set to zero before the call.
    pub key_bias: Option<&'a mut [T::Acc]>,
    /// In the shape of the edge bias; set to zero before the call.
    pub edge_bias: Option<&'a mut [T::Acc]>,
    /// In the shape of the bias by distance; set to zero before the call. Not computed where it is `None`.
    pub distances: Option<&'a mut [T::Acc]>,
}

/// Gradients of the statistics; `None` counts as 0. All are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct StatisticsGradients<'a, A> {
    /// Of the entropies, `(B, H, Nq)`.
    pub entropy: Option<&'a [A]>,
    /// Of the mean distances, `(B, H, Nq)`.
    pub distance: Option<&'a [A]>,
    /// Of the masses of keys, `(B, H, Nk)`.
    pub columns: Option<&'a [A]>,
    /// Query i stands at key `first_position + i`.
    pub first_position: i64,
}

impl<T: Storage> Problem<'_, T> {
    /// Refuses what the backward pass takes and gives if it has other sizes than the problem's.
    pub fn check_gradients(&self, saved: &Saved<'_, T>, gradients: &Gradients<'_, T>) -> Result<()> {
        let [batch, heads, n, _] = self.q.shape;
        self.check_sizes_of(gradients, self.v.shape.iter().product())?;
        let shape = [batch, heads, n, self.widths().1];
        for (name, view) in [("out", &saved.out), ("dout", &saved.dout)] {
            if view.shape != shape || !view.fits() {
                return Err(KernelError::shape(name, format!("shape {:?}", view.shape), format!("{shape:?}")));
            }
        }
        for (name, given) in [("lse", Some(saved.lse)), ("lse_rest", Some(saved.rest)), ("dlse", saved.dlse)] {
            if given.is_some_and(|x| x.len() != batch * heads * n) {
                return Err(KernelError::shape(name, "another length", format!("{:?}", [batch, heads, n])));
            }
        }
        Ok(())
    }
    /// [`Self::check_gradients`] for statistics, of which values have no gradient.
    pub(crate) fn check_statistics_gradients(
        &self,
        given: &StatisticsGradients<'_, T::Acc>,
        gradients: &Gradients<'_, T>,
    ) -> Result<()> {
        self.check_sizes_of(gradients, 0)?;
        let [batch, heads, n, _] = self.q.shape;
        let (rows, columns) = (batch * heads * n, batch * heads * self.k.shape[2]);
        for (name, given, want) in [
            ("dentropy", given.entropy, rows),
            ("dmean_distance", given.distance, rows),
            ("dcolumn_mass", given.columns, columns),
        ] {
            if given.is_some_and(|x| x.len() != want) {
                return Err(KernelError::shape(name, "another length", want));
            }
        }
        Ok(())
    }

    fn check_sizes_of(&self, gradients: &Gradients<'_, T>, values: usize) -> Result<()> {
        let size = |view: &View<'_, T>| view.shape.iter().product::<usize>();
        for (name, got, want) in [
            ("dq", gradients.q.len(), size(&self.q)),
            ("dk", gradients.k.len(), size(&self.k)),
            ("dv", gradients.v.len(), values),
        ] {
            if got != want {
                return Err(KernelError::shape(name, format!("{got} values"), want));
            }
        }
        let table = self.modifiers.distances.map_or(0, |bias| bias.values.len());
        if let Some(got) = gradients.distances.as_ref().map(|x| x.len()).filter(|&got| got != table) {
            return Err(KernelError::shape("ddistances", format!("{got} values"), table));
        }
        Ok(())
    }
}
