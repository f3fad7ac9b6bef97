//! Charts as SVG text, for pages and as files of their own. Nothing is measured: widths of text are estimated, generously.
//!
//! Colours stand in attributes, as they are on white paper, so that a chart is whole by itself; on a page [`STYLE`] puts the page's
//! own over them, light or dark.

mod bars;
mod line;
mod scale;

use std::fmt::Write;

use crate::data::preview::visible;
use crate::data::quality::html::escape;

pub use bars::{Bar, BarChart, BarGroup};
pub use line::{LineChart, Mark, Series};
pub use scale::{Scale, number};

/// What a page with charts on it needs in its style sheet; it names its colours `--ink`, `--quiet`, `--line` and `--c0` to `--c5`.
pub const STYLE: &str = include_str!("chart.css");

/// Colours of series on white.
const COLOURS: [&str; 6] = ["#2563ab", "#c2410c", "#15803d", "#7e3fa8", "#9f1239", "#0e7490"];
const INK: &str = "#1c1e21";
const QUIET: &str = "#5f6670";
const LINE: &str = "#e2e4e8";

/// Width of a character, width of a digit and height of a line at the largest size that [`STYLE`] gives text, in a wide font.
const CHARACTER: f64 = 8.6;
const DIGIT: f64 = 10.2;
const ROW: f64 = 21.0;
/// White around a chart in a file.
const EDGE: f64 = 16.0;

/// Text made safe for SVG: nothing in it is markup, or a character that XML forbids.
fn text(of: &str) -> String {
    let allowed = |c: char| !matches!(c, '\u{fffe}' | '\u{ffff}');
    escape(&visible(of)).chars().filter(|c| allowed(*c)).collect()
}

/// As many characters of a text as have room in `width`, an ellipsis for the others.
fn fitting(of: &str, width: f64) -> String {
    let most = (width / CHARACTER).max(2.0) as usize;
    if of.chars().count() <= most {
        return of.to_owned();
    }
    of.chars().take(most - 1).chain(['…']).collect()
}

/// The attributes of what is drawn in a series' colour: `stroke` of lines, `fill` of areas.
fn coloured(how: &str, series: usize) -> String {
    let series = series % COLOURS.len();
    format!(
        "class=\"{how} c{series}\" color=\"{}\" {how}=\"currentColor\"",
        COLOURS[series]
    )
}

/// The beginning of a chart: its element, what it says to who does not see it, a group, the heading in it.
fn open(
    out: &mut String,
    (width, height): (f64, f64),
    title: &str,
    description: &str,
    alone: bool,
) -> std::fmt::Result {
    write!(
        out,
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\""
    )?;
    if alone {
        write!(out, " width=\"{width:.0}\" height=\"{height:.0}\"")?;
    }
    write!(
        out,
        ">\n<title>{}</title>\n<desc>{}</desc>\n",
        text(title),
        text(description)
    )?;
    // A file has no page around it.
    let edge = if alone { EDGE } else { 0.0 };
    if alone {
        writeln!(
            out,
            "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
        )?;
    }
    writeln!(out, "<g transform=\"translate({edge} {edge})\">")?;
    let shown = fitting(title, width - 2.0 * edge - 8.0);
    writeln!(
        out,
        "<text class=\"name\" x=\"0\" y=\"16\" font-weight=\"600\" fill=\"{INK}\">{}</text>",
        text(&shown)
    )
}

/// A legend from `top` on, as many entries a row as have room; returns its height.
fn legend(out: &mut String, entries: &[(&str, usize, bool)], width: f64, top: f64) -> Result<f64, std::fmt::Error> {
    let (mut x, mut y) = (0.0, top);
    for (name, series, faint) in entries {
        let name = fitting(name, width - 24.0);
        let wide = 24.0 + CHARACTER * (name.chars().count() + 2) as f64;
        if x > 0.0 && x + wide > width {
            (x, y) = (0.0, y + ROW);
        }
        writeln!(
            out,
            "<g {}><rect x=\"{x:.0}\" y=\"{:.0}\" width=\"16\" height=\"{}\"{}/></g>\
             <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{QUIET}\">{}</text>",
            coloured("fill", *series),
            y + if *faint { 5.0 } else { 3.5 },
            if *faint { 4 } else { 7 },
            if *faint { " opacity=\"0.45\"" } else { "" },
            x + 22.0,
            y + 12.0,
            text(&name)
        )?;
        x += wide;
    }
    Ok(if entries.is_empty() { 0.0 } else { y - top + ROW })
}
