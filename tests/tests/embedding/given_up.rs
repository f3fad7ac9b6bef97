//! Work that is dropped at any point.

use super::*;

const BUDGET: Duration = Duration::from_millis(1);

#[test]
fn what_is_given_up_at_any_point_leaves_no_buffer() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    gpu.set_speed(1e9);
    let run = || {
        let mut paced = Paced::new(&gpu, whole(&material, &gpu));
        let mut calls = 1;
        while paced.advance(BUDGET).is_pending() {
            host.poll();
            calls += 1;
        }
        calls
    };
    // The first compiles what later ones find.
    let calls = run().min(run());
    assert!(calls > 100, "done in {calls} calls: there is nothing to give up");
    let (buffers, bytes) = (host.buffers(), host.bytes());
    assert_eq!(gpu.memory().live(), 0, "a whole run left buffers");
    // Early points one by one, where it is loaded and recorded; later ones here and there.
    for given_up in (1..40).chain((40..calls).step_by(calls / 40)) {
        // Of the early ones every fourth where nothing is compiled yet.
        let gpu = match given_up < 40 && given_up % 4 == 0 {
            true => host.gpu(),
            false => gpu.clone(),
        };
        gpu.set_speed(1e9);
        let mut paced = Paced::new(&gpu, whole(&material, &gpu));
        for _ in 0..given_up {
            assert!(paced.advance(BUDGET).is_pending(), "ended before call {given_up}");
            // Whether what was submitted has ended is another thing that may differ.
            if given_up % 3 > 0 {
                host.poll();
            }
        }
        drop(paced);
        assert_eq!(gpu.memory().live(), 0, "after {given_up} calls");
        assert_eq!(host.buffers(), buffers, "after {given_up} calls");
        assert!(host.bytes() <= bytes, "after {given_up} calls: {} bytes", host.bytes());
    }
    host.heard_nothing();
}

/// A trainer of every weight.
fn full(host: &Host, material: &Material, gpu: &Gpu) -> Trainer {
    let trainer = async {
        let config = TrainConfig {
            method: Method::Full,
            learning_rate: Some(2e-3),
            ..TrainConfig::default()
        };
        Trainer::new(material.model(gpu, Use::Trained).await?, &config, 6, 256).await
    };
    host.finish(&mut Paced::new(gpu, trainer), BUDGET).expect("a trainer")
}

/// So little that an update takes many calls.
const SMALL: Duration = Duration::from_micros(100);

/// A step after so many calls.
fn step_under_way<'a>(
    host: &Host,
    material: &'a Material,
    (gpu, trainer): (&Gpu, &'a mut Trainer),
    calls: usize,
) -> Paced<'a, Result<()>> {
    let mut paced = Paced::new(gpu, trainer.submit(&material.step));
    for _ in 0..calls {
        assert!(paced.advance(SMALL).is_pending(), "ended before call {calls}");
        host.poll();
    }
    paced
}

#[test]
fn an_update_that_has_begun_is_submitted_to_its_end_whoever_gives_it_up() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    gpu.set_speed(1e9);
    let mut trainer = full(&host, &material, &gpu);
    let all = |trainer: &Trainer| {
        let mut all = Vec::new();
        let take = |_: &str, _: &[usize], numbers: Vec<f32>| {
            all.push(numbers);
            Ok(())
        };
        pollster_free(&host, trainer.state(take)).expect("a state");
        all
    };
    let restore = |trainer: &mut Trainer, state: &[Vec<f32>]| {
        let mut state = state.iter();
        let next = |_: &str| Ok(state.next().expect("as many").clone());
        trainer.restore(0, next).expect("a state");
    };
    let start = all(&trainer);
    let (mut submitted, mut paced) = (vec![0], Paced::new(&gpu, trainer.submit(&material.step)));
    while paced.advance(SMALL).is_pending() {
        host.poll();
        submitted.push(paced.submitted());
    }
    drop(paced);
    let calls = submitted.len();
    // The last calls are the update's: no more than a dispatch, which is cut into what one may carry.
    let last = &submitted[calls - 90..];
    let largest = last.windows(2).map(|two| two[1] - two[0]).max();
    assert!(last[89] - last[0] > 6_000_000 && largest < Some(3_000_000), "{last:?}");
    let metrics = pollster_free(&host, trainer.metrics()).expect("metrics");
    let end = all(&trainer);
    assert!(start != end);
    let mut begun = Vec::new();
    for given_up in (calls - 140..calls).step_by(9).chain([1, calls / 2]) {
        restore(&mut trainer, &start);
        drop(step_under_way(&host, &material, (&gpu, &mut trainer), given_up));
        let has_been = trainer.step() == 1;
        assert_eq!(trainer.in_flight(), usize::from(has_been), "after {given_up} calls");
        assert!(
            all(&trainer) == if has_been { end.clone() } else { start.clone() },
            "after {given_up} calls"
        );
        if has_been {
            assert_eq!(pollster_free(&host, trainer.metrics()), Ok(metrics));
            begun.push(given_up);
        }
    }
    assert!((4..14).contains(&begun.len()), "begun after {begun:?} of {calls} calls");
    // One that nobody drops is never whole.
    restore(&mut trainer, &start);
    let amid = begun[begun.len() / 2];
    std::mem::forget(step_under_way(&host, &material, (&gpu, &mut trainer), amid));
    let next = pollster_free(&host, trainer.submit(&material.step));
    assert!(matches!(next, Err(Error::Gpu { .. })), "{next:?}");
    // What the device no longer does is told to whoever awaits the next step.
    restore(&mut trainer, &start);
    let paced = step_under_way(&host, &material, (&gpu, &mut trainer), amid);
    host.device.destroy();
    drop(paced);
    let next = host.finish(&mut Paced::new(&gpu, material.train(&mut trainer)), SMALL);
    assert!(matches!(next, Err(Error::Gpu { .. })), "{next:?}");
    drop((trainer, gpu));
    assert_eq!(host.buffers(), 1, "what the forgotten one was to be read back by");
    host.heard_nothing();
}

