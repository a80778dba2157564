//! Boxes of 2, 4, 8, … cells a side over a plane of cells: which are occupied, how many, and what each holds.

use super::checking::{hold, values};
use super::dispatches::{RowWork, check_words, word, words};
use crate::buffer::Buffer;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use crate::recorder::Recorder;
use fractal_kernels::KernelError;
use fractal_kernels::boxes as cpu;
use fractal_kernels::executor::Serial;
use fractal_shaders::Shader;
use fractal_shaders::boxes::{COUNT, CountParams, HalveParams, OCCUPIED, SUMS};
use std::sync::Arc;

/// Bytes of a cell and of a box.
const CELL: u64 = 4;

/// Boxes, as they are checked.
pub const BOXES: KernelFamily = KernelFamily { name: "boxes", check };

/// The boxes of one size.
pub struct ResidentBoxLevel {
    /// Rows and columns of boxes.
    pub shape: [usize; 2],
    /// One value a box, row by row.
    pub boxes: Buffer,
}

/// Which boxes are occupied, and how many.
pub struct OccupiedBoxes {
    /// 1 or 0 for each box, u32, for sides of 2, 4, … cells, until one box holds everything.
    pub levels: Vec<ResidentBoxLevel>,
    /// How many are, u32: of the cells, then of the boxes of each level.
    pub counts: Buffer,
}

/// Which boxes have a cell that is not 0; `cells` (rows, columns) u32.
pub fn occupied(cells: &Buffer, shape: [usize; 2]) -> Result<OccupiedBoxes> {
    check_words("cells", cells, &shape)?;
    if cells.bytes() / CELL > u64::from(u32::MAX) {
        return Err(KernelError::shape("cells", format!("{shape:?}"), "less than 2**32 cells").into());
    }
    cells.context().trust(&BOXES)?;
    occupied_boxes(cells, shape)
}

fn occupied_boxes(cells: &Buffer, shape: [usize; 2]) -> Result<OccupiedBoxes> {
    let context = cells.context();
    let mut commands = context.record();
    let levels = pyramid(&mut commands, &OCCUPIED, cells, shape)?;
    let counts = context.alloc((levels.len() as u64 + 1) * CELL)?;
    commands.clear(&counts)?;
    for (level, boxes) in std::iter::once(cells).chain(levels.iter().map(|level| &level.boxes)).enumerate() {
        count(&mut commands, boxes, level as u32, &counts)?;
    }
    commands.submit()?;
    Ok(OccupiedBoxes { levels, counts })
}

/// The sums of the boxes' cells for sides of 2, 4, … cells; `cells` (rows, columns) f32.
pub fn sums(cells: &Buffer, shape: [usize; 2]) -> Result<Vec<ResidentBoxLevel>> {
    check_words("cells", cells, &shape)?;
    cells.context().trust(&BOXES)?;
    boxes_sums(cells, shape)
}

fn boxes_sums(cells: &Buffer, shape: [usize; 2]) -> Result<Vec<ResidentBoxLevel>> {
    let mut commands = cells.context().record();
    let levels = pyramid(&mut commands, &SUMS, cells, shape)?;
    commands.submit()?;
    Ok(levels)
}

fn pyramid(
    commands: &mut Recorder,
    shader: &'static Shader,
    cells: &Buffer,
    shape: [usize; 2],
) -> Result<Vec<ResidentBoxLevel>> {
    let kernel = Kernel::new(shader, "halve")?;
    let mut levels: Vec<ResidentBoxLevel> = Vec::new();
    let mut below = shape;
    for shape in cpu::shapes(shape) {
        let boxes = cells.context().alloc(words("cells", &shape)?)?;
        let source = levels.last().map_or(cells, |level| &level.boxes);
        halve(commands, &kernel, source, below, &boxes)?;
        levels.push(ResidentBoxLevel { shape, boxes });
        below = shape;
    }
    Ok(levels)
}

fn halve(commands: &mut Recorder, kernel: &Kernel, cells: &Buffer, shape: [usize; 2], boxes: &Buffer) -> Result<()> {
    let [rows, columns] = [word("cells", shape[0])?, word("cells", shape[1])?];
    let across = columns.div_ceil(2);
    // A row of boxes has two rows of cells, but for the last one of an odd number.
    let (row_bytes, boxes_bytes) = (u64::from(columns) * CELL, u64::from(across) * CELL);
    let n = u64::from(rows.div_ceil(2));
    let all = RowWork::new("cells", n, &[2 * row_bytes, boxes_bytes], 4 * u64::from(across)).pieces(cells.context())?;
    for piece in all {
        let (start, end) = (2 * piece.bound.start, u64::from(rows).min(2 * piece.bound.end));
        let params =
            HalveParams { rows: (end - start) as u32, columns, first: piece.first * across, end: piece.end * across };
        let arrays = [cells.part(start * row_bytes..end * row_bytes)?, piece.of(boxes, boxes_bytes)?];
        commands.dispatch(kernel, &arrays, &params, kernel.covering(piece.rows() * u64::from(across)))?;
    }
    Ok(())
}

/// Adds to a count how many of the cells are not 0.
fn count(commands: &mut Recorder, cells: &Buffer, level: u32, counts: &Buffer) -> Result<()> {
    /// Cells of a workgroup.
    const GROUP: u64 = 256 * 16;
    let kernel = Kernel::new(&COUNT, "count")?;
    let n = cells.bytes() / CELL;
    for piece in RowWork::new("cells", n, &[CELL], 1).in_units(GROUP).pieces(cells.context())? {
        let params = CountParams { first: piece.first, end: piece.end, level };
        let arrays = [piece.of(cells, CELL)?, counts.whole()];
        commands.dispatch(&kernel, &arrays, &params, Groups::of(piece.rows().div_ceil(GROUP)))?;
    }
    Ok(())
}

fn check(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let shape = [trial.side(2), trial.side(4) + 1];
    let n = shape[0] * shape[1];
    let cells: Vec<u32> = (0..n).map(|i| u32::from(i * i % 31 == 5)).collect();
    let wanted = trial.twin(|| cpu::occupied(&cells, shape, &Serial))?;
    let got = occupied_boxes(&context.upload(&cells)?, shape)?;
    for (got, wanted) in got.levels.into_iter().zip(&wanted) {
        hold(&OCCUPIED, "halve", got.boxes, &wanted.boxes)?;
    }
    let counts: Vec<u32> = trial.twin(|| {
        let all = std::iter::once(&cells).chain(wanted.iter().map(|level| &level.boxes));
        all.map(|boxes| cpu::count(boxes) as u32).collect()
    });
    hold(&COUNT, "count", got.counts, &counts)?;
    let cells = values(n);
    let wanted = trial.twin(|| cpu::sums(&cells, shape, &Serial))?;
    let got = boxes_sums(&context.upload(&cells)?, shape)?;
    got.into_iter().zip(&wanted).try_for_each(|(got, wanted)| hold(&SUMS, "halve", got.boxes, &wanted.boxes))
}
