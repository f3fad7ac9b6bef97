//! The report as one HTML page that needs nothing else: no scripts, no network. Everything from rows is escaped.

use std::fmt::Write;

use super::code::Severity;
use super::report::{CheckReport, Count, Finding, Length, Place};

const STYLE: &str = include_str!("report.css");

/// Most bars of a list; the rest is summed up in one.
const BARS: usize = 16;

/// Text made safe to stand between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The beginning of a page that fetches and runs nothing, up to its body.
pub(crate) fn head(title: &str, style: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
}

/// `12,345`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12.3 %`, and `< 0.1 %` for what would be shown as nothing.
fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "&lt; 0.1 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

impl CheckReport {
    /// The report as a self-contained HTML page.
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        self.write_html(&mut page).expect("a String takes all that is written");
        page
    }

    fn write_html(&self, page: &mut String) -> std::fmt::Result {
        let of = |severity| {
            self.findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let kinds = |n: usize, what: &str| format!("{n} kind{} of {what}", if n == 1 { "" } else { "s" });
        let verdict = match (errors, warnings) {
            (0, 0) => ("good", "nothing serious".to_owned()),
            (0, n) => ("warning", kinds(n, "warning")),
            (n, _) => ("error", kinds(n, "error")),
        };
        write!(
            page,
            "{head}<main>\n\
             <header><h1>Instruction data, checked</h1><p class=\"verdict {}\">{}</p></header>\n",
            verdict.0,
            verdict.1,
            head = head(
                &format!("Instruction data: {} rows checked", grouped(self.rows as u64)),
                STYLE
            ),
        )?;
        self.write_tiles(page)?;
        self.write_findings(page)?;
        if let Some(length) = &self.length {
            write_length(page, length)?;
        }
        page.push_str("<div class=\"columns\">\n");
        self.write_tasks(page)?;
        let all = self.rows.max(1);
        write_bars(page, "Shapes", "How rows are written.", &self.shapes, all)?;
        if self.languages.iter().any(|language| language.name != "unknown") {
            let note = "Of the answer, or of the question where the answer is too short to tell.";
            write_bars(page, "Languages", note, &self.languages, all)?;
        }
        page.push_str("</div>\n");
        self.write_overlap(page)?;
        self.write_screens(page)?;
        page.push_str(
            "<footer>Made by wgpu-sft data check. Personal data and flagged terms are masked in examples.</footer>\n",
        );
        page.push_str("</main>\n</body>\n</html>\n");
        Ok(())
    }

    fn write_tiles(&self, page: &mut String) -> std::fmt::Result {
        page.push_str("<section class=\"tiles\">\n");
        let mut tile = |name: &str, value: String| writeln!(page, "<div><b>{value}</b><span>{name}</span></div>");
        tile("rows", grouped(self.rows as u64))?;
        let held_out: usize = self
            .sources
            .iter()
            .filter(|source| source.held_out)
            .map(|source| source.rows)
            .sum();
        if held_out > 0 {
            tile("of them held out", grouped(held_out as u64))?;
        }
        if let Some(length) = &self.length {
            tile(&length.unit, grouped(length.total))?;
            tile(
                &format!("{} in the median row", length.unit),
                grouped(length.median.into()),
            )?;
            tile("in the longest", grouped(length.longest.into()))?;
        }
        page.push_str("</section>\n<ul class=\"files\">\n");
        for source in &self.sources {
            let held_out = if source.held_out { ", held out" } else { "" };
            writeln!(
                page,
                "<li><code>{}</code> {} rows{held_out}</li>",
                escape(&source.name),
                grouped(source.rows as u64)
            )?;
        }
        page.push_str("</ul>\n");
        Ok(())
    }

    fn write_findings(&self, page: &mut String) -> std::fmt::Result {
        page.push_str("<h2>Findings</h2>\n");
        if self.findings.is_empty() {
            page.push_str("<p class=\"quiet\">Nothing was found.</p>\n");
            return Ok(());
        }
        let most = self.findings.iter().map(|finding| finding.count).max().unwrap_or(1);
        page.push_str("<section class=\"bars findings\">\n");
        for finding in &self.findings {
            let class = finding.severity.name();
            write_bar(page, finding.code.name(), finding.count, most, finding.share, class)?;
        }
        page.push_str("</section>\n");
        for finding in &self.findings {
            write_finding(page, finding)?;
        }
        Ok(())
    }

    fn write_tasks(&self, page: &mut String) -> std::fmt::Result {
        let (counts, guessed, sure) = self.task_counts();
        let total: usize = counts.iter().map(|count| count.rows).sum();
        let note = match guessed {
            0 => "As the rows name them.".to_owned(),
            n if n == total => format!("Guessed by rules, with a mean confidence of {:.0} %.", 100.0 * sure),
            n => format!(
                "{} of them guessed by rules, with a mean confidence of {:.0} %.",
                grouped(n as u64),
                100.0 * sure
            ),
        };
        write_bars(page, "Tasks", &note, &counts, total.max(1))
    }

    fn write_overlap(&self, page: &mut String) -> std::fmt::Result {
        let Some(overlap) = &self.overlap else { return Ok(()) };
        write!(
            page,
            "<h2>Held-out rows in training</h2>\n<table>\n\
             <tr><td>Training rows that are a held-out row, or ask its question</td><td>{}</td></tr>\n\
             <tr><td>Training rows that are nearly a held-out row (similarity {} and more)</td><td>{}</td></tr>\n\
             <tr><td>Held-out rows half of whose word sequences are in training, of {} measured</td><td>{}</td></tr>\n\
             <tr><td>Mean share of a held-out row's word sequences that are in training</td><td>{}</td></tr>\n</table>\n",
            grouped(overlap.duplicates as u64),
            self.similarity,
            grouped(overlap.near_duplicates as u64),
            grouped(overlap.measured_rows as u64),
            grouped(overlap.overlapping_rows as u64),
            percent(overlap.mean_share),
        )
    }

    fn write_screens(&self, page: &mut String) -> std::fmt::Result {
        if self.flagged_terms.is_empty() && self.representation.is_empty() {
            return Ok(());
        }
        page.push_str(
            "<h2>Screens by word lists</h2>\n<p class=\"quiet\">Lists of English words, compared without context. They show where to look, not \
             that rows are safe, fair or harmful: a term may be quoted or mean something else, and much that harms uses no listed term.</p>\n\
             <div class=\"columns\">\n",
        );
        if !self.flagged_terms.is_empty() {
            write_bars(
                page,
                "Flagged terms",
                "Rows with a term of each kind.",
                &self.flagged_terms,
                self.rows,
            )?;
        }
        for group in &self.representation {
            let total: usize = group.buckets.iter().map(|bucket| bucket.rows).sum();
            let note = "Rows that mention each, as shares of all mentions in this group.";
            write_bars(
                page,
                &format!("Mentions: {}", group.name),
                note,
                &group.buckets,
                total.max(1),
            )?;
        }
        page.push_str("</div>\n");
        Ok(())
    }
}

