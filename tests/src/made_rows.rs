//! Rows that look like instruction data, made from word lists: no two alike, nothing in them that a check should find.

use serde_json::{Value, json};
use wgpu_sft::random::philox;

const NOUNS: [&str; 60] = [
    "river",
    "garden",
    "teacher",
    "engine",
    "market",
    "village",
    "computer",
    "forest",
    "bridge",
    "kitchen",
    "library",
    "mountain",
    "orchestra",
    "painter",
    "harbour",
    "factory",
    "festival",
    "journey",
    "museum",
    "neighbour",
    "pilot",
    "recipe",
    "sailor",
    "station",
    "theatre",
    "tunnel",
    "valley",
    "window",
    "winter",
    "writer",
    "lantern",
    "meadow",
    "notebook",
    "orchard",
    "pavement",
    "quarry",
    "railway",
    "sculptor",
    "telescope",
    "umbrella",
    "violin",
    "warehouse",
    "workshop",
    "blanket",
    "candle",
    "desert",
    "farmer",
    "glacier",
    "island",
    "jacket",
    "kettle",
    "ladder",
    "mirror",
    "needle",
    "ocean",
    "pottery",
    "rocket",
    "satellite",
    "ticket",
    "volcano",
];
const ADJECTIVES: [&str; 40] = [
    "quiet", "bright", "narrow", "ancient", "careful", "distant", "early", "famous", "gentle", "heavy", "idle",
    "joyful", "kind", "large", "modern", "noisy", "open", "patient", "quick", "rusty", "simple", "tall", "useful",
    "vivid", "warm", "young", "broken", "clever", "dusty", "empty", "fragile", "green", "hollow", "humble", "little",
    "muddy", "proud", "rough", "silver", "wooden",
];
const VERBS: [&str; 40] = [
    "carries",
    "follows",
    "repairs",
    "watches",
    "crosses",
    "paints",
    "remembers",
    "describes",
    "supports",
    "measures",
    "replaces",
    "explores",
    "protects",
    "discovers",
    "collects",
    "improves",
    "surrounds",
    "reaches",
    "changes",
    "warms",
    "cleans",
    "opens",
    "studies",
    "answers",
    "builds",
    "covers",
    "divides",
    "explains",
    "feeds",
    "guides",
    "holds",
    "inspires",
    "joins",
    "lifts",
    "moves",
    "needs",
    "orders",
    "praises",
    "shapes",
    "visits",
];
const LINKS: [&str; 12] = [
    "because",
    "while",
    "although",
    "so that",
    "before",
    "after",
    "whenever",
    "until",
    "and later",
    "even though",
    "just as",
    "since",
];

/// Draws from (seed, row), in order.
struct Draw {
    key: [u32; 2],
    row: u32,
    next: u32,
}

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.next += 1;
        philox(self.key, [self.row, self.next, 0, 0])[0] as usize % n
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn thing(&mut self) -> String {
        format!("{} {}", self.one(&ADJECTIVES), self.one(&NOUNS))
    }

    fn sentence(&mut self) -> String {
        format!(
            "The {} {} the {} {} the {} {} the {}.",
            self.thing(),
            self.one(&VERBS),
            self.thing(),
            self.one(&LINKS),
            self.thing(),
            self.one(&VERBS),
            self.thing()
        )
    }

    fn text(&mut self, sentences: usize) -> String {
        (0..sentences).map(|_| self.sentence()).collect::<Vec<_>>().join(" ")
    }
}

/// The `number`th Alpaca row for this seed: some 60 words in a few kinds of task.
pub fn alpaca(seed: u32, number: u32) -> Value {
    let mut draw = Draw {
        key: [seed, 0x0A1F_ACA5],
        row: number,
        next: 0,
    };
    let (subject, other) = (draw.thing(), draw.thing());
    let length = 2 + draw.below(4);
    let (instruction, input) = match draw.below(7) {
        0 => (
            format!("Write a short story about the {subject} and the {other}."),
            String::new(),
        ),
        1 => (
            format!("Explain why the {subject} matters to the {other}."),
            String::new(),
        ),
        2 => ("Summarize the following paragraph.".to_owned(), draw.text(3)),
        3 => (
            format!("What happens when the {subject} meets the {other}?"),
            String::new(),
        ),
        4 => (
            "Rewrite the passage so that it sounds more formal.".to_owned(),
            draw.text(2),
        ),
        5 => (
            format!("Describe how to look after the {subject} near the {other}."),
            String::new(),
        ),
        _ => (format!("Compare the {subject} with the {other}."), String::new()),
    };
    json!({"instruction": instruction, "input": input, "output": draw.text(length)})
}
