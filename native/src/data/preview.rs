//! `data preview`: rows as the model will see them, with what it learns marked.

use std::fmt::Write as _;
use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use wgpu_sft::Error;
use wgpu_sft::data::preview::{Piece, Preview, visible};
use wgpu_sft::data::{Body, Preparation};

use super::args::{ColorChoice, DataPreviewArgs};
use super::{note_headers, number, reading};
use crate::Outcome;
use crate::progress::{Progress, line};
use crate::rows::for_each_row;

/// How tokens look on a terminal: learnt ones bold on green, every other one of the rest dim, special ones underlined.
const LEARNT: [&str; 2] = ["\x1b[1;30;42m", "\x1b[1;30;102m"];
const READ: [&str; 2] = ["\x1b[0m", "\x1b[2m"];
const SPECIAL: &str = "\x1b[4m";
const PLAIN: &str = "\x1b[0m";

/// Show the rows.
pub fn run(args: DataPreviewArgs) -> Result<Outcome> {
    let model = args.learn.model(true)?;
    let preparation = match &model {
        Some(model) => args.learn.preparation(model)?,
        None => Preparation {
            vocab_size: i32::MAX as usize,
            ..Preparation::default()
        },
    };
    let mut previews = Vec::new();
    for file in &args.rows.files {
        let (mut seen, mut enough) = (0, false);
        let read = for_each_row(
            file,
            &reading(&args.rows)?,
            &Progress::bytes(true, 0, "reading"),
            |place, row| {
                let at = number(place);
                if at < args.from {
                    return Ok(());
                }
                if seen == args.count {
                    enough = true;
                    return Err(Error::data("stopped"));
                }
                seen += 1;
                let row = row?;
                if model.is_none() && !matches!(row.body, Body::Tokens { .. }) {
                    return Err(Error::config("model", "is needed to make tokens of text: --model"));
                }
                let preview = Preview::of_row(file, at, &row, &preparation).map_err(|error| place.blame(error))?;
                previews.push(preview);
                Ok(())
            },
        );
        if !enough {
            read.with_context(|| file.clone())?;
        }
    }
    if previews.is_empty() {
        bail!("there is no row from {} on", args.from);
    }
    if let Some(file) = &args.html {
        std::fs::write(file, Preview::page(&previews)).with_context(|| file.display().to_string())?;
        line(&format!("{} rows: {}", previews.len(), file.display()))?;
        return Ok(Outcome::Fine);
    }
    if args.json {
        line(&serde_json::to_string_pretty(&previews)?)?;
        return Ok(Outcome::Fine);
    }
    let colored = match args.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    note_headers(model.as_ref())?;
    for preview in &previews {
        let counts = format!("{} tokens, {} learnt", preview.tokens, preview.targets);
        line(&format!("{} · {counts}", visible(&preview.title)))?;
        let text = text(&preview.pieces, colored, args.ids);
        line(text.trim_end_matches('\n'))?;
        line("")?;
    }
    Ok(Outcome::Fine)
}

/// The tokens in colours or, without, what is learnt in ⟦ ⟧.
fn text(pieces: &[Piece], colored: bool, ids: bool) -> String {
    let mut out = String::new();
    let mut inside = false;
    for (i, piece) in pieces.iter().enumerate() {
        if !colored && piece.learnt != inside {
            inside = piece.learnt;
            out.push(if inside { '⟦' } else { '⟧' });
        }
        let style = if piece.learnt { LEARNT } else { READ }[i % 2];
        let special = if piece.special { SPECIAL } else { "" };
        let shown = visible(&piece.text);
        for (j, part) in shown.split('\n').enumerate() {
            // Colours end with the line, or a terminal fills the rest of it.
            match (j > 0, colored) {
                (true, true) => {
                    let _ = writeln!(out, "{style}↵{PLAIN}");
                }
                (true, false) => out.push('\n'),
                (false, _) => {}
            }
            match (part.is_empty(), colored) {
                (true, _) => {}
                (false, true) => {
                    let _ = write!(out, "{PLAIN}{style}{special}{part}{PLAIN}");
                }
                (false, false) => out.push_str(part),
            }
        }
        if ids {
            let ids: Vec<_> = piece.ids.iter().map(u32::to_string).collect();
            let _ = write!(out, "‹{}›", ids.join(" "));
        }
    }
    if inside {
        out.push('⟧');
    }
    out
}