fn write_finding(page: &mut String, finding: &Finding) -> std::fmt::Result {
    let severity = finding.severity.name();
    writeln!(
        page,
        "<details class=\"finding {severity}\"{}>\n<summary><span class=\"badge\">{severity}</span> <b>{}: {}</b> <code>{}</code></summary>",
        if finding.severity == Severity::Note {
            ""
        } else {
            " open"
        },
        escape(&finding.title),
        grouped(finding.count as u64),
        finding.code.name(),
    )?;
    writeln!(page, "<p>{}</p>\n<ul>", escape(&finding.advice))?;
    let place = |place: &Place| format!("<code>{}:{}</code>", escape(&place.file), place.line);
    for example in &finding.examples {
        let like = example
            .like
            .as_ref()
            .map_or(String::new(), |like| format!(" like {}", place(like)));
        writeln!(
            page,
            "<li>{}{like}<q>{}</q></li>",
            place(&example.place),
            escape(&example.snippet)
        )?;
    }
    let more = finding.count - finding.examples.len().min(finding.count);
    if more > 0 {
        writeln!(page, "<li class=\"quiet\">and {} more</li>", grouped(more as u64))?;
    }
    page.push_str("</ul>\n</details>\n");
    Ok(())
}

fn write_bars(page: &mut String, title: &str, note: &str, counts: &[Count], total: usize) -> std::fmt::Result {
    writeln!(
        page,
        "<section class=\"bars\">\n<h3>{}</h3>\n<p class=\"quiet\">{note}</p>",
        escape(title)
    )?;
    let most = counts.iter().map(|count| count.rows).max().unwrap_or(1).max(1);
    for count in counts.iter().take(BARS) {
        write_bar(
            page,
            &count.name,
            count.rows,
            most,
            count.rows as f64 / total as f64,
            "plain",
        )?;
    }
    if counts.len() > BARS {
        let rest: usize = counts[BARS..].iter().map(|count| count.rows).sum();
        let name = format!("{} others", counts.len() - BARS);
        write_bar(page, &name, rest, most.max(rest), rest as f64 / total as f64, "plain")?;
    }
    page.push_str("</section>\n");
    Ok(())
}

