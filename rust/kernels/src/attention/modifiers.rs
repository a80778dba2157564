//! Changes of scores that follow a rule and need no list of edges: a soft cap, a bias by distance, and sinks.

/// What is done to the scores beside the biases of keys and edges: the soft cap before all biases are added.
#[derive(Clone, Copy, Debug, Default)]
pub struct Modifiers<'a, A> {
    /// The `c` of `c · tanh(score / c)`, above 0.
    pub soft_cap: Option<f64>,
    /// A bias by distance.
    pub distances: Option<DistanceBias<'a, A>>,
    /// For each query head a logit that joins the denominator of the softmax alone.
    pub sinks: Option<&'a [A]>,
}

/// A table that is added to the scores by how far the key is from the query.
#[derive(Clone, Copy, Debug)]
pub struct DistanceBias<'a, A> {
    /// Contiguous, `(heads or 1, length)`.
    pub values: &'a [A],
    /// Heads or 1.
    pub heads: usize,
    /// The entry of a query and a key at one place. That of others is theirs plus the difference `query − key` of their
    /// places, or the first or last one where there is none.
    pub origin: i64,
    /// Places of the queries and of the keys; their numbers where there are none.
    pub places: Option<(&'a [i32], &'a [i32])>,
}

impl<'a, A> DistanceBias<'a, A> {
    /// Entries of one head.
    pub fn length(&self) -> usize {
        self.values.len() / self.heads.max(1)
    }

    /// The table of one head.
    pub(crate) fn row(&self, head: usize) -> &'a [A] {
        let length = self.length();
        &self.values[head.min(self.heads - 1) * length..][..length]
    }
}

impl<A> Modifiers<'_, A> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.soft_cap.is_none() && self.distances.is_none() && self.sinks.is_none()
    }
}
