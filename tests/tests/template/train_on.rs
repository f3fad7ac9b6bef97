//! Which turns are learnt: all of the assistant's, the last, everything, and what single messages say.

use serde_json::json;
use wgpu_sft::Error;
use wgpu_sft::data::{ChatTemplate, IGNORE, Message, TrainOn};

use super::renderings::{conversation, model, recorded};
use super::{learnt, tokenizer, tokens, turns};

const UNMARKED: [&str; 6] = ["smollm2", "llama2", "llama3_1", "gemma3", "phi3", "mistral_v0_3"];

#[test]
fn the_last_turn_or_everything() {
    let recorded = recorded();
    let three = turns(&[("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]);
    for name in recorded["templates"].as_object().unwrap().keys() {
        let (template, tokenizer, _) = model(&recorded, name);
        let example = |train_on| {
            three
                .example(&template, &tokenizer, train_on)
                .unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let (all, last, every) = (
            example(TrainOn::Assistant),
            example(TrainOn::Last),
            example(TrainOn::All),
        );
        assert!(all.ids == last.ids && all.ids == every.ids, "{name}");
        assert_eq!(every.labels[0], IGNORE);
        assert!(
            every.ids[1..]
                .iter()
                .zip(&every.labels[1..])
                .all(|(&id, &label)| id as i32 == label),
            "{name}"
        );
        let (all, last) = (learnt(&tokenizer, &all), learnt(&tokenizer, &last));
        assert_eq!(all.last(), last.last(), "{name}");
        assert!(
            last.len() == 1 && last[0].contains("two") && !last[0].contains("one"),
            "{name}: {last:?}"
        );
        assert!(all.len() == 2 && all[0].contains("one"), "{name}: {all:?}");
    }
}

#[test]
fn a_message_may_overrule() {
    let recorded = recorded();
    for name in recorded["templates"].as_object().unwrap().keys() {
        let (template, tokenizer, end) = model(&recorded, name);
        let with = |flags: [Option<bool>; 2]| {
            let mut conversation = turns(&[("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]);
            for (at, flag) in [1, 3].into_iter().zip(flags) {
                conversation.messages[at]
                    .extra
                    .extend(flag.map(|flag| ("train".to_owned(), json!(flag))));
            }
            conversation
        };
        let runs = |flags, train_on| {
            let example = with(flags)
                .example(&template, &tokenizer, train_on)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            learnt(&tokenizer, &example)
        };
        let plain = runs([None, None], TrainOn::Assistant);
        assert_eq!(runs([Some(false), None], TrainOn::Assistant), plain[1..], "{name}");
        assert_eq!(runs([None, Some(false)], TrainOn::Assistant), plain[..1], "{name}");
        assert_eq!(runs([Some(true), None], TrainOn::Last), plain, "{name}");
        assert_eq!(runs([None, Some(false)], TrainOn::Last), [""; 0], "{name}");
        let most = runs([Some(false), None], TrainOn::All).concat();
        assert!(
            !most.contains("one") && most.contains("two") && most.matches(&end).count() >= 1,
            "{name}: {most}"
        );
    }
}

/// Neither `train` nor fields that are null are the template's business.
#[test]
fn the_template_does_not_see_it() {
    let template = ChatTemplate::new(
        "{% for m in messages %}{{ m | tojson }}</s>{% endfor %}",
        &tokens(),
        None,
    )
    .unwrap();
    let row = json!({"messages": [
        {"role": "user", "content": "a", "train": false, "name": "x", "weight": null},
        {"role": "assistant", "content": "b", "train": true, "thinking": "t"}]});
    let (text, _) = conversation(&row).spans(&template, TrainOn::Last).unwrap();
    // As transformers orders and names reasoning.
    let user = r#"{"role": "user", "content": "a", "name": "x"}"#;
    let answer = r#"{"thinking": "t", "role": "assistant", "content": "b", "reasoning_content": "t"}"#;
    assert_eq!(text, format!("{user}</s>{answer}</s>"));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let (template, tokenizer) = (
        ChatTemplate::new("{{ messages | length }}", &tokens(), None).unwrap(),
        tokenizer(),
    );
    for (role, flag, train_on, want) in [
        ("user", json!(true), TrainOn::Assistant, "only the assistant's"),
        ("assistant", json!("no"), TrainOn::Assistant, "must be true or false"),
        ("user", json!(false), TrainOn::All, "where all is trained on"),
    ] {
        let mut conversation = turns(&[("system", "s"), (role, "x")]);
        conversation.messages[1].extra.insert("train".into(), flag);
        let error = conversation.example(&template, &tokenizer, train_on).unwrap_err();
        let fits = |why: &str| why.starts_with("message 2: ") && why.contains(want);
        assert!(matches!(&error, Error::Data { why, .. } if fits(why)), "{error}");
    }
}

/// An early turn that a template rewrites stands in nobody's way unless it is to be learnt.
#[test]
fn only_what_is_learnt_must_be_found() {
    let recorded = recorded();
    let (template, tokenizer, _) = model(&recorded, "qwen3");
    let mut rewritten = turns(&[
        ("user", "a"),
        ("assistant", "<think>\nhm\n</think>\n\none"),
        ("user", "b"),
        ("assistant", "two"),
    ]);
    assert!(rewritten.example(&template, &tokenizer, TrainOn::Assistant).is_err());
    let last = rewritten.example(&template, &tokenizer, TrainOn::Last).unwrap();
    assert_eq!(learnt(&tokenizer, &last), ["two<|im_end|>"]);
    assert!(rewritten.example(&template, &tokenizer, TrainOn::All).is_ok());
    rewritten.messages[1].extra.insert("train".into(), json!(false));
    let rest = rewritten.example(&template, &tokenizer, TrainOn::Assistant).unwrap();
    assert_eq!(rest, last);
    // What is left out of everything must be found.
    assert!(rewritten.example(&template, &tokenizer, TrainOn::All).is_err());
}

#[test]
fn turns_without_an_end_are_refused() {
    let refused = |source: &str, why: &str| {
        let template = ChatTemplate::new(source, &tokens(), None).unwrap();
        let mut conversation = turns(&[("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]);
        conversation.messages[1].extra.insert("odd".into(), json!(true));
        let error = conversation
            .example(&template, &tokenizer(), TrainOn::Assistant)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Template { why: got } if got.starts_with("message 2: ") && got.contains(why)),
            "{error}"
        );
    };
    let open = "{% if add_generation_prompt %}<|assistant|>{% endif %}";
    // The terminator comes with the next message.
    refused(
        &("{% for m in messages %}{% if not loop.first %}</s>{% endif %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
            .to_owned()
            + "{% if add_generation_prompt %}</s><|assistant|>{% endif %}"),
        "writes it with the next message",
    );
    // The generation block leaves it out.
    refused(
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}</s>{% endfor %}",
        "could not learn to stop",
    );
    // One turn ends otherwise than turns do.
    refused(
        &("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.odd %} and so on{% else %}</s>{% endif %}{% endfor %}".to_owned() + open),
        "does not end with \"</s>\"",
    );
    // A call that is not shown.
    let (template, tokenizer, _) = model(&recorded(), "smollm2");
    let mut conversation = turns(&[("user", "a")]);
    let mut call = Message::new("assistant", "");
    call.extra.insert(
        "tool_calls".into(),
        json!([{"type": "function", "function": {"name": "wetter", "arguments": {}}}]),
    );
    conversation.messages.push(call);
    let error = conversation
        .example(&template, &tokenizer, TrainOn::Assistant)
        .unwrap_err();
    assert!(
        error.to_string().contains("leaves the call of the tool \"wetter\" out"),
        "{error}"
    );
}

/// A tokenizer that does not have a template's tags still learns them, as text.
#[test]
fn tags_may_be_text() {
    let recorded = recorded();
    let tokenizer = tokenizer();
    for name in UNMARKED {
        let (_, _, end) = model(&recorded, name);
        let template =
            ChatTemplate::new(&super::renderings::source(name).replace(&end, "#END#"), &tokens(), None).unwrap();
        let example = turns(&[("user", "a"), ("assistant", "one")]).example(&template, &tokenizer, TrainOn::Assistant);
        let runs = learnt(&tokenizer, &example.unwrap_or_else(|e| panic!("{name}: {e}")));
        assert!(
            runs.len() == 1 && (runs[0].ends_with("#END#") || runs[0].ends_with("</s>")),
            "{name}: {runs:?}"
        );
    }
}
