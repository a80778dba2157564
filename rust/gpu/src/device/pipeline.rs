//! Compiled entry points, each kept from its first use on.

use super::handle::Device;
use crate::error::{GpuError, Result};
use crate::kernel::Kernel;
use fractal_shaders::{Kind, Need, Shader};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled entry point.
pub(crate) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// A shader as the device knows it.
struct Module {
    raw: wgpu::ShaderModule,
    layout: wgpu::BindGroupLayout,
}

/// What distinguishes two pipelines.
type Key = (&'static str, &'static str, Vec<(&'static str, u64)>);

/// Everything that has been compiled.
#[derive(Default)]
pub(crate) struct Pipelines {
    modules: Mutex<HashMap<&'static str, Arc<Module>>>,
    pipelines: Mutex<HashMap<Key, Arc<Pipeline>>>,
}

fn named(shader: &Shader, error: GpuError) -> GpuError {
    match error {
        GpuError::Validation { message, .. } => GpuError::Shader { shader: shader.name.into(), message },
        other => other,
    }
}

impl Module {
    fn new(device: &Device, shader: &'static Shader) -> Result<Self> {
        for need in shader.needs {
            let (there, what) = match need {
                Need::Subgroups => (device.abilities.subgroups.is_some(), "subgroups"),
                Need::F16 => (device.abilities.f16, "half precision"),
            };
            if !there {
                let message = format!("{} has no {what}", device.info.name);
                return Err(GpuError::Shader { shader: shader.name.into(), message });
            }
        }
        let source = wgpu::ShaderSource::Wgsl(Cow::Owned(shader.source()));
        let entries: Vec<_> = shader
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding.kind {
                        Kind::Uniform(_) => wgpu::BufferBindingType::Uniform,
                        Kind::ReadOnly => wgpu::BufferBindingType::Storage { read_only: true },
                        Kind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let label = Some(shader.name);
        let made = device.checked("compiling", None, |device| Self {
            raw: device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source }),
            layout: device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries }),
        });
        made.map_err(|error| named(shader, error))
    }
}

impl Pipelines {
    /// The pipeline of a kernel, compiled if this is its first use.
    pub(crate) fn get(&self, device: &Device, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let constants = kernel.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect();
        let key: Key = (kernel.shader.name, kernel.entry.name, constants);
        // Nobody compiles with the lock: two threads may compile the same, and the first to be done is kept.
        if let Some(pipeline) = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(pipeline.clone());
        }
        let module = self.module(device, kernel.shader)?;
        let label = Some(kernel.shader.name);
        let made = device.checked("compiling", None, |device| {
            let groups = [Some(&module.layout)];
            let descriptor =
                wgpu::PipelineLayoutDescriptor { label, bind_group_layouts: &groups, ..Default::default() };
            let layout = device.create_pipeline_layout(&descriptor);
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&layout),
                module: &module.raw,
                entry_point: Some(kernel.entry.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &kernel.constants,
                    ..Default::default()
                },
                cache: None,
            })
        });
        let raw = made.map_err(|error| named(kernel.shader, error))?;
        device.counters.pipelines.add(1);
        let pipeline = Arc::new(Pipeline { raw, layout: module.layout.clone() });
        Ok(self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(pipeline).clone())
    }

    fn module(&self, device: &Device, shader: &'static Shader) -> Result<Arc<Module>> {
        if let Some(module) = self.modules.lock().unwrap_or_else(PoisonError::into_inner).get(shader.name) {
            return Ok(module.clone());
        }
        let module = Arc::new(Module::new(device, shader)?);
        Ok(self.modules.lock().unwrap_or_else(PoisonError::into_inner).entry(shader.name).or_insert(module).clone())
    }
}
