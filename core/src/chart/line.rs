//! Numbers over steps.

use std::fmt::Write;

use super::scale::has_place;
use super::{CHARACTER, DIGIT, EDGE, LINE, QUIET, ROW, Scale, coloured, legend, number, open, text};

/// More points than this are thinned out to it.
const MOST_POINTS: usize = 800;
/// Up to so many points are dots that tell their numbers.
const MOST_DOTS: usize = 150;

/// How the points of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As a line.
    Line,
    /// As a line through dots.
    Dotted,
    /// Faintly, behind a line of another series: as dots, or as a thin line where they are many.
    Faint,
}

/// Points and how they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// `(x, y)` by ascending x. Where y is not finite, nothing is drawn, and lines are broken.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub mark: Mark,
    /// Number of its colour, taken modulo six.
    pub colour: usize,
}

/// A chart of series over steps.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// Its heading.
    pub title: String,
    /// What x is.
    pub x: String,
    /// The series, the first behind the others. A legend names them where there are several.
    pub series: Vec<Series>,
    /// Width and height in pixels at full size.
    pub size: (f64, f64),
}

/// Where points lie.
struct Area {
    x: Scale,
    y: Scale,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            self.x.place(x, self.left, self.right),
            self.y.place(y, self.bottom, self.top),
        )
    }
}

impl LineChart {
    /// As an element for a page whose style sheet has [`STYLE`](super::STYLE).
    pub fn to_svg(&self) -> String {
        self.svg(false)
    }

    /// As a file of its own, on white.
    pub fn to_file(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", self.svg(true))
    }

    fn svg(&self, alone: bool) -> String {
        let mut out = String::new();
        self.write(&mut out, alone).expect("a String takes all that is written");
        out
    }

    fn write(&self, out: &mut String, alone: bool) -> std::fmt::Result {
        let (width, height) = self.size;
        let edge = if alone { EDGE } else { 0.0 };
        open(out, self.size, &self.title, &self.description(), alone)?;
        let shown: Vec<&Series> = self.series.iter().filter(|series| !series.is_empty()).collect();
        let inner = width - 2.0 * edge;
        let mut top = 28.0;
        if shown.len() > 1 {
            let entries: Vec<_> = shown
                .iter()
                .map(|series| (series.name.as_str(), series.colour, series.mark == Mark::Faint))
                .collect();
            top += legend(out, &entries, inner, top - 4.0)?;
        }
        let bottom = height - 2.0 * edge - 2.0 * ROW;
        if shown.is_empty() {
            let y = height / 2.0;
            writeln!(out, "<text x=\"0\" y=\"{y:.0}\" fill=\"{QUIET}\">no numbers yet</text>")?;
        } else {
            let points = || shown.iter().flat_map(|series| series.drawn());
            let rows = ((bottom - top) / 45.0).clamp(2.0, 8.0) as u32;
            let y = Scale::spanning(points().map(|point| point.1), rows).rounded();
            let widest = y.ticks().iter().map(|tick| y.label(*tick).chars().count()).max();
            let mut area = Area {
                x: Scale::spanning(points().map(|point| point.0), 1),
                y,
                left: DIGIT * widest.unwrap_or(0) as f64 + 10.0,
                right: inner - 12.0,
                top: top + 6.0,
                bottom,
            };
            // Labels of steps are up to seven characters wide.
            let columns = ((area.right - area.left) / (9.0 * CHARACTER)).clamp(1.0, 10.0) as u32;
            area.x = Scale::spanning(points().map(|point| point.0), columns).whole();
            self.axes(out, &area)?;
            for series in shown {
                series.write(out, &area, &self.x)?;
            }
        }
        out.push_str("</g>\n</svg>\n");
        Ok(())
    }

