//! The adapters of this machine, best first, and why one is not taken.

use crate::error::{GpuError, Result};
use crate::options::{Api, Choice};
use fractal_runtime::settings;

/// What sort of processor an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A part of a GPU, lent to a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// The CPU, through a driver that computes in software.
    Software,
}

impl Sort {
    /// Steps of one dispatch, each about a multiply-add on a value from memory: a tenth of a second of work on the slowest
    /// devices of a sort. Systems take a device away from a process that keeps it for seconds.
    pub(crate) fn steps_per_dispatch(self) -> u64 {
        if self == Self::Software { 1 << 26 } else { 1 << 31 }
    }
}

/// An adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its number in the list.
    pub index: usize,
    /// Name of the device.
    pub name: String,
    /// What it is.
    pub sort: Sort,
    /// The graphics API that it is reached through: `vulkan`, `metal` or `dx12`.
    pub api: String,
    /// Name and version of its driver.
    pub driver: String,
    /// Why it is not used; `None` if it may be.
    pub rejected: Option<String>,
}

/// An adapter and how to open it.
pub(super) struct Candidate {
    pub(super) info: AdapterInfo,
    pub(super) adapter: wgpu::Adapter,
}

/// The APIs that are tried. OpenGL has neither the limits nor the drivers for compute.
pub(super) fn backends(choice: &Choice) -> wgpu::Backends {
    match choice.api {
        None => wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        Some(Api::Vulkan) => wgpu::Backends::VULKAN,
        Some(Api::Metal) => wgpu::Backends::METAL,
        Some(Api::Dx12) => wgpu::Backends::DX12,
    }
}

fn sort_of(kind: wgpu::DeviceType) -> Sort {
    match kind {
        wgpu::DeviceType::DiscreteGpu => Sort::Discrete,
        wgpu::DeviceType::IntegratedGpu => Sort::Integrated,
        wgpu::DeviceType::VirtualGpu => Sort::Virtual,
        wgpu::DeviceType::Cpu => Sort::Software,
        wgpu::DeviceType::Other => Sort::Other,
    }
}

/// Why the adapter is not used, whatever others there are.
fn rejection(info: &AdapterInfo, shaders_run: bool, choice: &Choice) -> Option<String> {
    if !shaders_run {
        return Some("it runs no compute shaders".into());
    }
    if let Some(wanted) = &choice.adapter {
        let named = info.name.to_lowercase().contains(&wanted.to_lowercase());
        if !named && wanted.parse() != Ok(info.index) {
            return Some(format!("another was asked for: {wanted:?}"));
        }
    }
    if info.sort == Sort::Software && !choice.allow_software {
        return Some(format!(
            "it computes on the CPU, slower than the CPU kernels do; {}=1 takes it",
            settings::ALLOW_SOFTWARE
        ));
    }
    None
}

/// Every adapter, best first, with those that are not used among them.
pub(super) fn candidates(instance: &wgpu::Instance, choice: &Choice) -> Vec<Candidate> {
    let mut found = pollster::block_on(instance.enumerate_adapters(backends(choice)));
    // Stable, so that the driver's own order decides between equals.
    found.sort_by_key(|adapter| sort_of(adapter.get_info().device_type));
    let described = found.into_iter().enumerate().map(|(index, adapter)| {
        let about = adapter.get_info();
        let mut info = AdapterInfo {
            index,
            name: about.name,
            sort: sort_of(about.device_type),
            api: about.backend.to_str().to_string(),
            driver: format!("{} {}", about.driver, about.driver_info).trim().to_string(),
            rejected: None,
        };
        let flags = adapter.get_downlevel_capabilities().flags;
        info.rejected = rejection(&info, flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS), choice);
        Candidate { info, adapter }
    });
    described.collect()
}

/// The first that may be used.
pub(super) fn best(candidates: Vec<Candidate>) -> Result<Candidate> {
    let rejected: Vec<_> = candidates
        .iter()
        .filter_map(|Candidate { info, .. }| Some(format!("{} ({})", info.name, info.rejected.as_ref()?)))
        .collect();
    candidates.into_iter().find(|candidate| candidate.info.rejected.is_none()).ok_or_else(|| {
        GpuError::Unavailable(if rejected.is_empty() {
            "no driver offers an adapter".into()
        } else {
            format!("rejected {}", rejected.join(", "))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, index: usize, sort: Sort) -> AdapterInfo {
        AdapterInfo { index, name: name.into(), sort, api: "vulkan".into(), driver: "d 1".into(), rejected: None }
    }

    #[test]
    fn software_is_taken_only_when_allowed() {
        let software = named("llvmpipe", 1, Sort::Software);
        let plain = Choice::default();
        assert!(rejection(&software, true, &plain).unwrap().contains("on the CPU"));
        assert_eq!(rejection(&software, true, &Choice { allow_software: true, ..plain.clone() }), None);
        assert_eq!(rejection(&named("Arc", 0, Sort::Discrete), true, &plain), None);
        assert!(rejection(&named("Old", 0, Sort::Discrete), false, &plain).unwrap().contains("compute"));
    }

    #[test]
    fn an_adapter_is_asked_for_by_number_or_by_part_of_its_name() {
        let card = named("NVIDIA GeForce RTX 4090", 2, Sort::Discrete);
        for (wanted, taken) in [("2", true), ("geforce", true), ("1", false), ("Radeon", false)] {
            let choice = Choice { adapter: Some(wanted.into()), ..Choice::default() };
            assert_eq!(rejection(&card, true, &choice).is_none(), taken, "{wanted}");
        }
    }
}
