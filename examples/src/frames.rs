//! How long frames take.

use std::fmt;
use std::time::{Duration, Instant};

/// The times between frames.
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

    /// How many there were, after the first.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The time that so large a share of frames stayed within; 0.5 is the median.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (share * times.len() as f64) as usize;
        times
            .get(at.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ms = |share| 1e3 * self.quantile(share).as_secs_f64();
        write!(
            f,
            "{} frames, median {:.1} ms, 99 of 100 within {:.1} ms, longest {:.1} ms",
            self.count(),
            ms(0.5),
            ms(0.99),
            ms(1.0)
        )
    }
}
