//! From the machine to an open device.

use super::adapter::{AdapterInfo, Candidate, Sort, backends, best, candidates};
use super::handle::{Abilities, Device, Limits, caught};
use super::timing::Timing;
use crate::counters::Counters;
use crate::error::{GpuError, Result};
use crate::faults::Faults;
use crate::options::{Choice, Options};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

fn instance(choice: &Choice) -> wgpu::Instance {
    let mut flags = wgpu::InstanceFlags::empty();
    flags.set(wgpu::InstanceFlags::VALIDATION, choice.validate);
    flags.set(wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER, choice.allow_noncompliant);
    let descriptor = wgpu::InstanceDescriptor {
        backends: backends(choice),
        flags,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    wgpu::Instance::new(descriptor)
}

/// Every adapter of this machine, best first.
pub(crate) fn adapters(choice: &Choice) -> Result<Vec<AdapterInfo>> {
    caught("listing the adapters", || {
        candidates(&instance(choice), choice).into_iter().map(|candidate| candidate.info).collect()
    })
}

impl Device {
    /// Opens the best adapter that may be used.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        caught("opening a device", || Self::open_best(best(candidates(&instance(&options.choice), &options.choice))?))?
    }

    fn open_best(Candidate { info, adapter }: Candidate) -> Result<Self> {
        let about = adapter.get_info();
        let mut wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
        // On a GPU with memory of its own this would move every buffer to the CPU's.
        if matches!(info.sort, Sort::Software | Sort::Integrated) {
            wanted |= wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
        }
        let features = adapter.features() & wanted;
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("fractal_core"),
            required_features: features,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (raw, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| GpuError::Unavailable(format!("{}: {error}", info.name)))?;
        let lost: Arc<OnceLock<String>> = Arc::default();
        let gone = lost.clone();
        raw.set_device_lost_callback(move |reason, message| {
            gone.get_or_init(|| format!("{reason:?}: {message}"));
        });
        let stray: Arc<Mutex<Option<wgpu::Error>>> = Arc::default();
        let kept = stray.clone();
        raw.on_uncaptured_error(Arc::new(move |error| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }));
        let has = |feature| features.contains(feature);
        Ok(Self {
            raw,
            queue,
            limits: Limits {
                // A buffer has whole words.
                buffer_bytes: limits.max_buffer_size & !3,
                binding_bytes: limits.max_storage_buffer_binding_size & !3,
                groups: limits.max_compute_workgroups_per_dimension,
            },
            abilities: Abilities {
                subgroups: has(wgpu::Features::SUBGROUP).then_some((about.subgroup_min_size, about.subgroup_max_size)),
                f16: has(wgpu::Features::SHADER_F16),
                timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
                unified: has(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
            },
            info,
            counters: Counters::default(),
            faults: Faults::default(),
            timing: Timing::default(),
            timeout: AtomicU64::new(0),
            unsubmitted: AtomicU64::new(0),
            lost,
            stray,
        })
    }
}
