//! Tokenising on every core, in order.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use wgpu_sft::data::{Place, Preparation, Prepared, Reading, Row};
use wgpu_sft::{Error, Result as RowResult};

use super::file::{DataFile, for_each_row};
use crate::progress::Progress;

/// Rows that a worker takes at once.
const BATCH: usize = 64;

/// Rows, or what is wrong with them, and where they are.
type Batch<T> = Vec<(Place, RowResult<T>)>;

/// Tokenise the rows of a file. `take` gets them in the file's order.
pub fn prepare(
    file: &DataFile,
    reading: &Reading,
    with: &Preparation,
    quiet: bool,
    take: impl FnMut(Place, RowResult<Prepared>) -> RowResult<()>,
) -> Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let progress = Progress::bytes(quiet || file.size().is_none(), file.size().unwrap_or(0), "tokenising");
    let (jobs, to_do) = channel::<(usize, Batch<Row>)>();
    let (results, done) = channel();
    let to_do = Mutex::new(to_do);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (to_do, results) = (&to_do, results.clone());
            scope.spawn(move || work(to_do, &results, with));
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
        for_each_row(&file.name, reading, &progress, |place, row| {
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

/// Tokenise batches until there are no more.
fn work(to_do: &Mutex<Receiver<(usize, Batch<Row>)>>, results: &Sender<(usize, Batch<Prepared>)>, with: &Preparation) {
    loop {
        let job = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, rows)) = job else { return };
        let prepare = |(place, row): (Place, RowResult<Row>)| (place, row.and_then(|row| with.prepare(place, row)));
        if results.send((number, rows.into_iter().map(prepare).collect())).is_err() {
            return;
        }
    }
}

/// Batches on their way through the workers.
struct Line<F> {
    jobs: Sender<(usize, Batch<Row>)>,
    done: Receiver<(usize, Batch<Prepared>)>,
    /// Batches that may be under way.
    ahead: usize,
    batch: Batch<Row>,
    sent: usize,
    taken: usize,
    /// Batches that were done before their turn.
    waiting: BTreeMap<usize, Batch<Prepared>>,
    take: F,
}

impl<F: FnMut(Place, RowResult<Prepared>) -> RowResult<()>> Line<F> {
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
        let (number, batch) = self.done.recv().map_err(|_| stopped())?;
        self.waiting.insert(number, batch);
        while let Some(batch) = self.waiting.remove(&self.taken) {
            self.taken += 1;
            for (place, row) in batch {
                (self.take)(place, row)?;
            }
        }
        Ok(())
    }
}

/// The workers are gone, which only a panic of theirs can do.
fn stopped() -> Error {
    Error::data("tokenising stopped")
}
