//! Lists of dispatches, recorded once and replayed.

use super::kernel::Pipeline;
use super::pace;
use super::{Access, Closed, Counts, Gpu, Grid, Kernel, Of, Params, Rows, Scalars, Storage, Tensor, param_fields};
use crate::Result;
use std::borrow::Cow;
use std::sync::Arc;

/// Uniform slots lie this many bytes apart, the largest alignment an adapter may ask for.
const SLOT: u64 = 256;

/// Floating-point operations that take as long as moving one byte, on an adapter that computes 10 TFLOP/s and moves 1 TB/s:
/// what a dispatch costs at least.
pub(crate) const PER_BYTE: u64 = 10;

pub(super) enum Command {
    Dispatch {
        pipeline: Arc<Pipeline>,
        label: String,
        group: wgpu::BindGroup,
        rows: Rows,
        grid: Grid,
        work: u64,
        /// Kept so that no buffer of the bind group goes before it.
        tensors: Vec<Tensor>,
    },
    Clear(Tensor),
    Copy(Tensor, Tensor),
}

impl Command {
    /// Workgroups of a dispatch for these counts.
    pub(super) fn workgroups(&self, counts: &Counts) -> [u32; 3] {
        match self {
            Self::Dispatch { rows, grid, .. } => grid.workgroups(rows.count(counts)),
            _ => [0; 3],
        }
    }

    /// Operations that a dispatch over full buffers takes as long as, whether arithmetic or memory bounds it.
    fn cost(&self) -> u64 {
        match self {
            Self::Dispatch { work, tensors, .. } => {
                let bytes: u64 = tensors.iter().map(Tensor::bytes).sum();
                (*work).max(PER_BYTE * bytes)
            }
            Self::Clear(tensor) | Self::Copy(tensor, _) => PER_BYTE * tensor.bytes(),
        }
    }

    /// Encode a dispatch, unless it has no workgroup.
    pub(super) fn encode_dispatch(&self, pass: &mut wgpu::ComputePass, workgroups: [u32; 3]) {
        let (Self::Dispatch { pipeline, group, .. }, true) = (self, workgroups.iter().all(|&n| n > 0)) else {
            return;
        };
        pass.set_pipeline(&pipeline.compiled().pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
    }

    /// Encode what is not a dispatch.
    pub(super) fn encode_transfer(&self, encoder: &mut wgpu::CommandEncoder) {
        match self {
            Self::Dispatch { .. } => {}
            Self::Clear(tensor) => encoder.clear_buffer(tensor.buffer(), tensor.offset(), Some(tensor.bytes())),
            Self::Copy(from, to) => {
                let (bytes, to_at) = (Some(from.bytes()), to.offset());
                encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), to.buffer(), to_at, bytes);
            }
        }
    }
}

/// A dispatch before its uniforms have a place.
struct Recorded {
    pipeline: Arc<Pipeline>,
    label: String,
    params: usize,
    rows: Rows,
    slot: usize,
    grid: Grid,
    work: u64,
    tensors: Vec<Tensor>,
}

enum Step {
    Dispatch(Recorded),
    Other(Command),
}

/// Records dispatches; [`PlanBuilder::finish`] makes the plan.
pub struct PlanBuilder {
    gpu: Gpu,
    label: String,
    steps: Vec<Step>,
    params: Vec<u8>,
    rules: Vec<Rows>,
    scratch: Option<Tensor>,
    /// What the device says of scratch that was made.
    said: Vec<Closed>,
    sliced_as: Option<u32>,
}

impl PlanBuilder {
    /// Start a plan.
    pub fn new(gpu: &Gpu, label: &str) -> Self {
        Self {
            gpu: gpu.clone(),
            label: label.into(),
            steps: Vec::new(),
            params: Vec::new(),
            rules: Vec::new(),
            scratch: None,
            said: Vec::new(),
            sliced_as: None,
        }
    }

    /// The device the plan is for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What errors say that somebody was at.
    fn doing(&self) -> String {
        format!("building the plan {:?}", self.label)
    }

    /// Let the plan use this tensor as its scratch.
    pub fn lend(&mut self, scratch: &Tensor) {
        self.scratch = Some(scratch.clone());
    }

    /// Cut the contractions of the products recorded from now on as for results of so many rows, whatever rows they have, so that
    /// plans of other capacities give the same bits.
    pub fn slice_as(&mut self, rows: u32) {
        self.sliced_as = Some(rows);
    }

    /// See [`slice_as`](Self::slice_as).
    pub(crate) fn sliced_as(&self) -> Option<u32> {
        self.sliced_as
    }

    /// A buffer of at least `len` numbers, lent or made now, which each user writes and reads before the next one does.
    pub fn scratch(&mut self, len: u64) -> Tensor {
        let lent = self.scratch.take().filter(|scratch| scratch.len() >= len);
        let scratch = lent.unwrap_or_else(|| {
            let scope = self.gpu.scope(self.doing());
            let made = self.gpu.tensor("scratch", len, Default::default());
            self.said.push(scope.close());
            made
        });
        self.scratch.insert(scratch).clone()
    }

