//! How work reaches the device: in submits and dispatches of bounded time, at most two micro-batches at once, and whatever the cut
//! the same bits.

use std::time::{Duration, Instant};

use crate::packing::{MODELS, batches, examples, recomputing_trainer};
use wgpu_sft::Error;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions};
use wgpu_sft::model::Use;
use wgpu_sft::train::{LoraConfig, Recompute, Trainer};
use wgpu_sft_tests::{golden_model, state};

fn tiled() -> GpuOptions {
    GpuOptions {
        family: Some(Family::Tiled),
        ..GpuOptions::default()
    }
}

fn trainer(gpu: &Gpu, lora: bool) -> Trainer {
    let keep = if lora { Use::Frozen(None) } else { Use::Trained };
    let mut model = golden_model(gpu, MODELS[0], keep);
    if lora {
        let config = LoraConfig::default().adapter_config(None);
        model.add_adapter(&config, 1).expect("an adapter");
    }
    recomputing_trainer(model, 256, Recompute::Off)
}

/// On a kernel family for GPUs, as CPU adapters have no limit.
#[test]
fn a_submit_carries_no_more_than_a_quarter_of_a_second_of_work() {
    let options = GpuOptions {
        family: Some(Family::Tiled),
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::request(&options)).expect("an adapter");
    let examples = examples(MODELS[0]);
    let model = golden_model(&gpu, MODELS[0], Use::Trained);
    let mut trainer = recomputing_trainer(model, 256, Recompute::Off);
    let step = batches(&examples, &[&[0, 1], &[2]]);
    let start = state(&trainer);
    let mut submits = |speed: f64| {
        gpu.set_speed(speed);
        trainer.restore(0, |name| Ok(start[name].clone())).expect("a state");
        let before = (gpu.submitted().submits(), gpu.submitted().dispatches());
        trainer.submit(&step).expect("a step");
        let after = (gpu.submitted().submits(), gpu.submitted().dispatches());
        let metrics = pollster::block_on(trainer.metrics()).expect("metrics");
        (after.0 - before.0, after.1 - before.1, metrics, state(&trainer))
    };
    let (few, dispatches, metrics, want) = submits(1e18);
    // Two micro-batches and the update, and what is read back.
    assert_eq!(few, 4, "at once");
    let whole = metrics.work;
    for (share, least) in [(0.25, 4), (0.05, 20)] {
        // At a speed of which a submit's quarter of a second is this share of the step.
        let (n, _, _, got) = submits(whole as f64 * share * 4.0);
        assert!(n >= least && n < dispatches, "{n} submits of {share} of the step");
        assert!(got == want, "how a step is submitted changed it");
    }
    let (most, _, _, _) = submits(1.0);
    assert!(most >= dispatches, "{most} submits of {dispatches} dispatches");
    for nonsense in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
        assert_eq!(submits(nonsense).0, most, "{nonsense}");
    }
}

#[test]
fn a_dispatch_is_cut_for_a_slow_device_and_gives_the_same_bits() {
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0, 1], &[2, 3, 4]]);
    for lora in [false, true] {
        let [whole, cut] = [1e18, 1e6].map(|speed| {
            let gpu = pollster::block_on(Gpu::request(&tiled())).expect("an adapter");
            gpu.set_speed(speed);
            let mut trainer = trainer(&gpu, lora);
            // How it is submitted is not what is compared.
            gpu.set_speed(1e18);
            trainer.submit(&step).expect("a step");
            let metrics = pollster::block_on(trainer.metrics()).expect("metrics");
            (
                gpu.submitted().dispatches(),
                (metrics.loss_sum, metrics.grad_norm),
                state(&trainer),
            )
        });
        assert!(
            cut.0 > whole.0 + 10,
            "{} dispatches, {} for a slow device",
            whole.0,
            cut.0
        );
        assert_eq!(whole.1, cut.1, "loss and gradient norm");
        assert!(whole.2 == cut.2, "weights or moments differ");
    }
}

