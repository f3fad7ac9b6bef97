//! The case table: every kernel against its twin, on this device. The same table is `cargo test`, `wgpu-sft check`, and the
//! browser's self-test.
//!
//! Outputs start as NaN, so that a number that was never written shows; sizes are distinct and awkward; constants matter.

mod attention;
mod fused;
mod items;
mod matmul;
mod rows;
mod update;

use crate::Result;
use crate::gpu::{Counts, Gpu, PlanBuilder, Rows, Scalars, Storage, Tensor};
use crate::ops::rmsnorm::Place;
use crate::random::{Stream, block, normals};

/// What became of one case.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// The kernel's stem, and what is particular to the case.
    pub name: String,
    /// The kernel family it ran in.
    pub family: String,
    /// Largest difference from the twin, divided by the twin's largest magnitude. NaN where the kernel wrote none.
    pub max_error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether it is within that.
    pub passed: bool,
}

/// The stems that have cases, each the name of a file in `ops/` and in `reference/`.
pub const STEMS: [&str; 14] = [
    "adamw",
    "argmax",
    "attention",
    "column_sum",
    "cross_entropy",
    "dropout",
    "embedding",
    "gather",
    "gradient_norm",
    "loss_sum",
    "matmul",
    "rmsnorm",
    "rope",
    "swiglu",
];

/// Run the cases of every kernel whose stem contains `filter`, telling each as it ends.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) when a shader does not compile or the device fails. A wrong number is a result, not an error.
pub async fn run(gpu: &Gpu, filter: Option<&str>, on_case: impl FnMut(&CaseResult)) -> Result<Vec<CaseResult>> {
    let mut bench = Bench {
        gpu,
        results: Vec::new(),
        on_case,
        draws: 0,
    };
    for stem in STEMS.into_iter().filter(|s| filter.is_none_or(|f| s.contains(f))) {
        match stem {
            "adamw" => update::adamw(&mut bench).await?,
            "argmax" => rows::argmax(&mut bench).await?,
            "attention" => attention::attention(&mut bench).await?,
            "column_sum" => rows::column_sum(&mut bench).await?,
            "cross_entropy" => rows::cross_entropy(&mut bench).await?,
            "dropout" => items::dropout(&mut bench).await?,
            "embedding" => items::embedding(&mut bench).await?,
            "gather" => items::gather(&mut bench).await?,
            "gradient_norm" => update::gradient_norm(&mut bench).await?,
            "loss_sum" => update::loss_sum(&mut bench).await?,
            "matmul" => {
                matmul::matmul(&mut bench).await?;
                fused::cases(&mut bench).await?;
            }
            "rmsnorm" => rows::rmsnorm(&mut bench).await?,
            "rope" => items::rope(&mut bench).await?,
            "swiglu" => items::swiglu(&mut bench).await?,
            _ => unreachable!("STEMS and the arms are one list"),
        }
    }
    Ok(bench.results)
}

/// Spread dense rows of `width` into rows of `stride` from `offset` on; what lies between is 9.
fn spread(dense: &[f64], place: Place) -> Vec<f64> {
    let token = (place.heads * place.width) as usize;
    let mut out = Vec::new();
    for row in dense.chunks(token) {
        let start = out.len();
        out.resize(start + place.stride as usize, 9.0);
        out[start + place.offset as usize..][..token].copy_from_slice(row);
    }
    out
}

/// Where a case makes its inputs, runs its kernel and compares.
struct Bench<'a, F> {
    gpu: &'a Gpu,
    results: Vec<CaseResult>,
    on_case: F,
    draws: u64,
}

/// Single precision's unit in the last place at 1, times a few: for kernels that only move or combine a few numbers.
const TIGHT: f64 = 1e-6;
/// For kernels that sum many numbers or use `exp`.
const LOOSE: f64 = 1e-5;

