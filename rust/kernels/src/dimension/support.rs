//! The cells of a matrix on which a statistic is defined, and matrices checked against them.

use super::edges::Edges;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::{interrupt, memory};
use std::ops::Range;

/// Which cells there are. Queries are the last positions of the keys: row `i` is position `i + columns - rows`.
#[derive(Clone, Copy, Debug)]
pub enum Support<'a> {
    /// Every cell.
    Full,
    /// Keys up to the query's own position.
    Causal,
    /// Keys at most `radius` positions away, with `causal` none after the query.
    Near {
        /// Most positions between query and key.
        radius: usize,
        /// Whether keys after the query are left out.
        causal: bool,
    },
    /// Those that are true, row by row: one matrix for all, or one for each.
    Listed(&'a [bool]),
    /// Those of sparse matrices, which have values for no other.
    Edges(Edges<'a>),
}

/// A support with the shape it is laid over: matrices, rows, columns.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    support: Support<'a>,
    shape: [usize; 3],
}

/// The columns of one row that are in a support.
#[derive(Clone, Debug, PartialEq)]
pub enum InRow<'a> {
    /// Neighbours.
    Between(Range<usize>),
    /// One bool a column.
    Where(&'a [bool]),
    /// Columns, increasing; values are theirs alone.
    At(&'a [i32]),
}

impl InRow<'_> {
    /// Whether a column is in.
    #[inline]
    pub fn has(&self, column: usize) -> bool {
        match self {
            Self::Between(range) => range.contains(&column),
            Self::Where(cells) => cells[column],
            Self::At(keys) => keys.binary_search(&(column as i32)).is_ok(),
        }
    }

    /// How many are in.
    pub fn count(&self) -> usize {
        match self {
            Self::Between(range) => range.len(),
            Self::Where(cells) => cells.iter().filter(|&&cell| cell).count(),
            Self::At(keys) => keys.len(),
        }
    }

    /// Calls `each` for every column that is in, from left to right, with the place of its value in the row first.
    #[inline]
    pub fn each(&self, mut each: impl FnMut(usize, usize)) {
        match self {
            Self::Between(range) => range.clone().for_each(|j| each(j, j)),
            Self::Where(cells) => cells.iter().enumerate().filter(|&(_, &cell)| cell).for_each(|(j, _)| each(j, j)),
            Self::At(keys) => keys.iter().enumerate().for_each(|(k, &j)| each(k, j as usize)),
        }
    }

    /// The places of the values of neighbouring columns.
    pub fn places(&self, columns: Range<usize>) -> Range<usize> {
        match self {
            Self::Between(_) | Self::Where(_) => columns,
            Self::At(keys) => {
                let before = |end: usize| keys.partition_point(|&key| (key as usize) < end);
                before(columns.start)..before(columns.end)
            }
        }
    }
}

impl<'a> Domain<'a> {
    /// A support over matrices of at least one cell.
    pub fn new(support: Support<'a>, shape: [usize; 3]) -> Result<Self> {
        let [matrices, rows, columns] = shape;
        if rows == 0 || columns == 0 {
            return Err(KernelError::shape(
                "shape",
                format!("{rows} x {columns} cells"),
                "at least one row and column",
            ));
        }
        if let Support::Listed(cells) = support {
            let one = memory::product::<bool>("support", &[rows, columns])?;
            if cells.len() != one && cells.len() != memory::product::<bool>("support", &shape)? {
                let given = format!("{} cells", cells.len());
                return Err(KernelError::shape(
                    "support",
                    given,
                    format!("{rows} x {columns}, one or {matrices} times"),
                ));
            }
        }
        if let Support::Edges(edges) = support
            && edges.rows() != rows
        {
            return Err(KernelError::shape("support", format!("{} rows", edges.rows()), format!("{rows} rows")));
        }
        Ok(Self { support, shape })
    }

