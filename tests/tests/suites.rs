//! Suites, their items, and comparisons of two models: without a model.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use wgpu_sft::Error;
use wgpu_sft::data::{Place, Reading};
use wgpu_sft::eval::{Comparison, Item, ItemResult, Measure, Suite, SuiteFile, SuiteResult, Verdict};

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_suite_file_says_what_is_asked() {
    let file = SuiteFile::from_toml(
        r#"
        [[suite]]
        name = "facts"
        data = "facts.jsonl"
        measure = ["exact_match", "consistency", "f1"]
        limit = 20
        stop = ["\n"]

        [[suite]]
        name = "prose"
        data = "prose.txt"
        measure = "loss"
        forgetting = true
        "#,
    )
    .unwrap();
    let [facts, prose] = &file.suite[..] else { panic!() };
    assert_eq!(
        facts.measure,
        [Measure::ExactMatch, Measure::Agreement, Measure::WorstCase, Measure::F1]
    );
    assert_eq!(
        (facts.limit, facts.max_new_tokens, facts.forgetting),
        (Some(20), 128, false)
    );
    assert_eq!(facts.cut("yes\nand no"), "yes");
    assert!(prose.forgetting && prose.measure == [Measure::Loss]);
    let ifeval = Suite::new("i", "i", Measure::named("ifeval").unwrap());
    assert_eq!(ifeval.measure.len(), 4);
}

#[test]
fn a_wrong_suite_file_is_refused() {
    let suite = |more: &str| format!("[[suite]]\nname = \"a\"\ndata = \"a\"\n{more}\n");
    for (text, why) in [
        (String::new(), "no [[suite]]"),
        (suite(""), "measure"),
        (suite("measure = []"), "names none"),
        (suite("measure = \"exactness\""), "exact_match"),
        (suite("measure = \"loss\"\nlimit = 0"), "limit"),
        (suite("measure = \"f1\"\nmax_new_tokens = 0"), "max_new_tokens"),
        (suite("measure = \"f1\"\ntop_p = 2.0"), "top_p"),
        (suite("measure = \"f1\"\nstop = [\"\"]"), "stop"),
        (suite("measure = \"f1\"\nmetric = 1"), "metric"),
        (suite("measure = \"f1\"").repeat(2), "twice"),
    ] {
        let said = refusal(SuiteFile::from_toml(&text));
        assert!(said.contains(why), "{why:?} is not in {said:?}");
    }
}

fn item(json: Value, measure: &str) -> Result<Item, Error> {
    let suite = Suite::new("s", "s", Measure::named(measure).unwrap());
    Item::from_json(Place::line(3), &json, &Reading::default(), &suite)
}

#[test]
fn a_reference_is_the_rows_answer_or_those_it_lists() {
    let of = |json: Value| item(json, "exact_match").unwrap().references;
    let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    assert_eq!(of(json!({ "messages": chat })), ["a"]);
    assert_eq!(of(json!({ "messages": chat, "answers": ["b", "c"] })), ["b", "c"]);
    assert_eq!(of(json!({"prompt": "q", "completion": "a"})), ["a"]);
    assert_eq!(of(json!({"instruction": "q", "input": "", "output": "a"})), ["a"]);
    assert_eq!(of(json!({"question": "q", "answer": "a"})), ["a"]);
    assert_eq!(of(json!({"prompt": "q", "answer": 42})), ["42"]);
    assert_eq!(
        of(json!({"question": "q", "answers": {"text": ["x", "y"], "answer_start": [0, 1]}})),
        ["x", "y"]
    );
    let squad = json!({"context": "c", "question": "q", "answers": {"text": ["x"], "answer_start": [0]}});
    assert_eq!(item(squad, "f1").unwrap().prompt_text(), "c\n\nq");
    let unanswered = json!({"messages": [{"role": "user", "content": "q"}], "answer": "a"});
    let unanswered = item(unanswered, "exact_match").unwrap();
    assert_eq!(
        (&unanswered.references[..], &unanswered.prompt_text()[..]),
        (&["a".to_owned()][..], "q")
    );
}

