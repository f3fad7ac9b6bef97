//! Rows as the model will see them: each token's text, and whether it is learnt.

use std::fmt::Write;

use serde::Serialize;

use super::quality::html::{escape, grouped, head};
use super::quality::shown;
use super::{Example, IGNORE, Preparation, Row, Tokenizer};
use crate::Result;

/// A token as a reader sees it; several where only together they make a character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Its text; where there is no tokenizer, its id.
    pub text: String,
    /// Its token ids.
    pub ids: Vec<u32>,
    /// Whether the model learns to give it. An example's first token follows nothing, so it never is.
    pub learnt: bool,
    /// Whether it is a token that text never makes, such as the one that ends a turn.
    pub special: bool,
}

/// One row, token by token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Where the row comes from and what it is, for a heading.
    pub title: String,
    /// Its tokens in order.
    pub pieces: Vec<Piece>,
    /// How many tokens it has.
    pub tokens: usize,
    /// How many of them are learnt.
    pub targets: usize,
}

impl Preview {
    /// Of a row of the file `name`, which is its number `at`.
    ///
    /// # Errors
    /// As [`Preparation::example`] and [`new`](Self::new).
    pub fn of_row(name: &str, at: usize, row: &Row, with: &Preparation) -> Result<Self> {
        let task = row.task.as_ref().map(|task| format!(" · {task}")).unwrap_or_default();
        let title = format!("{name}:{at} · {}{task}", row.shape);
        Self::new(title, &with.example(&row.body)?, with.tokenizer)
    }

    /// Of an example that was prepared with this tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when a token cannot be decoded.
    pub fn new(title: impl Into<String>, example: &Example, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let mut preview = Self {
            title: title.into(),
            pieces: Vec::new(),
            tokens: example.ids.len(),
            targets: example.targets(),
        };
        let mut stream = tokenizer.map(|tokenizer| tokenizer.stream(false));
        let mut open: Vec<(u32, bool)> = Vec::new();
        let mut close = |open: &mut Vec<(u32, bool)>, text: String| {
            let special = |&(id, _): &(u32, bool)| tokenizer.is_some_and(|tokenizer| tokenizer.is_special(id));
            preview.pieces.push(Piece {
                text,
                learnt: open.iter().any(|&(_, learnt)| learnt),
                special: open.iter().all(special),
                ids: open.drain(..).map(|(id, _)| id).collect(),
            });
        };
        for (at, (&id, &label)) in example.ids.iter().zip(&example.labels).enumerate() {
            open.push((id, at > 0 && label != IGNORE));
            let text = match &mut stream {
                Some(stream) => stream.push(id)?,
                None => format!("{id} "),
            };
            if !text.is_empty() {
                close(&mut open, text);
            }
        }
        if !open.is_empty() {
            let text = stream.map_or(Ok(String::new()), |stream| stream.finish())?;
            close(&mut open, text);
        }
        Ok(preview)
    }

    /// Some rows as one HTML page that needs nothing else: no scripts, no network. Everything from rows is escaped.
    pub fn page(rows: &[Self]) -> String {
        let mut page = String::new();
        write_page(&mut page, rows).expect("a String takes all that is written");
        page
    }
}

/// Text in which what a screen would obey is made visible: control characters, and marks that turn the direction of writing.
pub fn visible(text: &str) -> String {
    let keep = |c| if matches!(c, '\n' | '\t') { c } else { shown(c) };
    text.chars().map(keep).collect()
}

fn write_page(page: &mut String, rows: &[Preview]) -> std::fmt::Result {
    write!(
        page,
        "{}<input type=\"checkbox\" id=\"ids\"><label for=\"ids\">token ids</label>\n<main>\n\
         <h1>What the model learns</h1>\n<p><span class=\"l\">Learnt</span> is what it is trained to write; \
         <span>the rest</span> is what it reads before. <span class=\"s\">Special</span> tokens are framed.</p>\n",
        head(&format!("What the model learns from {} rows", rows.len()), STYLE),
    )?;
    for row in rows {
        write!(
            page,
            "<section><h2>{}</h2><p class=\"quiet\">{} tokens, {} learnt</p>\n<pre>",
            escape(&row.title),
            grouped(row.tokens as u64),
            grouped(row.targets as u64),
        )?;
        for piece in &row.pieces {
            let class = match (piece.learnt, piece.special) {
                (true, true) => " class=\"l s\"",
                (true, false) => " class=\"l\"",
                (false, true) => " class=\"s\"",
                (false, false) => "",
            };
            let ids: Vec<_> = piece.ids.iter().map(u32::to_string).collect();
            // The break itself shows too: it is a token like any other.
            let text = escape(&visible(&piece.text)).replace('\n', "<i>↵</i>\n");
            // Ids stand before the break, not on the line behind it.
            let (text, end) = text.strip_suffix('\n').map_or((&text[..], ""), |text| (text, "\n"));
            write!(page, "<span{class} data-ids=\"{}\">{text}</span>{end}", ids.join(" "))?;
        }
        page.push_str("</pre></section>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

const STYLE: &str = include_str!("preview.css");
