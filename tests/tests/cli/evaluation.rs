//! Suites and comparisons, alone and during training.

use serde_json::json;

use super::*;

const SUITES: &str = r#"
[[suite]]
name = "letters"
data = "letters.jsonl"
measure = ["exact_match", "loss"]
max_new_tokens = 4

[[suite]]
name = "choices"
data = "choices.jsonl"
measure = ["acc", "acc_norm"]

[[suite]]
name = "before"
data = "before.jsonl"
measure = "loss"
forgetting = true
"#;

const PAIRS: [(&str, &str); 8] = [
    ("b", "x"),
    ("d", "y"),
    ("f", "z"),
    ("h", "w"),
    ("c", "v"),
    ("e", "u"),
    ("g", "t"),
    ("i", "q"),
];

/// A conversation of single letters: what is asked, and the answer.
fn letters(pairs: &[(&str, &str)]) -> String {
    let row = |(asked, answer): &(&str, &str)| {
        let messages = json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ]);
        format!(
            "{}\n",
            json!({"messages": messages, "task": if *asked < "f" { "early" } else { "late" }})
        )
    };
    pairs.iter().map(row).collect()
}

/// A folder with rows that a tiny model can learn by heart, and suites of them.
fn bench() -> Bench {
    let bench = Bench::new();
    let rows = letters(&PAIRS);
    bench.write("rows.jsonl", &rows);
    bench.write("letters.jsonl", &rows);
    bench.write("suites.toml", SUITES);
    let choices = |(asked, right): (&str, usize)| {
        let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": asked}]);
        format!(
            "{}\n",
            json!({"messages": messages, "choices": ["x", "y"], "answer": right})
        )
    };
    bench.write("choices.jsonl", &[("b", 0), ("d", 1)].map(choices).concat());
    bench.write("before.jsonl", "{\"text\": \"a b c d e\"}\n{\"text\": \"e d c b a\"}\n");
    bench
}

const LEARN: [&str; 8] = [
    "--max-steps",
    "40",
    "--batch-size",
    "8",
    "--learning-rate",
    "2e-2",
    "--lora-r",
    "8",
];

fn numbers(bench: &Bench, folder: &str) -> Vec<Value> {
    let log = bench.log(&format!("{folder}/metrics.jsonl"));
    log.into_iter()
        .filter(|line| line.get("eval_letters_exact_match").is_some())
        .collect()
}

#[test]
fn what_tuning_changed_is_shown_and_decides_the_exit_code() {
    let bench = bench();
    let model = golden("llama_tied_gqa");
    let suites = ["--eval-suite", "suites.toml", "--eval-steps", "20"];
    let out = bench.train("out", &[&LEARN[..], &suites].concat()).fine();
    for said in ["step 0/40  letters:", "exact_match 100.0 %", "won/lost/tied", "better"] {
        assert!(out.contains(said), "{said:?} is not in {out}");
    }
    let log = numbers(&bench, "out");
    let steps: Vec<_> = log.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 20, 40]);
    assert_eq!(
        (&log[0]["eval_letters_exact_match"], &log[2]["eval_letters_exact_match"]),
        (&json!(0.0), &json!(1.0))
    );
    // What training measured is what `eval` measures of its result.
    let eval = ["eval", "--model", &model, "--adapter", "out", "--suite", "suites.toml"];
    let all: Value = serde_json::from_str(&bench.run(&[&eval[..], &["--json"]].concat()).fine()).unwrap();
    for of in all["suites"].as_array().unwrap() {
        let key = format!(
            "eval_{}_{}",
            of["suite"].as_str().unwrap(),
            of["measure"].as_str().unwrap()
        );
        let (then, now) = (log[2][&key].as_f64().unwrap(), of["value"].as_f64().unwrap());
        assert!((then - now).abs() < 1e-5, "{key}: {then} and {now}");
    }
    assert_eq!(all["suites"].as_array().unwrap().len(), 5);
    assert_eq!(all["suites"][0]["tasks"]["early"]["items"], json!(4));
    // Of the rows alone, the loss is the one that `eval` has always told.
    let loss = all["suites"][1]["value"].as_f64().unwrap();
    let plain = [
        "eval",
        "--model",
        &model,
        "--adapter",
        "out",
        "--data",
        "letters.jsonl",
        "--json",
    ];
    let plain: Value = serde_json::from_str(&bench.run(&plain).fine()).unwrap();
    assert!((plain["loss"].as_f64().unwrap() - loss).abs() < 1e-6);

    let samples = bench.log("out/samples.jsonl");
    let of = |step: u64| {
        samples
            .iter()
            .find(|line| line["step"] == json!(step) && line["suite"] == json!("letters"))
    };
    assert_eq!(
        (&of(40).unwrap()["answer"], &of(40).unwrap()["prompt"]),
        (&json!("x"), &json!("b"))
    );
    assert_ne!(of(0).unwrap()["answer"], json!("x"));
    assert_eq!(bench.json("out/compare.json")["suites"][0]["all"]["wins"], json!(8));

    let compare = ["compare", "--model", &model, "--suite", "suites.toml"];
    let compare = |more: &[&str]| bench.run(&[&compare[..], more].concat());
    // This tiny model forgets: that alone is no success.
    compare(&[
        "--adapter",
        "out",
        "--only",
        "letters",
        "choices",
        "--fail-if",
        "not-better",
    ])
    .code
    .unwrap();
    compare(&["--adapter", "out", "--only", "letters", "--fail-if", "not-better"]).fine();
    let worse = compare(&["--base-adapter", "out", "--only", "letters", "--fail-if", "worse"]);
    assert_eq!(worse.code, Some(1), "{}{}", worse.out, worse.err);
    assert!(worse.out.contains("WORSE") && worse.err.contains("failed: a suite is worse"));
    compare(&["--base-adapter", "out", "--only", "letters"]).fine();
    let same = compare(&["--json", "--fail-if", "worse"]).fine();
    let same: Value = serde_json::from_str(&same).unwrap();
    for suite in same["suites"].as_array().unwrap() {
        let of = &suite["all"];
        assert_eq!(
            (&of["difference"]["value"], &of["wins"], &of["losses"]),
            (&json!(0.0), &json!(0), &json!(0))
        );
    }
    assert_eq!(compare(&["--fail-if", "not-better"]).code, Some(1));
}

