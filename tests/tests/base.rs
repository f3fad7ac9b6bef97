//! The small base model: its recipe makes the same bytes, and keeps what is held out apart.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use wgpu_sft::model::ModelConfig;
use wgpu_sft_base::facts::{EXPOSURES, facts};
use wgpu_sft_base::{Draw, Row, SEED, SPECIAL, Tables, files, make};

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
