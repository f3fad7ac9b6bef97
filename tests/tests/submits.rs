//! How work reaches the device: in submits and dispatches of bounded time, at most two micro-batches at once, and whatever the cut
//! the same bits.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::packing::{MODELS, batches, examples, recomputing_trainer};
use wgpu_sft::Error;
use wgpu_sft::eval::Evaluator;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions, Paced};
use wgpu_sft::model::{Generator, Sampling, Use};
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
        pollster::block_on(trainer.submit(&step)).expect("a step");
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
            pollster::block_on(trainer.submit(&step)).expect("a step");
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

/// A device of the caller's, and this crate on it.
fn host() -> (wgpu::Device, wgpu::Queue, Gpu) {
    let adapter = pollster::block_on(Gpu::adapters())
        .into_iter()
        .next()
        .expect("an adapter");
    // WebGPU's defaults are enough.
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a device");
    let gpu = Gpu::new(device.clone(), queue.clone(), &tiled()).expect("limits");
    (device, queue, gpu)
}

/// Await as a host does that polls its device between looks, and count the looks.
fn hosted<T>(device: &wgpu::Device, future: impl Future<Output = T>) -> (T, u32) {
    let mut future = pin!(future);
    let mut looks = 0;
    loop {
        looks += 1;
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return (value, looks);
        }
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
    }
}

#[test]
fn a_device_with_too_low_limits_is_refused_by_their_names() {
    let adapter = pollster::block_on(Gpu::adapters())
        .into_iter()
        .next()
        .expect("an adapter");
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits {
            max_storage_buffers_per_shader_stage: 4,
            max_compute_workgroup_storage_size: 4096,
            ..wgpu::Limits::default()
        },
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let error = Gpu::new(device, queue, &tiled()).expect_err("too low").to_string();
    for name in [
        "max_storage_buffers_per_shader_stage is 4, 8",
        "max_compute_workgroup_storage_size is 4096, 16384",
    ] {
        assert!(error.contains(name), "{error}");
    }
    assert!(!error.contains("max_buffer_size"), "{error}");
}

#[test]
fn cooperative_kernels_are_not_taken_to_a_callers_device_unproved() {
    let (device, queue, _) = host();
    let options = GpuOptions {
        family: Some(Family::Cooperative {
            size: 16,
            lanes: [32, 32],
        }),
        ..GpuOptions::default()
    };
    let error = Gpu::new(device, queue, &options).expect_err("unproved").to_string();
    assert!(error.contains("proved"), "{error}");
}

#[test]
fn on_a_callers_device_two_micro_batches_are_in_flight_and_the_rest_waits() {
    let (device, queue, gpu) = host();
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0], &[1, 2], &[3], &[4, 5], &[6]]);
    let mut trained = trainer(&gpu, false);
    // How long it takes to hand a step over, kernels being ready: what the device has to be busy for, and much longer.
    let start = state_of(&trained, &device);
    let begun = Instant::now();
    hosted(&device, trained.submit(&step)).0.expect("a step");
    let handed_over = begun.elapsed();
    hosted(&device, trained.metrics()).0.expect("metrics");
    trained.restore(0, |name| Ok(start[name].clone())).expect("a state");
    let occupied = handed_over * 8 + Duration::from_secs(1);
    occupy(&device, &queue, occupied);
    let begun = Instant::now();
    let (submitted, looks) = hosted(&device, trained.submit(&step));
    submitted.expect("a step");
    // Two, two, one: drivers differ in when work ends. Or one lets nothing be submitted while it computes: then it was this that waited.
    let driver_waited = looks == 1 && begun.elapsed() > occupied / 4;
    assert!((2..=3).contains(&looks) || driver_waited, "looked {looks} times");
    let (metrics, _) = hosted(&device, trained.metrics());
    let got = (metrics.expect("metrics"), state_of(&trained, &device));

    let ours = pollster::block_on(Gpu::request(&tiled())).expect("an adapter");
    let mut own = trainer(&ours, false);
    pollster::block_on(own.submit(&step)).expect("a step");
    let want = (pollster::block_on(own.metrics()).expect("metrics"), state(&own));
    assert_eq!(got.0, want.0);
    assert!(got.1 == want.1, "weights or moments differ");
}

