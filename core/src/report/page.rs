//! The page: what came of the run first, what went into it last.

use std::fmt::Write;

use super::curves::{self, COLUMN, WIDE};
use super::{Outcome, Report, Sample, comparison, facts, words};
use crate::chart::{self, number};
use crate::data::preview::visible;
use crate::data::quality::html::{self, escape, grouped};
use crate::eval::Comparison;

const STYLE: &str = include_str!("report.css");
/// Characters of a text that are shown.
const MOST_TEXT: usize = 2000;

/// A name or short text, safe in HTML.
pub(super) fn name(text: &str) -> String {
    escape(&visible(text))
}

/// The beginning of a text, safe in HTML, and how much is left out; an empty one says that it is.
pub(super) fn clipped(text: &str) -> String {
    let count = text.chars().count();
    match count {
        0 => "<i class=\"quiet\">nothing</i>".to_owned(),
        1..=MOST_TEXT => name(text),
        _ => {
            let shown: String = text.chars().take(MOST_TEXT).collect();
            format!(
                "{}<i class=\"quiet\">… and {} more characters</i>",
                name(&shown),
                grouped((count - MOST_TEXT) as u64)
            )
        }
    }
}

/// The page up to its content.
fn open(title: &str) -> String {
    html::head(&name(title), &format!("{STYLE}{}", chart::STYLE)) + "<main>\n"
}

impl Comparison {
    /// As a self-contained HTML page.
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        let mut write = || {
            page += &open(&format!("{} before and after", self.base));
            page.push_str("<header><h1>Before and after</h1></header>\n");
            comparison::write(&mut page, self)?;
            page.push_str("<footer>Made by wgpu-sft compare.</footer>\n</main>\n</body>\n</html>\n");
            Ok::<(), std::fmt::Error>(())
        };
        write().expect("a String takes all that is written");
        page
    }
}

