//! Every template and conversation of `fixtures/chat/renderings.json`, recorded from transformers.

use serde_json::{Map, Value};
use wgpu_sft::Error;
use wgpu_sft::data::{
    Body, ChatTemplate, Conversation, IGNORE, Reading, RenderOptions, Row, Tokenizer, TokenizerConfig, TrainOn,
    terminators,
};

use super::learnt;

const BPE: &[u8] = include_bytes!("../../fixtures/chat/tokenizer.json");
const SENTENCEPIECE: &[u8] = include_bytes!("../../fixtures/chat/sentencepiece.json");

/// Sources by name: what the recording names is read from the folder of templates.
pub fn source(name: &str) -> String {
    let path = wgpu_sft_tests::fixture(&format!("chat/templates/{name}.jinja"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn recorded() -> Value {
    wgpu_sft_tests::json("chat/renderings.json")
}

/// A template with its model's special tokens, a tokenizer that has them, and what ends a turn.
pub fn model(recorded: &Value, name: &str) -> (ChatTemplate, Tokenizer, String) {
    let of = |field: &str| recorded["templates"][name][field].as_str().unwrap().to_owned();
    let config = TokenizerConfig {
        bos_token: Some(of("bos")),
        eos_token: Some(of("eos")),
        pad_token: Some("<|endoftext|>".into()),
        ..TokenizerConfig::default()
    };
    let template = ChatTemplate::new(&source(name), &config, recorded["now"].as_i64()).unwrap();
    (template, Tokenizer::from_json(BPE, config).unwrap(), of("end"))
}

fn sentencepiece() -> Tokenizer {
    let config = TokenizerConfig {
        bos_token: Some("<s>".into()),
        eos_token: Some("</s>".into()),
        ..TokenizerConfig::default()
    };
    Tokenizer::from_json(SENTENCEPIECE, config).unwrap()
}

pub fn conversation(row: &Value) -> Conversation {
    match Row::from_json(row, &Reading::default()).unwrap().body {
        Body::Chat(conversation) => conversation,
        other => panic!("{other:?}"),
    }
}

/// FNV-1a of 64 bits over the ids.
pub fn digest(ids: &[u32]) -> String {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    format!("{:016x}", bytes.fold(0xCBF2_9CE4_8422_2325, mix))
}

/// Where the mask changes.
fn edges(labels: &[i32]) -> Vec<usize> {
    let learnt = |at: usize| labels.get(at).is_some_and(|&label| label != IGNORE);
    (0..=labels.len())
        .filter(|&at| learnt(at) != (at > 0 && learnt(at - 1)))
        .collect()
}

#[test]
fn renderings_ids_spans_and_masks_are_those_of_transformers() {
    let recorded = recorded();
    let spm = sentencepiece();
    let mut before = String::new();
    let mut seen: Map<String, Value> = Map::new();
    let (mut wrong, mut masks) = (Vec::new(), 0);
    for case in recorded["renderings"].as_array().unwrap() {
        let (name, title) = (case["template"].as_str().unwrap(), case["case"].as_str().unwrap());
        let what = format!("{name} / {title}");
        let (template, tokenizer, end) = model(&recorded, name);
        let row = &recorded["cases"][title];
        let conversation = conversation(row);
        let mut prompt = conversation.clone();
        prompt.messages.pop();
        let count = seen.entry(name).or_insert_with(|| Value::from(0));
        *count = Value::from(count.as_u64().unwrap() + 1);
        if let Some(error) = case["raises"].as_str() {
            // What Python says of missing fields is not ours to repeat; what the template itself says is.
            let own = ["must alternate", "supported", "only supports"]
                .iter()
                .any(|part| error.contains(part));
            let got = match (
                conversation.spans(&template, TrainOn::All),
                prompt.prompt(&template, &tokenizer),
            ) {
                (Err(got), _) | (_, Err(got)) => got.to_string(),
                (Ok((text, _)), _) => {
                    wrong.push(format!("{what} does not raise {error:?}: {text:?}"));
                    continue;
                }
            };
            if own && !got.contains(error) {
                wrong.push(format!("{what}: {got}, not {error}"));
            }
            continue;
        }
        let keep = case["text"][0].as_u64().unwrap() as usize;
        let text: String = before.chars().take(keep).collect::<String>() + case["text"][1].as_str().unwrap();
        before.clone_from(&text);
        let prompt_text: String = match &case["prompt"] {
            Value::String(prompt) => prompt.clone(),
            length => text.chars().take(length.as_u64().unwrap() as usize).collect(),
        };
        let got = conversation.spans(&template, TrainOn::All).map(|(text, _)| text);
        if got.as_deref() != Ok(&text) {
            wrong.push(format!("{what}:\n{got:?}\n{text:?}"));
            continue;
        }
        let ids = prompt.prompt(&template, &tokenizer).unwrap();
        if tokenizer.decode(&ids, false).unwrap() != prompt_text {
            wrong.push(format!("{what}: prompt"));
        }
        for (tokenizer, ids) in [&tokenizer, &spm].into_iter().zip(case["ids"].as_array().unwrap()) {
            assert_eq!(
                digest(&tokenizer.encode(&text, false).unwrap()),
                ids.as_str().unwrap(),
                "{what}"
            );
        }
        let got = conversation
            .spans(&template, TrainOn::Assistant)
            .map(|(_, spans)| spans);
        // Blocks that touch are one span.
        let mut want: Vec<[usize; 2]> = Vec::new();
        for span in case["spans"].as_array().into_iter().flatten() {
            let [start, end] = serde_json::from_value(span.clone()).unwrap();
            match want.last_mut() {
                Some(last) if last[1] == start => last[1] = end,
                _ => want.push([start, end]),
            }
        }
        let refused = case["refused"].as_str();
        let spans = match (got, refused) {
            (Ok(_), Some(why)) => {
                wrong.push(format!("{what} is not refused: {why}"));
                continue;
            }
            (Err(Error::Template { .. }), Some(_)) => continue,
            // transformers renders no empty prompt, and nor do templates that look at the first message.
            (Err(Error::Template { .. }), None) if title == "assistant first" => continue,
            (Err(e), _) => {
                wrong.push(format!("{what}: {e}"));
                continue;
            }
            (Ok(spans), None) => spans,
        };
        if title == "assistant first" && want.is_empty() {
            continue;
        }
        let got: Vec<[usize; 2]> = spans.iter().map(|span| [span.start, span.end]).collect();
        if got != want {
            let texts: Vec<_> = spans.iter().map(|span| &text[span.clone()]).collect();
            wrong.push(format!("{what}: {got:?}, not {want:?}: {texts:?}"));
            continue;
        }
        let example = conversation.example(&template, &tokenizer, TrainOn::Assistant).unwrap();
        let supervised: String = spans.iter().map(|span| &text[span.clone()]).collect();
        assert_eq!(learnt(&tokenizer, &example).concat(), supervised, "{what}");
        assert!(spans.iter().all(|span| text[span.clone()].contains(&end)), "{what}");
        if let Some(mask) = case["mask"].as_array()
            && digest(&example.ids) == case["ids"][0]
        {
            let mask: Vec<usize> = mask.iter().map(|edge| edge.as_u64().unwrap() as usize).collect();
            assert_eq!(edges(&example.labels), mask, "{what}");
            masks += 1;
        }
        // Templates whose tags are text, or SentencePiece's own specials.
        if ["llama2", "mistral_v0_2", "mistral_v0_3", "mistral_nemo", "zephyr"].contains(&name) {
            let example = conversation.example(&template, &spm, TrainOn::Assistant).unwrap();
            let got = learnt(&spm, &example).concat();
            let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(squeezed(&got), squeezed(&supervised), "{what}");
            assert!(example.ids.starts_with(&{
                let mut prompt = conversation.clone();
                prompt.messages.pop();
                prompt.prompt(&template, &spm).unwrap()
            }));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen.len(), 23);
    assert!(
        seen.values()
            .all(|count| *count == recorded["cases"].as_object().unwrap().len())
    );
    assert!(masks >= 100, "{masks} masks compared");
}

#[test]
fn generation_stops_at_the_templates_terminators() {
    let recorded = recorded();
    for name in recorded["templates"].as_object().unwrap().keys() {
        let (template, tokenizer, end) = model(&recorded, name);
        let id = |token: &str| tokenizer.token_to_id(token).unwrap();
        let mut want = vec![tokenizer.eos().unwrap(), id(&end)];
        if name == "phi3_training" {
            want.push(id("<|endoftext|>")); // in a generation block of its own
        }
        want.sort_unstable();
        want.dedup();
        assert_eq!(terminators(&tokenizer, Some(&template), &[]).unwrap(), want, "{name}");
        let mut more = [&want[..], &[599]].concat();
        more.sort_unstable();
        assert_eq!(
            terminators(&tokenizer, Some(&template), &[599, 599]).unwrap(),
            more,
            "{name}"
        );
    }
    let (_, tokenizer, _) = model(&recorded, "zephyr");
    assert_eq!(terminators(&tokenizer, None, &[]).unwrap(), [tokenizer.eos().unwrap()]);
}

#[test]
fn snippets_render_as_in_jinja2() {
    let expected = wgpu_sft_tests::json("chat/expected.json");
    let options = RenderOptions {
        tools: Some(&expected["row"]["tools"]),
        ..RenderOptions::default()
    };
    let tokens = TokenizerConfig {
        bos_token: Some("<s>".into()),
        eos_token: Some("</s>".into()),
        pad_token: Some("<|endoftext|>".into()),
        ..TokenizerConfig::default()
    };
    let messages = expected["row"]["messages"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in expected["snippets"].as_array().unwrap() {
        let source = case["source"].as_str().unwrap();
        let got = ChatTemplate::new(source, &tokens, None).and_then(|template| template.render(messages, &options));
        let got = got.map(|rendered| rendered.text).map_err(|e| e.to_string());
        if got.as_deref() != Ok(case["text"].as_str().unwrap()) {
            wrong.push(format!("{source}\n  got  {got:?}\n  want {}", case["text"]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// SmolLM3's generation blocks hold the whole header of the turn, those of TRL's Qwen2.5 its line break; the others begin behind it.
#[test]
fn whose_headers_are_learnt_is_told() {
    let recorded = recorded();
    let names = recorded["templates"].as_object().unwrap().keys();
    let learnt: Vec<_> = names.filter(|name| model(&recorded, name).0.learns_headers()).collect();
    assert_eq!(learnt, ["smollm3", "qwen2_5_training"]);
}
