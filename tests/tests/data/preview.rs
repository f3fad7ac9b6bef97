//! Rows shown token by token: nothing lost, nothing learnt that is not said, nothing that a page or a screen would obey.

use super::tokenizer::{bpe, sentencepiece};
use wgpu_sft::data::preview::{Preview, visible};
use wgpu_sft::data::{Body, Example, IGNORE, Preparation, Tokenizer};

const PROMPT: &str = "What is <b>1 & 1</b>?\n日本 🌍🌎";
const COMPLETION: &str = " Héé \u{1b}[31m\u{202e}🌍";

fn example(tokenizer: &Tokenizer) -> Example {
    let with = Preparation {
        tokenizer: Some(tokenizer),
        vocab_size: tokenizer.vocab_size(),
        ..Preparation::default()
    };
    let body = Body::Text {
        prompt: PROMPT.into(),
        completion: COMPLETION.into(),
    };
    with.example(&body).unwrap()
}

#[test]
fn pieces_are_the_row_and_say_what_is_learnt() {
    for tokenizer in [bpe(), sentencepiece()] {
        let example = example(&tokenizer);
        let preview = Preview::new("a row", &example, Some(&tokenizer)).unwrap();
        let ids: Vec<u32> = preview.pieces.iter().flat_map(|piece| piece.ids.clone()).collect();
        assert_eq!(ids, example.ids);
        let text: String = preview.pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(text, tokenizer.decode(&example.ids, false).unwrap());
        // The alphabet is small: characters beyond it are several tokens each, and one piece.
        assert!(!text.contains('\u{fffd}'), "{text:?}");
        assert!(
            preview
                .pieces
                .iter()
                .any(|piece| piece.text.contains('🌍') && piece.ids.len() > 1)
        );
        let learnt: String = preview
            .pieces
            .iter()
            .filter(|p| p.learnt)
            .map(|p| p.text.as_str())
            .collect();
        let eos = tokenizer.config().eos_token.clone().unwrap();
        assert_eq!(learnt.trim_start(), format!("{COMPLETION}{eos}").trim_start());
        assert_eq!(
            (preview.tokens, preview.targets),
            (example.ids.len(), example.targets())
        );
        let last = preview.pieces.last().unwrap();
        assert!(last.special && last.learnt && last.text == eos);
    }
}

#[test]
fn the_first_token_is_never_learnt_and_ids_do_without_a_tokenizer() {
    let example = Example {
        ids: vec![7, 8, 9],
        labels: vec![7, IGNORE, 9],
    };
    let preview = Preview::new("ids", &example, None).unwrap();
    let shown: Vec<_> = preview.pieces.iter().map(|p| (p.text.as_str(), p.learnt)).collect();
    assert_eq!(shown, [("7 ", false), ("8 ", false), ("9 ", true)]);
    assert_eq!(preview.targets, 1);
}

#[test]
fn a_page_shows_rows_and_obeys_none() {
    let tokenizer = bpe();
    let mut example = example(&tokenizer);
    example
        .ids
        .extend(tokenizer.encode("<script>alert('x')</script>\u{202e}", false).unwrap());
    example.labels.resize(example.ids.len(), IGNORE);
    let preview = Preview::new("<img src=x onerror=\"y\">", &example, Some(&tokenizer)).unwrap();
    let page = Preview::page(&[preview]);
    for hostile in ["<script", "<img", "<b>", "\u{202e}", "\u{1b}", "http:", "https:"] {
        assert!(!page.contains(hostile), "{hostile:?} is in the page");
    }
    for part in [
        "&lt;img src=x",
        "↵",
        "class=\"l s\"",
        "data-ids=\"",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
}

#[test]
fn what_a_screen_would_obey_is_made_visible() {
    assert_eq!(visible("a\tb\nc\u{1b}[31m\0\u{7f}"), "a\tb\nc␛[31m␀␡");
    assert_eq!(visible("\u{9b}x\u{202e}y\u{2066}é日"), "\u{fffd}x\u{fffd}y\u{fffd}é日");
}
