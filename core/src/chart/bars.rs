//! Horizontal bars with intervals, in groups.

use std::fmt::Write;

use super::scale::has_place;
use super::{CHARACTER, DIGIT, INK, LINE, QUIET, ROW, Scale, coloured, fitting, legend, open, text};

/// How thick a bar is, and how far from one to the next.
const THICK: f64 = 14.0;
const NEXT: f64 = 19.0;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// How long it is.
    pub value: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// What is written beside it.
    pub text: String,
    /// Number of its colour and, if the chart has a legend, of its entry there.
    pub series: usize,
}

/// Bars below a name.
#[derive(Debug, Clone, PartialEq)]
pub struct BarGroup {
    /// Whose they are.
    pub name: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
}

/// A chart of bars from zero on.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    /// Its heading.
    pub title: String,
    /// The legend, if bars differ in colour.
    pub legend: Vec<String>,
    /// The groups, from the top.
    pub groups: Vec<BarGroup>,
    /// Whether an axis tells lengths.
    pub axis: bool,
    /// Width in pixels at full size; the height is what the bars need.
    pub width: f64,
}

impl BarChart {
    /// As an element for a page whose style sheet has [`STYLE`](super::STYLE).
    pub fn to_svg(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes all that is written");
        out
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let mut top = 28.0;
        let entries: Vec<_> = self
            .legend
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), i, false))
            .collect();
        // The legend's height decides the whole's, which comes first in the text.
        let mut key = String::new();
        top += legend(&mut key, &entries, self.width, top - 4.0)?;
        let tall = |group: &BarGroup| ROW + NEXT * group.bars.len() as f64 + 5.0;
        let bottom = top + self.groups.iter().map(tall).sum::<f64>();
        let height = bottom + if self.axis { ROW + 4.0 } else { 0.0 };
        open(out, (self.width, height), &self.title, &self.description(), false)?;
        out.push_str(&key);

        let widest = self.bars().map(|bar| bar.text.chars().count()).max().unwrap_or(0);
        let right = (self.width - DIGIT * widest as f64 - 10.0).max(0.3 * self.width);
        let ends = |bar: &Bar| {
            let (low, high) = bar.interval.unwrap_or((bar.value, bar.value));
            [bar.value, low, high]
        };
        let values = self.bars().flat_map(ends).chain([0.0]);
        let columns = (right / (8.0 * CHARACTER)).clamp(1.0, 8.0) as u32;
        let mut scale = Scale::spanning(values, columns);
        if self.axis {
            scale = scale.rounded();
        }
        // An end of the axis has half of its label beside it.
        let inset = if self.axis { 2.5 * CHARACTER } else { 0.0 };
        let (from, to) = (inset.min(right / 4.0), right - inset.min(right / 4.0));
        let place = |value: f64| scale.place(value, from, to);
        if self.axis {
            axis(out, &scale, (from, to), (top, bottom))?;
        }
        let mut y = top;
        for group in &self.groups {
            writeln!(
                out,
                "<text x=\"0\" y=\"{:.1}\" fill=\"{INK}\" class=\"label\">{}{}</text>",
                y + 15.0,
                text(&fitting(&group.name, self.width)),
                if fitting(&group.name, self.width) == group.name {
                    String::new()
                } else {
                    format!("<title>{}</title>", text(&group.name))
                }
            )?;
            y += ROW;
            for bar in &group.bars {
                bar.write(out, place, y)?;
                writeln!(
                    out,
                    "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{INK}\" class=\"label\">{}</text>",
                    self.width,
                    y + 11.5,
                    text(&bar.text)
                )?;
                y += NEXT;
            }
            y += 5.0;
        }
        out.push_str("</g>\n</svg>\n");
        Ok(())
    }

    /// What the bars show, in words.
    fn description(&self) -> String {
        let bar = |bar: &Bar| match self.legend.get(bar.series) {
            Some(name) => format!("{name} {}", bar.text),
            None => bar.text.clone(),
        };
        let group = |group: &BarGroup| {
            let bars: Vec<String> = group.bars.iter().map(bar).collect();
            format!("{}: {}.", group.name, bars.join(", "))
        };
        self.groups.iter().map(group).collect::<Vec<_>>().join(" ")
    }
}

impl Bar {
    fn write(&self, out: &mut String, place: impl Fn(f64) -> f64, y: f64) -> std::fmt::Result {
        if has_place(self.value) {
            let (a, b) = (place(0.0), place(self.value));
            // A bar of length zero is seen, too.
            writeln!(
                out,
                "<rect {} x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{THICK}\" rx=\"2\"/>",
                coloured("fill", self.series),
                a.min(b),
                (a - b).abs().max(1.5)
            )?;
        }
        let Some((low, high)) = self.interval.filter(|(low, high)| has_place(*low) && has_place(*high)) else {
            return Ok(());
        };
        let (a, b, middle) = (place(low), place(high), y + THICK / 2.0);
        let (above, below) = (middle - 4.0, middle + 4.0);
        writeln!(
            out,
            "<path class=\"whisker\" stroke=\"{INK}\" stroke-width=\"1.5\" fill=\"none\" \
             d=\"M{a:.1} {above:.1}V{below:.1}M{a:.1} {middle:.1}H{b:.1}M{b:.1} {above:.1}V{below:.1}\"/>"
        )
    }
}

fn axis(out: &mut String, scale: &Scale, (from, to): (f64, f64), (top, bottom): (f64, f64)) -> std::fmt::Result {
    writeln!(out, "<g class=\"grid\" stroke=\"{LINE}\">")?;
    for tick in scale.ticks() {
        let x = scale.place(tick, from, to);
        writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
            top + 2.0
        )?;
    }
    writeln!(out, "</g>\n<g fill=\"{QUIET}\" text-anchor=\"middle\">")?;
    for tick in scale.ticks() {
        let x = scale.place(tick, from, to);
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 17.0,
            scale.label(tick)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}
