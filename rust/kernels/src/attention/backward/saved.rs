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
}

impl<T: Storage> Problem<'_, T> {
    /// Refuses what the backward pass takes and gives if it has other sizes than the problem's.
    pub fn check_gradients(&self, saved: &Saved<'_, T>, gradients: &Gradients<'_, T>) -> Result<()> {
        let [batch, heads, n, _] = self.q.shape;
        let size = |view: &View<'_, T>| view.shape.iter().product::<usize>();
        for (name, got, want) in [
            ("dq", gradients.q.len(), size(&self.q)),
            ("dk", gradients.k.len(), size(&self.k)),
            ("dv", gradients.v.len(), size(&self.v)),
        ] {
            if got != want {
                return Err(KernelError::shape(name, format!("{got} values"), want));
            }
        }
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
}