#[test]
fn a_damaged_adapter_is_caught() {
    let bench = bench();
    bench.train("out", &LEARN).fine();
    bench.copy("out/checkpoint-40", "damaged");
    let mut bytes = bench.read("out/adapter_model.safetensors");
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for number in bytes[data..].chunks_exact_mut(4).step_by(3) {
        let value = f32::from_le_bytes((*number).try_into().unwrap());
        number.copy_from_slice(&(-4.0 * value).to_le_bytes());
    }
    fs::write(bench.path("damaged/adapter_model.safetensors"), bytes).unwrap();
    let model = golden("llama_tied_gqa");
    let fixed = [
        "compare",
        "--model",
        &model,
        "--base-adapter",
        "out",
        "--suite",
        "suites.toml",
        "--fail-if",
        "worse",
    ];
    bench.run(&[&fixed[..], &["--adapter", "out"]].concat()).fine();
    let ended = bench.run(&[&fixed[..], &["--adapter", "damaged"]].concat());
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
}

#[test]
fn the_best_evaluation_is_kept_and_a_run_without_gain_stopped() {
    let bench = bench();
    // Rows that say the opposite of what is evaluated: it gets worse, sooner or later.
    bench.write(
        "rows.jsonl",
        &letters(&[("b", "y"), ("d", "x"), ("f", "w"), ("h", "z")]),
    );
    let watch = [
        "--eval-data",
        "letters.jsonl",
        "--eval-steps",
        "2",
        "--load-best-model-at-end",
        "--early-stopping-patience",
        "3",
    ];
    let out = bench.train("out", &[&LEARN[..], &watch].concat()).fine();
    let losses: Vec<(u64, f64)> = (bench.log("out/metrics.jsonl").iter())
        .filter_map(|line| Some((line["step"].as_u64()?, line["eval_loss"].as_f64()?)))
        .collect();
    let best = losses.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    let last = losses.last().unwrap().0;
    assert_eq!(last, best + 6, "{losses:?}");
    assert!(
        last < 40 && out.contains(&format!("stopped early after step {last} of 40")),
        "{out}"
    );
    assert_eq!(
        bench.read("out/adapter_model.safetensors"),
        bench.read(&format!("out/checkpoint-{best}/adapter_model.safetensors"))
    );
    assert_ne!(
        bench.read("out/adapter_model.safetensors"),
        bench.read(&format!("out/checkpoint-{last}/adapter_model.safetensors"))
    );
    // It has had enough: going on does nothing more.
    let again = bench.train("out", &[&LEARN[..], &watch, &["--resume"]].concat()).fine();
    assert!(again.contains("stopped early"), "{again}");
    assert_eq!(
        bench
            .log("out/metrics.jsonl")
            .iter()
            .filter_map(|line| line["step"].as_u64())
            .max(),
        Some(last)
    );
}

