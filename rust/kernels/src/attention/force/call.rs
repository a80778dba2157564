//! One call of force attention, and its passes.

use super::padded::{copied, wide};
use super::piece::{Dealt, EdgePiece, tasks};
use super::problem::{ForceGradients, ForceProblem, ForceSaved};
use super::rows::{RowsPart, parts, plans};
use super::side::PointSide;
use super::sweep::{EdgeSweep, Statistics};
use crate::attention::call::Keys;
use crate::attention::element::Accumulator;
use crate::attention::problem::View;
use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use crate::memory;
use crate::simd::Run;

/// Rows of statistics of one task.
const ROWS: usize = 1024;

/// One call of force attention.
#[derive(Clone, Copy, Debug)]
pub struct ForceCall<'a, A> {
    /// Tensors.
    pub problem: ForceProblem<'a, A>,
    /// The keys of the queries; lists are by group of heads, `(B or 1, G or 1, Nq, K)`.
    pub keys: Keys<'a>,
}

impl<A: Accumulator> ForceCall<'_, A> {
    /// Multiply-adds of a forward pass, roughly.
    pub fn work(&self) -> usize {
        let edges = match &self.keys {
            Keys::Set(set) => set.set().nnz(),
            Keys::Lists(lists) => lists.shape[2] * lists.shape[3],
        };
        let [batch, groups, heads] = self.problem.heads();
        let [.., width] = self.problem.e.shape;
        let of_head = self.problem.v.shape[3] + self.problem.dot_width() + 16;
        edges.saturating_mul(batch * groups).saturating_mul(width + heads * of_head)
    }

    /// Fills `out (B, G, Nq, H / G, Dv)` and `lse (B, G, Nq, H / G)`, the logarithm of the sum of exponentials; a query
    /// without keys has output 0 and −∞.
    pub fn forward(&self, run: Run<'_>, out: &mut [A], lse: &mut [A]) -> Result<()> {
        let problem = &self.problem;
        problem.check()?;
        problem.check_outputs(out.len(), lse.len())?;
        let ([_, _, heads], [n, _]) = (problem.heads(), problem.lengths());
        let copies = Copies::new(problem, run.executor())?;
        let (near, far) = copies.sides(problem, problem.v);
        let plans = plans(&self.keys, problem, run.executor())?;
        let (mut out, mut lse) = (Dealt::new(out, heads * problem.v.shape[3]), Dealt::new(lse, heads));
        for part in parts(&self.keys, &plans, problem, true)? {
            let next = |rows| EdgePiece { out: out.take(rows), lse: lse.take(rows), ..EdgePiece::default() };
            let tasks = tasks(part.groups.clone(), n, next)?;
            sweep(problem, [near, far], &part, true, None).run(run, &tasks);
        }
        Ok(())
    }

    /// Fills the gradients.
    pub fn backward(&self, run: Run<'_>, saved: ForceSaved<'_, A>, gradients: ForceGradients<'_, A>) -> Result<()> {
        let problem = &self.problem;
        problem.check()?;
        problem.check_gradients(&saved, &gradients)?;
        let ([batch, groups, heads], [n, m]) = (problem.heads(), problem.lengths());
        let (points, width) = (problem.e.shape[3], problem.v.shape[3]);
        let copies = Copies::new(problem, run.executor())?;
        let dout = by_head(saved.dout, [batch, groups, heads, n, width]);
        let dout_copy = copied(&dout, run.executor())?;
        let (near, far) = copies.sides(problem, wide(dout, &dout_copy));
        let plans = plans(&self.keys, problem, run.executor())?;
        let mut delta = memory::zeros::<A>("v", saved.lse.len())?;
        fill_delta(&mut delta, &saved, width, run.executor());
        let statistics = Some(Statistics { lse: saved.lse, delta: &delta });
        let mut shares = memory::zeros::<A>("v", 2 * saved.lse.len())?;
        let [dq, dk] = gradients.dots;
        let [da, dc] = gradients.shifts;
        {
            let mut e = Dealt::new(gradients.e, points);
            let mut dots = Dealt::new(dq, heads * problem.dot_width());
            let mut shifts = Dealt::new(da, heads);
            let mut constants = Dealt::new(&mut shares, 2 * heads);
            for part in parts(&self.keys, &plans, problem, true)? {
                let tasks = tasks(part.groups.clone(), n, |rows| EdgePiece {
                    points: e.take(rows),
                    dots: dots.take(rows),
                    shifts: shifts.take(rows),
                    constants: constants.take(rows),
                    ..EdgePiece::default()
                })?;
                sweep(problem, [near, far], &part, true, statistics).run(run, &tasks);
            }
        }
        let mut r = Dealt::new(gradients.r, points);
        let mut dots = Dealt::new(dk, heads * problem.dot_width());
        let mut values = Dealt::new(gradients.v, heads * width);
        let mut shifts = Dealt::new(dc, heads);
        for part in parts(&self.keys, &plans, problem, false)? {
            let tasks = tasks(part.groups.clone(), m, |rows| EdgePiece {
                points: r.take(rows),
                dots: dots.take(rows),
                values: values.take(rows),
                shifts: shifts.take(rows),
                ..EdgePiece::default()
            })?;
            sweep(problem, [far, near], &part, false, statistics).run(run, &tasks);
        }
        for (head, (strength, rate)) in gradients.strength.iter_mut().zip(gradients.rate).enumerate() {
            let [mut by_strength, mut by_rate] = [0.0; 2];
            let (group, of_group) = (head / heads, head % heads);
            for at in (0..batch).flat_map(|b| (0..n).map(move |i| ((b * groups + group) * n + i) * heads + of_group)) {
                by_strength += shares[2 * at].to_f64();
                by_rate += shares[2 * at + 1].to_f64();
            }
            (*strength, *rate) = (A::from_f64(by_strength), A::from_f64(by_rate));
        }
        Ok(())
    }
}

