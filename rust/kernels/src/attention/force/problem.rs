//! One problem of force attention: its arrays, and which of them fit together.

use crate::attention::element::Accumulator;
use crate::attention::problem::View;
use crate::error::{KernelError, Result};

/// The inputs of force attention. G is 1, and all heads share their points, or it is the number H of heads.
#[derive(Clone, Copy, Debug)]
pub struct ForceProblem<'a, A> {
    /// Points of the queries, `(B, G, Nq, C)`.
    pub e: View<'a, A>,
    /// Points of the keys, `(B, G, Nk, C)`.
    pub r: View<'a, A>,
    /// Values, `(B, H, Nk, Dv)`.
    pub v: View<'a, A>,
    /// Queries `(B, H, Nq, D)` and keys `(B, H, Nk, D)` whose scaled dot products join the scores.
    pub dots: Option<[View<'a, A>; 2]>,
    /// Factor on the dot products.
    pub scale: f64,
    /// `a (B, G, Nq, H / G)` and `c (B, G, Nk, H / G)`, contiguous.
    pub shifts: [&'a [A]; 2],
    /// Factor on the forces of each head, `(H,)`.
    pub strength: &'a [A],
    /// By which forces decline with distance, `(H,)`, not negative.
    pub rate: &'a [A],
    /// Added to distances in the denominator, above 0.
    pub eps: f64,
    /// Keys that no query attends to, `(B, Nk)`.
    pub key_padding: Option<&'a [bool]>,
}

/// What the forward pass left, and the incoming gradients.
#[derive(Clone, Copy, Debug)]
pub struct ForceSaved<'a, A> {
    /// `(B, G, Nq, H / G, Dv)`, contiguous.
    pub out: &'a [A],
    /// `(B, G, Nq, H / G)`, contiguous.
    pub lse: &'a [A],
    /// Gradient of `out`, in its form.
    pub dout: &'a [A],
    /// Gradient of `lse`, in its form.
    pub dlse: Option<&'a [A]>,
}

/// Where the gradients go, contiguous. Those of heads are `(B, G, N, H / G, width)`.
#[derive(Debug)]
pub struct ForceGradients<'a, A> {
    /// `(B, G, Nq, C)`.
    pub e: &'a mut [A],
    /// `(B, G, Nk, C)`.
    pub r: &'a mut [A],
    /// `(B, G, Nk, H / G, Dv)`.
    pub v: &'a mut [A],
    /// Of q and k, `(B, G, N, H / G, D)`; empty without them.
    pub dots: [&'a mut [A]; 2],
    /// Of a and c, `(B, G, N, H / G)`.
    pub shifts: [&'a mut [A]; 2],
    /// `(H,)`.
    pub strength: &'a mut [A],
    /// `(H,)`.
    pub rate: &'a mut [A],
}

fn expect(argument: &'static str, given: usize, allowed: &[usize]) -> Result<()> {
    if given == allowed.iter().product() {
        return Ok(());
    }
    Err(KernelError::shape(argument, format!("{given} values"), format!("{allowed:?}")))
}

impl<A: Accumulator> ForceProblem<'_, A> {
    /// Batch, groups of heads that share points, heads of a group.
    pub(super) fn heads(&self) -> [usize; 3] {
        let [batch, groups, ..] = self.e.shape;
        [batch, groups, self.v.shape[1] / groups]
    }

    /// Queries and keys.
    pub(super) fn lengths(&self) -> [usize; 2] {
        [self.e.shape[2], self.r.shape[2]]
    }

    /// Width of a query or a key, 0 without them.
    pub(super) fn dot_width(&self) -> usize {
        self.dots.map_or(0, |[q, _]| q.shape[3])
    }

    /// Refuses arrays that do not fit together.
    pub(super) fn check(&self) -> Result<()> {
        let (e, v) = (self.e.shape, self.v.shape);
        let ([batch, groups, n, width], m, heads) = (e, self.r.shape[2], v[1]);
        let views = [("e", &self.e), ("r", &self.r), ("v", &self.v)];
        let dots = self.dots.iter().flat_map(|[q, k]| [("q", q), ("k", k)]);
        for (name, view) in views.into_iter().chain(dots) {
            if view.shape.contains(&0) || !view.fits() {
                let allowed = "no empty dimension, and strides inside of its memory";
                return Err(KernelError::shape(name, format!("shape {:?}", view.shape), allowed));
            }
        }
        let same = |name, given: [usize; 4], wanted: [usize; 4]| {
            if given == wanted {
                Ok(())
            } else {
                Err(KernelError::shape(name, format!("{given:?}"), format!("{wanted:?}")))
            }
        };
        same("r", self.r.shape, [batch, groups, m, width])?;
        same("v", v, [batch, heads, m, v[3]])?;
        if groups != 1 && groups != heads {
            return Err(KernelError::shape("e", format!("{groups} heads"), format!("1 or {heads}, as v")));
        }
        if let Some([q, k]) = &self.dots {
            same("q", q.shape, [batch, heads, n, q.shape[3]])?;
            same("k", k.shape, [batch, heads, m, q.shape[3]])?;
        }
        expect("a", self.shifts[0].len(), &[batch, n, heads])?;
        expect("c", self.shifts[1].len(), &[batch, m, heads])?;
        expect("tau", self.strength.len(), &[heads])?;
        expect("length", self.rate.len(), &[heads])?;
        if let Some(&rate) = self.rate.iter().find(|&&rate| rate < A::default()) {
            return Err(KernelError::value("length", 1.0 / rate.to_f64(), "lengths above 0"));
        }
        if let Some(padding) = self.key_padding {
            expect("key_padding_mask", padding.len(), &[batch, m])?;
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(KernelError::value("eps", self.eps, "a finite number above 0"));
        }
        if !self.scale.is_finite() {
            return Err(KernelError::value("scale", self.scale, "a finite number"));
        }
        Ok(())
    }

    /// Refuses results of other sizes.
    pub(super) fn check_outputs(&self, out: usize, lse: usize) -> Result<()> {
        let ([batch, ..], [n, _], [_, heads, _, width]) = (self.heads(), self.lengths(), self.v.shape);
        expect("out", out, &[batch, heads, n, width])?;
        expect("lse", lse, &[batch, heads, n])
    }

    /// Refuses gradients of other sizes.
    pub(super) fn check_gradients(&self, saved: &ForceSaved<'_, A>, gradients: &ForceGradients<'_, A>) -> Result<()> {
        self.check_outputs(saved.out.len(), saved.lse.len())?;
        self.check_outputs(saved.dout.len(), saved.dlse.map_or(saved.lse.len(), <[A]>::len))?;
        let heads = self.v.shape[1];
        expect("de", gradients.e.len(), &self.e.shape)?;
        expect("dr", gradients.r.len(), &self.r.shape)?;
        expect("dv", gradients.v.len(), &self.v.shape)?;
        expect("da", gradients.shifts[0].len(), &[self.shifts[0].len()])?;
        expect("dc", gradients.shifts[1].len(), &[self.shifts[1].len()])?;
        expect("dtau", gradients.strength.len(), &[heads])?;
        expect("dlength", gradients.rate.len(), &[heads])?;
        for (side, name) in ["dq", "dk"].into_iter().enumerate() {
            let wanted = self.dots.map_or(0, |dots| dots[side].shape.iter().product());
            expect(name, gradients.dots[side].len(), &[wanted])?;
        }
        Ok(())
    }
}
