//! What one call of `advance` does, whatever its budget, and what it leaves behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

use super::*;

const ALL: Duration = Duration::from_secs(100);

/// Calls until the work is done.
fn calls<T>(host: &Host, paced: &mut Paced<T>, budget: Duration) -> (T, usize) {
    for calls in 1..100_000 {
        if let Poll::Ready(value) = paced.advance(budget) {
            return (value, calls);
        }
        host.poll();
    }
    panic!("it does not end");
}

#[test]
fn a_call_compiles_one_kernel_and_loads_what_the_budget_allows() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    gpu.set_speed(1e9);
    // A tensor a call, where no budget is left after it.
    let load = |budget| {
        let mut load = Paced::new(&gpu, material.model(&gpu, Use::Frozen(None)));
        let (model, calls) = calls(&host, &mut load, budget);
        drop(model.expect("a model"));
        (calls, load.submitted())
    };
    let ((few, spent), (many, same)) = (load(ALL), load(Duration::from_micros(10)));
    assert!(
        few < 4 && many >= 20,
        "{few} calls with much to spend, {many} with nearly nothing"
    );
    assert!(spent > 0 && spent == same, "{spent} and {same} operations");
    // However much it may submit: compiling is the processor's time.
    let trainer = || Paced::new(&gpu, material.trainer(&gpu));
    let (_, cold) = calls(&host, &mut trainer(), ALL);
    let (_, warm) = calls(&host, &mut trainer(), ALL);
    assert!(cold >= warm + 20, "{cold} calls, then {warm}");
    host.heard_nothing();
}

/// Polls its work only when that has been woken, as combinators of several futures do.
struct WhenWoken<F>(Pin<Box<F>>, Arc<Woken>);

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<F::Output> {
        if !self.1.0.swap(false, Relaxed) {
            return Poll::Pending;
        }
        let waker = Waker::from(self.1.clone());
        self.0.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[test]
fn work_that_is_polled_only_when_woken_ends() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    gpu.set_speed(1e9);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let work = WhenWoken(Box::pin(whole(&material, &gpu)), woken);
    let (done, calls) = calls(&host, &mut Paced::new(&gpu, work), Duration::from_millis(1));
    done.expect("all of it");
    assert!(calls > 100, "{calls} calls: it never had to wait for its turn");
}

#[test]
fn work_that_panics_leaves_no_budget_behind() {
    let (host, material) = (Host::new(), Material::new());
    let gpu = host.gpu();
    let mut broken = Paced::new(&gpu, async { panic!("meant") });
    let caught = catch_unwind(AssertUnwindSafe(|| -> Poll<()> { broken.advance(Duration::ZERO) }));
    assert!(caught.is_err());
    // What is not paced has all the turns it likes.
    let mut work = std::pin::pin!(whole(&material, &gpu));
    let done = (0..10_000).find_map(|_| {
        host.poll();
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    });
    done.expect("it ends").expect("all of it");
}
