//! The page: whole by itself, safe whatever is in it, and right.

use std::collections::BTreeMap;

use wgpu_sft::eval::{Comparison, Difference, Estimate, Measure, SideBySide, SuiteComparison};
use wgpu_sft::report::{FileSummary, Log, Outcome, Report, Run, Sample, Session, TaskSummary, samples};

use super::assert_well_formed;

fn estimate(value: f64, by: f64) -> Estimate {
    Estimate {
        value,
        stderr: by / 1.96,
        low: value - by,
        high: value + by,
    }
}

fn difference(base: f64, tuned: f64, by: f64) -> Difference {
    Difference {
        items: 1200,
        base: estimate(base, 0.02),
        tuned: estimate(tuned, 0.03),
        difference: estimate(tuned - base, by),
        wins: 700,
        losses: 100,
        ties: 400,
    }
}

fn suite(name: &str, measure: Measure, all: Difference) -> SuiteComparison {
    SuiteComparison {
        name: name.to_owned(),
        measure,
        decides: true,
        higher_is_better: measure.higher_is_better(),
        forgetting: false,
        all,
        tasks: Vec::new(),
        examples: Vec::new(),
        signature: None,
    }
}

/// Every text in it is `text` with something before it.
fn report(text: &str) -> Report {
    let t = |name: &str| format!("{name}{text}");
    let example = |i: u32| SideBySide {
        task: i.is_multiple_of(2).then(|| t("task")),
        prompt: t("prompt"),
        reference: t("reference"),
        base: if i == 1 { String::new() } else { t("before") },
        tuned: t("after"),
        base_score: 0.0,
        tuned_score: 1.0,
    };
    let mut facts = suite(&t("facts"), Measure::ExactMatch, difference(0.02, 0.68, 0.05));
    facts.signature = Some(t("signature"));
    facts.tasks = vec![
        (t("capitals"), difference(0.0, 0.8, 0.1)),
        ("sums".to_owned(), difference(0.3, 0.31, 0.1)),
    ];
    facts.examples = (0..6).map(example).collect();
    let mut lines: Vec<(u64, BTreeMap<String, f64>)> = Vec::new();
    for step in 1..=20u64 {
        let mut numbers = BTreeMap::from([("loss", 5.0 / step as f64), ("learning_rate", 1e-4), ("grad_norm", 1.0)]);
        if step % 5 == 0 {
            numbers.extend([
                ("eval_loss", 3.0),
                ("eval_token_accuracy", 0.5),
                ("eval_facts", 0.1 * step as f64),
            ]);
        }
        let named = |(key, value): (&str, f64)| (key.to_owned(), value);
        lines.push((step, numbers.into_iter().map(named).collect()));
    }
    lines[19].1.insert(format!("eval_{text}"), 1.0);
    lines[3].1.insert("loss".to_owned(), f64::NAN);
    let sample = |step, answer: &str| Sample {
        suite: t("suite"),
        step,
        prompt: t("question"),
        reference: t("wanted"),
        answer: t(answer),
    };
    let file = FileSummary {
        name: t("file"),
        weight: 2.0,
        rows: 121,
        kept: 100,
        bad: 4,
        overlong: 17,
        tokens: 12_345,
        ..FileSummary::default()
    };
    let mut run = Run {
        schema: 1,
        model: t("model"),
        total_steps: 20,
        steps_per_epoch: 10,
        data: vec![file.clone()],
        eval_data: vec![file],
        tasks: vec![
            TaskSummary {
                name: t("task"),
                examples: 7,
                ..TaskSummary::default()
            },
            TaskSummary::default(),
        ],
        ..Run::default()
    };
    run.hashes.data = t("hash");
    run.hashes.tokenizer = Some(t("hash"));
    run.settings.insert(t("key"), t("value").into());
    run.memory.weights = 1 << 20;
    run.memory.dtype = t("dtype");
    let mut session = Session {
        command: vec![t("program"), t("--flag"), "x".repeat(300)],
        version: t("v"),
        platform: t("p"),
        kernels: t("k"),
        ..Session::default()
    };
    session.device.name = t("device");
    session.device.driver = t("driver");
    session.error = Some(t("error"));
    run.sessions = vec![session.clone(), session];
    Report {
        run,
        log: Log { lines },
        samples: vec![sample(0, "a"), sample(5, "b"), sample(10, "b"), sample(15, "c")],
        comparison: Some(Comparison {
            base: t("base"),
            tuned: t("tuned"),
            suites: vec![
                facts,
                suite("chrf", Measure::Chrf, difference(20.0, 20.1, 1.0)),
                SuiteComparison {
                    forgetting: true,
                    ..suite("loss", Measure::Loss, difference(2.3, 2.6, 0.1))
                },
            ],
        }),
    }
}

/// Whole by itself: nothing is fetched, nothing runs.
#[track_caller]
fn assert_self_contained(page: &str) {
    assert_well_formed(&page.replace(
        &page[page.find("<style>").unwrap()..page.find("</style>").unwrap()],
        "<style>",
    ));
    let without = page.replace("http://www.w3.org/2000/svg", "");
    for bad in [
        "<script", "http:", "https:", "src=", "href=", "url(", "@import", "onload", "NaN\"", "NaN,", ">NaN", "inf<",
    ] {
        assert!(!without.contains(bad), "{bad:?} is in the page");
    }
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
}

#[test]
fn a_page_is_whole_by_itself_and_safe() {
    let report = report("</style><script>alert(\"1\")</script><img onerror='x' \u{202e}&\u{7}");
    for page in [report.to_html(), report.comparison.as_ref().unwrap().to_html()] {
        assert_self_contained(&page.replace("&lt;script", "").replace("onerror", ""));
        assert!(page.contains("&lt;/style&gt;&lt;script&gt;") && !page.contains(['\u{202e}', '\u{7}']));
    }
}

