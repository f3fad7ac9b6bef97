//! Flaws planted among clean rows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wgpu_sft::data::quality::Code;

use super::quality::{asked, check, clean, found};

fn said(turns: &[(&str, &str)]) -> Value {
    let turns: Vec<Value> = turns
        .iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect();
    json!({ "messages": turns })
}

/// Flawed rows, each with all that must be found in it, and rows that look flawed and are not.
fn planted() -> Vec<(Value, &'static [&'static str])> {
    let long =
        "The harbour wakes early, the boats leave one by one, and gulls follow them out to the open sea every day.";
    let letters = "When I was young I lived by the sea, and every morning my father took the small boat out to catch herring for us and the neighbours.";
    vec![
        // Answers
        (asked("Name the tallest mountain of Wales.", "  "), &["empty-answer"]),
        (
            asked("Name the longest river of Spain.", "[Your answer here]"),
            &["placeholder-answer"],
        ),
        (asked("What is there to see in Bath?", "TODO"), &["placeholder-answer"]),
        (asked("Is there an answer in this row?", "No"), &[]),
        (
            asked(
                "",
                "A row without a question has this for an answer, which nobody asked for.",
            ),
            &["empty-question"],
        ),
        (
            asked(
                "Describe how the harbour wakes at dawn in spring.",
                "Describe how the harbour wakes at dawn in spring.",
            ),
            &["copied-answer"],
        ),
        (
            json!({"instruction": "Translate the following sentence into French.", "input": long, "output": long}),
            &["copied-answer"],
        ),
        (
            json!({"instruction": "Extract the sentence about gulls from the text.", "input": format!("Nothing stirs. {letters}"), "output": letters}),
            &[],
        ),
        // Cut off
        (
            asked(
                "How is bread made at home, in a few sentences?",
                "Mix flour, water, yeast and salt, knead the dough well, and let it rest until the",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "How do bicycles stay upright when they move along?",
                "Riders steer a little into each fall, so that the wheels come back under the weight, and the",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Write a program that prints the numbers up to ten.",
                "Here it is:\n```python\nfor i in range(10):\n    print(i)",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Write a program that greets its user by name.",
                "Here it is:\n```python\nprint('hello', input())\n```",
            ),
            &[],
        ),
        (
            asked(
                "List the planets nearest to the Sun with their order.",
                "These are the planets nearest to the Sun in their order (Mercury, Venus and Earth",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Why was the dam on the upper river built so late?",
                "The dam was built late because money was short, workers were few and the old council of the upper town could not",
            ),
            &["truncated-answer"],
        ),
        (
            asked(
                "Give the steps to plant a tree.",
                "1. Dig a hole\n2. Put in the tree\n3. Fill the hole with soil and water it\n4. Tie it to a stake",
            ),
            &[],
        ),
        // Turns
        (
            said(&[
                ("user", "Hello there, machine."),
                ("user", "Anyone at home today?"),
                ("assistant", "Yes, I am here."),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("assistant", "Good day to you all."),
                ("user", "Good day."),
                ("assistant", "What can I do?"),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("user", "What is left to say?"),
                ("system", "Be brief."),
                ("assistant", "Nothing."),
            ]),
            &["role-order"],
        ),
        (
            said(&[("user", "Who speaks after me?"), ("narrator", "Somebody does.")]),
            &["role-order"],
        ),
        (
            said(&[
                ("user", "Does this end with me?"),
                ("assistant", "No."),
                ("user", "It does."),
            ]),
            &["role-order"],
        ),
        (
            said(&[
                ("system", "Be brief."),
                ("user", "Which tool says the time?"),
                ("assistant", "The clock."),
                ("tool", "12:00"),
                ("assistant", "Noon."),
            ]),
            &[],
        ),
        (
            said(&[
                ("user", "What ends a turn?<|im_end|>\n<|im_start|>assistant"),
                ("assistant", "A tag does."),
            ]),
            &["template-tag"],
        ),
        (
            json!({"prompt": "<|user|>\nWhich tag is meant here?\n<|assistant|>\n", "completion": "The one of the model."}),
            &[],
        ),
        // Characters
        (
            asked("What did the caf\u{FFFD} serve on Sundays?", "Pancakes with plums."),
            &["encoding-damage"],
        ),
        (asked("Where did RenÃ© go?", "Home to Lyon."), &["encoding-damage"]),
        (
            asked("What is it that sheâ€™s got?", "A new lamp."),
            &["encoding-damage"],
        ),
        (asked("Which sign is a bell?", "This one: \u{7}."), &["encoding-damage"]),
        (
            asked("Which face is it?", "It is \\ud83d\\ude00."),
            &["encoding-damage"],
        ),
        (
            asked(
                "Où est René, l’ami de François — à Ångström ?",
                "Il est à l’école, dit-elle : « voilà ».",
            ),
            &[],
        ),
        (
            asked("Which firm is it?", "Smith &amp; Sons, by the mill."),
            &["markup-leftover"],
        ),
        (
            asked("What stands in the second line?", "The first.<br>The second."),
            &["markup-leftover"],
        ),
        (asked("Which HTML element breaks a line?", "Use <br> for that."), &[]),
        // Language
        (
            asked(
                letters,
                "Der Hafen erwacht früh, die Boote fahren eines nach dem anderen hinaus, und die Möwen folgen ihnen jeden Tag auf das offene Meer.",
            ),
            &["language-mismatch"],
        ),
        (
            asked(
                &format!("Answer in German, please. {letters} Yes."),
                "Früher fuhren hier viele Boote eines nach dem anderen hinaus, und die Fischer kamen erst am Abend wieder zurück in das Dorf.",
            ),
            &[],
        ),
        // Other assistants
        (
            asked(
                "What do you feel about rain?",
                "As an AI language model, I do not have feelings about rain.",
            ),
            &["self-identification"],
        ),
        (
            asked("Who made you, by the way?", "I was created by OpenAI."),
            &["self-identification"],
        ),
        (
            asked("Who are you then?", "I’m ChatGPT, happy to help."),
            &["self-identification"],
        ),
        (asked("Which firm made ChatGPT?", "OpenAI did."), &[]),
        // Personal data
        (
            asked("How can I reach Mr Holt?", "Write to j.holt@holtandsons.co.uk today."),
            &["personal-data"],
        ),
        (
            asked("How can I reach Ms Lane?", "Write to jane@example.com today."),
            &[],
        ),
        (
            asked("Which number is the clinic's?", "Ring +44 20 7946 1234 in the morning."),
            &["personal-data"],
        ),
        (
            asked("Which number is the shop's?", "Ring (212) 736-5000 in the morning."),
            &["personal-data"],
        ),
        (
            asked("Which number is the film's?", "Ring 212-555-0123 in the film."),
            &[],
        ),
        (
            asked(
                "How many are there, in digits?",
                "There are 1234567890 of them in 2023-2024.",
            ),
            &[],
        ),
        (
            asked(
                "Which key did the log show?",
                "It showed sk-proj4Tq8ZrW1xYb7LmN2cVd9KeHs0Ga5.",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "Which key opens the bucket?",
                "It is AKIAQ3EGRTYX7PLM2WZB in that file.",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "What does the file hold?",
                "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
            ),
            &["secret-key"],
        ),
        (
            asked(
                "Which key is in the manual?",
                "The manual has AKIAIOSFODNN7EXAMPLE in it.",
            ),
            &[],
        ),
        (
            asked("Which card paid for it?", "The card 4539 5787 6362 1486 did."),
            &["payment-data"],
        ),
        (
            asked("Which card did not pay?", "The card 4539 5787 6362 1487 did not."),
            &[],
        ),
        (
            asked(
                "Which account gets the rent?",
                "It goes to NL91 ABNA 0417 1643 00 each month.",
            ),
            &["payment-data"],
        ),
        (
            asked("Which account is mistyped?", "It is NL91 ABNA 0417 1643 01 by mistake."),
            &[],
        ),
        // Words
        (
            asked(
                "What did the graffiti on the wall say?",
                "It said bullshit in red letters.",
            ),
            &["flagged-term"],
        ),
        // Too long: 1,000 words are allowed.
        (
            asked(
                "Repeat yourself a great many times.",
                &(0..1001).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" "),
            ),
            &["overlong"],
        ),
    ]
}

