//! Work on rows on every core, in order.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use wgpu_sft::data::{Place, Reading, Row};
use wgpu_sft::{Error, Result as RowResult};

use super::file::for_each_row;
use crate::progress::Progress;

/// Rows that a worker takes at once.
const BATCH: usize = 64;

/// Rows, or what was made of them, and where they are.
type Batch<T> = Vec<(Place, T)>;

/// A batch with its number, to be worked on.
type Job = (usize, Batch<RowResult<Row>>);

/// A batch with its number, or that a worker has panicked.
type Done<T> = Option<(usize, Batch<T>)>;

/// Read a file's rows, let workers `make` something of each, or of what is wrong with it, and `take` that in the file's order.
pub fn on_every_core<T: Send>(
    file: &str,
    reading: &Reading,
    progress: &Progress,
    make: impl Fn(Place, RowResult<Row>) -> T + Sync,
    take: impl FnMut(Place, T) -> RowResult<()>,
) -> Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (jobs, to_do) = channel();
    let (results, done) = channel();
    let to_do = Mutex::new(to_do);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (to_do, results, make) = (&to_do, results.clone(), &make);
            scope.spawn(move || work(to_do, &results, make));
        }
        drop(results);
        // Dropped with this scope's end, whatever ends it, so that the workers end too.
        let mut line = Line {
            jobs,
            done,
            ahead: 2 * workers,
            batch: Vec::with_capacity(BATCH),
            sent: 0,
            taken: 0,
            waiting: BTreeMap::new(),
            take,
        };
        for_each_row(file, reading, progress, |place, row| {
            line.batch.push((place, row));
            if line.batch.len() == BATCH { line.send() } else { Ok(()) }
        })?;
        line.send()?;
        while line.taken < line.sent {
            line.receive()?;
        }
        Ok(())
    })
}

/// Work on batches until there are no more.
fn work<T>(to_do: &Mutex<Receiver<Job>>, results: &Sender<Done<T>>, make: &impl Fn(Place, RowResult<Row>) -> T) {
    let _alarm = Alarm(results);
    loop {
        let job = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, rows)) = job else { return };
        let made = rows.into_iter().map(|(place, row)| (place, make(place, row)));
        if results.send(Some((number, made.collect()))).is_err() {
            return;
        }
    }
}

/// Tells of a worker's panic: the others wait for more work, and whoever waits for its batch would wait for ever.
struct Alarm<'a, T>(&'a Sender<Done<T>>);

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}

/// Batches on their way through the workers.
struct Line<T, F> {
    jobs: Sender<Job>,
    done: Receiver<Done<T>>,
    /// Batches that may be under way.
    ahead: usize,
    batch: Batch<RowResult<Row>>,
    sent: usize,
    taken: usize,
    /// Batches that were done before their turn.
    waiting: BTreeMap<usize, Batch<T>>,
    take: F,
}

impl<T, F: FnMut(Place, T) -> RowResult<()>> Line<T, F> {
    /// Hand over what has been gathered, once few enough batches are under way.
    fn send(&mut self) -> RowResult<()> {
        while self.sent - self.taken >= self.ahead {
            self.receive()?;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.jobs.send((self.sent, batch)).map_err(|_| stopped())?;
        self.sent += 1;
        Ok(())
    }

    /// Wait for a batch, and take those whose turn it is.
    fn receive(&mut self) -> RowResult<()> {
        let (number, batch) = self.done.recv().ok().flatten().ok_or_else(stopped)?;
        self.waiting.insert(number, batch);
        while let Some(batch) = self.waiting.remove(&self.taken) {
            self.taken += 1;
            for (place, made) in batch {
                (self.take)(place, made)?;
            }
        }
        Ok(())
    }
}

/// A worker is gone, which only a panic of its own can do.
fn stopped() -> Error {
    Error::data("the work on rows stopped")
}