#[test]
fn a_resumed_run_evaluates_as_the_whole_one_does() {
    let bench = bench();
    let more = [
        "--max-steps",
        "9",
        "--save-steps",
        "2",
        "--eval-suite",
        "suites.toml",
        "--eval-steps",
        "2",
        "--load-best-model-at-end",
        "--metric-for-best-model",
        "letters_loss",
        "--learning-rate",
        "5e-2",
    ];
    bench.train("whole", &more).fine();
    for folder in ["half/evaluations", "half/checkpoint-4"] {
        bench.copy(&folder.replace("half", "whole"), folder);
    }
    for file in ["metrics.jsonl", "samples.jsonl"] {
        fs::copy(
            bench.path(&format!("whole/{file}")),
            bench.path(&format!("half/{file}")),
        )
        .unwrap();
    }
    bench.copy("whole/checkpoint-2", "half/checkpoint-2");
    // As if the evaluation after step 4 had ended, but the program before it was saved: it is made again.
    let mut state = bench.json("half/checkpoint-4/state.json");
    let before = bench.json("half/checkpoint-2/state.json")["counters"].clone();
    for counter in ["evaluated", "best", "evaluations_without_gain"] {
        state["counters"][counter] = before[counter].clone();
    }
    bench.write("half/checkpoint-4/state.json", &state.to_string());
    bench.train("half", &[&more[..], &["--resume"]].concat()).fine();
    bench.assert_same(
        "whole",
        "half",
        &["adapter_model.safetensors", "compare.json", "evaluations/step-8.json"],
    );
    for log in ["metrics.jsonl", "samples.jsonl"] {
        assert_eq!(bench.log(&format!("whole/{log}")), bench.log(&format!("half/{log}")));
    }
    assert_eq!(
        bench.json("whole/checkpoint-9/state.json")["counters"],
        bench.json("half/checkpoint-9/state.json")["counters"]
    );
}

