//! What a trainer allocates.

use crate::Result;
use crate::gpu::{Storage, Tensor};
use crate::model::{Flat, Model, Pass, Purpose, Run};
use crate::ops::{adamw, gradient_norm};

/// What a trainer allocates beside the model.
pub(super) struct Buffers {
    pub pass: Pass,
    pub gradients: Vec<Tensor>,
    pub moments: [Vec<Tensor>; 2],
    /// See [`Pass::metrics`].
    pub metrics: Tensor,
    /// See [`Flat::runs`].
    pub runs: Vec<Run>,
    pub partial_sums: Tensor,
}

impl Buffers {
    /// None where the device refuses the memory.
    pub async fn new(
        model: &Model,
        flat: &Flat,
        capacity: u32,
        (recompute, activations): (bool, Storage),
    ) -> Result<Option<Self>> {
        let gpu = model.gpu();
        let scope = gpu.scope("allocating for training");
        let purpose = (Purpose::training(recompute), activations);
        let pass = Pass::new(model, purpose, capacity, capacity)?;
        // Whole blocks: the norm's partial sums are the same however it is cut.
        let blocks = gpu.max_binding().min(adamw::most_bytes(gpu)) / gradient_norm::BLOCK_BYTES;
        let runs = flat.runs(blocks.max(1) * gradient_norm::BLOCK_BYTES);
        let partial = runs.iter().map(|run| gradient_norm::partials(run.len)).sum();
        let buffers = Self {
            pass,
            gradients: flat.like(gpu, "gradients"),
            moments: ["first moments", "second moments"].map(|label| flat.like(gpu, label)),
            metrics: Pass::metrics(gpu),
            runs,
            partial_sums: gpu.tensor("partial sums", partial, Default::default()),
        };
        if scope.fits().await? {
            return Ok(Some(buffers));
        }
        drop(buffers);
        // Buffers that were written to are held until a submit.
        gpu.queue().submit([]);
        gpu.wait("allocating for training", None)?;
        Ok(None)
    }
}
