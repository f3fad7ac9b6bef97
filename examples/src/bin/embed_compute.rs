//! A simulation and a training run share a device. The simulation owns it: a frame of it, a few milliseconds of training, again. Both end
//! as they would have alone, which this program checks.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pollster::block_on;
use wgpu_sft::gpu::{Gpu, GpuOptions, Paced};
use wgpu_sft::wgpu;
use wgpu_sft_examples::frames::Frames;
use wgpu_sft_examples::gray_scott::GrayScott;
use wgpu_sft_examples::tuning::{Tuning, base};

/// Optimizer steps.
const STEPS: u64 = 12;
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
    device.on_uncaptured_error(Arc::new(|error| panic!("an error reached the host: {error}")));
    println!("device: {}", adapter.get_info().name);

    // What a frame of the host's is: some work of its own, then a poll, which is what completes ours.
    let frame = |simulation: &mut GrayScott, frames: &mut Frames| {
        simulation.advance(&device, &queue, A_FRAME);
        let polled = device.poll(wgpu::PollType::wait_indefinitely());
        frames.tick();
        polled
    };

    // Whatever is awaited is handed over in portions; loading is done before the first frame here.
    let gpu = Gpu::new(device.clone(), queue.clone(), &GpuOptions::default())?;
    let begun = Instant::now();
    let base = base()?;
    let mut preparing = Paced::new(&gpu, async {
        let speed = gpu.measure_speed(|| begun.elapsed().as_secs_f64()).await?;
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
    let begun = Instant::now();
    loop {
        frame(&mut together, &mut frames)?;
        if let Poll::Ready(done) = training.advance(BUDGET) {
            done?;
            break;
        }
    }
    let (seconds, work) = (begun.elapsed().as_secs_f64(), training.submitted() as f64);
    drop(training);
    let with = together.cells(&device, &queue)?;

    let mut alone = GrayScott::new(&device);
    let mut quiet = Frames::default();
    for _ in 0..=frames.count() {
        frame(&mut alone, &mut quiet)?;
    }
    println!("simulating and training: {frames}");
    println!("simulating alone:        {quiet}");
    let share = work / gpu.speed() / seconds;
    println!(
        "training took {seconds:.1} s, {:.0} % of the device by its own reckoning",
        100.0 * share
    );
    ensure!(alone.cells(&device, &queue)? == with, "training changed the simulation");
    ensure!(with.iter().any(|[_, v]| *v > 0.2), "nothing was simulated");
    println!("simulation: the same as alone");

    // The same steps on a device of the library's own.
    let own = block_on(Gpu::request(&GpuOptions::default()))?;
    let mut want = Vec::new();
    block_on(async {
        let mut tuning = Tuning::new(&base, &own, STEPS).await?;
        tuning.run(|step| want.push(step.loss())).await
    })?;
    ensure!(
        losses == want,
        "the simulation changed the training: {losses:?}, alone {want:?}"
    );
    println!("losses: {losses:.3?}, the same as alone");

    drop(tuning);
    let live = gpu.memory().live();
    ensure!(live == 0, "{live} bytes were left on the device");
    println!("nothing was left on the device");
    Ok(())
}
