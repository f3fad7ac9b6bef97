//! Manual pages and completions: every command and every flag is in them.

use std::collections::BTreeSet;

use super::*;

/// Every command as the words after `wgpu-sft`, found as a reader of `--help` finds them.
fn commands(bench: &Bench, words: &[String], found: &mut Vec<Vec<String>>) {
    let help = help(bench, words);
    found.push(words.to_vec());
    let Some((_, list)) = help.split_once("\nCommands:\n") else {
        return;
    };
    for line in list.lines().take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        // What a name is followed by on the lines below it, if its words are many, is indented further.
        if !line.starts_with("   ") && name != "help" {
            commands(bench, &[words, &[name.to_owned()]].concat(), found);
        }
    }
}

fn help(bench: &Bench, words: &[String]) -> String {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    bench.run(&args).fine()
}

/// The long flags that a text names.
fn flags(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim_start);
    let named = lines.filter_map(|line| line.strip_prefix("--").or_else(|| Some(line.split_once(", --")?.1)));
    named
        .map(|rest| {
            let end = rest.find(|c: char| c != '-' && !c.is_ascii_alphanumeric());
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn manual_pages_and_completions_name_every_flag() {
    let bench = Bench::new();
    let mut all = Vec::new();
    commands(&bench, &[], &mut all);
    assert!(all.len() >= 19, "{all:?}");
    bench.run(&["man", "--output-dir", "man"]).fine();
    let shells = ["bash", "elvish", "fish", "powershell", "zsh"];
    let scripts = shells.map(|shell| bench.run(&["completions", shell]).fine());
    let mut pages = fs::read_dir(bench.path("man")).unwrap().count();
    let mut seen = 0;
    for words in &all {
        let name = format!("wgpu-sft-{}", words.join("-"));
        let name = name.trim_end_matches('-');
        let page = fs::read_to_string(bench.path(&format!("man/{name}.1"))).unwrap();
        pages -= 1;
        assert!(
            page.starts_with(".ie \\n(.g") && page.contains(".SH SYNOPSIS"),
            "{name}: {page}"
        );
        let page = page.replace("\\-", "-");
        for flag in flags(&help(&bench, words)) {
            seen += 1;
            assert!(page.contains(&format!("--{flag}")), "{name}.1 lacks --{flag}");
            for (script, shell) in scripts.iter().zip(shells) {
                let as_written = if shell == "fish" {
                    format!("-l {flag}")
                } else {
                    format!("--{flag}")
                };
                assert!(
                    script.contains(&as_written),
                    "{shell}'s completions lack --{flag} of {name}"
                );
            }
        }
        for (script, shell) in scripts.iter().zip(shells) {
            let last = words.last().map_or("wgpu-sft", String::as_str);
            assert!(script.contains(last), "{shell}'s completions lack {name}");
        }
    }
    assert_eq!(pages, 0, "pages of no command");
    assert!(seen > 150, "only {seen} flags");
}

#[test]
fn manual_pages_need_a_folder_and_completions_a_known_shell() {
    let bench = Bench::new();
    bench.write("file", "");
    bench.run(&["man", "--output-dir", "file/man"]).refused(&["file/man"]);
    let ended = bench.run(&["completions", "cmd"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.err.contains("bash, elvish, fish, powershell, zsh"),
        "{}",
        ended.err
    );
}

/// What bash offers when a flag is begun.
#[cfg(unix)]
#[test]
fn bash_completes_the_flags_of_a_command() {
    const ASK: &str = r#"source completions.bash
        complete=$(complete -p wgpu-sft | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=(wgpu-sft merge --sa) COMP_CWORD=2
        "$complete" wgpu-sft --sa merge
        echo "${COMPREPLY[*]}""#;
    let bench = Bench::new();
    bench.write("completions.bash", &bench.run(&["completions", "bash"]).fine());
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", ASK]).current_dir(bench.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "--save-dtype\n", "{}", String::from_utf8_lossy(&output.stderr));
}