#[test]
fn on_a_callers_device_two_micro_batches_are_in_flight_and_the_rest_waits() {
    let adapter = pollster::block_on(Gpu::adapters())
        .into_iter()
        .next()
        .expect("an adapter");
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0], &[1, 2], &[3], &[4, 5], &[6]]);
    let mine = Gpu::new(device.clone(), queue.clone(), &tiled());
    let poll = || {
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers")
    };
    // `metrics` is polled by hand, as a host would.
    let metrics = |trainer: &mut Trainer| {
        poll();
        pollster::block_on(trainer.metrics()).expect("metrics")
    };
    let mut hosted = trainer(&mine, false);
    // How long it takes to hand a step over, kernels being ready: what the device has to be busy for, and much longer.
    let start = state_of(&hosted, &device);
    let begun = Instant::now();
    while hosted.submit(&step).is_err() {
        poll();
    }
    let handed_over = begun.elapsed();
    metrics(&mut hosted);
    hosted.restore(0, |name| Ok(start[name].clone())).expect("a state");
    let mut busy = 0;
    let occupied = handed_over * 8 + Duration::from_secs(1);
    occupy(&device, &queue, occupied);
    let begun = Instant::now();
    while let Err(error) = hosted.submit(&step) {
        assert_eq!(error, Error::Busy);
        assert_eq!(hosted.step(), 0, "a step is done when it is submitted as a whole");
        // Drivers differ in when work ends: on SwiftShader there is no room twice, on lavapipe once or never.
        let other = hosted.submit(&step[..4]).expect_err("other micro-batches");
        assert!(other.to_string().contains("begun with other micro-batches"), "{other}");
        busy += 1;
        poll();
        pollster::block_on(hosted.ready()).expect("room");
    }
    // Two, two, one. Or the driver lets nothing be submitted while it computes: then it was this that waited.
    let driver_waited = busy == 0 && begun.elapsed() > occupied / 4;
    assert!(
        (1..=2).contains(&busy) || driver_waited,
        "asked to come back {busy} times"
    );
    let got = (metrics(&mut hosted), state_of(&hosted, &device));

    let ours = pollster::block_on(Gpu::request(&tiled())).expect("an adapter");
    let mut own = trainer(&ours, false);
    own.submit(&step).expect("a step");
    let want = (pollster::block_on(own.metrics()).expect("metrics"), state(&own));
    assert_eq!(got.0, want.0);
    assert!(got.1 == want.1, "weights or moments differ");

    // A step that is given up leaves no trace.
    let start = state_of(&hosted, &device);
    if hosted.submit(&step).is_ok() {
        metrics(&mut hosted);
    }
    hosted.restore(1, |name| Ok(start[name].clone())).expect("a state");
    own.restore(1, |name| Ok(start[name].clone())).expect("a state");
    let one = &step[..1];
    poll();
    hosted.submit(one).expect("a step");
    own.submit(one).expect("a step");
    assert_eq!(
        metrics(&mut hosted),
        pollster::block_on(own.metrics()).expect("metrics")
    );
}

/// Give a device work for at least `time`, which all that follows has to wait for.
fn occupy(device: &wgpu::Device, queue: &wgpu::Queue, time: Duration) {
    const SIZE: u64 = 64 << 20;
    const PROBE: u32 = 20;
    let buffers = [wgpu::BufferUsages::COPY_SRC, wgpu::BufferUsages::COPY_DST].map(|usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: SIZE,
            usage,
            mapped_at_creation: false,
        })
    });
    let copy = |times: u32| {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..times {
            encoder.copy_buffer_to_buffer(&buffers[0], 0, &buffers[1], 0, SIZE);
        }
        queue.submit([encoder.finish()]);
    };
    let timed = |times: u32| {
        let begun = Instant::now();
        copy(times);
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
        begun.elapsed()
    };
    // The memory is new to the first.
    timed(1);
    let each = timed(PROBE).as_secs_f64() / f64::from(PROBE);
    copy((time.as_secs_f64() / each).ceil() as u32);
}

/// [`state`] of a trainer on a caller's device, which another thread polls.
fn state_of(trainer: &Trainer, device: &wgpu::Device) -> std::collections::BTreeMap<String, Vec<f32>> {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = device.poll(wgpu::PollType::Poll);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let state = state(trainer);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        state
    })
}
