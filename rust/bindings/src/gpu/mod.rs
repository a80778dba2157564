//! The GPU, as Python asks for it.

pub(crate) mod attention;
mod buffer;
mod curves;
mod device;
mod elementwise;
mod error;
mod fields;
mod options;
mod resident;
mod result;

pub(crate) use buffer::GpuBuffer;
pub(crate) use curves::{gpu_decode, gpu_encode};
pub(crate) use device::{
    gpu_adapters, gpu_counts, gpu_destroy, gpu_device, gpu_families, gpu_inject, gpu_memory, gpu_time, gpu_timed,
    gpu_trim, gpu_try, gpu_wait, gpu_warmup,
};
pub(crate) use elementwise::{gpu_elementwise, gpu_elementwise_resident};
pub(crate) use fields::{gpu_escape, gpu_soft_escape, gpu_soft_escape_vjp};
pub(crate) use options::{gpu_options, set_gpu_options};
pub(crate) use resident::{
    gpu_attention_resident, gpu_box_sums, gpu_copy, gpu_density, gpu_distances, gpu_encode_resident,
    gpu_escape_resident, gpu_matmul, gpu_occupied, gpu_softmax,
};
