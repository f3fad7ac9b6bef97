//! What the browser's module must say of some rows: `tests/browser/data.js` compares with `fixtures/browser.json`.

use std::fs;

use serde_json::{Value, json};
use wgpu_sft::Result;
use wgpu_sft::data::preview::Preview;
use wgpu_sft::data::quality::{Checker, Look};
use wgpu_sft::data::{Preparation, Reading, Source};

use crate::template::renderings::{model, recorded};

/// Files under `tests/`, and whether they are held out.
const CHECKED: [(&str, bool); 3] = [
    ("../demo/heldout.jsonl", true),
    ("../demo/train.jsonl", false),
    ("fixtures/data/flawed.jsonl", false),
];

fn report() -> Result<Value> {
    let look = Look::default();
    let mut checker = Checker::new(look.options.clone());
    for (name, held_out) in CHECKED {
        let file = fs::read(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let source = checker.source(name, held_out)?;
        Source::new(&file[..], name)?.for_each(&Reading::default(), |place, row| {
            checker.take(source, place.number(), look.at(row))
        })?;
    }
    Ok(serde_json::to_value(checker.finish().report).unwrap())
}

/// Every conversation through a template, as a page of JSON or what is wrong with it; their digest.
fn previews(recorded: &Value, name: &str) -> String {
    let (template, tokenizer, _) = model(recorded, name);
    let with = Preparation {
        tokenizer: Some(&tokenizer),
        template: Some(&template),
        vocab_size: tokenizer.vocab_size(),
        ..Preparation::default()
    };
    let one = |(title, row): (&String, &Value)| {
        let mut page = String::new();
        let read = Source::new(row.to_string().as_bytes(), title).and_then(|source| {
            source.for_each(&Reading::default(), |place, row| {
                let preview = Preview::of_row(title, place.number(), &row?, &with).map_err(|e| place.blame(e))?;
                page = serde_json::to_string(&[preview]).unwrap();
                Ok(())
            })
        });
        read.map_or_else(|error| error.to_string(), |()| page)
    };
    let pages: Vec<String> = recorded["cases"].as_object().unwrap().iter().map(one).collect();
    let bytes = pages.join("\n").into_bytes();
    // FNV-1a.
    let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    format!("{:016x}", bytes.into_iter().fold(0xCBF2_9CE4_8422_2325, mix))
}

/// Whoever changes what is found sets `WGPU_SFT_RECORD`, which writes the file anew.
#[test]
fn the_browsers_recording_is_what_is_found_here() {
    let recorded = recorded();
    let names = recorded["templates"].as_object().unwrap().keys();
    let previews: Value = names
        .map(|name| (name.clone(), Value::from(previews(&recorded, name))))
        .collect();
    // As text: JavaScript would write 1.0 as 1.
    let row = |(title, row): (&String, &Value)| (title.clone(), Value::from(row.to_string()));
    let rows: Value = recorded["cases"].as_object().unwrap().iter().map(row).collect();
    let report = report().unwrap();
    let found = json!({ "checked": CHECKED, "report": report, "rows": rows, "previews": previews });
    let found = format!("{found:#}\n");
    let path = wgpu_sft_tests::fixture("browser.json");
    if std::env::var_os("WGPU_SFT_RECORD").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert!(found == fs::read_to_string(path).unwrap(), "{found}");
}