#[test]
fn what_is_dropped_while_it_works_leaves_no_buffer() {
    let (host, material) = (Host::new(), Material::new());
    let before = host.buffers();
    for what in ["trainer", "metrics", "model", "generator", "device"] {
        {
            let gpu = host.gpu();
            gpu.set_speed(1e9);
            let mut trainer = host
                .finish(&mut Paced::new(&gpu, material.trainer(&gpu)), BUDGET)
                .expect("a trainer");
            host.finish(&mut Paced::new(&gpu, trainer.submit(&material.step)), BUDGET)
                .expect("a step");
            match what {
                // The step is on its way, nobody has asked for its numbers.
                "trainer" => drop(trainer),
                "metrics" => {
                    let _ = Paced::new(&gpu, trainer.metrics()).advance(Duration::ZERO);
                }
                // Its last handle is the one that the others keep.
                "device" => drop(gpu),
                what => {
                    let model = trainer.into_model();
                    let mut generator = host
                        .finish(&mut Paced::new(&gpu, Generator::new(&model, 64)), BUDGET)
                        .expect("a generator");
                    if what == "model" {
                        // What was recorded over its weights keeps them.
                        drop(model);
                        let mut answer = Paced::new(&gpu, material.answer(&mut generator));
                        assert_eq!(host.finish(&mut answer, BUDGET).expect("an answer").len(), 8);
                    } else {
                        let mut answer = Paced::new(&gpu, material.answer(&mut generator));
                        for _ in 0..5 {
                            assert!(answer.advance(BUDGET).is_pending());
                        }
                    }
                }
            }
        }
        assert_eq!(host.buffers(), before, "{what}");
    }
    host.heard_nothing();
}

#[test]
fn nothing_is_waited_for_and_what_is_read_back_comes_when_the_host_polls() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    let mut trainer = host
        .finish(&mut Paced::new(&gpu, material.trainer(&gpu)), BUDGET)
        .expect("a trainer");
    let model = pollster_free(&host, material.model(&gpu, Use::Frozen(None))).expect("a model");
    let mut evaluator = pollster_free(&host, Evaluator::new(&model, 256)).expect("an evaluator");
    let mut generator = pollster_free(&host, Generator::new(&model, 64)).expect("a generator");
    let mut all: [(&str, Work); 3] = [
        (
            "a step",
            Box::pin(async { material.train(&mut trainer).await.map(drop) }),
        ),
        (
            "an evaluation",
            Box::pin(async { evaluator.run(&material.examples[..]).await.map(drop) }),
        ),
        (
            "an answer",
            Box::pin(async { material.answer(&mut generator).await.map(drop) }),
        ),
    ];
    for (what, work) in &mut all {
        let mut paced = Paced::new(&gpu, work);
        // As much as it likes, and time to end: but nobody polls.
        let begun = std::time::Instant::now();
        let mut submits = None;
        while begun.elapsed() < Duration::from_millis(700) {
            assert!(
                paced.advance(Duration::from_secs(100)).is_pending(),
                "{what} came by itself"
            );
            // A submit looks at what has ended, too: from here on there is none.
            let now = gpu.submitted().submits();
            if submits.replace(now) == Some(now) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        host.finish(&mut paced, Duration::from_secs(100)).expect(what);
    }
    host.heard_nothing();
}

/// Await on a device that is polled between looks.
fn pollster_free<T>(host: &Host, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let Poll::Ready(value) = work.as_mut().poll(&mut context) {
            return value;
        }
        host.poll();
    }
}
