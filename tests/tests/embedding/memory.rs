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

#[test]
fn out_of_memory_at_any_point_is_an_error_to_whoever_waits_and_nothing_else() {
    if std::env::var_os(STARVED).is_some() {
        return starved();
    }
    let name = "embedding::memory::out_of_memory_at_any_point_is_an_error_to_whoever_waits_and_nothing_else";
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
        ended.status.success() && told.contains("starved and told"),
        "{}\n{told}",
        ended.status
    );
}

fn starved() {
    let material = Material::new();
    for calls in [0, 1, 5, 20, 40, 60, 80, 100, 150, 200, 300] {
        let host = Host::new();
        // wgpu gives a device up that finds no memory for what is written to a buffer, and tells its owner.
        let lost: Arc<Mutex<Option<String>>> = Arc::default();
        let told = lost.clone();
        host.device.set_device_lost_callback(move |_, why| {
            *told.lock().expect("nobody panics with it") = Some(why);
        });
        let gpu = host.gpu();
        gpu.set_speed(1e9);
        // Once in peace: drivers compile when something first runs.
        host.finish(&mut Paced::new(&gpu, whole(&material, &gpu)), BUDGET)
            .expect("a whole run");
        let before = host.buffers();
        let mut paced = Paced::new(&gpu, whole(&material, &gpu));
        for _ in 0..calls {
            let polled = paced.advance(BUDGET);
            assert!(polled.is_pending(), "done before call {calls}: {polled:?}");
            host.poll();
        }
        let taken = host.take_everything();
        assert!(taken.len() > 20, "{} pieces", taken.len());
        let error = host.finish(&mut paced, BUDGET).expect_err("there is no memory");
        assert!(matches!(error, Error::Gpu { .. }), "after {calls} calls: {error}");
        let lost = lost.lock().expect("nobody panics with it").clone();
        let told = format!("{error} {}", lost.unwrap_or_default()).to_lowercase();
        assert!(told.contains("out of memory"), "after {calls} calls: {told}");
        drop((paced, taken));
        assert_eq!(
            (gpu.memory().live(), host.buffers()),
            (0, before),
            "after {calls} calls"
        );
        host.heard_nothing();
    }
    println!("starved and told");
}