    /// The edges, where values are of edges alone.
    pub fn edges(&self) -> Option<Edges<'a>> {
        if let Support::Edges(edges) = self.support { Some(edges) } else { None }
    }

    /// Refuses edges.
    pub fn whole(&self) -> Result<()> {
        match self.edges() {
            Some(edges) => Err(KernelError::value("support", format!("{} edges", edges.count()), "whole matrices")),
            None => Ok(()),
        }
    }

    /// How many values a matrix has.
    pub fn size(&self) -> usize {
        self.edges().map_or(self.shape[1] * self.shape[2], |edges| edges.count())
    }

    /// Where the values of a row are in their matrix.
    pub fn span(&self, row: usize) -> Range<usize> {
        let columns = self.shape[2];
        self.edges().map_or(row * columns..(row + 1) * columns, |edges| edges.span(row))
    }

    /// Row and column of a matrix's value.
    fn place(&self, cell: usize) -> [usize; 2] {
        self.edges().map_or([cell / self.shape[2], cell % self.shape[2]], |edges| edges.place(cell))
    }

    /// Matrices, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The position among the keys of the query of a row; below 0 where there are more queries than keys.
    pub fn position(&self, row: usize) -> isize {
        row as isize + self.shape[2] as isize - self.shape[1] as isize
    }

    /// What one row has.
    pub fn row(&self, matrix: usize, row: usize) -> InRow<'a> {
        let [_, rows, columns] = self.shape;
        let own = self.position(row);
        let upto = |last: isize| last.saturating_add(1).clamp(0, columns as isize) as usize;
        InRow::Between(match self.support {
            Support::Full => 0..columns,
            Support::Causal => 0..upto(own),
            Support::Near { radius, causal } => {
                let radius = isize::try_from(radius).unwrap_or(isize::MAX);
                let end = upto(if causal { own } else { own.saturating_add(radius) });
                upto(own.saturating_sub(radius).saturating_sub(1)).min(end)..end
            }
            Support::Edges(edges) => return InRow::At(edges.row(row)),
            Support::Listed(cells) => {
                let matrix = if cells.len() == rows * columns { 0 } else { matrix };
                let start = (matrix * rows + row) * columns;
                return InRow::Where(&cells[start..start + columns]);
            }
        })
    }

    /// How many of the matrices have a support of their own: 1 where they share it.
    pub fn different(&self) -> usize {
        let [matrices, rows, columns] = self.shape;
        match self.support {
            Support::Listed(cells) if cells.len() != rows * columns => matrices,
            _ => 1,
        }
    }

    /// One bool a value, of each of the [`different`](Self::different) supports.
    pub fn cells(&self, executor: &dyn Executor) -> Result<Vec<bool>> {
        let [_, rows, _] = self.shape;
        let mut cells =
            memory::zeros("support", memory::product::<bool>("support", &[self.different(), self.size()])?)?;
        if cells.is_empty() {
            return Ok(cells);
        }
        for_each_chunk(executor, &mut cells, self.size(), |matrix, cells| {
            for i in 0..rows {
                let cells = &mut cells[self.span(i)];
                self.row(matrix, i).each(|k, _| cells[k] = true);
            }
        });
        Ok(cells)
    }
}

/// Numbers that matrices are made of.
pub trait Scalar: Copy + Into<f64> + Send + Sync {}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// Matrices on a support, in C order.
#[derive(Clone, Copy, Debug)]
pub struct Matrices<'a, T> {
    argument: &'static str,
    values: &'a [T],
    domain: Domain<'a>,
}

/// Where a matrix breaks a rule, for a message.
struct Broken {
    at: [usize; 3],
    value: f64,
}

impl<'a, T: Scalar> Matrices<'a, T> {
    /// Matrices by their values; `argument` is what callers name them.
    pub fn new(argument: &'static str, values: &'a [T], domain: Domain<'a>) -> Result<Self> {
        let shape = domain.shape();
        if memory::product::<T>(argument, &[shape[0], domain.size()])? != values.len() {
            return Err(KernelError::shape(argument, format!("{} values", values.len()), format!("{shape:?}")));
        }
        Ok(Self { argument, values, domain })
    }