#[test]
fn the_right_choice_is_an_index_a_label_or_a_text() {
    let gold = |more: Value| {
        let mut row = json!({"question": "q", "choices": ["red", "green", "7"]});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item(row, "acc").map(|item| item.gold.unwrap())
    };
    assert_eq!(gold(json!({"answer": 1})).unwrap(), 1);
    assert_eq!(gold(json!({"label": "green"})).unwrap(), 1);
    assert_eq!(gold(json!({"gold": "7"})).unwrap(), 2);
    assert_eq!(gold(json!({"answer": "0"})).unwrap(), 0);
    let arc = json!({"text": ["red", "green"], "label": ["A", "B"]});
    assert_eq!(gold(json!({"choices": arc, "answerKey": "B"})).unwrap(), 1);
    assert!(refusal(gold(json!({"answer": 3}))).contains("3 choices"));
    assert!(refusal(gold(json!({"answer": "blue"}))).contains("blue"));
    assert!(refusal(gold(json!({}))).contains("right choice"));
}

#[test]
fn an_item_that_lacks_what_is_measured_is_refused() {
    let asked = json!({"prompt": "q"});
    let answered = json!({"prompt": "q", "completion": "a"});
    for (json, measure, why) in [
        (asked.clone(), "exact_match", "reference"),
        (asked.clone(), "loss", "the row's own answer"),
        (asked.clone(), "acc", "choices"),
        (asked, "ifeval", "instruction_id_list"),
        (answered.clone(), "consistency", "group"),
        (json!({"text": "t"}), "f1", "text, segments and tokens are not"),
        (json!({"instruction": 3}), "f1", "instruction"),
        (json!([1]), "f1", "object"),
        (json!({"prompt": "q", "answers": "a"}), "f1", "list of strings"),
        (json!({"prompt": "q", "completion": "a", "group": []}), "f1", "group"),
    ] {
        let said = refusal(item(json, measure));
        assert!(
            said.contains("line 3") && said.contains(why),
            "{why:?} is not in {said:?}"
        );
    }
    item(answered, "loss").unwrap();
    item(json!({"text": "t"}), "perplexity").unwrap();
}

