//! A device that is lost in the middle of work.

use super::*;

const BUDGET: Duration = Duration::from_millis(1);

#[test]
fn a_device_lost_at_any_point_is_an_error_to_whoever_waits_and_nothing_else() {
    let material = Material::new();
    for calls in [0, 1, 2, 5, 20, 40, 60, 80, 100, 150, 200, 300] {
        let host = Host::new();
        let gpu = host.gpu();
        gpu.set_speed(1e9);
        let mut paced = Paced::new(&gpu, whole(&material, &gpu));
        for _ in 0..calls {
            assert!(paced.advance(BUDGET).is_pending(), "done before call {calls}");
            host.poll();
        }
        host.device.destroy();
        let error = host.finish(&mut paced, BUDGET).expect_err("the device is lost");
        assert!(matches!(error, Error::Gpu { .. }), "after {calls} calls: {error}");
        drop(paced);
        assert_eq!(gpu.memory().live(), 0, "after {calls} calls");
        drop(gpu);
        assert_eq!(host.buffers(), 0, "after {calls} calls");
        host.heard_nothing();
    }
}

#[test]
fn what_a_lost_device_left_can_be_asked_and_dropped() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    let finish = Duration::from_secs(1);
    let mut trainer = host
        .finish(&mut Paced::new(&gpu, material.trainer(&gpu)), finish)
        .expect("a trainer");
    let model = host
        .finish(&mut Paced::new(&gpu, material.model(&gpu, Use::Frozen(None))), finish)
        .expect("a model");
    let mut generator = host
        .finish(&mut Paced::new(&gpu, Generator::new(&model, 64)), finish)
        .expect("a generator");
    host.finish(&mut Paced::new(&gpu, trainer.submit(&material.step)), finish)
        .expect("a step");
    host.device.destroy();
    // Each twice: the second finds what the first has left.
    for _ in 0..2 {
        let answered = host.finish(&mut Paced::new(&gpu, material.answer(&mut generator)), finish);
        assert!(matches!(answered, Err(Error::Gpu { .. })), "{answered:?}");
        let trained = host.finish(&mut Paced::new(&gpu, material.train(&mut trainer)), finish);
        assert!(matches!(trained, Err(Error::Gpu { .. })), "{trained:?}");
        let made = host.finish(&mut Paced::new(&gpu, Generator::new(&model, 64)), finish);
        assert!(matches!(made, Err(Error::Gpu { .. })));
    }
    drop((trainer, model, generator, gpu));
    assert_eq!(host.buffers(), 0);
    host.heard_nothing();
}
