//! From numbers to places, and the round numbers between.

/// Numbers beyond this have no place: differences of them would not be finite.
const LARGEST: f64 = 1e300;
/// What is closer together than this is one place.
const SMALLEST: f64 = 1e-290;

/// A number that has a place on a chart.
pub(super) fn has_place(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// An axis: what it spans, and the distance of its ticks, which is 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Its lower end.
    pub low: f64,
    /// Its upper end, above the lower one.
    pub high: f64,
    /// From one tick to the next.
    pub step: f64,
}

impl Scale {
    /// An axis that spans these numbers, with at most `most` steps between its ticks. Numbers that are not finite are left out; where
    /// all are equal, or there is none, it spans a little more.
    pub fn spanning(values: impl Iterator<Item = f64>, most: u32) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| has_place(*value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // Numbers that differ in their last digits only would have ticks that do not.
        let size = low.abs().max(high.abs());
        if high - low <= (1e-9 * size).max(SMALLEST) {
            (low, high) = match size <= SMALLEST {
                true => (0.0, 1.0),
                false => (low - 0.1 * size, high + 0.1 * size),
            };
        }
        Self {
            low,
            high,
            step: round_up((high - low) / f64::from(most.max(1))),
        }
    }

    /// The same, its ends moved out to ticks.
    pub fn rounded(self) -> Self {
        let Self { low, high, step } = self;
        // What is a multiple but for rounding is a tick already.
        let (low, high) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        Self {
            low: low * step,
            high: high * step,
            step,
        }
    }

    /// The same with ticks at whole numbers only.
    pub fn whole(self) -> Self {
        Self {
            step: self.step.max(1.0),
            ..self
        }
    }

    /// The ticks within it, ascending.
    pub fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil();
        let count = (self.high / self.step + 1e-9).floor() - first;
        (0..=count.clamp(0.0, 100.0) as u32)
            .map(|i| (first + f64::from(i)) * self.step)
            .collect()
    }

    /// Where a number lies between `from`, the lower end's place, and `to`.
    pub fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (value - self.low) / (self.high - self.low) * (to - from)
    }

    /// A tick in as few characters as tell it from its neighbours: `0.25`, `12k`, `1.5e-4`.
    pub fn label(&self, tick: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        if tick.abs() < 1e-6 * self.step {
            return "0".to_owned();
        }
        let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
        let power = largest.log10().floor();
        minus(match units.iter().find(|(unit, _)| largest >= 10.0 * unit) {
            _ if !(0.01..1e16).contains(&largest) => {
                let unit = 10f64.powf(power);
                format!("{}e{power}", decimals(tick / unit, self.step / unit))
            }
            Some((unit, name)) => format!("{}{name}", decimals(tick / unit, self.step / unit)),
            None => decimals(tick, self.step),
        })
    }
}

/// With the sign that is as wide as a plus.
fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(size) => format!("−{size}"),
        None => text,
    }
}

/// With as many decimals as multiples of `step` have.
fn decimals(value: f64, step: f64) -> String {
    let places = (-step.log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    format!("{value:.places$}")
}

/// The least of 1, 2 and 5 times a power of ten that is no less.
fn round_up(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|times| times * power >= least * (1.0 - 1e-9));
    times.unwrap_or(10.0) * power
}

/// A number in about four digits, a dash for what is not finite.
pub fn number(value: f64) -> String {
    let size = value.abs();
    minus(match size {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        _ => {
            let power = size.log10().floor();
            let places = (if power < 0.0 { 2.0 } else { 3.0 } - power).clamp(0.0, 5.0) as usize;
            format!("{value:.places$}")
        }
    })
}
