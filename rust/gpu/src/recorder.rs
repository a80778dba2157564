//! Lists of work: recorded, checked, and submitted at once.

use crate::buffer::{Buffer, BufferSlice};
use crate::context::Context;
use crate::device::{Job, Pipeline, Stretch, SubmissionIndex, Usage, Work};
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use crate::mapped::Mapped;
use bytemuck::AnyBitPattern;
use fractal_kernels::KernelError;
use fractal_shaders::{Kind, Params};
use std::ops::Range;
use std::sync::Arc;

enum Step {
    Dispatch { pipeline: Arc<Pipeline>, params: Option<Range<u64>>, arrays: Vec<BufferSlice>, groups: Groups },
    Copy([BufferSlice; 2]),
    Clear([BufferSlice; 1]),
}

impl Step {
    fn views(&self) -> &[BufferSlice] {
        match self {
            Self::Dispatch { arrays, .. } => arrays,
            Self::Copy(views) => views,
            Self::Clear(view) => view,
        }
    }
}

/// Work in order. Each piece sees what those before it wrote.
pub struct Recorder {
    context: Arc<Context>,
    steps: Vec<Step>,
    /// The parameters of all dispatches.
    params: Vec<u8>,
}

/// Work on its way; it goes on when this is dropped.
pub struct Submission {
    context: Arc<Context>,
    index: SubmissionIndex,
}

impl Submission {
    /// Waits until it is done, asking now and then whether the call is to stop.
    pub fn wait(&self) -> Result<()> {
        self.context.device()?.wait(Some(&self.index), || true)
    }
}

