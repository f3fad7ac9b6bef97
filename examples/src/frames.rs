//! How long frames take.

use std::fmt;
use std::time::{Duration, Instant};

/// The times from frame to frame.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    last: Option<Instant>,
    times: Vec<Duration>,
}

impl Frames {
    /// A frame has ended.
    pub fn tick(&mut self) {
        let now = Instant::now();
        self.times.extend(self.last.replace(now).map(|last| now - last));
    }

    /// Something else is done now: the time until the next frame is no frame's.
    pub fn rest(&mut self) {
        self.last = None;
    }

    /// How many there were, after the first.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The last one.
    pub fn latest(&self) -> Duration {
        self.times.last().copied().unwrap_or_default()
    }

    /// The time that so large a share of frames stayed within; 0.5 is the median, 1 the longest.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (share * times.len() as f64) as usize;
        let last = times.len().saturating_sub(1);
        times.get(at.min(last)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [median, most, longest] = [0.5, 0.95, 1.0].map(|share| 1e3 * self.quantile(share).as_secs_f64());
        let n = self.count();
        write!(
            f,
            "{n} frames, median {median:.1} ms, 95 of 100 within {most:.1} ms, longest {longest:.1} ms"
        )
    }
}
