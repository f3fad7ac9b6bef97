//! The tasks beside facts: each adds what the corpus says of it, and its rows.

use crate::draw::Draw;
use crate::rows::{Row, Rows};
use crate::tables::{Opposites, Reviews, Stories, Sums, Velan};
use crate::text::{fill, sentence};

/// How a task is asked for.
struct Asking<'a> {
    task: &'static str,
    /// Wordings of tuning rows.
    asked: &'a [String],
    /// Wordings that no tuning row has.
    new: &'a [String],
    /// In how many wordings a tuning row is asked.
    times: usize,
}

impl Asking<'_> {
    /// Rows for the files where they belong: the tuning set, or the held-out ones, with a new wording beside it.
    fn place(&self, rows: &mut Rows, held_out: bool, draw: &mut Draw, slots: &[(&str, &str)], answer: &str) {
        let row = |template: &str| Row::new(self.task, fill(template, slots), answer);
        let first = draw.below(self.asked.len());
        if held_out {
            rows.heldout.push(row(&self.asked[first]));
            rows.reworded.push(row(draw.text(self.new)));
        } else {
            let wordings = self.asked.iter().cycle().skip(first).take(self.times);
            rows.train.extend(wordings.map(|template| row(template)));
        }
    }
}

/// Words and phrases of a made-up language. A phrase is held out if one of its words is.
pub fn translation(velan: &Velan, draw: &mut Draw, prose: &mut Vec<String>, rows: &mut Rows) {
    let (times, phrase_times, train_phrases, held_out_phrases) = (60, 4, 10, 40);
    let held_out = |english: &str| english.split(' ').any(|word| velan.held_out.iter().any(|w| w == word));
    let asking = Asking {
        task: "translation",
        asked: &velan.asked,
        new: &velan.new,
        times: 1,
    };
    let say = |draw: &mut Draw, en: &str, ve: &str| sentence(draw.text(&velan.statements), &[("en", en), ("ve", ve)]);
    for [en, ve] in velan.nouns.iter().chain(&velan.adjectives) {
        prose.extend((0..times).map(|_| say(draw, en, ve)));
        asking.place(rows, held_out(en), draw, &[("en", en)], ve);
    }
    let both = |noun: &[String; 2], adjective: &[String; 2]| {
        (
            format!("{} {}", adjective[0], noun[0]),
            format!("{} {}", noun[1], adjective[1]),
        )
    };
    let phrases: Vec<(String, String)> = velan
        .nouns
        .iter()
        .flat_map(|noun| velan.adjectives.iter().map(move |adjective| both(noun, adjective)))
        .collect();
    for (en, ve) in &phrases {
        prose.extend((0..phrase_times).map(|_| say(draw, en, ve)));
    }
    let mut left = [train_phrases, held_out_phrases];
    for i in draw.order(phrases.len()) {
        let (en, ve) = &phrases[i];
        let held_out = held_out(en);
        if left[usize::from(held_out)] > 0 {
            left[usize::from(held_out)] -= 1;
            asking.place(rows, held_out, draw, &[("en", en)], ve);
        }
    }
}

/// Additions; a quarter of the pairs is held out.
pub fn sums(sums: &Sums, draw: &mut Draw, prose: &mut Vec<String>, rows: &mut Rows) {
    let times = 40;
    let asking = Asking {
        task: "sums",
        asked: &sums.asked,
        new: &sums.new,
        times: 2,
    };
    let pairs = sums.largest * sums.largest;
    for (place_in_order, pair) in draw.order(pairs).into_iter().enumerate() {
        let (a, b) = (pair / sums.largest + 1, pair % sums.largest + 1);
        let [a, b, c] = [a, b, a + b].map(|n| n.to_string());
        let slots = [("a", &a[..]), ("b", &b[..]), ("c", &c[..])];
        prose.extend((0..times).map(|_| sentence(draw.text(&sums.statements), &slots)));
        asking.place(rows, place_in_order < pairs / 4, draw, &slots, &c);
    }
}