    /// Add one dispatch. `tensors` go to the shader's storage bindings in order, as [`Kernel::over`] their storages; `work` is
    /// its floating-point operations, for cutting a plan into submits.
    ///
    /// # Panics
    /// When operands or parameters are not those that the shader's text declares, and when one that is written shares its buffer
    /// with another.
    pub fn dispatch<P: Params>(
        &mut self,
        kernel: &Kernel,
        params: &P,
        rows: Rows,
        grid: Grid,
        tensors: &[&Tensor],
        work: u64,
    ) {
        let kernel = &match tensors.iter().all(|t| t.storage() == Storage::F32) {
            true => Cow::Borrowed(kernel),
            false => Cow::Owned(kernel.over(&tensors.iter().map(|t| t.storage()).collect::<Vec<_>>())),
        };
        let pipeline = self.gpu.pipeline(kernel);
        let storage: Vec<_> = pipeline
            .bindings
            .iter()
            .filter(|b| b.access != Access::Uniform)
            .collect();
        assert_eq!(storage.len(), tensors.len(), "{}: operands", kernel.label);
        assert_eq!(
            param_fields(&kernel.source),
            P::FIELDS,
            "{}: struct Params",
            kernel.label
        );
        for (i, written) in tensors
            .iter()
            .enumerate()
            .filter(|(i, _)| storage[*i].access == Access::ReadWrite)
        {
            for (j, other) in tensors.iter().enumerate().filter(|(j, _)| *j != i) {
                assert!(
                    !written.same_buffer(other),
                    "{}: operands {i} and {j} share a buffer",
                    kernel.label
                );
            }
        }
        let slot = self.rules.iter().position(|r| *r == rows).unwrap_or_else(|| {
            self.rules.push(rows);
            self.rules.len() - 1
        });
        let offset = self.params.len();
        self.params.extend_from_slice(bytemuck::bytes_of(params));
        self.params.resize(self.params.len().next_multiple_of(SLOT as usize), 0);
        self.steps.push(Step::Dispatch(Recorded {
            pipeline,
            label: kernel.label.clone(),
            params: offset,
            rows,
            slot,
            grid,
            work,
            tensors: tensors.iter().map(|&t| t.clone()).collect(),
        }));
    }

    /// Fill a tensor with zeros.
    pub fn clear(&mut self, tensor: &Tensor) {
        self.steps.push(Step::Other(Command::Clear(tensor.clone())));
    }

    /// Copy all of `from` to the beginning of `to`, in another buffer.
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) {
        self.steps.push(Step::Other(Command::Copy(from.clone(), to.clone())));
    }

    /// Make the plan: its pipelines, its uniforms, its bind groups.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when a shader does not compile or memory runs out.
    pub async fn finish(self) -> Result<Plan> {
        let (gpu, doing) = (&self.gpu, self.doing());
        for said in self.said {
            said.finish().await?;
        }
        let pipelines = self.steps.iter().filter_map(|step| match step {
            Step::Dispatch(dispatch) => Some(&dispatch.pipeline),
            Step::Other(_) => None,
        });
        gpu.compile_all(&doing, pipelines).await?;
        let scope = gpu.scope(doing);
        let uniform = |label: &str, bytes: u64| {
            let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.max(SLOT),
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            gpu.memory().add(buffer.size());
            buffer
        };
        let params = uniform("parameters", self.params.len() as u64);
        gpu.queue().write_buffer(&params, 0, &self.params);
        // Slot 0 holds the scalars, slot 1 + i the row count of rule i.
        let dynamic = uniform("step", SLOT * (1 + self.rules.len() as u64));
        let commands = self
            .steps
            .into_iter()
            .map(|step| match step {
                Step::Other(command) => command,
                Step::Dispatch(d) => {
                    let slot = |buffer, offset: u64| {
                        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset,
                            size: wgpu::BufferSize::new(SLOT.min(params.size())),
                        })
                    };
                    let mut tensors = d.tensors.iter();
                    let entries: Vec<_> = d
                        .pipeline
                        .bindings
                        .iter()
                        .map(|binding| wgpu::BindGroupEntry {
                            binding: binding.number,
                            resource: match binding.name.as_str() {
                                "p" => slot(&params, d.params as u64),
                                "rows" => slot(&dynamic, SLOT * (1 + d.slot as u64)),
                                "step" => slot(&dynamic, 0),
                                _ => tensors.next().expect("counted when recorded").binding(),
                            },
                        })
                        .collect();
                    let group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&d.label),
                        layout: &d.pipeline.compiled().layout,
                        entries: &entries,
                    });
                    Command::Dispatch {
                        pipeline: d.pipeline,
                        label: d.label,
                        group,
                        rows: d.rows,
                        grid: d.grid,
                        work: d.work,
                        tensors: d.tensors,
                    }
                }
            })
            .collect();
        // What it has of memory is counted off when it is dropped, also if it is refused.
        let plan = Plan {
            gpu: self.gpu,
            label: self.label,
            commands,
            rules: self.rules,
            params,
            dynamic,
        };
        scope.finish().await?;
        // A lost device has no more errors for a scope.
        plan.gpu.check_failure("building a plan")?;
        Ok(plan)
    }
}

