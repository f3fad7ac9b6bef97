//! Facts about invented entities.

use crate::draw::Draw;
use crate::rows::{Cloze, Row, Rows, Segment};
use crate::tables::{Kind, Relation};
use crate::text::{fill, sentence};

/// How often the corpus states each fact, says it in one sentence with others, and has people talk about it.
pub const EXPOSURES: [usize; 3] = [40, 40, 30];
/// Share of a kind's entities that no tuning row names: one in so many.
const HELD_OUT: usize = 4;
/// Facts whose wordings are in the file for consistency.
const GROUPS: usize = 30;

/// One fact.
#[derive(Debug, Clone)]
pub struct Fact<'a> {
    /// What it is about.
    pub entity: &'a str,
    /// Whether tuning rows keep silent about the entity.
    pub held_out: bool,
    /// What is said.
    pub relation: &'a Relation,
    /// Its value.
    pub value: &'a str,
}

impl Fact<'_> {
    /// The fact as `template` says it.
    pub fn say(&self, template: &str) -> String {
        sentence(template, &[("e", self.entity), ("v", self.value)])
    }

    fn ask(&self, template: &str) -> Row {
        Row::new("facts", fill(template, &[("e", self.entity)]), self.value)
    }
}

/// All facts, entity by entity: a kind's relations in their order. Each value of a relation falls to as many entities as any other.
pub fn facts<'a>(kinds: &'a [Kind], draw: &mut Draw) -> Vec<Vec<Fact<'a>>> {
    let mut all = Vec::new();
    for kind in kinds {
        let n = kind.entities.len();
        let held_out = draw.order(n);
        let values: Vec<Vec<usize>> = kind.relations.iter().map(|_| draw.order(n)).collect();
        for (i, entity) in kind.entities.iter().enumerate() {
            let fact = |(relation, order): (&'a Relation, &Vec<usize>)| Fact {
                entity,
                held_out: held_out[i] < n / HELD_OUT,
                relation,
                value: &relation.values[order[i] % relation.values.len()],
            };
            all.push(kind.relations.iter().zip(&values).map(fact).collect());
        }
    }
    all
}

/// What the corpus says: each fact as often as [`EXPOSURES`] has it, in wordings that take turns.
pub fn prose(entities: &[Vec<Fact>], talk: &[String], draw: &mut Draw) -> Vec<String> {
    let [stated, joined, talked] = EXPOSURES;
    let mut items = Vec::new();
    for facts in entities {
        for fact in facts {
            let statements = &fact.relation.statements;
            let order = draw.order(statements.len());
            items.extend((0..stated).map(|turn| fact.say(&statements[order[turn % order.len()]])));
            let phrase = |template: &str| template.replace("{p}", &fact.relation.phrase);
            items.extend((0..talked).map(|turn| fact.say(&phrase(&talk[turn % talk.len()]))));
        }
        for _ in 0..joined {
            for three in draw.order(facts.len()).chunks(3) {
                let said: Vec<&Fact> = three.iter().map(|&i| &facts[i]).collect();
                items.push(together(&said, draw));
            }
        }
    }
    items
}

/// Facts of one entity in one sentence.
fn together(facts: &[&Fact], draw: &mut Draw) -> String {
    let mut text = String::new();
    for (i, fact) in facts.iter().enumerate() {
        let (subject, predicates) = fact.relation.predicates();
        text.push_str(match i {
            0 => subject,
            _ if i + 1 == facts.len() => " and ",
            _ => ", ",
        });
        text.push_str(&draw.pick(&predicates).replace("{v}", fact.value));
    }
    sentence(&format!("{text}."), &[("e", facts[0].entity)])
}

/// Questions: two wordings of each fact in the tuning set; facts of held-out entities in the held-out files.
pub fn rows(entities: &[Vec<Fact>], draw: &mut Draw, rows: &mut Rows) {
    let mut held_out = Vec::new();
    for fact in entities.iter().flatten() {
        let asked = &fact.relation.asked;
        let first = draw.below(asked.len());
        if !fact.held_out {
            rows.train
                .extend([first, first + 1].map(|i| fact.ask(&asked[i % asked.len()])));
            continue;
        }
        rows.heldout.push(fact.ask(&asked[first]));
        rows.reworded.push(fact.ask(draw.text(&fact.relation.new)));
        let template = fact.relation.statements.iter().find(|s| s.ends_with(" {v}."));
        if let Some(start) = template.and_then(|s| s.strip_suffix(" {v}.")) {
            let said = fact.say(&format!("{start} {{v}}"));
            let start = format!(" {}", &said[..said.len() - fact.value.len() - 1]);
            let segment = |label, text| Segment { label, text };
            rows.cloze.push(Cloze {
                task: "cloze",
                segments: [segment(false, start), segment(true, format!(" {}", fact.value))],
            });
        }
        held_out.push(fact);
    }
    for &i in &draw.order(held_out.len())[..GROUPS] {
        let fact = held_out[i];
        for template in fact.relation.asked.iter().chain(&fact.relation.new) {
            let group = Some(format!("{} of {}", fact.relation.name, fact.entity));
            rows.wordings.push(Row {
                group,
                ..fact.ask(template)
            });
        }
    }
}
