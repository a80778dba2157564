//! The GPU, as Python asks for it.

mod buffer;
mod device;
mod elementwise;
mod error;
mod options;
mod result;

pub(crate) use buffer::GpuBuffer;
pub(crate) use device::{
    gpu_adapters, gpu_counts, gpu_destroy, gpu_device, gpu_inject, gpu_memory, gpu_trim, gpu_warmup,
};
pub(crate) use elementwise::{gpu_elementwise, gpu_elementwise_resident};
pub(crate) use options::{gpu_options, set_gpu_options};