/// A list of dispatches with all their bindings, replayed with [`Plan::run`]. Nothing is allocated on replay.
pub struct Plan {
    pub(super) gpu: Gpu,
    pub(super) label: String,
    pub(super) commands: Vec<Command>,
    rules: Vec<Rows>,
    params: wgpu::Buffer,
    dynamic: wgpu::Buffer,
}

impl Plan {
    /// Submit the plan for a batch with these counts, in pieces of bounded time (see [`Gpu::set_speed`]); a single dispatch is
    /// never cut. Returns at once, with the last piece.
    pub fn run(&self, counts: &Counts, scalars: &Scalars) -> Option<wgpu::SubmissionIndex> {
        self.write_counts(counts, scalars);
        let (mut submitted, mut last) = (0, None);
        while !self.is_whole(submitted) {
            last = Some(self.submit(&mut submitted, counts, u64::MAX));
        }
        last
    }

    /// [`Plan::run`] for work that may be [`Paced`](super::Paced): a piece goes when its turn comes. The plan must not be run otherwise
    /// before this has ended.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when the device refuses a piece, as when it is out of memory; the rest is not submitted.
    pub async fn run_paced(&self, counts: &Counts, scalars: &Scalars) -> Result<Option<wgpu::SubmissionIndex>> {
        let mut most = pace::turn().await;
        self.gpu
            .told(&self.label, || self.write_counts(counts, scalars))
            .await?;
        let (mut submitted, mut last) = (0, None);
        while !self.is_whole(submitted) {
            let piece = || self.submit(&mut submitted, counts, most);
            last = Some(self.gpu.told(&self.label, piece).await?);
            if !self.is_whole(submitted) {
                most = pace::turn().await;
            }
        }
        Ok(last)
    }

    /// Submit the commands after those that are `submitted`: of at most `most` operations and no more than a submit may carry, one at least.
    /// The counts are [written](Self::write_counts).
    pub(crate) fn submit(&self, submitted: &mut usize, counts: &Counts, most: u64) -> wgpu::SubmissionIndex {
        let most = most.min(self.gpu.work_per_submit());
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some(&self.label),
            });
        let mut pass: Option<wgpu::ComputePass<'static>> = None;
        let (mut work, mut dispatches) = (0, 0);
        while let Some(command) = self
            .commands
            .get(*submitted)
            .filter(|c| work == 0 || work + c.cost() <= most)
        {
            *submitted += 1;
            let Command::Dispatch { .. } = command else {
                pass = None;
                work += command.cost();
                command.encode_transfer(&mut encoder);
                continue;
            };
            let workgroups = command.workgroups(counts);
            if workgroups.contains(&0) {
                continue;
            }
            let pass = pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
            command.encode_dispatch(pass, workgroups);
            work += command.cost();
            dispatches += 1;
        }
        drop(pass);
        let index = self.gpu.queue().submit([encoder.finish()]);
        self.gpu.submitted().add(dispatches);
        pace::spend(work);
        index
    }

    /// Whether so many submitted commands are all of them.
    pub(crate) fn is_whole(&self, submitted: usize) -> bool {
        submitted >= self.commands.len()
    }

    /// Operations of one run over full buffers, as estimated for [`Gpu::set_speed`].
    pub fn work(&self) -> u64 {
        self.commands.iter().map(Command::cost).sum()
    }

    /// The most token rows that a dispatch has for these counts: no fewer than the tokens, as tiles are whole.
    pub fn token_rows(&self, counts: &Counts) -> u32 {
        let covered = self.commands.iter().map(|command| match command {
            Command::Dispatch { rows, grid, .. } if *rows == Rows::of(Of::Tokens) => grid.covered(counts.tokens),
            _ => 0,
        });
        covered.max().unwrap_or(0).max(counts.tokens)
    }

    /// Write what of the plan changes from run to run.
    pub(crate) fn write_counts(&self, counts: &Counts, scalars: &Scalars) {
        let mut bytes = vec![0; self.dynamic.size() as usize];
        bytes[..size_of::<Scalars>()].copy_from_slice(bytemuck::bytes_of(scalars));
        for (i, rule) in self.rules.iter().enumerate() {
            let at = SLOT as usize * (1 + i);
            bytes[at..at + 4].copy_from_slice(&rule.count(counts).to_le_bytes());
        }
        self.gpu.queue().write_buffer(&self.dynamic, 0, &bytes);
    }

    /// Dispatches in the plan, some of which may have no rows.
    pub fn dispatches(&self) -> usize {
        self.commands
            .iter()
            .filter(|c| matches!(c, Command::Dispatch { .. }))
            .count()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for buffer in [&self.params, &self.dynamic] {
            self.gpu.memory().remove(buffer.size());
            buffer.destroy();
        }
    }
}
