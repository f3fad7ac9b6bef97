//! When each dispatch of a plan ran, by the device's own clock.

use super::plan::Command;
use super::{Counts, Gpu, Plan, Scalars, Storage};
use crate::{Error, Result};

/// One dispatch that was timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The plan it belongs to.
    pub plan: String,
    /// The kernel, and what is particular to the dispatch.
    pub label: String,
    /// When it began, in seconds of the device's clock.
    pub begin: f64,
    /// When it ended.
    pub end: f64,
    /// Floating-point operations, as estimated when the plan was built; 0 where memory alone matters.
    pub flops: u64,
    /// Bytes of the tensors it binds: an upper bound of what it moves once.
    pub bytes: u64,
    /// Workgroups.
    pub workgroups: [u32; 3],
}

/// Dispatches timed at a time: a query set holds at most 4,096 timestamps.
const AT_A_TIME: usize = 2048;

impl Gpu {
    /// Whether dispatches can be timed: [`GpuOptions::profile`](super::GpuOptions::profile) was set and the adapter has a
    /// clock.
    pub fn can_profile(&self) -> bool {
        self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }
}

impl Plan {
    /// Run the plan as [`Plan::run`] does, with each dispatch in a pass of its own between two timestamps. Slower than a run:
    /// for finding where time goes.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device cannot time (see [`Gpu::can_profile`]) or fails.
    pub async fn profile(&self, counts: &Counts, scalars: &Scalars) -> Result<Vec<Timing>> {
        let gpu = &self.gpu;
        if !gpu.can_profile() {
            return Err(Error::gpu("timing dispatches", "the adapter has no timestamps"));
        }
        self.write_counts(counts, scalars);
        let mut timings = Vec::new();
        for commands in self.commands.chunks(AT_A_TIME) {
            let first = timings.len();
            let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * commands.len() as u32,
            });
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for command in commands {
                let at = 2 * (timings.len() - first) as u32;
                let Some(timing) = self.timing(command, counts) else {
                    command.encode_transfer(&mut encoder);
                    continue;
                };
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&timing.label),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(at),
                        end_of_pass_write_index: Some(at + 1),
                    }),
                });
                command.encode_dispatch(&mut pass, timing.workgroups);
                drop(pass);
                if timing.workgroups.iter().all(|&n| n > 0) {
                    timings.push(timing);
                }
            }
            let used = 2 * (timings.len() - first) as u32;
            if used == 0 {
                gpu.queue().submit([encoder.finish()]);
                continue;
            }
            let resolved = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(used) * 8,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            let ticks = gpu.tensor("timestamps", 2 * u64::from(used), Storage::F32);
            encoder.resolve_query_set(&queries, 0..used, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, ticks.buffer(), 0, u64::from(used) * 8);
            gpu.queue().submit([encoder.finish()]);
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&gpu.read_bytes(&ticks).await?);
            let seconds = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
            for (timing, ticks) in timings[first..].iter_mut().zip(ticks.chunks(2)) {
                timing.begin = ticks[0] as f64 * seconds;
                timing.end = ticks[1] as f64 * seconds;
            }
        }
        Ok(timings)
    }

    fn timing(&self, command: &Command, counts: &Counts) -> Option<Timing> {
        let Command::Dispatch {
            label, work, tensors, ..
        } = command
        else {
            return None;
        };
        Some(Timing {
            plan: self.label.clone(),
            label: label.clone(),
            begin: 0.0,
            end: 0.0,
            flops: *work,
            bytes: tensors.iter().map(super::Tensor::bytes).sum(),
            workgroups: command.workgroups(counts),
        })
    }
}