/// An item's task, group, answer and tally.
type Did = (Option<&'static str>, Option<&'static str>, &'static str, Vec<f64>);

/// Results of a suite whose items are these.
fn result(measure: Measure, items: Vec<Did>) -> SuiteResult {
    let item = |(i, (task, group, answer, tally)): (usize, Did)| ItemResult {
        line: i + 1,
        task: task.map(str::to_owned),
        group: group.map(str::to_owned),
        prompt: format!("prompt {i}"),
        references: vec!["r".to_owned()],
        answer: answer.to_owned(),
        tallies: BTreeMap::from([(measure, tally)]),
    };
    SuiteResult {
        suite: Suite::new("s", "s.jsonl", vec![measure]),
        items: items.into_iter().enumerate().map(item).collect(),
    }
}

fn scores(measure: Measure, scores: &[f64]) -> SuiteResult {
    let task = |i: usize| Some(if i.is_multiple_of(2) { "even" } else { "odd" });
    let items = scores
        .iter()
        .enumerate()
        .map(|(i, score)| (task(i), None, "", vec![*score, 1.0]));
    result(measure, items.collect())
}

fn compare(base: &SuiteResult, tuned: &SuiteResult) -> Comparison {
    let both = [base, tuned].map(std::slice::from_ref);
    Comparison::new(("b", both[0]), ("t", both[1]), 3).unwrap()
}

#[test]
fn a_model_is_no_better_than_itself() {
    for measure in [Measure::ExactMatch, Measure::Loss, Measure::Perplexity] {
        let same = scores(measure, &[0.0, 1.0, 1.0, 0.0, 0.25, 1.0]);
        let comparison = compare(&same, &same);
        let all = &comparison.suites[0].all;
        assert_eq!(
            (all.difference.value, all.difference.low, all.difference.high),
            (0.0, 0.0, 0.0)
        );
        assert_eq!((all.wins, all.losses, all.ties), (0, 0, 6));
        assert!(!comparison.is_worse() && !comparison.is_better());
    }
}

#[test]
fn better_and_worse_follow_the_measure() {
    let (low, high) = (
        scores(Measure::ExactMatch, &[0.0; 20]),
        scores(Measure::ExactMatch, &[1.0; 20]),
    );
    let gained = compare(&low, &high);
    assert_eq!(gained.suites[0].verdict(), Verdict::Better);
    assert!(gained.is_better() && !gained.is_worse());
    assert!(compare(&high, &low).is_worse());
    assert_eq!((gained.suites[0].all.wins, gained.suites[0].all.losses), (20, 0));
    // Of a loss, less is better.
    let (low, high) = (scores(Measure::Loss, &[1.0; 20]), scores(Measure::Loss, &[2.0; 20]));
    assert!(compare(&low, &high).is_worse() && compare(&high, &low).is_better());
    // A forgetting set need not get better, but must not get worse.
    let forgetting = |mut result: SuiteResult| {
        result.suite.forgetting = true;
        result
    };
    let (low, high) = (forgetting(low), forgetting(high));
    assert!(compare(&low, &low).is_better() && !compare(&low, &high).is_better() && compare(&low, &high).is_worse());
    // Of a share, five items of five are too few to tell.
    let few = compare(
        &scores(Measure::ExactMatch, &[0.0; 5]),
        &scores(Measure::ExactMatch, &[1.0; 5]),
    );
    assert_eq!(few.suites[0].verdict(), Verdict::Open);
    // One item more out of twenty is no difference that could be told.
    let (few, one_more) = ([0.0; 20], [&[1.0][..], &[0.0; 19]].concat());
    let open = compare(
        &scores(Measure::ExactMatch, &few),
        &scores(Measure::ExactMatch, &one_more),
    );
    assert_eq!(open.suites[0].verdict(), Verdict::Open);
    assert!(!open.is_better() && !open.is_worse());
}

#[test]
fn a_number_that_is_none_is_worse_than_any() {
    let (good, bad) = (
        scores(Measure::Loss, &[1.0; 3]),
        scores(Measure::Loss, &[1.0, f64::NAN, 1.0]),
    );
    let comparison = compare(&good, &bad);
    assert!(comparison.is_worse() && comparison.suites[0].all.losses == 1);
    assert!(compare(&bad, &good).is_better());
    let kept: SuiteResult = serde_json::from_str(&serde_json::to_string(&bad).unwrap()).unwrap();
    assert!(kept.items[1].tallies[&Measure::Loss][0].is_nan());
}

#[test]
fn measures_go_by_the_names_that_people_write() {
    for (name, measure) in [
        ("ROUGE-L", Measure::RougeL),
        ("chrF++", Measure::ChrfPlusPlus),
        ("Macro F1", Measure::MacroF1),
    ] {
        assert_eq!(name.parse::<Measure>().unwrap(), measure);
    }
    // A single answer has as many orders of BLEU as it has words.
    let stats = wgpu_sft::eval::bleu::BleuStats::of("yes", &["yes".to_owned()], &Default::default()).to_sums();
    assert_eq!(Measure::Bleu.of(&stats), 0.0);
    assert!((Measure::Bleu.of_unit(&stats) - 100.0).abs() < 1e-9);
}

#[test]
fn losses_weigh_tokens_not_items() {
    let items = vec![(None, None, "", vec![10.0, 10.0]), (None, None, "", vec![3.0, 1.0])];
    let loss = result(Measure::Loss, items);
    assert_eq!(loss.estimate(Measure::Loss).value, 13.0 / 11.0);
}

#[test]
fn tasks_are_told_apart() {
    let comparison = compare(
        &scores(Measure::ExactMatch, &[0.0, 1.0, 0.0, 1.0]),
        &scores(Measure::ExactMatch, &[1.0, 1.0, 1.0, 0.0]),
    );
    let tasks: Vec<_> = (comparison.suites[0].tasks.iter())
        .map(|(task, d)| (&task[..], d.items, d.base.value, d.tuned.value, d.difference.value))
        .collect();
    assert_eq!(tasks, [("even", 2, 0.0, 1.0, 1.0), ("odd", 2, 1.0, 0.5, -0.5)]);
    // Examples are of every task in turn.
    let shown: Vec<_> = comparison.suites[0]
        .examples
        .iter()
        .map(|e| e.prompt.as_str())
        .collect();
    assert_eq!(shown, ["prompt 0", "prompt 1", "prompt 2"]);
    let read: Comparison = serde_json::from_str(&serde_json::to_string(&comparison).unwrap()).unwrap();
    assert_eq!(read, comparison);
}

#[test]
fn wordings_of_a_question_are_one_unit() {
    let wording = |group, answer, score| (None, Some(group), answer, vec![score, 1.0]);
    let items = vec![
        wording("p", "Paris", 1.0),
        wording("q", "1", 0.0),
        wording("p", "paris.", 1.0),
        wording("q", "2", 1.0),
        wording("p", "Rome", 0.0),
        (None, Some("alone"), "x", vec![1.0, 1.0]),
    ];
    let agreement = result(Measure::Agreement, items.clone()).estimate(Measure::Agreement);
    // Three pairs of p, one of which agrees; the pair of q does not; a question in one wording has no pair.
    assert!((agreement.value - (1.0 / 3.0) / 2.0).abs() < 1e-12);
    assert_eq!(
        result(Measure::WorstCase, items.clone())
            .estimate(Measure::WorstCase)
            .value,
        1.0 / 3.0
    );
    // One item has no agreement: that is kept as such.
    let same = result(Measure::Agreement, items.clone());
    let comparison = serde_json::to_string(&compare(&same, &same)).unwrap();
    let read: Comparison = serde_json::from_str(&comparison).unwrap();
    assert!(read.suites[0].examples[0].base_score.is_nan());
    // Of other measures they are drawn together, so that the interval is one of three questions, not of six rows.
    let grouped = result(Measure::ExactMatch, items.clone());
    let alone = items
        .into_iter()
        .map(|(task, _, answer, tally)| (task, None, answer, tally))
        .collect();
    let [grouped, alone] = [grouped, result(Measure::ExactMatch, alone)].map(|r| r.estimate(Measure::ExactMatch));
    assert_eq!(grouped.value, alone.value);
    assert_ne!((grouped.low, grouped.high), (alone.low, alone.high));
}

#[test]
fn results_of_other_items_are_not_compared() {
    let (a, b) = (
        scores(Measure::ExactMatch, &[1.0, 0.0]),
        scores(Measure::ExactMatch, &[1.0]),
    );
    let of = |a: &[SuiteResult], b: &[SuiteResult]| refusal(Comparison::new(("a", a), ("b", b), 0));
    assert!(of(std::slice::from_ref(&a), std::slice::from_ref(&b)).contains("same items"));
    let mut other = a.clone();
    other.suite.max_new_tokens = 1;
    assert!(of(std::slice::from_ref(&a), &[other]).contains("same items"));
    assert!(of(&[a], &[]).contains("same suites"));
}

/// A file of the repository.
fn text_of(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_measure_is_told_of_wherever_people_look() {
    let (guide, flag, page) = (
        text_of("docs/evaluation.md"),
        text_of("native/src/eval/suites.rs"),
        text_of("web/page/src/words.ts"),
    );
    let plain = page
        .split_once("PLAIN = new Set([")
        .unwrap()
        .1
        .split_once("])")
        .unwrap()
        .0;
    for measure in Measure::ALL {
        let name = measure.name();
        if !measure.is_ifeval() {
            assert!(guide.contains(&format!("`{name}`")), "docs/evaluation.md has no {name}");
            let listed = flag.split(|c: char| !(c.is_ascii_alphanumeric() || "_+".contains(c)));
            assert!(
                listed.into_iter().any(|word| word == name),
                "--measure does not list {name}"
            );
        }
        assert_eq!(
            plain.contains(&format!("\"{name}\"")),
            !measure.is_share(),
            "isShare in words.ts: {name}"
        );
    }
}