impl Recorder {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, steps: Vec::new(), params: Vec::new() }
    }

    /// Runs a kernel over its arrays, in the order of its shader's table. An array that is written is bound once.
    pub fn dispatch<P: Params>(
        &mut self,
        kernel: &Kernel,
        arrays: &[BufferSlice],
        params: &P,
        groups: Groups,
    ) -> Result<()> {
        let device = self.context.device()?;
        let shader = kernel.shader;
        if shader.params().unwrap_or(<() as Params>::LAYOUT) != P::LAYOUT {
            let given = std::any::type_name::<P>();
            return Err(KernelError::value("params", given, format!("the parameters of {}", shader.name)).into());
        }
        self.check_arrays(kernel, arrays, device.limits.binding_bytes)?;
        if let Some(side) = groups.0.iter().find(|&&side| side > device.limits.groups) {
            let allowed = format!("at most {} workgroups along a dimension", device.limits.groups);
            return Err(KernelError::value("groups", side, allowed).into());
        }
        if groups.0.contains(&0) {
            return Ok(());
        }
        let pipeline = self.context.pipelines().get(device, kernel)?;
        let params = shader.params().map(|_| self.keep(bytemuck::bytes_of(params)));
        self.steps.push(Step::Dispatch { pipeline, params, arrays: arrays.to_vec(), groups });
        Ok(())
    }

    fn check_arrays(&self, kernel: &Kernel, arrays: &[BufferSlice], most: u64) -> Result<()> {
        let shader = kernel.shader;
        if arrays.len() != shader.arrays().count() {
            let allowed = shader.arrays().map(|binding| binding.holds).collect::<Vec<_>>().join("; ");
            return Err(KernelError::value("arrays", format!("{} arrays", arrays.len()), allowed).into());
        }
        for (view, binding) in arrays.iter().zip(shader.arrays()) {
            view.buffer.check(&self.context)?;
            if view.bytes > most {
                let (given, allowed) = (format!("{} bytes", view.bytes), format!("at most {most} bytes"));
                return Err(KernelError::value(binding.holds, given, allowed).into());
            }
            let bound = arrays.iter().filter(|other| other.buffer.is(&view.buffer)).count();
            if binding.kind == Kind::ReadWrite && bound > 1 {
                let given = "an array that is bound twice";
                return Err(KernelError::value(binding.holds, given, "an array of its own").into());
            }
        }
        Ok(())
    }

    /// Appends parameters; returns where they are.
    fn keep(&mut self, params: &[u8]) -> Range<u64> {
        let start = self.params.len().next_multiple_of(BufferSlice::ALIGNMENT as usize);
        // A uniform binding has whole vectors.
        let end = start + params.len().next_multiple_of(16);
        self.params.resize(end, 0);
        self.params[start..start + params.len()].copy_from_slice(params);
        start as u64..end as u64
    }

    /// Copies an array to another of the same size.
    pub fn copy(&mut self, from: impl Into<BufferSlice>, to: impl Into<BufferSlice>) -> Result<()> {
        let [from, to] = [from.into(), to.into()];
        from.buffer.check(&self.context)?;
        to.buffer.check(&self.context)?;
        if from.bytes != to.bytes || from.buffer.is(&to.buffer) {
            let allowed = format!("another array of {} bytes", from.bytes);
            return Err(KernelError::value("to", format!("{} bytes", to.bytes), allowed).into());
        }
        if from.bytes > 0 {
            self.steps.push(Step::Copy([from, to]));
        }
        Ok(())
    }

    /// Fills an array with zeros.
    pub fn clear(&mut self, array: impl Into<BufferSlice>) -> Result<()> {
        let array = array.into();
        array.buffer.check(&self.context)?;
        if array.bytes > 0 {
            self.steps.push(Step::Clear([array]));
        }
        Ok(())
    }

    /// Submits the work.
    pub fn submit(self) -> Result<Submission> {
        let (context, index) = (self.context.clone(), self.hand_over()?);
        Ok(Submission { context, index })
    }

    /// Submits the work, and reads arrays when it is done. Where memory is unified and nobody else has an array it is read
    /// in place, and elsewhere from a copy that the device makes; the CPU copies nothing.
    pub fn submit_reading<const N: usize>(mut self, arrays: [Buffer; N]) -> Result<[Mapped<u8>; N]> {
        let alone: Vec<bool> = arrays.iter().map(|array| self.nobody_else_has(array)).collect();
        let mut results = Vec::with_capacity(N);
        for (array, alone) in arrays.into_iter().zip(alone) {
            array.check(&self.context)?;
            if self.context.abilities().unified && alone {
                results.push(Mapped::new(array));
            } else {
                let staging = self.context.lease(Usage::Staging, array.bytes())?;
                self.copy(&array, &staging)?;
                self.context.counters().staged.add(array.bytes());
                results.push(Mapped::new(staging));
            }
        }
        let context = self.context.clone();
        let index = self.hand_over()?;
        let device = context.device()?;
        for result in &mut results {
            result.request(device)?;
        }
        for result in &mut results {
            result.finish(device, &index)?;
        }
        Ok(results.try_into().unwrap_or_else(|_| unreachable!("as many results as arrays")))
    }

    /// Whether an array is only the caller's and this recorder's, which lets go of it when it submits.
    fn nobody_else_has(&self, array: &Buffer) -> bool {
        let recorded = self.steps.iter().flat_map(Step::views).filter(|view| view.buffer.is(array)).count();
        array.holders() == recorded + 1
    }

    fn hand_over(self) -> Result<SubmissionIndex> {
        let device = self.context.device()?;
        let params = match self.params.len() as u64 {
            0 => None,
            bytes => Some(self.context.lease(Usage::Uniform, bytes)?),
        };
        let work: Vec<_> = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Dispatch { pipeline, params: at, arrays, groups } => {
                    let params = at.as_ref().zip(params.as_ref()).map(|(at, buffer)| Stretch {
                        block: buffer.block(),
                        offset: at.start,
                        bytes: at.end - at.start,
                    });
                    let bindings = params.into_iter().chain(arrays.iter().map(BufferSlice::stretch)).collect();
                    Work::Dispatch { pipeline, bindings, groups: groups.0 }
                }
                Step::Copy([from, to]) => Work::Copy { from: from.stretch(), to: to.stretch() },
                Step::Clear([view]) => Work::Clear(view.stretch()),
            })
            .collect();
        let params = params.as_ref().map(|buffer| (buffer.block(), &self.params[..]));
        device.submit(&Job { params, work: &work })
    }
}

impl Context {
    /// Begins a list of work.
    pub fn record(self: &Arc<Self>) -> Recorder {
        Recorder::new(self.clone())
    }

    /// The values of an array. If this is its last handle they are read in place where memory is unified; elsewhere, and
    /// if somebody else has the array, from a copy that the device makes.
    pub fn download<T: AnyBitPattern>(self: &Arc<Self>, array: Buffer) -> Result<Mapped<T>> {
        let [mapped] = self.record().submit_reading([array])?;
        mapped.cast()
    }

    /// An array of zeros.
    pub fn zeros(self: &Arc<Self>, bytes: u64) -> Result<Buffer> {
        let buffer = self.alloc(bytes)?;
        let mut commands = self.record();
        commands.clear(&buffer)?;
        commands.submit()?;
        Ok(buffer)
    }
}