fn write_bar(page: &mut String, name: &str, rows: usize, most: usize, share: f64, class: &str) -> std::fmt::Result {
    writeln!(
        page,
        "<div class=\"bar {class}\"><span>{}</span><i><u style=\"width:{:.2}%\"></u></i><b>{}</b><small>{}</small></div>",
        escape(name),
        100.0 * rows as f64 / most.max(1) as f64,
        grouped(rows as u64),
        percent(share),
    )
}

fn write_length(page: &mut String, length: &Length) -> std::fmt::Result {
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 200.0;
    let most = length.histogram.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1);
    let step = WIDTH / length.histogram.len() as f64;
    writeln!(page, "<h2>Length in {}</h2>", length.unit)?;
    write!(
        page,
        "<p class=\"quiet\">Half of the rows have at most {}, nine in ten at most {}, 99 in 100 at most {}.",
        grouped(length.median.into()),
        grouped(length.p90.into()),
        grouped(length.p99.into())
    )?;
    if let Some(limit) = length.limit {
        write!(
            page,
            " {} are beyond the limit of {}.",
            grouped(length.over as u64),
            grouped(limit as u64)
        )?;
    }
    writeln!(
        page,
        "</p>\n<figure><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Rows by length\">",
        HEIGHT + 30.0
    )?;
    let width = length.histogram.first().map_or(1, |bin| bin.to - bin.from + 1);
    // Labels need room: eight at most, on the left edges of bars.
    let every = length.histogram.len().div_ceil(8);
    for (i, bin) in length.histogram.iter().enumerate() {
        let tall = HEIGHT * bin.rows as f64 / most as f64;
        let beyond = length.limit.is_some_and(|limit| bin.from as usize > limit);
        writeln!(
            page,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"{}><title>{} to {}: {} rows</title></rect>",
            i as f64 * step + 1.0,
            HEIGHT - tall,
            step - 2.0,
            if beyond { " class=\"beyond\"" } else { "" },
            bin.from,
            bin.to,
            bin.rows
        )?;
        if i % every == 0 {
            let x = i as f64 * step + 1.0;
            writeln!(
                page,
                "<text x=\"{x:.1}\" y=\"{:.0}\">{}</text>",
                HEIGHT + 24.0,
                grouped(bin.from.into())
            )?;
        }
    }
    writeln!(page, "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>")?;
    if let Some(limit) = length.limit {
        let x = limit as f64 / f64::from(width) * step;
        if x < WIDTH {
            writeln!(
                page,
                "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>"
            )?;
        }
    }
    page.push_str("</svg></figure>\n");
    Ok(())
}
