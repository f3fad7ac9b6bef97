//! What we depend on, held against `deny.toml`, offline: licences, crates that are not wanted, where crates come from. `cargo deny`
//! reads the same file and knows more; published advisories, which need the network, are its alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether a licence expression (SPDX's, or the older `MIT/Apache-2.0`) can be met with the licences that `allowed` says yes to.
fn permits(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = alternatives(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    met
}

fn alternatives<'a, I: Iterator<Item = &'a str>>(
    words: &mut std::iter::Peekable<I>,
    allowed: &dyn Fn(&str) -> bool,
) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all<'a, I: Iterator<Item = &'a str>>(words: &mut std::iter::Peekable<I>, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one<'a, I: Iterator<Item = &'a str>>(words: &mut std::iter::Peekable<I>, allowed: &dyn Fn(&str) -> bool) -> bool {
    let word = words.next().expect("a licence");
    if word == "(" {
        let met = alternatives(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return met;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => allowed(&format!("{word} WITH {}", words.next().expect("an exception"))),
        None => allowed(word),
    }
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    let permissive = |licence: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&licence);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND MIT", true),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("(ISC AND GPL-3.0) OR MIT", true),
        ("ISC AND GPL-3.0 OR GPL-2.0", false),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
    ] {
        assert_eq!(permits(expression, &permissive), met, "{expression}");
    }
}

fn strings(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect()
}

/// What the whole workspace needs on a target, all features on: names and licences, as cargo resolves them.
fn needed(root: &Path, target: &str) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--workspace",
            "--all-features",
            "--target",
            target,
        ])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo fetch --locked makes this work offline: {said}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (package, licence) = line.split_once('|').unwrap();
            (package.split(' ').next().unwrap().to_owned(), licence.to_owned())
        })
        .collect()
}

#[test]
fn dependencies_are_those_that_deny_toml_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| -> toml::Table { toml::from_str(&fs::read_to_string(root.join(name)).unwrap()).unwrap() };
    let rules = read("deny.toml");
    let licences = &rules["licenses"];
    let general = strings(&licences["allow"]);
    let exceptions = licences["exceptions"].as_array().unwrap();
    let denied = rules["bans"]["deny"].as_array().unwrap();
    let targets = strings(&rules["graph"]["targets"]).into_iter();
    let packages: BTreeSet<_> = targets.flat_map(|target| needed(&root, target)).collect();
    assert!(packages.len() > 200, "only {} packages", packages.len());
    let mut wrong = Vec::new();
    for (name, licence) in &packages {
        let excepted: BTreeSet<_> = exceptions
            .iter()
            .filter(|e| e["crate"].as_str() == Some(name.as_str()))
            .flat_map(|e| strings(&e["allow"]))
            .collect();
        if licence.is_empty() || !permits(licence, &|l: &str| general.contains(l) || excepted.contains(l)) {
            wrong.push(format!("{name}: licence {licence:?}"));
        }
        for ban in denied.iter().filter(|ban| ban["crate"].as_str() == Some(name.as_str())) {
            wrong.push(format!("{name}: {}", ban["reason"]));
        }
    }
    for unknown in ["unknown-registry", "unknown-git"] {
        assert_eq!(rules["sources"][unknown].as_str(), Some("deny"));
    }
    for package in read("Cargo.lock")["package"].as_array().unwrap() {
        match package.get("source").and_then(toml::Value::as_str) {
            None | Some("registry+https://github.com/rust-lang/crates.io-index") => {}
            Some(elsewhere) => wrong.push(format!("{}: from {elsewhere}", package["name"])),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
