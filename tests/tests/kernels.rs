//! Every kernel against its twin, on the adapter at hand, in every form it can run.

use wgpu_sft::check;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions};

fn run(family: Option<Family>, checked: bool) {
    let options = GpuOptions {
        family,
        checked,
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::request(&options)).expect("an adapter");
    let start = std::time::Instant::now();
    let results = pollster::block_on(check::run(&gpu, None, |r| {
        println!("{:7.2} {} {:.1e}", start.elapsed().as_secs_f32(), r.name, r.max_error)
    }))
    .expect("the kernels compile and run");
    let failed: Vec<String> = results
        .iter()
        .filter(|r| !r.passed)
        .map(|r| format!("{} ({}): {:.2e} > {:.0e}", r.name, r.family, r.max_error, r.tolerance))
        .collect();
    println!("{}: {} cases on {}", gpu.family(), results.len(), gpu.info().name);
    assert!(results.len() > 100, "only {} cases", results.len());
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        results.len(),
        failed.join("\n")
    );
}

/// What runs where nothing is said: without checks.
#[test]
fn tiled_unchecked() {
    run(Some(Family::Tiled), false);
}

#[test]
fn subgroup_unchecked() {
    run(Some(Family::Subgroup(0)), false);
}

#[test]
fn register_unchecked() {
    run(Some(Family::Register), false);
}

#[test]
fn tiled_checked() {
    run(Some(Family::Tiled), true);
}

#[test]
fn subgroup_checked() {
    run(Some(Family::Subgroup(0)), true);
}

#[test]
fn register_checked() {
    run(Some(Family::Register), true);
}