#[test]
fn paced_work_is_no_more_than_its_budget_and_gives_the_same_bits() {
    let (device, _, gpu) = host();
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0, 1], &[2], &[3, 4]]);
    // By which dispatches are cut, as a frame may be held up by each.
    gpu.set_speed(1e9);
    let mut at_once = trainer(&gpu, false);
    let mut unpaced = Paced::new(&gpu, at_once.submit(&step));
    while unpaced.advance(Duration::from_secs(100)).is_pending() {
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
    }
    let whole = unpaced.submitted();
    drop(unpaced);
    let (metrics, _) = hosted(&device, at_once.metrics());
    let want = (metrics.expect("metrics"), state_of(&at_once, &device));

    let mut trained = trainer(&gpu, false);
    // A call may submit a hundredth of the step.
    gpu.set_speed(whole as f64);
    let (budget, most) = (Duration::from_millis(10), whole / 100);
    let mut paced = Paced::new(&gpu, async {
        trained.submit(&step).await?;
        trained.metrics().await
    });
    let (mut calls, mut before, mut largest) = (0_u64, 0, 0);
    let metrics = loop {
        let polled = paced.advance(budget);
        calls += 1;
        largest = largest.max(paced.submitted() - before);
        before = paced.submitted();
        assert!(
            before <= most * (calls + 1) + most * 7,
            "ahead of its budget: {before} after {calls} calls"
        );
        if let Poll::Ready(metrics) = polled {
            break metrics.expect("metrics");
        }
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
    };
    assert!(calls > 60, "done in {calls} calls");
    assert!(
        largest < most * 7,
        "{largest} in a call, {most} wanted: more than a dispatch"
    );
    assert!(whole <= want.0.work, "more than with full buffers");
    assert_eq!(before, whole, "what was submitted is what the step takes");
    assert_eq!(metrics, want.0);
    drop(paced);
    assert!(state_of(&trained, &device) == want.1, "weights or moments differ");
}

#[test]
fn what_is_given_up_leaves_no_trace() {
    let (device, _, gpu) = host();
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0, 1], &[2], &[3, 4]]);
    // Both are recorded as for the same device.
    gpu.set_speed(1e9);
    let mut trained = trainer(&gpu, false);
    let start = state_of(&trained, &device);
    let live = gpu.memory().live();
    for calls in [1, 3, 40] {
        let mut paced = Paced::new(&gpu, trained.submit(&step));
        for _ in 0..calls {
            assert!(paced.advance(Duration::from_micros(100)).is_pending());
            device
                .poll(wgpu::PollType::wait_indefinitely())
                .expect("the device answers");
        }
    }
    assert_eq!(trained.step(), 0);
    assert_eq!(gpu.memory().live(), live, "buffers were left behind");
    assert!(state_of(&trained, &device) == start, "weights or moments differ");
    let mut fresh = trainer(&gpu, false);
    let [got, want] = [&mut trained, &mut fresh].map(|trainer| {
        hosted(&device, trainer.submit(&step)).0.expect("a step");
        hosted(&device, trainer.metrics()).0.expect("metrics")
    });
    assert_eq!(got, want);
    assert!(
        state_of(&trained, &device) == state_of(&fresh, &device),
        "weights or moments differ"
    );
    // Metrics that nobody waits for any more are no step in flight.
    for _ in 0..3 {
        hosted(&device, trained.submit(&step)).0.expect("a step");
        drop(Paced::new(&gpu, trained.metrics()).advance(Duration::ZERO));
    }
}

#[test]
fn evaluations_and_answers_are_paced_too() {
    let (device, _, gpu) = host();
    let examples = examples(MODELS[0]);
    let model = golden_model(&gpu, MODELS[0], Use::Frozen(None));
    let (evaluator, _) = hosted(&device, Evaluator::new(&model, 256));
    let (generator, _) = hosted(&device, Generator::new(&model, 64));
    let (mut evaluator, mut generator) = (evaluator.expect("an evaluator"), generator.expect("a generator"));
    let prompt = &examples[0].ids[..5];
    let mut both = async |generator: &mut Generator| {
        generator.reset();
        let metrics = evaluator.run(&examples).await?;
        let answer = generator
            .generate(prompt, &Sampling::default(), 8, &[], |_| true)
            .await?;
        Ok::<_, Error>((metrics, answer))
    };
    let (want, _) = hosted(&device, both(&mut generator));
    gpu.set_speed(1e9);
    let mut paced = Paced::new(&gpu, both(&mut generator));
    let mut calls = 0;
    let got = loop {
        calls += 1;
        if let Poll::Ready(got) = paced.advance(Duration::from_millis(20)) {
            break got;
        }
        device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
    };
    assert_eq!(got, want);
    assert_eq!(got.expect("both").1.len(), 8);
    assert!(calls > 8, "done in {calls} calls");
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
