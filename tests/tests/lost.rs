//! A device of our own that is lost in mid-step: an error, no panic, no waiting; and what was saved goes on elsewhere to the same bits.

use crate::packing::{MODELS, batches, examples, recomputing_trainer};
use wgpu_sft::Error;
use wgpu_sft::gpu::Gpu;
use wgpu_sft::model::Use;
use wgpu_sft::train::{Recompute, Trainer};
use wgpu_sft_tests::{golden_model, gpu, state};

#[test]
fn a_run_whose_device_is_lost_ends_with_an_error_and_goes_on_elsewhere() {
    let examples = examples(MODELS[0]);
    let step = batches(&examples, &[&[0, 1], &[2]]);
    let trainer = |gpu: &Gpu| recomputing_trainer(golden_model(gpu, MODELS[0], Use::Trained), 256, Recompute::Off);
    let train = |trainer: &mut Trainer, steps: u32| {
        for _ in 0..steps {
            pollster::block_on(trainer.submit(&step)).expect("a step");
            pollster::block_on(trainer.metrics()).expect("its numbers");
        }
    };
    let device = gpu();
    let mut whole = trainer(&device);
    train(&mut whole, 4);

    for submitted in [false, true] {
        let device = gpu();
        let mut lost = trainer(&device);
        train(&mut lost, 2);
        let saved = state(&lost);
        let is_told = |error: Error| match error {
            Error::Gpu { why, .. } => assert!(why.contains("destroyed") || why.contains("lost"), "{why}"),
            other => panic!("{other}"),
        };
        if submitted {
            pollster::block_on(lost.submit(&step)).expect("a step");
        }
        device.device().destroy();
        if !submitted {
            // It may be told here or when the numbers are asked for.
            let _ = pollster::block_on(lost.submit(&step)).map_err(is_told);
        }
        if lost.in_flight() > 0 {
            is_told(pollster::block_on(lost.metrics()).expect_err("numbers of a device that is lost"));
        }
        let nothing = |_: &str, _: &[usize], _: Vec<f32>| Ok(());
        is_told(pollster::block_on(lost.state(nothing)).expect_err("a state of a device that is lost"));
        drop(lost);

        let device = gpu();
        let mut resumed = trainer(&device);
        resumed.restore(2, |name| Ok(saved[name].clone())).expect("a state");
        train(&mut resumed, 2);
        assert!(state(&resumed) == state(&whole), "it ends in other bits");
    }
}
