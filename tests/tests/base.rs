//! The small base model: its recipe makes the same bytes, and keeps what is held out apart.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pollster::block_on;
use wgpu_sft::data::{
    ChatTemplate, Conversation, Dataset, Message, Preparation, Tokenizer, TokenizerConfig, micro_batches,
};
use wgpu_sft::formats::safetensors;
use wgpu_sft::model::{Generator, Model, ModelConfig, Sampling, Use};
use wgpu_sft::train::{Method, TrainConfig, Trainer};
use wgpu_sft_base::facts::{EXPOSURES, facts};
use wgpu_sft_base::{Draw, Row, SEED, SPECIAL, Tables, files, make};
use wgpu_sft_tests::{gpu, model};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../base")
}

#[test]
fn the_same_seed_makes_the_shipped_files() {
    let made = files(SEED).unwrap();
    for (name, text) in &made {
        if *name == "corpus.jsonl" {
            continue; // 4 MB that nobody needs to download
        }
        let shipped = std::fs::read_to_string(folder().join(name)).unwrap();
        assert!(
            *text == shipped,
            "base/{name} is not what the recipe makes: make base-model"
        );
    }
    assert!(
        made == files(SEED).unwrap(),
        "the recipe makes other files the second time"
    );
    let other = make(SEED + 1).unwrap();
    assert_ne!(other.corpus, make(SEED).unwrap().corpus);
}

/// Words of a text, lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[test]
fn what_is_held_out_is_in_no_tuning_row() {
    let (tables, made) = (Tables::read().unwrap(), make(SEED).unwrap());
    let rows = &made.rows;
    let train: Vec<Vec<String>> = rows
        .train
        .iter()
        .map(|row| words(&format!("{} {}", row.question(), row.answer())))
        .collect();
    let entities = facts(&tables.kinds, &mut Draw::new(SEED, 0));
    for fact in entities.iter().flatten() {
        let name = fact.entity.to_lowercase();
        let named = train.iter().any(|row| row.contains(&name));
        assert_eq!(named, !fact.held_out, "{name}");
    }
    let translations: HashSet<&String> = (rows.train.iter().zip(&train))
        .filter(|(row, _)| row.task == "translation")
        .flat_map(|(_, words)| words)
        .collect();
    for word in &tables.words.velan.held_out {
        assert!(!translations.contains(word), "{word}");
    }
    let asked: HashSet<&str> = rows.train.iter().map(Row::question).collect();
    let tasks: HashSet<&str> = rows.train.iter().map(|row| row.task).collect();
    for row in rows.heldout.iter().chain(&rows.reworded).chain(&rows.new_task) {
        assert!(!asked.contains(row.question()), "{}", row.question());
    }
    assert!(rows.heldout.iter().all(|row| tasks.contains(row.task)));
    assert!(rows.new_task.iter().all(|row| !tasks.contains(row.task)));
    let seen: HashSet<&String> = made.corpus.iter().collect();
    assert!(made.held_out.iter().all(|text| !seen.contains(text)));
}

/// Sums of the same numbers the other way round are other questions, but no help: the corpus says both.
#[test]
fn new_wordings_are_new() {
    let tables = Tables::read().unwrap();
    for relation in tables.kinds.iter().flat_map(|kind| &kind.relations) {
        assert!(
            relation.new.iter().all(|new| !relation.asked.contains(new)),
            "{}",
            relation.name
        );
        assert!(
            relation.asked.len() >= 4 && relation.new.len() >= 2,
            "{}",
            relation.name
        );
    }
}

#[test]
fn every_fact_has_its_wordings_and_exposures() {
    let (tables, made) = (Tables::read().unwrap(), make(SEED).unwrap());
    let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &made.corpus {
        *texts.entry(text.trim_start()).or_default() += 1;
    }
    let entities = facts(&tables.kinds, &mut Draw::new(SEED, 0));
    let facts: Vec<_> = entities.iter().flatten().collect();
    assert_eq!(facts.len(), 504);
    let [stated, joined, talked] = EXPOSURES;
    assert!(stated + joined + talked - 10 >= 100);
    for fact in facts {
        let what = format!("{} of {}", fact.relation.name, fact.entity);
        let times = |template: &str| texts.get(fact.say(template).as_str()).copied().unwrap_or(0);
        let statements: Vec<usize> = fact
            .relation
            .statements
            .iter()
            .map(|template| times(template))
            .collect();
        assert!(
            statements.len() >= 8 && statements.iter().all(|&n| n > 0),
            "{what}: {statements:?}"
        );
        // A few texts are held out of the corpus.
        let said: usize = statements.iter().sum();
        assert!((stated - 8..=stated).contains(&said), "{what}: {said}");
        let talk = tables
            .talk
            .iter()
            .map(|template| times(&template.replace("{p}", &fact.relation.phrase)));
        let said: usize = talk.sum();
        assert!((talked - 8..=talked).contains(&said), "{what}: {said}");
    }
}

