//! Results where the device left them, read by the CPU.

use crate::buffer::Buffer;
use crate::device::{Bytes, Device, Request, SubmissionIndex};
use crate::error::Result;
use bytemuck::AnyBitPattern;
use fractal_kernels::KernelError;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Values in mapped memory of the device, which is unmapped and used again when they are dropped.
pub struct Mapped<T> {
    memory: ManuallyDrop<Memory>,
    of: PhantomData<T>,
}

/// A buffer that nobody else has, and its mapping.
struct Memory {
    bytes: Option<Bytes>,
    request: Option<Request>,
    buffer: Buffer,
}

impl Mapped<u8> {
    /// To be mapped; the buffer must have no other holder once what was recorded with it is submitted.
    pub(crate) fn new(buffer: Buffer) -> Self {
        Self { memory: ManuallyDrop::new(Memory { bytes: None, request: None, buffer }), of: PhantomData }
    }

    /// Asks for the mapping. Nothing is mapped for an array of no bytes.
    pub(crate) fn request(&mut self, device: &Device) -> Result<()> {
        let (block, bytes) = (self.memory.buffer.block(), self.memory.buffer.bytes());
        if bytes > 0 {
            self.memory.request = Some(device.request_map(block, bytes.next_multiple_of(4))?);
        }
        Ok(())
    }

    /// Waits for it.
    pub(crate) fn finish(&mut self, device: &Device, after: &SubmissionIndex) -> Result<()> {
        let (block, bytes) = (self.memory.buffer.block(), self.memory.buffer.bytes());
        if let Some(request) = &self.memory.request {
            self.memory.bytes = Some(device.mapped(block, bytes.next_multiple_of(4), request, after)?);
            device.counters.mapped.add(bytes);
        }
        Ok(())
    }
}

impl<T> Mapped<T> {
    /// The same memory as values of another type.
    pub fn cast<U: AnyBitPattern>(self) -> Result<Mapped<U>> {
        // An empty one has no place in particular.
        if let (false, Err(error)) = (self.raw().is_empty(), bytemuck::try_cast_slice::<u8, U>(self.raw())) {
            let given = format!("{} bytes at {:p} ({error})", self.raw().len(), self.raw().as_ptr());
            let allowed = format!("whole, aligned values of {}", std::any::type_name::<U>());
            return Err(KernelError::value("dtype", given, allowed).into());
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: moved out of what is not dropped.
        let memory = unsafe { ManuallyDrop::take(&mut this.memory) };
        Ok(Mapped { memory: ManuallyDrop::new(memory), of: PhantomData })
    }

    /// Bytes of all results of its device that are mapped, its own among them.
    pub fn held(&self) -> u64 {
        self.memory.buffer.context().counts().mapped
    }

    fn raw(&self) -> &[u8] {
        self.memory.bytes.as_ref().map_or(&[], |bytes| &bytes.get()[..self.memory.buffer.bytes() as usize])
    }
}

impl<T: AnyBitPattern> Deref for Mapped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // The type was checked when the values were cast to it; an empty slice has no place in particular.
        if self.raw().is_empty() { &[] } else { bytemuck::cast_slice(self.raw()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The view must be gone before the mapping.
        if self.bytes.take().is_some() {
            self.buffer.context().counters().mapped.take_away(self.buffer.bytes());
        }
        if let (Some(_), Ok(device)) = (self.request.take(), self.buffer.context().device()) {
            device.unmap(self.buffer.block());
        }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // A forked child leaves the parent's memory alone.
        if !self.memory.buffer.context().foreign() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