impl<F: FnMut(&CaseResult)> Bench<'_, F> {
    /// `n` normal deviates, rounded to f32.
    fn normal(&mut self, n: usize) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(n + 4);
        while numbers.len() < n {
            numbers.extend(normals(block(7, Stream::Init, 0, self.draws)).map(|v| f64::from(v as f32)));
            self.draws += 1;
        }
        numbers.truncate(n);
        numbers
    }

    /// `n` integers below `below`.
    fn integers(&mut self, n: usize, below: u32) -> Vec<u32> {
        self.draws += n as u64;
        (0..n as u64)
            .map(|i| block(7, Stream::Init, 1, self.draws + i)[0] % below)
            .collect()
    }

    fn upload(&self, numbers: &[f64]) -> Tensor {
        self.gpu
            .upload("case", &numbers.iter().map(|&v| v as f32).collect::<Vec<_>>())
    }

    /// Normal deviates as this storage holds them.
    fn normal_as(&mut self, n: usize, storage: Storage) -> Vec<f64> {
        let numbers = self.normal(n);
        self.upload_as(&numbers, storage).1
    }

    fn upload_u32(&self, numbers: &[u32]) -> Tensor {
        self.gpu.upload_u32("case", numbers)
    }

    /// The numbers in this storage, and what they are after rounding to it.
    fn upload_as(&self, numbers: &[f64], storage: Storage) -> (Tensor, Vec<f64>) {
        let words: Vec<u16> = match storage {
            Storage::F32 => return (self.upload(numbers), numbers.to_vec()),
            Storage::Bf16 => numbers.iter().map(|&v| half::bf16::from_f64(v).to_bits()).collect(),
            Storage::F16 => numbers.iter().map(|&v| half::f16::from_f64(v).to_bits()).collect(),
        };
        let rounded = words
            .iter()
            .map(|&w| match storage {
                Storage::Bf16 => half::bf16::from_bits(w).to_f64(),
                _ => half::f16::from_bits(w).to_f64(),
            })
            .collect();
        let tensor = self.gpu.tensor("case", numbers.len() as u64, storage);
        self.gpu.write(&tensor, bytemuck::cast_slice(&words));
        (tensor, rounded)
    }

    /// A tensor of NaNs for a kernel to write.
    fn nan(&self, n: usize) -> Tensor {
        self.nan_as(n, Storage::F32)
    }

    /// The same in this storage.
    fn nan_as(&self, n: usize, storage: Storage) -> Tensor {
        self.upload_as(&vec![f64::NAN; n], storage).0
    }

    /// Record, run once, with these counts and scalars.
    async fn run(&self, counts: Counts, scalars: Scalars, record: impl FnOnce(&mut PlanBuilder)) -> Result<()> {
        let mut plan = PlanBuilder::new(self.gpu, "case");
        record(&mut plan);
        plan.finish().await?.run(&counts, &scalars);
        Ok(())
    }

    /// The numbers of a tensor in any storage.
    async fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let bytes = self.gpu.read_bytes(tensor).await?;
        let words = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        Ok(match tensor.storage() {
            Storage::F32 => bytemuck::pod_collect_to_vec(&bytes),
            Storage::Bf16 => words().map(|w| half::bf16::from_bits(w).to_f32()).collect(),
            Storage::F16 => words().map(|w| half::f16::from_bits(w).to_f32()).collect(),
        })
    }

    /// Compare the tensor's first numbers with the twin's, which may be off by the rounding to its storage and `tolerance`.
    async fn compare(&mut self, name: impl Into<String>, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
        let tolerance = tolerance + rounding(got.storage());
        let got = self.read(got).await?;
        let largest = want.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        // Fewer numbers than the twin's count as never written.
        let mut max_error = if got.len() < want.len() { f64::NAN } else { 0.0f64 };
        for (got, want) in got.iter().zip(want) {
            let error = (f64::from(*got) - want).abs() / largest;
            // `max` would pass over a NaN; here it stays.
            if error.is_nan() || error > max_error {
                max_error = error;
            }
        }
        let result = CaseResult {
            name: name.into(),
            family: self.gpu.family().to_string(),
            max_error,
            tolerance,
            passed: max_error <= tolerance,
        };
        (self.on_case)(&result);
        self.results.push(result);
        Ok(())
    }
}

/// How activations may be stored.
const STORAGES: [Storage; 3] = [Storage::F32, Storage::Bf16, Storage::F16];

/// Each of these in f32, and the first two in 16 bits too: how numbers are stored changes only how they are read and written.
fn stored<T: Copy>(shapes: &[T]) -> Vec<(T, Storage)> {
    let each = |(i, shape): (usize, &T)| {
        let storages = if i < 2 { &STORAGES[..] } else { &STORAGES[..1] };
        storages.iter().map(|&storage| (*shape, storage)).collect::<Vec<_>>()
    };
    shapes.iter().enumerate().flat_map(each).collect()
}

/// What rounding a number to a storage may be off by, of the number.
fn rounding(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 0.0,
        Storage::Bf16 => f64::exp2(-8.0),
        Storage::F16 => f64::exp2(-11.0),
    }
}

/// What a case's name says of a storage.
fn suffix(storage: Storage) -> &'static str {
    match storage {
        Storage::F32 => "",
        Storage::Bf16 => " bf16",
        Storage::F16 => " f16",
    }
}

/// Counts for a batch of so many tokens.
fn tokens(n: usize) -> Counts {
    Counts {
        tokens: n as u32,
        ..Counts::default()
    }
}

/// One row for each token.
fn token_rows() -> Rows {
    Rows::of(crate::gpu::Of::Tokens)
}
