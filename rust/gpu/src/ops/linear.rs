//! Softmax of rows and products of matrices.

use super::checking::{hold, values};
use super::dispatches::{RowWork, check_words, word, words};
use crate::buffer::Buffer;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::device::Sort;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use fractal_kernels::executor::Serial;
use fractal_kernels::linear as cpu;
use fractal_shaders::linear::{MATMUL, MatmulParams, SOFTMAX, SoftmaxParams};
use std::sync::Arc;

/// Bytes of a value.
const VALUE: u64 = 4;

/// Softmax of rows, as it is checked.
pub const ROWS: KernelFamily = KernelFamily { name: "softmax", check: check_softmax };

/// Products of matrices, as they are checked.
pub const PRODUCTS: KernelFamily = KernelFamily { name: "matmul", check: check_matmul };

/// How the invocations of a workgroup work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not at all: barriers are dear where a driver computes on the CPU.
    Nothing,
    /// Through the workgroup's memory.
    Memory,
}

impl Sharing {
    /// What is faster on a device.
    pub fn best(context: &Context) -> Self {
        if context.adapter().sort == Sort::Software { Self::Nothing } else { Self::Memory }
    }

    /// Entry point of [`SOFTMAX`].
    pub fn softmax(self) -> &'static str {
        match self {
            Self::Nothing => "by_invocation",
            Self::Memory => "by_workgroup",
        }
    }

    /// Entry point of [`MATMUL`].
    pub fn matmul(self) -> &'static str {
        match self {
            Self::Nothing => "registers",
            Self::Memory => "tiles",
        }
    }

    /// Rows and columns of a tile of a product.
    fn tile(self) -> u64 {
        match self {
            Self::Nothing => 32,
            Self::Memory => 64,
        }
    }
}

/// `exp(x) / sum exp` over each row; `values` (rows, columns) f32. Minus infinity has weight 0, and so has every value of a
/// row that has nothing else; NaN and plus infinity make their row NaN.
pub fn softmax(values: &Buffer, shape: [usize; 2]) -> Result<Buffer> {
    values.context().trust(&ROWS)?;
    softmax_by(Sharing::best(values.context()), values, shape)
}

/// [`softmax`] in one of its two forms, on a device that need not have passed the check.
pub fn softmax_by(sharing: Sharing, values: &Buffer, [rows, columns]: [usize; 2]) -> Result<Buffer> {
    check_words("values", values, &[rows, columns])?;
    let context = values.context();
    let weights = context.alloc(values.bytes())?;
    if values.bytes() == 0 {
        return Ok(weights);
    }
    let columns = word("columns", columns)?;
    let row_bytes = u64::from(columns) * VALUE;
    let kernel = Kernel::new(&SOFTMAX, sharing.softmax())?;
    let mut commands = context.record();
    let steps = 8 * u64::from(columns);
    let pieces = RowWork::new("values", rows as u64, &[row_bytes; 2], steps).pieces(context)?;
    for piece in pieces {
        let params = SoftmaxParams { columns, first: piece.first, end: piece.end };
        let arrays = [piece.of(values, row_bytes)?, piece.of(&weights, row_bytes)?];
        let groups = match sharing {
            Sharing::Nothing => kernel.covering(piece.rows()),
            Sharing::Memory => Groups::of(piece.rows()),
        };
        commands.dispatch(&kernel, &arrays, &params, groups)?;
    }
    commands.submit()?;
    Ok(weights)
}

/// The product of `left` (rows, inner) and `right` (inner, columns), f32.
pub fn matmul(left: &Buffer, right: &Buffer, shape: [usize; 3]) -> Result<Buffer> {
    left.context().trust(&PRODUCTS)?;
    matmul_by(Sharing::best(left.context()), left, right, shape)
}

/// [`matmul`] in one of its two forms, on a device that need not have passed the check.
pub fn matmul_by(
    sharing: Sharing,
    left: &Buffer,
    right: &Buffer,
    [rows, inner, columns]: [usize; 3],
) -> Result<Buffer> {
    check_words("left", left, &[rows, inner])?;
    check_words("right", right, &[inner, columns])?;
    let context = left.context();
    let result = context.alloc(words("result", &[rows, columns])?)?;
    let mut commands = context.record();
    if inner == 0 {
        commands.clear(&result)?;
    }
    let [stride, columns] = [word("inner", inner)?, word("columns", columns)?];
    let (left_bytes, right_bytes) = (u64::from(stride) * VALUE, u64::from(columns) * VALUE);
    let side = sharing.tile();
    let kernel = Kernel::new(&MATMUL, sharing.matmul())?;
    // A right matrix that one binding cannot hold comes a stretch of rows at a time, whose products are added up.
    let stretches = RowWork::new("right", inner as u64, &[right_bytes], 0).pieces(context)?;
    for stretch in stretches {
        let steps = stretch.rows() * u64::from(columns);
        let bytes = &[left_bytes, right_bytes];
        let all = RowWork::new("left", rows as u64, bytes, steps).in_units(side).pieces(context)?;
        for piece in all {
            let params = MatmulParams {
                columns,
                stride,
                inner_first: stretch.bound.start as u32,
                inner: stretch.end,
                first: piece.first,
                end: piece.end,
                accumulate: u32::from(stretch.bound.start > 0),
            };
            let arrays =
                [piece.of(left, left_bytes)?, stretch.of(right, right_bytes)?, piece.of(&result, right_bytes)?];
            let tiles = piece.rows().div_ceil(side) * u64::from(columns).div_ceil(side);
            commands.dispatch(&kernel, &arrays, &params, Groups::of(tiles))?;
        }
    }
    commands.submit()?;
    Ok(result)
}

fn check_softmax(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let shape = [trial.side(1), trial.side(16) + 1];
    let mut rows = values(shape[0] * shape[1]);
    // A row of nothing, and one that has little.
    for (row, hidden) in rows.chunks_mut(shape[1]).skip(1).zip([shape[1], shape[1] - 2]) {
        row[..hidden].fill(f32::NEG_INFINITY);
    }
    let wanted = trial.twin(|| cpu::softmax(&rows, shape, &Serial))?;
    let sharing = Sharing::best(context);
    let got = softmax_by(sharing, &context.upload(&rows)?, shape)?;
    hold(&SOFTMAX, sharing.softmax(), got, &wanted)
}

fn check_matmul(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let shape = [trial.side(4) + 2, trial.side(2) + 1, trial.side(4)];
    let (left, right) = (values(shape[0] * shape[1]), values(shape[1] * shape[2]));
    let wanted = trial.twin(|| cpu::matmul(&left, &right, shape, &Serial))?;
    let sharing = Sharing::best(context);
    let got = matmul_by(sharing, &context.upload(&left)?, &context.upload(&right)?, shape)?;
    hold(&MATMUL, sharing.matmul(), got, &wanted)
}