#[test]
fn a_page_has_all_that_is_known() {
    let page = report("").to_html();
    for part in [
        "<h2>Before and after</h2>",
        "What must not get worse: forgetting",
        "<b>capitals</b>",
        "700 better, 100 worse, 400 alike",
        "<h2>Curves</h2>",
        "Loss per target",
        "training, smoothed",
        "held out",
        "Learning rate",
        "Gradient norm",
        "Suite facts",
        "<h2>Answers as they changed</h2>",
        "<small>steps 5 to 10</small><p class=\"text\">b</p>",
        "<small>step 15</small>",
        "<h2>Rows</h2>",
        "data-name=\"dropped\">17<",
        "data-name=\"unusable\">4<",
        "data-name=\"tokens\">12,345<",
        "2 times an epoch",
        "<h2>Memory</h2>",
        "1.0 MiB",
        "Session 2",
        "running, or cut off",
        "<dt>error</dt><dd>error</dd>",
        "<dt>rows&#39; hash",
        "<code>key</code> <b>value</b>",
        "1,200 items",
        "<i class=\"quiet\">nothing</i>",
        "<summary>2 more</summary>",
    ]
    .map(|part| part.replace("rows&#39;", "rows'"))
    {
        assert!(page.contains(&part), "{part:?} is not in the page");
    }
}

#[test]
fn a_difference_is_called_what_it_is() {
    let words = |higher_is_better, base, tuned, by| {
        let measure = if higher_is_better {
            Measure::ExactMatch
        } else {
            Measure::Loss
        };
        let suites = vec![suite("x", measure, difference(base, tuned, by))];
        let page = Comparison {
            suites,
            ..Comparison::default()
        }
        .to_html();
        let found: Vec<&str> = [">better</small>", ">worse</small>", ">no clear difference</small>"]
            .into_iter()
            .filter(|word| page.contains(word))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].trim_start_matches('>').trim_end_matches("</small>").to_owned()
    };
    for (higher, base, tuned, by, want) in [
        (true, 0.2, 0.4, 0.1, "better"),
        (true, 0.4, 0.2, 0.1, "worse"),
        (true, 0.2, 0.4, 0.3, "no clear difference"),
        (false, 2.0, 1.0, 0.5, "better"),
        (false, 1.0, 2.0, 0.5, "worse"),
        (false, 1.0, 2.0, 1.5, "no clear difference"),
        (true, 0.5, 0.5, 0.0, "no clear difference"),
        (true, f64::NAN, 0.5, 0.1, "better"), // a number instead of none,
    ] {
        assert_eq!(words(higher, base, tuned, by), want, "{base} {tuned} {by}");
    }
}

#[test]
fn a_page_of_little_is_a_page() {
    let nothing = Report::default();
    assert_self_contained(&nothing.to_html());
    assert!(nothing.to_html().contains("No step was logged."));
    assert!(nothing.curves().contains("no numbers yet"));
    assert_self_contained(&Comparison::default().to_html());
    let mut one = Report::default();
    one.run.sessions = vec![Session {
        outcome: Outcome::Diverged,
        to_step: Some(1),
        ..Session::default()
    }];
    one.run.total_steps = 30;
    one.log = Log::parse("{\"step\":1,\"loss\":2.5,\"grad_norm\":null}\n").unwrap();
    let page = one.to_html();
    assert_self_contained(&page);
    assert!(
        page.contains("diverged after step 1 of 30") && page.contains("<b>2.500</b><span>loss</span>"),
        "{page}"
    );
    // What has no finite number has no chart.
    assert!(!page.contains("Gradient norm"));
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let mut report = report("");
    report.samples[0].answer = "ä".repeat(5000);
    let page = report.to_html();
    assert!(page.contains("… and 3,000 more characters") && !page.contains(&"ä".repeat(2001)));
}

#[test]
fn a_log_is_read_as_far_as_it_was_written() {
    let log =
        Log::parse("{\"step\":1,\"loss\":null,\"note\":\"x\"}\n\n{\"step\":2,\"loss\":3}\n{\"step\":3,\"lo").unwrap();
    assert_eq!(log.lines.iter().map(|line| line.0).collect::<Vec<_>>(), [1, 2]);
    let loss = log.series("loss");
    assert!(loss[0].1.is_nan() && loss[1] == (2.0, 3.0), "{loss:?}");
    assert_eq!((log.last("loss"), log.last("note")), (Some(3.0), None));
    for (text, why) in [
        ("{\"step\":1}\nx\n", "line 2"),
        ("{\"loss\":1}\n", "step"),
        ("{\"step\":-1}\n", "line 1"),
        ("[1]\n", "line 1"),
    ] {
        let error = Log::parse(text).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains(why), "{error}");
    }
    let error = samples("{\"step\":1,\"prompt\":\"a\"}\n").unwrap_err().to_string();
    assert!(
        error.contains("samples.jsonl: line 1") && error.contains("reference"),
        "{error}"
    );
}

#[test]
fn a_run_is_what_was_written() {
    let run = report("\u{1}\"é").run;
    let text = run.to_json().unwrap();
    assert_eq!(Run::from_json(&text).unwrap(), run);
    for (text, why) in [
        ("{", "damaged"),
        ("{}", "no schema"),
        (&text.replace("\"schema\": 1", "\"schema\": 2"), "version 2"),
        ("{\"schema\": 1}", "damaged: missing field"),
    ] {
        let error = Run::from_json(text).unwrap_err().to_string();
        assert!(error.contains("run.json") && error.contains(why), "{error}");
    }
}
