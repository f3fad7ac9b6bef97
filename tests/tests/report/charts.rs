//! Charts as SVG text.

use wgpu_sft::chart::{Bar, BarChart, BarGroup, LineChart, Mark, STYLE, Scale, Series, number};

use super::assert_well_formed;

const HOSTILE: &str = "<script>alert(\"1\")</script> & 'x' \u{8}\u{202e}\u{ffff}";

fn labels(values: &[f64], most: u32) -> Vec<String> {
    let scale = Scale::spanning(values.iter().copied(), most).rounded();
    scale.ticks().into_iter().map(|tick| scale.label(tick)).collect()
}

#[test]
fn ticks_are_round_numbers() {
    assert_eq!(labels(&[0.0, 10.0], 5), ["0", "2", "4", "6", "8", "10"]);
    assert_eq!(labels(&[0.13, 0.88], 4), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    assert_eq!(labels(&[2.31, 2.34], 5), ["2.31", "2.32", "2.33", "2.34"]);
    assert_eq!(labels(&[-3.0, 4.0], 4), ["−4", "−2", "0", "2", "4"]);
    assert_eq!(labels(&[0.0, 2e-4], 4), ["0", "0.5e-4", "1.0e-4", "1.5e-4", "2.0e-4"]);
    assert_eq!(labels(&[0.0, 34_000.0], 4), ["0", "10k", "20k", "30k", "40k"]);
    assert_eq!(labels(&[0.0, 2.5e7], 3), ["0", "10M", "20M", "30M"]);
    for values in [[0.0, 1.0], [-7e8, 3.0], [1e-20, 9e-20], [3.3, 3.4], [1e250, 1e251]] {
        for most in 1..12 {
            let scale = Scale::spanning(values.into_iter(), most).rounded();
            let mantissa = scale.step / 10f64.powf((scale.step * 1.000001).log10().floor());
            assert!([1.0, 2.0, 5.0].iter().any(|m| (mantissa - m).abs() < 1e-6), "{scale:?}");
            let ticks = scale.ticks();
            assert!(ticks.len() as u32 <= most + 2 && ticks.len() > 1, "{most} {ticks:?}");
            let mut labels: Vec<String> = ticks.iter().map(|tick| scale.label(*tick)).collect();
            labels.dedup();
            assert_eq!(labels.len(), ticks.len(), "{labels:?}");
        }
    }
}

/// Steps are whole: where there are few, no half of one gets a tick.
#[test]
fn steps_have_whole_ticks() {
    let scale = Scale::spanning([1.0, 3.0].into_iter(), 8).whole();
    assert_eq!(scale.ticks(), [1.0, 2.0, 3.0]);
}

#[test]
fn a_scale_spans_something_whatever_it_is_given() {
    for values in [
        &[][..],
        &[f64::NAN, f64::INFINITY],
        &[0.0],
        &[5.0, 5.0],
        &[-2.0],
        &[1.0, 1.0 + 1e-15],
        &[f64::MAX, f64::MIN],
        &[0.0, f64::MIN_POSITIVE, 5e-324],
        &[1e300, -1e300],
    ] {
        let scale = Scale::spanning(values.iter().copied(), 5).rounded();
        assert!(
            scale.low < scale.high && scale.step > 0.0 && scale.step.is_finite(),
            "{values:?} {scale:?}"
        );
        assert!(
            !scale.ticks().is_empty() && scale.ticks().len() < 12,
            "{values:?} {scale:?}"
        );
    }
}

#[test]
fn numbers_have_about_four_digits() {
    let shown = [
        0.0,
        0.0123,
        0.684,
        2.3456,
        23.456,
        8713.2,
        -0.5,
        1e-5,
        2.5e7,
        f64::NAN,
        f64::INFINITY,
    ]
    .map(number);
    let want = [
        "0", "0.0123", "0.684", "2.346", "23.46", "8713", "−0.500", "1.00e-5", "2.50e7", "–", "–",
    ];
    assert_eq!(shown, want);
}

fn chart(points: Vec<(f64, f64)>, mark: Mark) -> LineChart {
    LineChart {
        title: HOSTILE.to_owned(),
        x: HOSTILE.to_owned(),
        series: (0..2)
            .map(|colour| Series {
                name: format!("{HOSTILE} {colour}"),
                points: points.clone(),
                mark,
                colour,
            })
            .collect(),
        size: (480.0, 280.0),
    }
}

/// The text is XML, nothing of a name is markup, and no coordinate is something else than a number.
#[track_caller]
fn assert_safe(svg: &str) {
    assert_well_formed(svg);
    for bad in [
        "<script", "\u{8}", "\u{202e}", "\u{ffff}", "NaN\"", "NaN,", "NaN ", ",NaN", "inf",
    ] {
        assert!(!svg.contains(bad), "{bad:?} is in {svg}");
    }
    assert!(
        svg.contains("&lt;script&gt;") && svg.contains("<title>") && svg.contains("<desc>"),
        "{svg}"
    );
}

#[test]
fn hostile_names_and_numbers_draw_safe_charts() {
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX];
    let mixed = (0..40).map(|i| {
        (
            f64::from(i),
            if i % 3 == 0 { bad[i as usize % 4] } else { f64::from(i) },
        )
    });
    for points in [
        vec![],
        vec![(1.0, f64::NAN)],
        vec![(f64::NAN, 1.0)],
        vec![(3.0, 1e300)],
        mixed.collect(),
    ] {
        for mark in [Mark::Line, Mark::Dotted, Mark::Faint] {
            let chart = chart(points.clone(), mark);
            assert_safe(&chart.to_svg());
            let file = chart.to_file();
            assert_safe(&file);
            assert!(file.starts_with("<?xml") && file.contains("fill=\"#ffffff\"") && !file.contains("var("));
        }
    }
    let bar = |value, interval| Bar {
        value,
        interval,
        text: HOSTILE.to_owned(),
        series: 7,
    };
    for value in [0.0, -1.0, 3.0, f64::NAN, f64::INFINITY] {
        let chart = BarChart {
            title: HOSTILE.to_owned(),
            legend: vec![HOSTILE.to_owned()],
            groups: vec![BarGroup {
                name: HOSTILE.repeat(4),
                bars: vec![
                    bar(value, Some((f64::NAN, 2.0))),
                    bar(value, Some((value - 1.0, value + 1.0))),
                ],
            }],
            axis: true,
            width: 480.0,
        };
        assert_safe(&chart.to_svg());
        assert_safe(
            &BarChart {
                groups: vec![],
                ..chart
            }
            .to_svg(),
        );
    }
}

