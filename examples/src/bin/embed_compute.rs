//! A simulation and a training run share a device. The simulation owns it: a frame of it, a few milliseconds of training, again. Both end
//! as they would have alone.

use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pollster::block_on;
use wgpu_sft::gpu::{Gpu, GpuOptions, Paced};
use wgpu_sft::wgpu;
use wgpu_sft_examples::frames::Frames;
use wgpu_sft_examples::gray_scott::GrayScott;
use wgpu_sft_examples::tuning::{Base, Tuning};

/// Optimizer steps.
const STEPS: u64 = 8;
/// Steps of the simulation in a frame.
const A_FRAME: usize = 4;
/// What training may take of a frame.
const BUDGET: Duration = Duration::from_millis(4);

fn main() -> Result<()> {
    // The host's own device. Nothing has to be asked for; what is wanted makes it faster.
    let adapter = block_on(Gpu::adapters()).into_iter().next().context("no adapter")?;
    let (required_features, required_limits) = Gpu::wanted(&adapter);
    let descriptor = wgpu::DeviceDescriptor {
        required_features,
        required_limits,
        ..Default::default()
    };
    let (device, queue) = block_on(adapter.request_device(&descriptor))?;
    device.on_uncaptured_error(std::sync::Arc::new(|error| {
        panic!("an error reached the host: {error}")
    }));
    println!("device: {}", adapter.get_info().name);

    // The simulation alone, for as many frames as the two together will take.
    let frame = |simulation: &mut GrayScott, frames: &mut Frames| {
        simulation.advance(&device, &queue, A_FRAME);
        let polled = device.poll(wgpu::PollType::wait_indefinitely());
        frames.tick();
        polled
    };

    // Training on the same device.
    let gpu = Gpu::new(device.clone(), queue.clone(), &GpuOptions::default())?;
    let begun = Instant::now();
    let now = || begun.elapsed().as_secs_f64();
    let base = Base::open()?;
    let mut preparing = Paced::new(&gpu, async {
        let speed = gpu.measure_speed(now).await?;
        println!("products: {:.1} GFLOP/s, {} kernels", speed / 1e9, gpu.family());
        Tuning::new(&base, &gpu, STEPS).await
    });
    let mut tuning = loop {
        if let Poll::Ready(tuning) = preparing.advance(Duration::from_secs(1)) {
            break tuning?;
        }
        device.poll(wgpu::PollType::wait_indefinitely())?;
    };
    drop(preparing);

    let mut together = GrayScott::new(&device);
    let (mut frames, mut losses) = (Frames::default(), Vec::new());
    let mut training = Paced::new(&gpu, tuning.run(|step| losses.push(step.loss())));
    loop {
        frame(&mut together, &mut frames)?;
        if let Poll::Ready(done) = training.advance(BUDGET) {
            done?;
            break;
        }
    }
    drop(training);
    println!("simulating and training: {frames}");
    let with = together.cells(&device, &queue)?;

    let mut alone = GrayScott::new(&device);
    let mut quiet = Frames::default();
    for _ in 0..=frames.count() {
        frame(&mut alone, &mut quiet)?;
    }
    println!("simulating alone:        {quiet}");
    ensure!(alone.cells(&device, &queue)? == with, "training changed the simulation");
    ensure!(with.iter().any(|[_, v]| *v > 0.2), "nothing was simulated");

    // The same steps on a device of the library's own.
    let own = block_on(Gpu::request(&GpuOptions::default()))?;
    let mut want = Vec::new();
    block_on(async {
        Tuning::new(&base, &own, STEPS)
            .await?
            .run(|step| want.push(step.loss()))
            .await
    })?;
    ensure!(
        losses == want,
        "the simulation changed the training: {losses:?}, alone {want:?}"
    );
    println!("losses: {losses:.3?}, the same as alone");

    drop(tuning);
    ensure!(
        gpu.memory().live() == 0,
        "{} bytes were left on the device",
        gpu.memory().live()
    );
    Ok(())
}