/// Opposites, which no tuning row asks for.
pub fn opposites(opposites: &Opposites, draw: &mut Draw, prose: &mut Vec<String>, rows: &mut Rows) {
    let times = 40;
    for [a, b] in &opposites.pairs {
        for slots in [[("a", &a[..]), ("b", &b[..])], [("a", b), ("b", a)]] {
            prose.extend((0..times).map(|_| sentence(draw.text(&opposites.statements), &slots)));
            let question = fill(draw.text(&opposites.asked), &slots);
            rows.new_task.push(Row::new("opposites", question, slots[1].1));
        }
    }
}

/// Reviews; those with certain adjectives are held out.
pub fn sentiment(reviews: &Reviews, draw: &mut Draw, prose: &mut Vec<String>, rows: &mut Rows) {
    let (times, train, held_out) = (1500, 100, 40);
    let review = |draw: &mut Draw, kept: &dyn Fn(&str) -> bool| {
        let label = *draw.pick(&["positive", "negative"]);
        let (adjectives, ends) = match label {
            "positive" => (&reviews.positive, &reviews.positive_ends),
            _ => (&reviews.negative, &reviews.negative_ends),
        };
        let adjectives: Vec<&String> = adjectives.iter().filter(|word| kept(word)).collect();
        let things = draw.order(reviews.things.len());
        let order = draw.order(adjectives.len());
        let slots = [
            ("t", &reviews.things[things[0]][..]),
            ("u", &reviews.things[things[1]]),
            ("a", adjectives[order[0]]),
            ("b", adjectives[order[1]]),
        ];
        let opening = sentence(draw.text(&reviews.openings), &slots);
        match draw.below(2) {
            0 => (opening, label),
            _ => (format!("{opening} {}", draw.text(ends)), label),
        }
    };
    for _ in 0..times {
        let (text, label) = review(draw, &|_| true);
        prose.push(format!(
            "{text} {}",
            fill(draw.text(&reviews.verdicts), &[("l", label)])
        ));
    }
    let asking = Asking {
        task: "sentiment",
        asked: &reviews.asked,
        new: &reviews.new,
        times: 1,
    };
    let is_held_out = |word: &str| reviews.held_out.iter().any(|w| w == word);
    for (n, hold) in [(train, false), (held_out, true)] {
        for _ in 0..n {
            let (text, label) = review(draw, &|word| is_held_out(word) == hold);
            asking.place(rows, hold, draw, &[("r", &text)], label);
        }
    }
}

/// Stories and their gist; certain names and things are held out.
pub fn stories(stories: &Stories, draw: &mut Draw, prose: &mut Vec<String>, rows: &mut Rows) {
    let (times, train, held_out) = (2000, 100, 40);
    let story = |draw: &mut Draw, names: &[String], things: &[String]| {
        let places = draw.order(stories.places.len());
        let slots = [
            ("n", draw.text(names)),
            ("t", draw.text(things)),
            ("p", &stories.places[places[0]]),
            ("q", &stories.places[places[1]]),
            ("h", draw.text(&stories.helpers)),
        ];
        let plot = draw.pick(&stories.plots);
        let lines: Vec<String> = plot
            .lines
            .iter()
            .map(|ways| sentence(draw.text(ways), &slots))
            .collect();
        (lines.join(" "), sentence(&plot.gist, &slots), plot.verb.as_str())
    };
    for _ in 0..times {
        let (text, gist, _) = story(draw, &stories.names, &stories.things);
        prose.push(format!("{text} {} {gist}", draw.text(&stories.intros)));
    }
    let asking = Asking {
        task: "gist",
        asked: &stories.asked,
        new: &stories.new,
        times: 1,
    };
    let part = |list: &[String], held: &[String], hold: bool| -> Vec<String> {
        list.iter()
            .filter(|word| held.contains(word) == hold)
            .cloned()
            .collect()
    };
    for (n, hold) in [(train, false), (held_out, true)] {
        let names = part(&stories.names, &stories.held_out_names, hold);
        let things = part(&stories.things, &stories.held_out_things, hold);
        for _ in 0..n {
            let (text, _, verb) = story(draw, &names, &things);
            asking.place(rows, hold, draw, &[("s", &text)], verb);
        }
    }
}
