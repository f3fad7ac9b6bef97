//! How often tasks are guessed rightly, on instructions that were labelled by hand.

use std::collections::BTreeMap;

use serde_json::Value;
use wgpu_sft::data::tasks::Task;

/// What is asked, what is answered, and the task that it is.
type Labelled = (String, String, Task);

/// The share guessed rightly; which tasks were taken for which.
fn measure(rows: &[Labelled]) -> (f64, String) {
    let mut confusion: BTreeMap<(Task, Task), Vec<&str>> = BTreeMap::new();
    for (asked, answer, task) in rows {
        let (guess, confidence) = Task::guess(asked, answer);
        assert!((0.0..=1.0).contains(&confidence), "{asked}: {confidence}");
        confusion.entry((*task, guess)).or_default().push(asked);
    }
    let right: usize = confusion
        .iter()
        .filter(|((task, guess), _)| task == guess)
        .map(|(_, rows)| rows.len())
        .sum();
    let wrong = confusion.iter().filter(|((task, guess), _)| task != guess);
    let lines: Vec<String> = wrong
        .map(|((task, guess), rows)| format!("{task} taken for {guess}: {rows:?}"))
        .collect();
    (right as f64 / rows.len() as f64, lines.join("\n"))
}

fn labelled(file: &str) -> Vec<Labelled> {
    let text = String::from_utf8(wgpu_sft_tests::bytes(file)).unwrap();
    let row = |line: &str| {
        let fields: Vec<String> = line.split('\t').map(|field| field.replace("\\n", "\n")).collect();
        let [task, asked, answer] = <[String; 3]>::try_from(fields).unwrap();
        (
            asked,
            answer,
            Task::ALL.into_iter().find(|known| known.name() == task).unwrap(),
        )
    };
    text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// Guess and compare; the share and what went wrong is printed.
fn assert_guessed(rows: &[Labelled], least: f64) {
    let (share, wrong) = measure(rows);
    println!("{:.1} % of {} rows\n{wrong}", 100.0 * share, rows.len());
    assert!(share >= least, "{share:.3}\n{wrong}");
}

#[test]
fn tasks_are_guessed() {
    let rows = labelled("data/tasks.tsv");
    assert!(rows.len() >= 180);
    assert_guessed(&rows, 0.95);
}

#[test]
fn tasks_of_instructions_that_the_rules_never_saw_are_guessed() {
    assert_guessed(&labelled("data/tasks_unseen.tsv"), 0.85);
}

#[test]
fn tasks_of_the_bundled_rows_are_guessed() {
    let mut rows = Vec::new();
    for name in ["train.jsonl", "heldout.jsonl"] {
        let path = format!("{}/../demo/{name}", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let json: Value = serde_json::from_str(line).unwrap();
            let text = |turn: usize| json["messages"][turn]["content"].as_str().unwrap().to_owned();
            rows.push((
                text(0),
                text(1),
                Task::from_name(json["task"].as_str().unwrap()).unwrap(),
            ));
        }
    }
    assert_guessed(&rows, 0.95);
}

#[test]
fn names_of_tasks_are_known() {
    for task in Task::ALL {
        assert_eq!(Task::from_name(task.name()), Some(task));
        assert_eq!(serde_json::to_value(task).unwrap(), task.name());
    }
    let dolly = [
        ("closed_qa", Task::QuestionAnswering),
        ("open_qa", Task::QuestionAnswering),
        ("general_qa", Task::QuestionAnswering),
        ("summarization", Task::Summarising),
        ("information_extraction", Task::Extraction),
        ("classification", Task::Classification),
        ("brainstorming", Task::OpenWriting),
        ("creative_writing", Task::OpenWriting),
    ];
    for (name, task) in dolly {
        assert_eq!(Task::from_name(name), Some(task), "{name}");
    }
    assert_eq!(Task::from_name("cooking"), None);
    assert_eq!(Task::guess("", ""), (Task::Other, 0.0));
}
