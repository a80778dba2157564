//! The slow, obvious twin of the attention kernel: one query at a time, straight from the definition.
//!
//! Property tests hold the fast kernel to it; it is never called for speed.

use fractal_kernels::index_set::IndexSet;

/// One head of attention in `f64`: contiguous `q (n_queries, d)`, `k (n_keys, d)`, `v (n_keys, dv)`.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Queries, `(n_queries, d)`.
    pub q: &'a [f64],
    /// Keys, `(n_keys, d)`.
    pub k: &'a [f64],
    /// Values, `(n_keys, dv)`.
    pub v: &'a [f64],
    /// Width of a query and a key.
    pub d: usize,
    /// Width of a value.
    pub dv: usize,
    /// Factor on the dot products.
    pub scale: f64,
    /// Added to the logits of each key, `(n_keys,)`; −∞ hides it.
    pub key_bias: Option<&'a [f64]>,
    /// Added to the logit of each (query, key) pair in row order, `(nnz,)`.
    pub edge_bias: Option<&'a [f64]>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The greatest logit, and the sum of the exponentials of what the others lie below it; `None` where there is no key.
fn max_and_sum(logits: &[(usize, f64)]) -> Option<(f64, f64)> {
    let max = logits.iter().map(|l| l.1).fold(f64::NEG_INFINITY, f64::max);
    let hidden = max == f64::NEG_INFINITY && !logits.iter().any(|l| l.1.is_nan());
    (!hidden).then(|| (max, logits.iter().map(|l| (l.1 - max).exp()).sum()))
}

impl Head<'_> {
    fn logits(&self, set: &IndexSet, query: usize, first_edge: usize) -> Vec<(usize, f64)> {
        let q = &self.q[query * self.d..][..self.d];
        set.row(query)
            .enumerate()
            .map(|(slot, key)| {
                let key = key as usize;
                let mut s = self.scale * dot(q, &self.k[key * self.d..][..self.d]);
                s += self.key_bias.map_or(0.0, |b| b[key]);
                s += self.edge_bias.map_or(0.0, |b| b[first_edge + slot]);
                (key, s)
            })
            .collect()
    }

    /// Output `(n_queries, dv)` and log-sum-exp `(n_queries,)`.
    pub fn forward(&self, set: &IndexSet) -> (Vec<f64>, Vec<f64>) {
        let mut out = vec![0.0; set.n_queries() * self.dv];
        let mut lse = vec![f64::NEG_INFINITY; set.n_queries()];
        let mut edge = 0;
        for query in 0..set.n_queries() {
            let logits = self.logits(set, query, edge);
            edge += logits.len();
            let Some((max, sum)) = max_and_sum(&logits) else { continue };
            lse[query] = max + sum.ln();
            for &(key, s) in &logits {
                let p = (s - max).exp() / sum;
                for (o, v) in out[query * self.dv..][..self.dv].iter_mut().zip(&self.v[key * self.dv..]) {
                    *o += p * v;
                }
            }
        }
        (out, lse)
    }

    /// Gradients of q, k, v, the key bias and the edge bias for the gradients of the output and of lse.
    pub fn backward(&self, set: &IndexSet, dout: &[f64], dlse: Option<&[f64]>) -> Gradients {
        let (out, _) = self.forward(set);
        let mut g = Gradients {
            q: vec![0.0; self.q.len()],
            k: vec![0.0; self.k.len()],
            v: vec![0.0; self.v.len()],
            key_bias: vec![0.0; set.n_keys()],
            edge_bias: vec![0.0; set.nnz()],
        };
        let mut edge = 0;
        for query in 0..set.n_queries() {
            let logits = self.logits(set, query, edge);
            let (max, sum) = max_and_sum(&logits).unwrap_or((0.0, 1.0));
            let go = &dout[query * self.dv..][..self.dv];
            let delta = dot(go, &out[query * self.dv..][..self.dv]) - dlse.map_or(0.0, |d| d[query]);
            for (slot, &(key, s)) in logits.iter().enumerate() {
                let p = if s == f64::NEG_INFINITY { 0.0 } else { (s - max).exp() / sum };
                let dp = dot(go, &self.v[key * self.dv..][..self.dv]);
                let ds = p * (dp - delta);
                for c in 0..self.dv {
                    g.v[key * self.dv + c] += p * go[c];
                }
                for c in 0..self.d {
                    g.q[query * self.d + c] += ds * self.scale * self.k[key * self.d + c];
                    g.k[key * self.d + c] += ds * self.scale * self.q[query * self.d + c];
                }
                g.key_bias[key] += ds;
                g.edge_bias[edge + slot] = ds;
            }
            edge += logits.len();
        }
        g
    }
}

/// Gradients of one head.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// `(n_queries, d)`.
    pub q: Vec<f64>,
    /// `(n_keys, d)`.
    pub k: Vec<f64>,
    /// `(n_keys, dv)`.
    pub v: Vec<f64>,
    /// `(n_keys,)`.
    pub key_bias: Vec<f64>,
    /// `(nnz,)`.
    pub edge_bias: Vec<f64>,
}