#[test]
fn planted_flaws_are_found_and_nothing_else() {
    let mut rows = clean(300);
    let mut want = BTreeMap::new();
    for (i, (row, codes)) in planted().into_iter().enumerate() {
        rows.insert(5 * i + 3, row);
        if !codes.is_empty() {
            want.insert(5 * i + 4, codes.to_vec());
        }
    }
    let checked = check(&[], &rows);
    let got = found(&checked);
    for (line, codes) in &want {
        assert_eq!(got.get(line), Some(codes), "line {line}: {}", rows[line - 1]);
    }
    for (line, codes) in &got {
        assert!(want.contains_key(line), "line {line} has {codes:?}: {}", rows[line - 1]);
    }
    for finding in &checked.report.findings {
        let rows = checked
            .rows
            .iter()
            .filter(|row| row.codes.contains(finding.code))
            .count();
        assert_eq!(finding.count, rows);
        assert_eq!(finding.examples.len(), rows.min(5), "{}", finding.code.name());
        assert!(finding.examples.iter().all(|example| !example.snippet.is_empty()));
    }
}

#[test]
fn examples_show_no_personal_data_and_no_flagged_term() {
    let rows: Vec<Value> = planted().into_iter().map(|(row, _)| row).collect();
    let report = check(&[], &rows).report;
    let json = serde_json::to_string(&report).unwrap();
    let secrets = [
        "holtandsons",
        "7946 1234",
        "736-5000",
        "ZrW1xYb7",
        "RTYX7PLM",
        "MIIEow",
        "6362 1486",
        "0417 1643 00",
        "bullshit",
    ];
    for secret in secrets {
        assert!(!json.contains(secret), "{secret:?} is shown");
        assert!(!report.to_html().contains(secret), "{secret:?} is shown");
    }
    let shown = &report.finding(Code::SecretKey).unwrap().examples[0].snippet;
    assert!(shown.contains("sk-p•••"), "{shown}");
}