#[test]
fn what_a_run_that_goes_on_cannot_use_is_forgotten_not_fatal() {
    let bench = bench();
    let more = [
        "--max-steps",
        "4",
        "--save-steps",
        "2",
        "--eval-data",
        "letters.jsonl",
        "--eval-steps",
        "2",
    ];
    bench.train("out", &more).fine();
    // Suites that come later have nothing to compare with; the best evaluation is told by another number.
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    let later = [
        "--resume",
        "--eval-suite",
        "suites.toml",
        "--load-best-model-at-end",
        "--metric-for-best-model",
        "eval_letters_loss",
    ];
    let ended = bench.train("out", &[&more[..], &later].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    for said in [
        "is forgotten: it was told by eval_loss",
        "before and after are not compared",
    ] {
        assert!(ended.err.contains(said), "{said:?} is not in {}", ended.err);
    }
    assert!(bench.path("out/adapter_model.safetensors").exists());
}

#[test]
fn a_choice_has_the_tokens_that_training_gives_it() {
    let bench = bench();
    bench.train("out", &LEARN).fine();
    let model = golden("llama_tied_gqa");
    let row = |(asked, right): &(&str, &str)| {
        let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": asked}]);
        format!(
            "{}\n",
            json!({"messages": messages, "choices": ["x", "y", "z", "w", "v", "u", "t", "q"], "answer": right})
        )
    };
    bench.write("chosen.jsonl", &PAIRS.iter().map(row).collect::<String>());
    let eval = [
        "eval",
        "--model",
        &model,
        "--data",
        "chosen.jsonl",
        "--measure",
        "acc",
        "--json",
    ];
    let acc = |more: &[&str]| {
        let out = bench.run(&[&eval[..], more].concat()).fine();
        serde_json::from_str::<Value>(&out).unwrap()["suites"][0]["value"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(acc(&["--adapter", "out"]), 1.0);
    assert!(acc(&[]) < 0.6);
}

#[test]
fn a_checkpoint_of_all_weights_is_a_model() {
    let bench = bench();
    bench
        .train("out", &["--method", "full", "--max-steps", "3", "--batch-size", "4"])
        .fine();
    let loss = |model: &str| {
        let out = bench
            .run(&["eval", "--model", model, "--data", "letters.jsonl", "--json"])
            .fine();
        serde_json::from_str::<Value>(&out).unwrap()["loss"].as_f64().unwrap()
    };
    assert_eq!(loss("out"), loss("out/checkpoint-3"));
}

#[test]
fn suites_that_cannot_be_run_are_refused() {
    let bench = bench();
    let model = golden("llama_tied_gqa");
    let refused = |more: &[&str], reasons: &[&str]| {
        bench
            .run(&[&["eval", "--model", &model], more].concat())
            .refused(reasons);
    };
    refused(&["--suite", "none.toml"], &["none.toml"]);
    refused(
        &["--suite", "suites.toml", "--only", "letter"],
        &["letter", "letters, choices, before"],
    );
    refused(&["--suite", "suites.toml", "suites.toml"], &["letters", "another file"]);
    refused(
        &["--data", "rows.jsonl", "--measure", "wit"],
        &["measure", "exact_match"],
    );
    refused(
        &["--data", "rows.jsonl", "--measure", "consistency"],
        &["rows.jsonl", "line 1", "group"],
    );
    refused(&["--data", "rows.jsonl", "--output", "x.json"], &["output"]);
    refused(&["--data", "rows.jsonl", "--limit", "3"], &["limit"]);
    let suite =
        |more: &str| format!("[[suite]]\nname = \"a\"\ndata = \"rows.jsonl\"\nmeasure = \"accuracy\"\n{more}\n");
    bench.write("wrong.toml", &suite("labels = [\"x\", \"y\"]"));
    refused(
        &["--suite", "wrong.toml"],
        &["rows.jsonl", "line 3", "\"z\" is none of the labels x, y"],
    );
    bench.write("wrong.toml", &suite("mesure = 1"));
    refused(&["--suite", "wrong.toml"], &["wrong.toml", "line 5", "mesure"]);
    bench.write("long.jsonl", &letters(&[("b", "x"), (&"b ".repeat(60), "x")]));
    refused(
        &["--data", "long.jsonl", "--measure", "f1"],
        &["long.jsonl", "line 2", "context 64"],
    );
    let train = |more: &[&str], reasons: &[&str]| bench.train("out", more).refused(reasons);
    train(
        &["--load-best-model-at-end"],
        &["load_best_model_at_end", "--eval-data"],
    );
    train(&["--eval-steps", "2"], &["eval_steps", "--eval-data"]);
    let eval = ["--eval-data", "letters.jsonl"];
    train(
        &[&eval[..], &["--early-stopping-patience", "2"]].concat(),
        &["--load-best-model-at-end"],
    );
    train(
        &[
            &eval[..],
            &["--load-best-model-at-end", "--metric-for-best-model", "wit"],
        ]
        .concat(),
        &[
            "metric_for_best_model",
            "eval_loss, eval_perplexity, eval_token_accuracy",
        ],
    );
    assert!(!bench.path("out").exists());
}

/// What `make demo` does: the small base model does not answer; tuned, it answers what no tuning row asks.
#[test]
fn the_demo_reaches_its_bar() {
    let bench = Bench::new();
    let base = format!("{}/../base", env!("CARGO_MANIFEST_DIR"));
    let [tune, model, rows, suites] =
        ["tune.toml", "model", "data/train.jsonl", "data/suites.toml"].map(|name| format!("{base}/{name}"));
    let train = [
        "train",
        "--config",
        &tune,
        "--model",
        &model,
        "--data",
        &rows,
        "--eval-suite",
        &suites,
    ];
    let out = bench
        .run(&[&train[..], &["--output-dir", "out", "--seed", "1"]].concat())
        .fine();
    assert!(out.contains("report: out/report.html"), "{out}");
    let suites = bench.json("out/compare.json")["suites"].clone();
    let of = |name: &str| {
        let all = suites.as_array().unwrap().iter();
        let value = |of: &Value, which: &str| of["all"][which]["value"].as_f64().unwrap();
        let found = all.into_iter().find(|of| of["name"] == json!(name)).unwrap();
        (value(found, "base"), value(found, "tuned"))
    };
    let (before, after) = of("held-out");
    assert!(before <= 0.05 && after >= 0.6, "{before} before, {after} after");
    let page = String::from_utf8(bench.read("out/report.html")).unwrap();
    assert!(page.contains("held-out") && page.contains("Where does"));
}
