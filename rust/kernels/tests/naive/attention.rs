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
    /// The `c` of `c · tanh(score / c)`, before biases are added.
    pub soft_cap: Option<f64>,
    /// A logit that joins the denominator alone.
    pub sink: Option<f64>,
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
    /// [`max_and_sum`], with the sink.
    fn max_and_sum(&self, logits: &[(usize, f64)]) -> Option<(f64, f64)> {
        let keys = max_and_sum(logits);
        let Some(sink) = self.sink else { return keys };
        let (max, sum) = keys.unwrap_or((f64::NEG_INFINITY, 0.0));
        let top = max.max(sink);
        let rescaled = if sum == 0.0 { 0.0 } else { sum * (max - top).exp() };
        Some((top, rescaled + (sink - top).exp()))
    }

    fn logits(&self, set: &IndexSet, query: usize, first_edge: usize) -> Vec<(usize, f64)> {
        let q = &self.q[query * self.d..][..self.d];
        set.row(query)
            .enumerate()
            .map(|(slot, key)| {
                let key = key as usize;
                let mut s = self.scale * dot(q, &self.k[key * self.d..][..self.d]);
                s = self.soft_cap.map_or(s, |cap| cap * (s / cap).tanh());
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
            let Some((max, sum)) = self.max_and_sum(&logits) else { continue };
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

    /// The weights of a query, by key.
    fn weights(&self, set: &IndexSet, query: usize, first_edge: usize) -> Vec<(usize, f64)> {
        let logits = self.logits(set, query, first_edge);
        let (max, sum) = max_and_sum(&logits).unwrap_or((0.0, 1.0));
        logits.into_iter().map(|(key, s)| (key, (s - max).exp() / sum)).collect()
    }

    /// All weights, in row order.
    pub fn all_weights(&self, set: &IndexSet) -> Vec<f64> {
        let mut all = Vec::new();
        for query in 0..set.n_queries() {
            all.extend(self.weights(set, query, all.len()).into_iter().map(|(_, p)| p));
        }
        all
    }

    /// Entropy, maximum and mean distance `(n_queries,)`, mass of keys `(n_keys,)`; query i stands at key `first + i`.
    pub fn statistics(&self, set: &IndexSet, first: i64) -> [Vec<f64>; 4] {
        let [mut entropy, mut maximum, mut distance] = [const { Vec::new() }; 3];
        let mut columns = vec![0.0; set.n_keys()];
        let mut edge = 0;
        for query in 0..set.n_queries() {
            let weights = self.weights(set, query, edge);
            edge += weights.len();
            entropy.push(weights.iter().filter(|w| w.1 != 0.0).map(|w| -w.1 * w.1.ln()).sum());
            maximum.push(weights.iter().map(|w| w.1).fold(0.0, f64::max));
            distance.push(weights.iter().map(|w| w.1 * (query as f64 + first as f64 - w.0 as f64).abs()).sum());
            for (key, p) in weights {
                columns[key] += p;
            }
        }
        [entropy, maximum, distance, columns]
    }

    /// Gradients of q, k and the biases for those of the entropies, the mean distances and the masses of keys.
    pub fn statistics_backward(&self, set: &IndexSet, first: i64, given: [&[f64]; 3]) -> Gradients {
        let mut g = self.no_gradients(set);
        let mut edge = 0;
        for query in 0..set.n_queries() {
            let weights = self.weights(set, query, edge);
            // What a small change of each weight changes, the sum of weights aside.
            let of_weight = |&(key, p): &(usize, f64)| {
                let surprise = if p == 0.0 { 0.0 } else { -p.ln() };
                let far = (query as f64 + first as f64 - key as f64).abs();
                given[0][query] * surprise + given[1][query] * far + given[2][key]
            };
            let mean: f64 = weights.iter().map(|w| w.1 * of_weight(w)).sum();
            for (slot, weight) in weights.iter().enumerate() {
                self.add_score(&mut g, query, weight.0, edge + slot, weight.1 * (of_weight(weight) - mean));
            }
            edge += weights.len();
        }
        g
    }

    fn no_gradients(&self, set: &IndexSet) -> Gradients {
        Gradients {
            q: vec![0.0; self.q.len()],
            k: vec![0.0; self.k.len()],
            v: vec![0.0; self.v.len()],
            key_bias: vec![0.0; set.n_keys()],
            edge_bias: vec![0.0; set.nnz()],
        }
    }

    /// Adds what the gradient of one score gives.
    fn add_score(&self, g: &mut Gradients, query: usize, key: usize, edge: usize, ds: f64) {
        let (q, k) = (&self.q[query * self.d..][..self.d], &self.k[key * self.d..][..self.d]);
        let slope = self.soft_cap.map_or(1.0, |cap| 1.0 - (self.scale * dot(q, k) / cap).tanh().powi(2));
        for c in 0..self.d {
            g.q[query * self.d + c] += ds * slope * self.scale * k[c];
            g.k[key * self.d + c] += ds * slope * self.scale * q[c];
        }
        g.key_bias[key] += ds;
        g.edge_bias[edge] = ds;
    }

    /// Gradients of q, k, v, the key bias and the edge bias for the gradients of the output and of lse.
    pub fn backward(&self, set: &IndexSet, dout: &[f64], dlse: Option<&[f64]>) -> Gradients {
        let (out, _) = self.forward(set);
        let mut g = self.no_gradients(set);
        let mut edge = 0;
        for query in 0..set.n_queries() {
            let logits = self.logits(set, query, edge);
            let (max, sum) = self.max_and_sum(&logits).unwrap_or((0.0, 1.0));
            let go = &dout[query * self.dv..][..self.dv];
            let delta = dot(go, &out[query * self.dv..][..self.dv]) - dlse.map_or(0.0, |d| d[query]);
            for (slot, &(key, s)) in logits.iter().enumerate() {
                let p = if s == f64::NEG_INFINITY { 0.0 } else { (s - max).exp() / sum };
                let dp = dot(go, &self.v[key * self.dv..][..self.dv]);
                let ds = p * (dp - delta);
                for c in 0..self.dv {
                    g.v[key * self.dv + c] += p * go[c];
                }
                self.add_score(&mut g, query, key, edge + slot, ds);
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
