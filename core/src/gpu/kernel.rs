//! A shader and its constants, and the pipeline it compiles to.

use super::{Closed, Gpu, pace, trust};
use crate::Result;
use std::{borrow::Cow, fmt::Write, sync::Arc, sync::OnceLock};

/// A WGSL compute shader (entry point `main`) with values for its `override` constants.
///
/// Unless the device [keeps the checks](super::GpuOptions::checked), none are made of its indices and loops: it must stay inside its
/// buffers, and end.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The shader's file stem, and the variant where there are several: what errors and traces show.
    pub label: String,
    /// WGSL text.
    pub source: Cow<'static, str>,
    /// Values for `override` constants, by name.
    pub constants: Vec<(&'static str, f64)>,
}

impl Kernel {
    /// A kernel whose text is a file of the shader crate.
    pub fn new(label: &'static str, source: &'static str, constants: &[(&'static str, f64)]) -> Self {
        Self {
            label: label.into(),
            source: Cow::Borrowed(source),
            constants: constants.to_vec(),
        }
    }
}

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// One `@group(0) @binding(n) var<…> name` of a shader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name. `p`, `rows` and `step` are the plan's; all others are tensors, in order.
    pub name: String,
    /// The number in `@binding(n)`.
    pub number: u32,
    /// How it is used.
    pub access: Access,
}

/// The bindings a shader's text declares, in order. Each stands on one line; a test holds this against naga's reading.
pub fn bindings(source: &str) -> Vec<Binding> {
    source
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("@group(0) @binding(")?;
            let (number, rest) = rest.split_once(") var<")?;
            let (space, rest) = rest.split_once('>')?;
            let (name, _) = rest.split_once(':')?;
            Some(Binding {
                name: name.trim().into(),
                number: number.parse().ok()?,
                access: match space {
                    "uniform" => Access::Uniform,
                    "storage, read" => Access::Read,
                    "storage, read_write" => Access::ReadWrite,
                    _ => return None,
                },
            })
        })
        .collect()
}

/// The member names of the shader's `struct Params`, in order. Each is a 4-byte scalar; a test holds this against naga.
pub fn param_fields(source: &str) -> Vec<&str> {
    let Some((_, rest)) = source.split_once("struct Params {") else {
        return Vec::new();
    };
    let body = rest.split_once("\n}").map_or(rest, |(body, _)| body);
    body.lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
        .collect()
}

/// The Rust twin of a shader's `struct Params`.
pub trait Params: bytemuck::Pod {
    /// Its member names in order, each a 4-byte scalar.
    const FIELDS: &'static [&'static str];
}

impl Params for () {
    const FIELDS: &'static [&'static str] = &[];
}

/// Declare a [`Params`].
macro_rules! params {
    ($($(#[$meta:meta])* $field:ident: $kind:ty),* $(,)?) => {
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        struct Params { $($(#[$meta])* $field: $kind),* }
        impl $crate::gpu::Params for Params {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}
pub(crate) use params;

/// A kernel as plans share it.
pub(super) struct Pipeline {
    kernel: Kernel,
    pub bindings: Vec<Binding>,
    compiled: OnceLock<Compiled>,
}

/// What the driver made of a kernel.
pub(super) struct Compiled {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Pipeline {
    /// What the driver made of it, once [`Gpu::compile_all`] has been.
    pub fn compiled(&self) -> &Compiled {
        self.compiled.get().expect("compiled before it is used")
    }
}

impl Gpu {
    /// The kernel's pipeline, compiled or not.
    pub(super) fn pipeline(&self, kernel: &Kernel) -> Arc<Pipeline> {
        let mut key = kernel.source.to_string();
        for (name, value) in &kernel.constants {
            write!(key, "\n{name}={value}").expect("a string takes any text");
        }
        let uncompiled = || Pipeline {
            bindings: bindings(&kernel.source),
            kernel: kernel.clone(),
            compiled: OnceLock::new(),
        };
        let mut pipelines = self
            .inner
            .pipelines
            .lock()
            .expect("no thread panics while it holds this");
        pipelines.entry(key).or_insert_with(|| Arc::new(uncompiled())).clone()
    }

    /// Compile those of these that are not yet, where work is paced one a turn. One that fails stays as it was.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) with what the driver said of the first that fails.
    pub(super) async fn compile_all(&self, doing: &str, pipelines: impl Iterator<Item = &Arc<Pipeline>>) -> Result<()> {
        let mut fresh: Vec<(&Pipeline, Compiled, Closed)> = Vec::new();
        for pipeline in pipelines {
            let is_fresh = |other: &(&Pipeline, _, _)| std::ptr::eq(other.0, &**pipeline);
            if pipeline.compiled.get().is_some() || fresh.iter().any(is_fresh) {
                continue;
            }
            pace::breathe().await;
            let scope = self.scope(doing);
            let compiled = self.compile(pipeline);
            fresh.push((pipeline, compiled, scope.close()));
        }
        for (pipeline, compiled, said) in fresh {
            said.finish().await?;
            // Somebody else's may be there by now; it is the same.
            let _ = pipeline.compiled.set(compiled);
        }
        Ok(())
    }

    fn compile(&self, Pipeline { kernel, bindings, .. }: &Pipeline) -> Compiled {
        let label = Some(kernel.label.as_str());
        let entries: Vec<_> = bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.number,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding.access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        access => wgpu::BufferBindingType::Storage {
                            read_only: access == Access::Read,
                        },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let device = self.device();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label,
            entries: &entries,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            })),
            module: &trust::shader_module(device, kernel, self.inner.checked),
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: self.inner.pipeline_cache.as_ref(),
        });
        Compiled { pipeline, layout }
    }
}