fn attribute(element: &str, name: &str) -> f64 {
    let from = element
        .split(&format!(" {name}=\""))
        .nth(1)
        .unwrap_or_else(|| panic!("no {name} in {element}"));
    from.split('"').next().unwrap().parse().unwrap()
}

/// The points of each polyline.
fn polylines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let pair = |pair: &str| {
        let (x, y) = pair.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    svg.split("<polyline points=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().split_whitespace().map(pair).collect())
        .collect()
}

#[test]
fn points_lie_where_the_axes_say() {
    let points = vec![(10.0, 4.0), (20.0, 2.0), (40.0, 0.0)];
    let mut chart = chart(points, Mark::Dotted);
    chart.series.truncate(1);
    let svg = chart.to_svg();
    let lines = polylines(&svg);
    let [(x1, y1), (x2, y2), (x3, y3)] = lines[0][..] else {
        panic!("{lines:?}")
    };
    // A third of the way along, half of the way down.
    assert!(
        ((x2 - x1) * 3.0 - (x3 - x1)).abs() < 0.5 && ((y2 - y1) * 2.0 - (y3 - y1)).abs() < 0.5,
        "{lines:?}"
    );
    assert!(x1 < x3 && y1 < y3, "{lines:?}");
    // The line at 4 is where the point at 4 is, with its label beside it.
    assert!(
        svg.contains(&format!("y1=\"{y1:.1}\"")) && svg.contains(">4</text>"),
        "{svg}"
    );
    assert_eq!(svg.matches("<circle").count(), 3);
    assert!(svg.contains(": 2.000</title>") && svg.contains(": 4.000 at"), "{svg}");
}

#[test]
fn lines_break_where_a_number_is_missing() {
    let points = vec![
        (1.0, 1.0),
        (2.0, 2.0),
        (3.0, f64::NAN),
        (4.0, 1.0),
        (5.0, f64::INFINITY),
        (6.0, 1.0),
        (7.0, 2.0),
    ];
    let svg = LineChart {
        series: chart(points, Mark::Line).series[..1].to_vec(),
        ..chart(vec![], Mark::Line)
    }
    .to_svg();
    assert_eq!(polylines(&svg).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    // The one between has no line, so it is a dot.
    assert_eq!(svg.matches("<circle").count(), 1);
}

#[test]
fn many_points_are_thinned_and_peaks_kept() {
    let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
    points[54_321].1 = 99.0;
    let svg = LineChart {
        series: chart(points, Mark::Faint).series[..1].to_vec(),
        ..chart(vec![], Mark::Line)
    }
    .to_svg();
    let line = &polylines(&svg)[0];
    assert!(
        line.len() > 700 && line.len() <= 802 && !svg.contains("<circle"),
        "{}",
        line.len()
    );
    let top = line.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    assert!(line.iter().filter(|point| point.1 < top + 1.0).count() == 1);
}

#[test]
fn bars_and_whiskers_are_as_long_as_their_numbers() {
    let bar = |value: f64, series| Bar {
        value,
        interval: Some((value - 0.1, value + 0.1)),
        text: number(value),
        series,
    };
    let chart = BarChart {
        title: "t".to_owned(),
        legend: vec!["before".to_owned(), "after".to_owned()],
        groups: vec![BarGroup {
            name: "one".to_owned(),
            bars: vec![bar(0.2, 0), bar(0.8, 1)],
        }],
        axis: true,
        width: 480.0,
    };
    let svg = chart.to_svg();
    let bars: Vec<&str> = svg
        .lines()
        .filter(|line| line.starts_with("<rect") && line.contains("rx="))
        .collect();
    let [short, long] = bars[..] else { panic!("{bars:?}") };
    let (short, long) = (
        (attribute(short, "x"), attribute(short, "width")),
        (attribute(long, "x"), attribute(long, "width")),
    );
    assert!((long.1 - 4.0 * short.1).abs() < 0.5 && long.0 == short.0, "{svg}");
    // A whisker goes from 0.7 to 0.9: an eighth of the longer bar on either side of its end.
    let path = svg.split("d=\"M").nth(2).unwrap();
    let from: f64 = path.split(' ').next().unwrap().parse().unwrap();
    let to: f64 = path
        .split('H')
        .nth(1)
        .unwrap()
        .split('M')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let end = long.0 + long.1;
    assert!(
        (end - from - long.1 / 8.0).abs() < 0.3 && (to - end - long.1 / 8.0).abs() < 0.3,
        "{from} {to} {end}"
    );
    assert!(svg.contains("one: before 0.200, after 0.800."), "{svg}");
}

/// A page's colours are over the file's: each has its place in the style sheet.
#[test]
fn every_colour_has_its_style() {
    for colour in 0..6 {
        assert!(STYLE.contains(&format!(".c{colour} {{ color: var(--c{colour}); }}")));
    }
}