/// `(B, G, N, H / G, width)` as `(B, H, N, width)`: either all heads share a group, or each has its own.
fn by_head<A>(data: &[A], [batch, groups, heads, n, width]: [usize; 5]) -> View<'_, A> {
    let of_head = if groups == 1 { width } else { n * width };
    let strides = [groups * n * heads * width, of_head, heads * width].map(|step| step as isize);
    View { data, offset: 0, strides, shape: [batch, groups * heads, n, width] }
}

/// `rowsum(dout ∘ out) − dlse`.
#[inline(never)]
fn fill_delta<A: Accumulator>(delta: &mut [A], saved: &ForceSaved<'_, A>, width: usize, executor: &dyn Executor) {
    for_each_chunk(executor, delta, ROWS, |task, delta| {
        for (i, delta) in delta.iter_mut().enumerate() {
            let at = task * ROWS + i;
            let [out, dout] = [saved.out, saved.dout].map(|rows| &rows[at * width..(at + 1) * width]);
            let sum: f64 = out.iter().zip(dout).map(|(x, y)| x.to_f64() * y.to_f64()).sum();
            *delta = A::from_f64(sum - saved.dlse.map_or(0.0, |dlse| dlse[at].to_f64()));
        }
    });
}

/// Copies of the inputs whose rows are no whole vectors.
struct Copies<A> {
    points: [Vec<A>; 2],
    dots: Option<[Vec<A>; 2]>,
    values: Vec<A>,
}

impl<A: Accumulator> Copies<A> {
    fn new(problem: &ForceProblem<'_, A>, executor: &dyn Executor) -> Result<Self> {
        let both = |[x, y]: [&View<'_, A>; 2]| Ok([copied(x, executor)?, copied(y, executor)?]);
        let dots = problem.dots.as_ref().map(|[q, k]| both([q, k])).transpose()?;
        Ok(Self { points: both([&problem.e, &problem.r])?, dots, values: copied(&problem.v, executor)? })
    }

    /// The sides of the queries, whose values are given, and of the keys.
    fn sides<'a>(
        &'a self,
        problem: &ForceProblem<'a, A>,
        of_queries: View<'a, A>,
    ) -> (PointSide<'a, A>, PointSide<'a, A>) {
        let dots =
            problem.dots.zip(self.dots.as_ref()).map(|([q, k], [wide_q, wide_k])| [wide(q, wide_q), wide(k, wide_k)]);
        let points = [wide(problem.e, &self.points[0]), wide(problem.r, &self.points[1])];
        let [a, c] = problem.shifts;
        let queries = PointSide { points: points[0], dots: dots.map(|d| d[0]), values: of_queries, shifts: a };
        let keys =
            PointSide { points: points[1], dots: dots.map(|d| d[1]), values: wide(problem.v, &self.values), shifts: c };
        (queries, keys)
    }
}

fn sweep<'a, A: Accumulator>(
    problem: &ForceProblem<'a, A>,
    [near, far]: [PointSide<'a, A>; 2],
    part: &'a RowsPart<'a>,
    by_query: bool,
    saved: Option<Statistics<'a, A>>,
) -> EdgeSweep<'a, A> {
    let [_, groups, heads] = problem.heads();
    EdgeSweep {
        near,
        far,
        rows: &part.rows,
        by_query,
        heads: [groups, heads],
        strength: problem.strength,
        rate: problem.rate,
        scale: A::from_f64(problem.scale),
        eps: A::from_f64(problem.eps),
        key_padding: problem.key_padding,
        widths: [problem.e.shape[3], problem.dot_width(), problem.v.shape[3]],
        saved,
    }
}
