//! `fractal_core._native`: everything Python can call.
#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands every argument over by value")]

mod arrays;
mod attention;
mod attention_statistics;
mod builders;
mod curves;
mod detached;
mod dimension;
mod error;
mod fields;
mod force;
#[cfg(feature = "gpu")]
mod gpu;
mod index_sets;
mod memory;
mod peak;
mod threads;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: fractal_runtime::allocator::HugePages = fractal_runtime::allocator::HugePages;

#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use crate::attention::{attention_backward, attention_forward};
    #[pymodule_export]
    use crate::attention_statistics::{attention_statistics, attention_statistics_backward, attention_weights};
    #[pymodule_export]
    use crate::builders::{
        cantor_samples_set, cantor_set, dragon_set, hilbert_box_set, hilbert_set, julia_set, neighborhood_set,
        random_set, sierpinski_set, window_set,
    };
    #[pymodule_export]
    use crate::curves::{
        cantor_points, digit_offsets, dragon_turns, dragon_vertices, hilbert_decode, hilbert_encode, hilbert_order,
        morton_decode, morton_encode, morton_order,
    };
    #[pymodule_export]
    use crate::dimension::{
        attention_rollout, box_counts, closer_pairs, distance_extent, fit_lines, fluctuations, foreground,
        higuchi_lengths, lacunarity, measure_moments, row_statistics, support_cells, surface_cover, surface_increments,
    };
    #[pymodule_export]
    use crate::fields::{
        grid, julia_escape, julia_escape_vjp, julia_potential, julia_potential_vjp, julia_soft_escape,
        julia_soft_escape_vjp, mandelbrot_escape,
    };
    #[pymodule_export]
    use crate::force::{force_backward, force_forward};
    #[cfg(feature = "gpu")]
    #[pymodule_export]
    use crate::gpu::{
        GpuBuffer, gpu_adapters, gpu_attention_resident, gpu_box_sums, gpu_copy, gpu_counts, gpu_decode, gpu_density,
        gpu_destroy, gpu_device, gpu_distances, gpu_elementwise, gpu_elementwise_resident, gpu_encode,
        gpu_encode_resident, gpu_escape, gpu_escape_resident, gpu_families, gpu_inject, gpu_matmul, gpu_memory,
        gpu_occupied, gpu_options, gpu_soft_escape, gpu_soft_escape_vjp, gpu_softmax, gpu_time, gpu_timed, gpu_trim,
        gpu_try, gpu_wait, gpu_warmup, set_gpu_options,
    };
    #[pymodule_export]
    use crate::index_sets::{PyIndexSet, edges_of, plan_counts_of};
    #[pymodule_export]
    use crate::memory::huge_block;
    #[pymodule_export]
    use crate::peak::fma_chains;
    #[pymodule_export]
    use crate::threads::{attach_openmp, simd_passes, thread_info};

    #[pymodule_init]
    #[allow(clippy::unnecessary_wraps, reason = "the signature that PyO3 asks for")]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        fractal_runtime::process::remember();
        // The first array looks NumPy's functions up, and a Ctrl-C that comes then is a panic: so it is made here.
        drop(numpy::PyArray1::<u8>::zeros(module.py(), 0, false));
        Ok(())
    }
}