    /// The support.
    pub fn domain(&self) -> Domain<'a> {
        self.domain
    }

    /// What callers name them.
    pub fn argument(&self) -> &'static str {
        self.argument
    }

    /// One matrix.
    pub fn matrix(&self, matrix: usize) -> &'a [T] {
        let size = self.domain.size();
        &self.values[matrix * size..(matrix + 1) * size]
    }

    /// One row.
    pub fn row(&self, matrix: usize, row: usize) -> &'a [T] {
        &self.matrix(matrix)[self.domain.span(row)]
    }

    /// Refuses what is no measure: a value that is not finite, one below 0, one that is not 0 outside of the support.
    pub fn check_measure(&self, executor: &dyn Executor) -> Result<()> {
        if let Some(Broken { at, value }) =
            self.first(
                executor,
                |value, inside| {
                    if inside { !(0.0..f64::INFINITY).contains(&value) } else { value != 0.0 }
                },
            )?
        {
            if (0.0..f64::INFINITY).contains(&value) {
                let given = format!("a support without the cell {at:?}, which has weight {value}");
                return Err(KernelError::value("support", given, "a support that holds every weight above 0"));
            }
            let given = format!("{value} at {at:?}");
            return Err(KernelError::value(self.argument, given, "finite numbers, 0 or more"));
        }
        Ok(())
    }

    /// Refuses values in the support that are not finite.
    pub fn check_surface(&self, executor: &dyn Executor) -> Result<()> {
        match self.first(executor, |value, inside| inside && !value.is_finite())? {
            Some(Broken { at, value }) => {
                let given = format!("{value} at {at:?}");
                Err(KernelError::value(self.argument, given, "finite numbers in the support"))
            }
            None => Ok(()),
        }
    }

    /// The first cell that breaks a rule of value and membership.
    fn first(&self, executor: &dyn Executor, breaks: impl Fn(f64, bool) -> bool + Sync) -> Result<Option<Broken>> {
        let [matrices, rows, columns] = self.domain.shape();
        let mut found = memory::filled(self.argument, usize::MAX, matrices)?;
        for_each_chunk(executor, &mut found, 1, |matrix, found| {
            for i in 0..rows {
                interrupt::check_each(i, 1 << 10);
                let (values, keys) = (self.row(matrix, i), self.domain.row(matrix, i));
                let broken = |range: Range<usize>, inside: bool| {
                    // Without an early exit the loop is done in vectors.
                    let any = values[range.clone()].iter().fold(false, |any, &x| any | breaks(x.into(), inside));
                    any.then(|| range.clone().find(|&j| breaks(values[j].into(), inside))).flatten()
                };
                let first = match &keys {
                    InRow::Between(range) => broken(0..range.start, false)
                        .or_else(|| broken(range.clone(), true))
                        .or_else(|| broken(range.end..columns, false)),
                    InRow::Where(cells) => (0..columns).find(|&j| breaks(values[j].into(), cells[j])),
                    InRow::At(keys) => broken(0..keys.len(), true),
                };
                if let Some(k) = first {
                    found[0] = self.domain.span(i).start + k;
                    return;
                }
            }
        });
        let first = found.iter().enumerate().find(|&(_, &cell)| cell != usize::MAX);
        Ok(first.map(|(matrix, &cell)| {
            let [row, column] = self.domain.place(cell);
            let at = [matrix, row, column];
            Broken { at, value: self.matrix(matrix)[cell].into() }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::executor::Serial;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_has_what_the_definition_says(
            rows in 1_usize..9, columns in 1_usize..9, radius in 0_usize..10, causal: bool,
        ) {
            let near = Support::Near { radius, causal };
            let listed: Vec<bool> = (0..rows * columns).map(|i| i * i % 7 < 3).collect();
            for (kind, support) in [Support::Full, Support::Causal, near, Support::Listed(&listed)].into_iter().enumerate() {
                let domain = Domain::new(support, [2, rows, columns]).unwrap();
                let cells = domain.cells(&Serial).unwrap();
                prop_assert_eq!(cells.len(), rows * columns);
                for i in 0..rows {
                    let back = |j: usize| i as i64 + columns as i64 - rows as i64 - j as i64;
                    let wanted: Vec<bool> = (0..columns).map(|j| match kind {
                        0 => true,
                        1 => back(j) >= 0,
                        2 => back(j).unsigned_abs() as usize <= radius && (back(j) >= 0 || !causal),
                        _ => listed[i * columns + j],
                    }).collect();
                    let row = domain.row(1, i);
                    prop_assert_eq!(&cells[i * columns..(i + 1) * columns], &wanted[..]);
                    prop_assert_eq!((0..columns).map(|j| row.has(j)).collect::<Vec<_>>(), wanted.clone());
                    prop_assert_eq!(row.count(), wanted.iter().filter(|&&x| x).count());
                }
            }
        }
    }

    #[test]
    fn what_is_no_measure_is_refused_where_it_is() {
        let check = |values: &[f32], support| {
            let domain = Domain::new(support, [1, 2, 2]).unwrap();
            Matrices::new("weights", values, domain).unwrap().check_measure(&Serial)
        };
        assert!(check(&[1.0, 0.0, 0.5, 0.5], Support::Causal).is_ok());
        let error = check(&[1.0, 0.25, 0.5, 0.5], Support::Causal).unwrap_err();
        assert_eq!((error.argument, error.kind), ("support", ErrorKind::Value));
        assert!(error.given.contains("[0, 0, 1], which has weight 0.25"));
        for bad in [f32::NAN, f32::INFINITY, -0.5] {
            assert_eq!(check(&[1.0, 0.0, bad, 0.5], Support::Causal).unwrap_err().argument, "weights");
            assert_eq!(check(&[1.0, bad, 0.0, 0.5], Support::Causal).unwrap_err().argument, "weights");
        }
        let domain = Domain::new(Support::Causal, [1, 2, 2]).unwrap();
        let surface = |values: &[f64]| Matrices::new("values", values, domain).unwrap().check_surface(&Serial).is_ok();
        assert!(surface(&[1.0, f64::NEG_INFINITY, -3.0, 2.0]));
        assert!(!surface(&[1.0, 0.0, f64::NAN, 2.0]));
        assert_eq!(Domain::new(Support::Full, [1, 0, 2]).unwrap_err().kind, ErrorKind::Shape);
        assert_eq!(Domain::new(Support::Listed(&[true]), [1, 2, 2]).unwrap_err().argument, "support");
        assert_eq!(Matrices::new("values", &[0.0_f32], domain).unwrap_err().argument, "values");
    }
}
