//! ROUGE, BLEU and chrF.

use super::{close, items, number, recorded, text, texts};
use serde_json::Value;
use wgpu_sft::eval::bleu::{BleuConfig, BleuStats};
use wgpu_sft::eval::chrf::{ChrfConfig, ChrfStats};
use wgpu_sft::eval::porter::stem;
use wgpu_sft::eval::rouge::{RougeType, rouge, rouge_best};

#[test]
fn stems_are_nltks() {
    let recorded = recorded("stems");
    let stems = recorded.as_object().unwrap();
    assert!(stems.len() > 1000);
    for (word, theirs) in stems {
        assert_eq!(stem(word), text(theirs), "{word}");
    }
    assert_eq!([stem("naïveness"), stem("is"), stem("")], ["naïveness", "is", ""]);
}

#[test]
fn rouge_is_googles() {
    let kinds = [
        RougeType::Rouge1,
        RougeType::Rouge2,
        RougeType::RougeL,
        RougeType::RougeLsum,
    ];
    for pair in items(&recorded("texts")["pairs"]) {
        let (prediction, references) = (text(&pair["prediction"]), texts(&pair["references"]));
        for (stemmer, scores) in items(&pair["rouge"]).iter().enumerate() {
            for (kind, theirs) in kinds.into_iter().zip(items(scores)) {
                let ours = rouge(kind, &references[0], prediction, stemmer == 1);
                let what = format!("{kind:?} of {prediction:?}");
                close(ours.precision, &theirs[0], &what);
                close(ours.recall, &theirs[1], &what);
                close(ours.fmeasure, &theirs[2], &what);
            }
        }
        for (kind, theirs) in kinds.into_iter().zip(items(&pair["rouge_best"])) {
            close(
                rouge_best(kind, &references, prediction, false).fmeasure,
                theirs,
                prediction,
            );
        }
    }
    assert_eq!(rouge_best(RougeType::Rouge1, &[], "x", false).fmeasure, 0.0);
}

fn bleus(recorded: &Value) -> Vec<BleuConfig> {
    let config = |setting: &Value| BleuConfig {
        tokenize: serde_json::from_value(setting[0].clone()).unwrap(),
        lowercase: setting[1].as_bool().unwrap(),
        effective_order: setting[2].as_bool().unwrap(),
    };
    items(&recorded["bleu"]).iter().map(config).collect()
}

fn chrfs(recorded: &Value) -> Vec<ChrfConfig> {
    let config = |setting: &Value| ChrfConfig {
        words: number(&setting[0]) == 2.0,
        lowercase: setting[1].as_bool().unwrap(),
    };
    items(&recorded["chrf"]).iter().map(config).collect()
}

#[test]
fn sentences_have_sacrebleus_scores() {
    let recorded = recorded("texts");
    let (bleus, chrfs) = (bleus(&recorded), chrfs(&recorded));
    for pair in items(&recorded["pairs"]) {
        let (prediction, references) = (text(&pair["prediction"]), texts(&pair["references"]));
        for (config, theirs) in bleus.iter().zip(items(&pair["bleu"])) {
            let ours = BleuStats::of(prediction, &references, config).score(config);
            close(ours, theirs, &format!("{config:?} of {prediction:?}"));
        }
        for (config, theirs) in chrfs.iter().zip(items(&pair["chrf"])) {
            let ours = ChrfStats::of(prediction, &references, config).score();
            close(ours, theirs, &format!("{config:?} of {prediction:?}"));
        }
    }
    let config = BleuConfig::default();
    assert_eq!(BleuStats::of("x", &[], &config).score(&config), 0.0);
    assert_eq!(ChrfStats::of("x", &[], &ChrfConfig::default()).score(), 0.0);
}

#[test]
fn corpora_have_sacrebleus_scores_and_signatures() {
    let recorded = recorded("texts");
    let (bleus, chrfs) = (bleus(&recorded), chrfs(&recorded));
    for corpus in items(&recorded["corpora"]) {
        let place = |name: &str| number(&corpus[name]) as usize;
        let pairs = &items(&recorded["pairs"])[place("first")..place("last")];
        let pairs: Vec<_> = pairs
            .iter()
            .map(|p| (text(&p["prediction"]), texts(&p["references"])))
            .collect();
        let count = pairs[0].1.len();
        let count = pairs
            .iter()
            .all(|(_, references)| references.len() == count)
            .then_some(count);
        for (config, theirs) in bleus.iter().zip(items(&corpus["bleu"])) {
            let each = pairs
                .iter()
                .map(|(prediction, references)| BleuStats::of(prediction, references, config));
            let total = each.reduce(|a, b| a + b).unwrap();
            close(total.score(config), &theirs[0], &format!("{config:?}"));
            assert_eq!(config.signature(count), text(&theirs[1]));
        }
        for (config, theirs) in chrfs.iter().zip(items(&corpus["chrf"])) {
            let each = pairs
                .iter()
                .map(|(prediction, references)| ChrfStats::of(prediction, references, config));
            let total = each.reduce(|a, b| a + b).unwrap();
            close(total.score(), &theirs[0], &format!("{config:?}"));
            assert_eq!(config.signature(count), text(&theirs[1]));
        }
    }
    assert_eq!(
        [false, true].map(|words| ChrfConfig {
            words,
            lowercase: false
        }
        .name()),
        ["chrF2", "chrF2++"]
    );
}