/// A value of a relation falls to as few entities as any other, so that no answer is right for many.
#[test]
fn no_answer_is_right_for_many_facts() {
    let rows = make(SEED).unwrap().rows;
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    let facts: Vec<&Row> = rows.heldout.iter().filter(|row| row.task == "facts").collect();
    for row in &facts {
        *answers.entry(row.answer()).or_default() += 1;
    }
    assert_eq!(facts.len(), 126);
    assert!(answers.values().all(|&n| n * 20 <= facts.len()), "{answers:?}");
}

#[test]
fn the_corpus_has_neither_turns_nor_questions_of_the_rows() {
    let made = make(SEED).unwrap();
    let corpus = made.corpus.join("\n") + &made.held_out.join("\n");
    for token in SPECIAL {
        assert!(!corpus.contains(token), "{token}");
    }
    let rows = &made.rows;
    for row in rows
        .train
        .iter()
        .chain(&rows.heldout)
        .chain(&rows.reworded)
        .chain(&rows.new_task)
    {
        assert!(!corpus.contains(row.question()), "{}", row.question());
    }
}

#[test]
fn the_shipped_model_is_small() {
    let config = ModelConfig::from_json(&std::fs::read_to_string(folder().join("model/config.json")).unwrap()).unwrap();
    let parameters: usize = config
        .tensors()
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    assert!(parameters <= 1_900_000, "{parameters}");
    let weights = std::fs::metadata(folder().join("model/model.safetensors")).unwrap();
    assert!(weights.len() <= 4_000_000, "{}", weights.len());
    let data = std::fs::read_dir(folder().join("data")).unwrap();
    let bytes: u64 = data.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 1_000_000, "{bytes}");
}

/// The shipped tokenizer and its template.
fn tokenizer() -> (Tokenizer, ChatTemplate) {
    let read = |name: &str| std::fs::read(folder().join("model").join(name)).unwrap();
    let config = TokenizerConfig::from_json(&read("tokenizer_config.json")).unwrap();
    let source = config.chat_template.clone().unwrap();
    let template = ChatTemplate::new(&source, &config, None).unwrap();
    (Tokenizer::from_json(&read("tokenizer.json"), config).unwrap(), template)
}

/// Share of the rows that the model answers as they have it, greedily, up to case and outer spaces.
fn right(model: &Model, rows: &[Row]) -> f64 {
    let (tokenizer, template) = tokenizer();
    let ends = [0, SPECIAL.len() as u32 - 1];
    let mut generator = block_on(Generator::new(model, 128)).unwrap();
    let answers = rows.iter().filter(|row| {
        let messages = vec![Message::new("user", row.question())];
        let conversation = Conversation {
            messages,
            ..Conversation::default()
        };
        let prompt = conversation.prompt(&template, &tokenizer).unwrap();
        let answer = block_on(generator.generate(&prompt, &Sampling::default(), 8, &ends, |_| true)).unwrap();
        tokenizer
            .decode(&answer, true)
            .unwrap()
            .trim()
            .eq_ignore_ascii_case(row.answer())
    });
    answers.count() as f64 / rows.len() as f64
}

/// The recipe's bar: the base model does not answer; tuned, it answers what no tuning row has. `tune.toml` has the same settings.
#[test]
fn tuning_teaches_to_answer_what_was_never_asked() {
    let (gpu, rows) = (gpu(), make(SEED).unwrap().rows);
    let config = std::fs::read_to_string(folder().join("model/config.json")).unwrap();
    let config = ModelConfig::from_json(&config).unwrap();
    let file = std::fs::read(folder().join("model/model.safetensors")).unwrap();
    let base = model(
        &gpu,
        &config,
        &safetensors::tensors(&[&file], None).unwrap(),
        &file,
        Use::Trained,
    );
    let before = right(&base, &rows.heldout);
    assert!(before <= 0.05, "the base model answers {before}");

    let (tokenizer, template) = tokenizer();
    let preparation = Preparation {
        tokenizer: Some(&tokenizer),
        template: Some(&template),
        vocab_size: config.vocab_size,
        max_length: 128,
        ..Preparation::default()
    };
    let train = std::fs::read(folder().join("data/train.jsonl")).unwrap();
    let examples = Dataset::prepare(&train, &preparation).unwrap().examples;
    let settings = TrainConfig {
        method: Method::Full,
        learning_rate: Some(6e-4),
        warmup_steps: 0.1,
        adam_beta2: 0.95,
        batch_size: 8,
        num_train_epochs: 2.0,
        seed: 1,
        ..TrainConfig::default()
    };
    let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
    assert!(tokens * 2 <= 60_000, "{tokens} tokens an epoch");
    let (mut order, steps) = settings.order(examples.len()).unwrap();
    let mut trainer = block_on(Trainer::new(base, &settings, steps, 512)).unwrap();
    for step in 0..steps {
        trainer
            .submit(&micro_batches(&examples, order.step(step), 512).unwrap())
            .unwrap();
        block_on(trainer.metrics()).unwrap();
    }
    let after = right(&trainer.into_model(), &rows.heldout);
    assert!(after >= 0.6, "the tuned model answers {after}");
}
