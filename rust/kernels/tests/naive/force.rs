//! The slow, obvious twin of force attention: one edge at a time, straight from the definition.

/// One batch entry in `f64`; heads share their points.
#[derive(Clone, Debug)]
pub struct Force {
    /// Points of the queries `(n, width)` and of the keys `(m, width)`.
    pub points: [Vec<f64>; 2],
    /// Coordinates of a point.
    pub width: usize,
    /// By head: `a (n)` and `c (m)`.
    pub shifts: Vec<[Vec<f64>; 2]>,
    /// By head: queries `(n, d)` and keys `(m, d)`; empty without them.
    pub dots: Vec<[Vec<f64>; 2]>,
    /// Width of a query and a key.
    pub d: usize,
    /// By head: values `(m, dv)`.
    pub values: Vec<Vec<f64>>,
    /// Width of a value.
    pub dv: usize,
    /// By head.
    pub strength: Vec<f64>,
    /// By head.
    pub rate: Vec<f64>,
    /// Factor on the dot products.
    pub scale: f64,
    /// Added to distances.
    pub eps: f64,
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn row(rows: &[f64], i: usize, width: usize) -> &[f64] {
    &rows[i * width..(i + 1) * width]
}

fn add(to: &mut [f64], i: usize, factor: f64, x: &[f64]) {
    for (to, x) in to[i * x.len()..].iter_mut().zip(x) {
        *to += factor * x;
    }
}

impl Force {
    fn distance(&self, i: usize, j: usize) -> f64 {
        let (e, r) = (row(&self.points[0], i, self.width), row(&self.points[1], j, self.width));
        e.iter().zip(r).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
    }

    fn score(&self, h: usize, i: usize, j: usize) -> f64 {
        let distance = self.distance(i, j);
        let [a, c] = &self.shifts[h];
        let force = (a[i] - c[j]) / (distance + self.eps) * (-self.rate[h] * distance).exp();
        let product = self.dots.get(h).map_or(0.0, |[q, k]| self.scale * dot(row(q, i, self.d), row(k, j, self.d)));
        self.strength[h] * force + product
    }

    /// Output `(n, heads, dv)` and log-sum-exp `(n, heads)` over the keys of each query.
    pub fn forward(&self, keys: &[Vec<usize>]) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lse) = (Vec::new(), Vec::new());
        for (i, keys) in keys.iter().enumerate() {
            for h in 0..self.values.len() {
                let scores: Vec<f64> = keys.iter().map(|&j| self.score(h, i, j)).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                let mut mean = vec![0.0; self.dv];
                for (s, &j) in scores.iter().zip(keys) {
                    add(&mut mean, 0, (s - top).exp() / sum, row(&self.values[h], j, self.dv));
                }
                out.extend(mean);
                lse.push(if keys.is_empty() { f64::NEG_INFINITY } else { top + sum.ln() });
            }
        }
        (out, lse)
    }

    /// Gradients, in the shape of the inputs, for those of the output and of the log-sum-exp.
    pub fn backward(&self, keys: &[Vec<usize>], dout: &[f64], dlse: &[f64]) -> Force {
        let zeros = |x: &Vec<f64>| vec![0.0; x.len()];
        let mut g = Force {
            points: self.points.each_ref().map(zeros),
            shifts: self.shifts.iter().map(|s| s.each_ref().map(zeros)).collect(),
            dots: self.dots.iter().map(|s| s.each_ref().map(zeros)).collect(),
            values: self.values.iter().map(zeros).collect(),
            strength: zeros(&self.strength),
            rate: zeros(&self.rate),
            ..*self
        };
        let heads = self.values.len();
        let (out, lse) = self.forward(keys);
        for (i, keys) in keys.iter().enumerate() {
            for h in 0..heads {
                let at = i * heads + h;
                let (given, mean) = (row(dout, at, self.dv), row(&out, at, self.dv));
                for &j in keys {
                    let weight = (self.score(h, i, j) - lse[at]).exp();
                    let value = row(&self.values[h], j, self.dv);
                    let ds = weight * (dot(given, value) - dot(given, mean) + dlse[at]);
                    add(&mut g.values[h], j, weight, given);
                    if !self.dots.is_empty() {
                        let [q, k] = &self.dots[h];
                        add(&mut g.dots[h][0], i, ds * self.scale, row(k, j, self.d));
                        add(&mut g.dots[h][1], j, ds * self.scale, row(q, i, self.d));
                    }
                    let distance = self.distance(i, j);
                    let decline = (-self.rate[h] * distance).exp();
                    let slope = self.strength[h] * decline / (distance + self.eps);
                    let shift = self.shifts[h][0][i] - self.shifts[h][1][j];
                    g.shifts[h][0][i] += ds * slope;
                    g.shifts[h][1][j] -= ds * slope;
                    g.strength[h] += ds * shift * decline / (distance + self.eps);
                    g.rate[h] -= ds * shift * slope * distance;
                    let by_distance = -ds * shift * slope * (1.0 / (distance + self.eps) + self.rate[h]);
                    if distance > 0.0 {
                        let (e, r) = (row(&self.points[0], i, self.width), row(&self.points[1], j, self.width));
                        let unit: Vec<f64> = e.iter().zip(r).map(|(x, y)| (x - y) / distance).collect();
                        add(&mut g.points[0], i, by_distance, &unit);
                        add(&mut g.points[1], j, -by_distance, &unit);
                    }
                }
            }
        }
        g
    }
}