impl Report {
    /// As a self-contained HTML page.
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        self.write(&mut page).expect("a String takes all that is written");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let run = &self.run;
        // Of a path, its last part is the name.
        let model = run
            .model
            .trim_end_matches(['/', '\\'])
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or(&run.model);
        *page += &open(&format!("Training {model}"));
        let (class, state) = self.state();
        writeln!(
            page,
            "<header><h1>Training {}</h1><p class=\"verdict {class}\">{}</p></header>",
            name(model),
            name(&state)
        )?;
        self.write_tiles(page)?;
        if let Some(comparison) = &self.comparison {
            page.push_str("<h2>Before and after</h2>\n");
            comparison::write(page, comparison)?;
        }
        self.write_curves(page)?;
        if !self.samples.is_empty() {
            write_samples(page, &self.samples)?;
        }
        if !run.data.is_empty() {
            page.push_str("<h2>Rows</h2>\n");
            facts::write_data(page, run)?;
        }
        if run.memory.total() > 0 {
            self.write_memory(page)?;
        }
        page.push_str("<h2>The run</h2>\n");
        facts::write_run(page, run)?;
        page.push_str(
            "<footer>Made by wgpu-sft train, from run.json and metrics.jsonl.</footer>\n</main>\n</body>\n</html>\n",
        );
        Ok(())
    }

    /// Steps that are done, as far as is known.
    fn steps(&self) -> u64 {
        let logged = self.log.lines.last().map_or(0, |line| line.0);
        let last = self.run.last();
        last.and_then(|session| session.to_step).unwrap_or(logged)
    }

    /// How the run stands, with the class that colours it.
    fn state(&self) -> (&'static str, String) {
        let (done, total) = (self.steps(), self.run.total_steps);
        match self.run.last().map(|session| session.outcome).unwrap_or_default() {
            Outcome::Finished if done < total => ("good", format!("stopped early after step {done} of {total}")),
            Outcome::Finished => (
                "good",
                format!("finished: {total} step{}", if total == 1 { "" } else { "s" }),
            ),
            Outcome::Interrupted => ("warning", format!("interrupted after step {done} of {total}")),
            Outcome::Diverged => ("error", format!("diverged after step {done} of {total}")),
            Outcome::Failed => ("error", format!("failed after step {done} of {total}")),
            Outcome::Running => ("warning", format!("running, or cut off: step {done} of {total}")),
        }
    }

    fn write_tiles(&self, page: &mut String) -> std::fmt::Result {
        let (run, log) = (&self.run, &self.log);
        page.push_str("<section class=\"tiles\">\n");
        let mut tile = |value: String, name: String| writeln!(page, "<div><b>{value}</b><span>{name}</span></div>");
        for (key, what) in [("loss", "loss"), ("eval_loss", "held-out loss")] {
            let finite = log.series(key).into_iter().filter(|point| point.1.is_finite());
            let values: Vec<f64> = finite.map(|point| point.1).collect();
            match values[..] {
                [] => {}
                [only] => tile(number(only), what.to_owned())?,
                [first, .., last] => tile(number(last), format!("{what}; first {}", number(first)))?,
            }
        }
        if let Some(accuracy) = log.last("eval_token_accuracy") {
            tile(
                format!("{:.1} %", 100.0 * accuracy),
                "held-out token accuracy".to_owned(),
            )?;
        }
        let steps = self.steps();
        let epochs = steps as f64 / run.steps_per_epoch.max(1) as f64;
        tile(
            grouped(steps),
            format!("steps of {}, {epochs:.2} epochs", grouped(run.total_steps)),
        )?;
        if let Some(tokens) = log.last("tokens") {
            tile(grouped(tokens as u64), "tokens".to_owned())?;
        }
        let mut speeds: Vec<f64> = log
            .series("tokens_per_second")
            .into_iter()
            .map(|point| point.1)
            .collect();
        speeds.retain(|speed| speed.is_finite());
        speeds.sort_by(f64::total_cmp);
        if let Some(speed) = speeds.get(speeds.len() / 2) {
            tile(number(*speed), "tokens/s, median".to_owned())?;
        }
        let took = run
            .sessions
            .iter()
            .filter_map(|s| Some(s.ended?.saturating_sub(s.started)));
        match took.sum() {
            0 => {}
            took => tile(words::duration(took), "in all".to_owned())?,
        }
        page.push_str("</section>\n");
        Ok(())
    }

    fn write_curves(&self, page: &mut String) -> std::fmt::Result {
        page.push_str("<h2>Curves</h2>\n");
        if self.log.lines.is_empty() {
            page.push_str("<p class=\"quiet\">No step was logged.</p>\n");
            return Ok(());
        }
        // Twice, as text in a chart scales with it: the page shows the one that suits its width.
        for (class, size) in [("wide", WIDE), ("narrow", COLUMN)] {
            let chart = curves::loss(&self.log, size).to_svg();
            writeln!(page, "<figure class=\"{class}\">{chart}</figure>")?;
        }
        page.push_str("<div class=\"charts\">\n");
        for chart in curves::others(&self.log) {
            writeln!(page, "<figure>{}</figure>", chart.to_svg())?;
        }
        page.push_str("</div>\n");
        Ok(())
    }

    fn write_memory(&self, page: &mut String) -> std::fmt::Result {
        let memory = &self.run.memory;
        let recomputed = if memory.recompute {
            "; activations are computed twice"
        } else {
            ""
        };
        writeln!(
            page,
            "<h2>Memory</h2>\n<p class=\"quiet\">{} tokens at once; matrices that are not trained are stored in {}{recomputed}.</p>\n\
             <figure class=\"column\">{}</figure>",
            grouped(memory.micro_batch_tokens),
            name(&memory.dtype),
            curves::memory(self).to_svg()
        )
    }
}

/// Answers by prompt; those that stay the same are shown once.
fn write_samples(page: &mut String, samples: &[Sample]) -> std::fmt::Result {
    page.push_str("<h2>Answers as they changed</h2>\n");
    let mut asked: Vec<(&str, &str)> = Vec::new();
    for sample in samples {
        let this = (sample.suite.as_str(), sample.prompt.as_str());
        if !asked.contains(&this) {
            asked.push(this);
        }
    }
    for (suite, prompt) in asked {
        let same = |sample: &&Sample| sample.suite == suite && sample.prompt == prompt;
        let of: Vec<&Sample> = samples.iter().filter(same).collect();
        let badge = match suite {
            "" => String::new(),
            suite => format!("<span class=\"badge\">{}</span> ", name(suite)),
        };
        writeln!(
            page,
            "<article class=\"example\"><p class=\"text\">{badge}{}</p>",
            clipped(prompt)
        )?;
        if let Some(first) = of.first().filter(|sample| !sample.reference.is_empty()) {
            let wanted = clipped(&first.reference);
            writeln!(page, "<p class=\"text quiet\"><small>wanted</small>{wanted}</p>")?;
        }
        page.push_str("<ol class=\"steps\">\n");
        for same in of.chunk_by(|a, b| a.answer == b.answer) {
            let (from, to) = (same[0].step, same[same.len() - 1].step);
            let steps = if from == to {
                format!("step {from}")
            } else {
                format!("steps {from} to {to}")
            };
            writeln!(
                page,
                "<li><small>{steps}</small><p class=\"text\">{}</p></li>",
                clipped(&same[0].answer)
            )?;
        }
        page.push_str("</ol></article>\n");
    }
    Ok(())
}
