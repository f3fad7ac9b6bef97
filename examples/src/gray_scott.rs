//! A simulation: two chemicals that feed on each other, after Gray and Scott (1984), with Pearson's constants (1993).

use wgpu_sft::wgpu::{self, util::DeviceExt};

/// Cells along a side.
pub const SIDE: u32 = 256;

const SHADER: &str = r"
// u' = Du ∇²u − u·v² + F·(1 − u);  v' = Dv ∇²v + u·v² − (F + k)·v
@group(0) @binding(0) var<storage, read> now: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> next: array<vec2f>;

const SIDE = 256u;

fn cell(x: u32, y: u32) -> vec2f { return now[(y % SIDE) * SIDE + x % SIDE]; }

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let x = id.x;
    let y = id.y;
    let here = cell(x, y);
    let around = cell(x + 1u, y) + cell(x + SIDE - 1u, y) + cell(x, y + 1u) + cell(x, y + SIDE - 1u);
    let reaction = here.x * here.y * here.y;
    let change = vec2f(0.16, 0.08) * (around - 4.0 * here) + vec2f(0.035 * (1.0 - here.x) - reaction, reaction - 0.1 * here.y);
    next[y * SIDE + x] = here + change;
}
";

/// The simulation on a device.
pub struct GrayScott {
    pipeline: wgpu::ComputePipeline,
    cells: [wgpu::Buffer; 2],
    groups: [wgpu::BindGroup; 2],
    read: wgpu::Buffer,
    steps: usize,
}

impl GrayScott {
    /// A square of one chemical in a sea of the other.
    pub fn new(device: &wgpu::Device) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("gray scott"),
            source: wgpu::ShaderSource::Wgsl(SHADER.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("gray scott"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let middle = SIDE / 2 - 8..SIDE / 2 + 8;
        let start: Vec<[f32; 2]> = (0..SIDE * SIDE)
            .map(|i| match middle.contains(&(i % SIDE)) && middle.contains(&(i / SIDE)) {
                true => [0.5, 0.25],
                false => [1.0, 0.0],
            })
            .collect();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let cells = [0, 1].map(|_| {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some("cells"),
                contents: bytemuck::cast_slice(&start),
                usage,
            })
        });
        let groups = [0, 1].map(|now| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[now, 1 - now].map(|i| wgpu::BindGroupEntry {
                    binding: if i == now { 0 } else { 1 },
                    resource: cells[i].as_entire_binding(),
                }),
            })
        });
        let read = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: cells[0].size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            pipeline,
            cells,
            groups,
            read,
            steps: 0,
        }
    }

    /// A frame's worth of it: so many steps.
    pub fn advance(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, steps: usize) {
        let mut encoder = device.create_command_encoder(&Default::default());
        for _ in 0..steps {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.groups[self.steps % 2], &[]);
            pass.dispatch_workgroups(SIDE / 8, SIDE / 8, 1);
            self.steps += 1;
        }
        queue.submit([encoder.finish()]);
    }

    /// All cells, waiting for them.
    ///
    /// # Errors
    /// A device that fails.
    pub fn cells(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> anyhow::Result<Vec<[f32; 2]>> {
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.cells[self.steps % 2], 0, &self.read, 0, None);
        encoder.map_buffer_on_submit(&self.read, wgpu::MapMode::Read, .., |_| {});
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let cells = bytemuck::pod_collect_to_vec(&self.read.slice(..).get_mapped_range()?);
        self.read.unmap();
        Ok(cells)
    }
}
