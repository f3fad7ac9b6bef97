//! A device that runs out of memory in the middle of work, as its owner takes all there is.

use super::*;

use std::process::Command;

const BUDGET: Duration = Duration::from_millis(1);
/// Set in the process that has little memory, which is this test once more.
const STARVED: &str = "WGPU_SFT_STARVED";
/// Address space of that process in KiB: what a software driver allocates comes out of it.
const SPACE: &str = "8388608";

impl Host {
    /// Take all the memory that the device has left, in ever smaller pieces.
    fn take_everything(&self) -> Vec<wgpu::Buffer> {
        let mut taken = Vec::new();
        for size in [64 << 20, 8 << 20, 1 << 20, 64 << 10, 4 << 10, 256] {
            loop {
                let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
                let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("taken"),
                    size,
                    usage: wgpu::BufferUsages::STORAGE,
                    mapped_at_creation: false,
                });
                if pollster::block_on(scope.pop()).is_some() {
                    break;
                }
                taken.push(buffer);
            }
        }
        taken
    }
}

#[track_caller]
fn is_out_of_memory<T>(result: Result<T>) {
    let error = result.map(drop).expect_err("there is no memory");
    let told = error.to_string();
    assert!(
        matches!(error, Error::Gpu { .. }) && told.contains("out of memory"),
        "{told}"
    );
}

#[test]
fn out_of_memory_at_any_point_is_an_error_and_work_goes_on_when_there_is_some() {
    if std::env::var_os(STARVED).is_some() {
        return starved();
    }
    let name = "embedding::memory::out_of_memory_at_any_point_is_an_error_and_work_goes_on_when_there_is_some";
    let ended = Command::new("sh")
        .args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", SPACE])
        .arg(std::env::current_exe().expect("this test"))
        .args([name, "--exact", "--nocapture"])
        .env(STARVED, "1")
        .output()
        .expect("a shell");
    let told = [&ended.stdout[..], &ended.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        ended.status.success() && told.contains("starved and fed"),
        "{}\n{told}",
        ended.status
    );
}

fn starved() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    gpu.set_speed(1e9);
    // Once in peace: drivers compile when something first runs.
    host.finish(&mut Paced::new(&gpu, whole(&material, &gpu)), BUDGET)
        .expect("a whole run");
    let before = host.buffers();
    for calls in [0, 1, 5, 20, 40, 60, 80, 100, 150, 200, 300] {
        let mut paced = Paced::new(&gpu, whole(&material, &gpu));
        for _ in 0..calls {
            assert!(paced.advance(BUDGET).is_pending(), "done before call {calls}");
            host.poll();
        }
        let taken = host.take_everything();
        assert!(taken.len() > 20, "{} pieces", taken.len());
        is_out_of_memory(host.finish(&mut paced, BUDGET));
        drop((paced, taken));
        assert_eq!(
            (gpu.memory().live(), host.buffers()),
            (0, before),
            "after {calls} calls"
        );
        host.heard_nothing();
    }

    // What there was goes on, and nothing shows that it had to stop.
    let trainer = || {
        host.finish(&mut Paced::new(&gpu, material.trainer(&gpu)), BUDGET)
            .expect("a trainer")
    };
    let (mut hungry, mut fed) = (trainer(), trainer());
    for calls in [0, 4, 30] {
        let mut step = Paced::new(&gpu, material.train(&mut hungry));
        for _ in 0..calls {
            assert!(step.advance(BUDGET).is_pending());
            host.poll();
        }
        let taken = host.take_everything();
        is_out_of_memory(host.finish(&mut step, BUDGET));
        drop(taken);
        host.poll();
    }
    let [got, want] = [&mut hungry, &mut fed].map(|trainer| {
        let mut step = Paced::new(&gpu, material.train(trainer));
        host.finish(&mut step, BUDGET).expect("a step")
    });
    assert_eq!(got, want);
    host.heard_nothing();
    println!("starved and fed");
}