    fn axes(&self, out: &mut String, area: &Area) -> std::fmt::Result {
        let Area {
            left, right, bottom, ..
        } = *area;
        writeln!(out, "<g class=\"grid\" stroke=\"{LINE}\">")?;
        for tick in area.y.ticks() {
            let y = area.y.place(tick, area.bottom, area.top);
            writeln!(
                out,
                "<line x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            )?;
        }
        writeln!(out, "</g>\n<g fill=\"{QUIET}\" text-anchor=\"end\">")?;
        for tick in area.y.ticks() {
            let y = area.y.place(tick, area.bottom, area.top) + 4.5;
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                left - 7.0,
                area.y.label(tick)
            )?;
        }
        writeln!(out, "</g>\n<g fill=\"{QUIET}\" text-anchor=\"middle\">")?;
        for tick in area.x.ticks() {
            let x = area.x.place(tick, left, right);
            let label = area.x.label(tick);
            // What would be cut at the edge ends there.
            let over = x + CHARACTER * label.chars().count() as f64 / 2.0 - (right + 12.0);
            let anchor = if over > 0.0 { " text-anchor=\"end\"" } else { "" };
            let x = if over > 0.0 { right + 12.0 } else { x };
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\"{anchor}>{label}</text>",
                bottom + ROW
            )?;
        }
        writeln!(
            out,
            "<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n</g>",
            bottom + 2.0 * ROW - 4.0,
            text(&self.x)
        )
    }

    /// What the lines show, in words.
    fn description(&self) -> String {
        let mut words = Vec::new();
        for series in self
            .series
            .iter()
            .filter(|series| series.mark != Mark::Faint || self.series.len() == 1)
        {
            let drawn = || series.drawn();
            let (Some(first), Some(last)) = (drawn().next(), drawn().last()) else {
                continue;
            };
            let lowest = drawn().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
            let highest = drawn().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
            words.push(format!(
                "{}: {} at {} {}, {} at {} {}; lowest {} at {}, highest {} at {}.",
                series.name,
                number(first.1),
                self.x,
                first.0,
                number(last.1),
                self.x,
                last.0,
                number(lowest.1),
                lowest.0,
                number(highest.1),
                highest.0,
            ));
        }
        if words.is_empty() {
            "No numbers yet.".to_owned()
        } else {
            words.join(" ")
        }
    }
}

impl Series {
    /// The points that have a place.
    fn drawn(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.points.iter().copied();
        points.filter(|(x, y)| has_place(*x) && has_place(*y))
    }

    fn is_empty(&self) -> bool {
        self.drawn().next().is_none()
    }

    fn write(&self, out: &mut String, area: &Area, what: &str) -> std::fmt::Result {
        let count = self.drawn().count();
        let dots = self.mark != Mark::Line && count <= MOST_DOTS;
        let lines = self.mark != Mark::Faint || !dots;
        let faint = if self.mark == Mark::Faint {
            " opacity=\"0.45\""
        } else {
            ""
        };
        let width = if self.mark == Mark::Faint { 1.0 } else { 2.0 };
        writeln!(
            out,
            "<g {} stroke-width=\"{width}\" fill=\"none\" stroke-linejoin=\"round\"{faint}>",
            coloured("stroke", self.colour)
        )?;
        let broken = self.points.split(|(x, y)| !has_place(*x) || !has_place(*y));
        let pieces: Vec<Vec<(f64, f64)>> = broken
            .filter(|piece| !piece.is_empty())
            .map(|piece| thinned(piece, MOST_POINTS))
            .collect();
        if lines {
            for piece in pieces.iter().filter(|piece| piece.len() > 1) {
                out.push_str("<polyline points=\"");
                for point in piece {
                    let (x, y) = area.at(*point);
                    write!(out, "{x:.1},{y:.1} ")?;
                }
                out.push_str("\"/>\n");
            }
        }
        out.push_str("</g>\n");
        // A point alone is no line.
        let alone = pieces.iter().filter(|piece| piece.len() == 1).flatten().copied();
        let dots: Vec<(f64, f64)> = if dots { self.drawn().collect() } else { alone.collect() };
        if dots.is_empty() {
            return Ok(());
        }
        writeln!(out, "<g {}{faint}>", coloured("fill", self.colour))?;
        for point in dots {
            let (x, y) = area.at(point);
            writeln!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{} {}: {}</title></circle>",
                text(what),
                point.0,
                number(point.1)
            )?;
        }
        out.push_str("</g>\n");
        Ok(())
    }
}

/// At most about `most` points: of each stretch of many, the lowest and the highest, so that no peak is lost.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(most + 2);
    for stretch in points.chunks(points.len().div_ceil(most / 2)) {
        let by = |a: &usize, b: &usize| stretch[*a].1.total_cmp(&stretch[*b].1);
        let (low, high) = (
            (0..stretch.len()).min_by(by).unwrap_or(0),
            (0..stretch.len()).max_by(by).unwrap_or(0),
        );
        kept.push(stretch[low.min(high)]);
        if low != high {
            kept.push(stretch[low.max(high)]);
        }
    }
    kept
}
