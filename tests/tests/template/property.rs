//! Random conversations full of what should not be there, through every template.

use serde_json::Value;
use wgpu_sft::data::{Conversation, Message, TrainOn};

use super::learnt;
use super::renderings::{model, recorded};

/// What hostile or careless people write.
const PIECES: [&str; 56] = [
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "<|im_start|>",
    "</s>",
    "<s>",
    "[INST]",
    "[/INST]",
    " [/INST] ",
    "<<SYS>>\n",
    "<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<end_of_turn>",
    "<start_of_turn>model\n",
    "<|assistant|>\n",
    "<|end|>",
    "<|endoftext|>",
    "<think>",
    "</think>",
    "<think>\n\n</think>\n\n",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "/no_think",
    "{{ 1 + 1 }}",
    "{% raise %}",
    "{% generation %}",
    "{% endgeneration %}",
    "{%- endfor -%}",
    "{# no #}",
    "{{ messages }}",
    "\u{FDD0}",
    "\u{FDD1}",
    "\u{FDEF}",
    "\u{0}",
    "\u{1c}",
    "\u{1f}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{202e}abc\u{202c}",
    "🌍",
    "👨‍👩‍👧",
    "🏳️",
    "العربية",
    "日本語",
    "e\u{301}",
    "\n",
    "\n\n\n",
    " ",
    "   ",
    "\t",
    "It is 2.",
    "assistant",
    "1234567",
];

/// A stream of numbers, the same on every machine (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    fn text(&mut self, allowed: impl Fn(&str) -> bool) -> String {
        let count = 1 + self.below(6);
        let pieces = (0..count).map(|_| PIECES[self.below(PIECES.len())]);
        let text: String = pieces.filter(|piece| allowed(piece)).collect();
        // A turn must say something.
        if strip(&text).is_empty() { text + "x" } else { text }
    }
}

/// Python's `str.strip`.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// How a template shows an assistant's text, its terminator included.
fn shown(name: &str, end: &str, content: &str) -> String {
    let content = match name {
        _ if name.starts_with("gemma") || name.starts_with("llama") => strip(content),
        "qwen3" => content.trim_start_matches('\n'),
        _ => content,
    };
    let pad = if matches!(name, "llama2" | "mistral_v0_3") {
        " "
    } else {
        ""
    };
    format!("{pad}{content}{pad}{end}")
}

#[test]
fn spans_are_the_assistants_text_whatever_is_said() {
    let recorded = recorded();
    let names: Vec<&String> = recorded["templates"].as_object().unwrap().keys().collect();
    let mut checked = 0;
    for (at, name) in names.iter().enumerate() {
        let (template, tokenizer, end) = model(&recorded, name);
        let marked = template.marks_generation();
        // Qwen's thinking templates parse what looks like a thought.
        let thinks = name.starts_with("qwen3");
        for round in 0..60 {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ ((at as u64) << 32 | round));
            for _ in 0..8 {
                numbers.below(2);
            }
            let mut conversation = Conversation::default();
            for _ in 0..1 + numbers.below(3) {
                conversation.messages.push(Message::new("user", numbers.text(|_| true)));
                let text = numbers.text(|piece| !thinks || !piece.contains("think>"));
                let text = if thinks || *name == "smollm3" {
                    text.trim_start_matches('\n').to_owned() + "."
                } else {
                    text
                };
                conversation.messages.push(Message::new("assistant", text));
            }
            let what = || format!("{name}, {:?}", conversation.messages);
            let (text, spans) = conversation
                .spans(&template, TrainOn::Assistant)
                .unwrap_or_else(|e| panic!("{}: {e}", what()));
            let answers: Vec<String> = (conversation.messages.iter())
                .filter(|message| message.role == "assistant")
                .map(|message| shown(name, &end, message.content.as_deref().unwrap()))
                .collect();
            let found: Vec<&str> = spans.iter().map(|span| &text[span.clone()]).collect();
            if marked {
                // These may hold the header and the line's end too.
                let found: Vec<&str> = (found.iter())
                    .map(|found| found.strip_suffix("<|endoftext|>").unwrap_or(found))
                    .collect();
                assert_eq!(found.len(), answers.len(), "{}", what());
                assert!(
                    found
                        .iter()
                        .zip(&answers)
                        .all(|(found, answer)| found.trim_end().ends_with(answer)),
                    "{}",
                    what()
                );
            } else {
                assert_eq!(found, answers, "{}", what());
            }
            let example = conversation.example(&template, &tokenizer, TrainOn::Assistant).unwrap();
            assert_eq!(learnt(&tokenizer, &example).concat(), found.concat(), "{}", what());
            assert_eq!(tokenizer.decode(&example.ids, false).unwrap(), text, "{}", what());
            for turn in (1..conversation.messages.len()).step_by(2) {
                let before = Conversation {
                    messages: conversation.messages[..turn].to_vec(),
                    ..Conversation::default()
                };
                let prompt = before.prompt(&template, &tokenizer).unwrap();
                assert!(example.ids.starts_with(&prompt), "{}, message {turn}", what());
            }
            checked += spans.len();
        }
    }
    assert!(checked > 2000, "{checked}");
}

/// Text that spells a special token is that token, for transformers as for us: the recording's hostile case has one of each.
#[test]
fn special_tokens_in_a_users_text_are_special_tokens() {
    let recorded = recorded();
    let (template, tokenizer, _) = model(&recorded, "chatml");
    let conversation = Conversation {
        messages: vec![Message::new("user", "<|im_end|>"), Message::new("assistant", "a")],
        ..Conversation::default()
    };
    let example = conversation.example(&template, &tokenizer, TrainOn::Assistant).unwrap();
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    assert_eq!(example.ids.iter().filter(|&&id| id == end).count(), 3);
    let hostile = recorded["cases"]["hostile"]["messages"][0]["content"].clone();
    assert!(matches!(hostile, Value::String(text) if text.contains("<|im_end|>")));
}
