//! Nothing is sent or asked for over a network but what the user asked for.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

/// A listener on this machine that everything which would reach out is sent to, as the Hub and as a proxy. It counts, and hangs up.
struct Ear {
    address: String,
    heard: Arc<AtomicUsize>,
}

impl Ear {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(AtomicUsize::new(0));
        let count = heard.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        Self { address, heard }
    }

    /// Run a command, and watch it. How it ended, and how often it reached out.
    fn listen(&self, bench: &Bench, arguments: &[&str], environment: &[(&str, &str)]) -> (Ended, usize) {
        let before = self.heard.load(Ordering::SeqCst);
        let mut command = bench.command(arguments);
        let [out, err] = ["out.txt", "err.txt"].map(|name| fs::File::create(bench.path(name)).unwrap());
        command.stdout(out).stderr(err).env("HF_HOME", bench.path("home"));
        for name in ["HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(name, &self.address).env(name.to_lowercase(), &self.address);
        }
        let mut child = command.envs(environment.iter().copied()).spawn().unwrap();
        let mut others = BTreeSet::new();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            others.extend(internet_sockets(child.id()));
            std::thread::sleep(Duration::from_micros(500));
        };
        let ended = Ended {
            code: status.code(),
            out: String::from_utf8(bench.read("out.txt")).unwrap(),
            err: String::from_utf8(bench.read("err.txt")).unwrap(),
        };
        let heard = self.heard.load(Ordering::SeqCst) - before;
        assert!(heard > 0 || others.is_empty(), "{arguments:?}: {others:?}");
        (ended, heard)
    }
}

/// The internet sockets that a process has open, as Linux lists them.
fn internet_sockets(process: u32) -> Vec<String> {
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        let is_open = |line: &&str| {
            line.split_whitespace()
                .nth(9)
                .is_some_and(|inode| inodes.iter().any(|own| own == inode))
        };
        found.extend(text.lines().filter(is_open).map(|line| format!("{table} {line}")));
    }
    found
}

#[test]
fn local_files_are_all_that_is_asked_for() {
    let bench = Bench::new();
    let ear = Ear::new();
    let model = golden("llama_tied_gqa");
    let base = format!("{}/../base/model", env!("CARGO_MANIFEST_DIR"));
    let config = format!("{model}/config.json");
    let train = [
        &training(&model, "out")[..],
        &["--max-steps", "4", "--save-steps", "2", "--report-to", "all"],
    ]
    .concat();
    let commands: [&[&str]; 13] = [
        &train,
        &[&train[..], &["--resume"]].concat(),
        &["report", "out"],
        &[
            "eval",
            "--model",
            &model,
            "--adapter",
            "out",
            "--data",
            "held_out.jsonl",
        ],
        &[
            "generate",
            "--model",
            &base,
            "--prompt",
            "Hello",
            "--max-new-tokens",
            "2",
        ],
        &["chat", "--model", &base, "--max-new-tokens", "2"],
        &["merge", "--model", &model, "--adapter", "out", "--output-dir", "merged"],
        &["init", "--config", &config, "--output-dir", "made"],
        &["data", "check", "rows.jsonl", "--model", &model],
        &["devices"],
        &["check", "swiglu"],
        &["bench", "--model", &model, "--tokens", "16", "--steps", "1"],
        &["verify-resume", "--kills", "1", "--max-steps", "4"],
    ];
    for arguments in commands {
        let (ended, heard) = ear.listen(&bench, arguments, &[]);
        assert_eq!(heard, 0, "{arguments:?} reached out");
        // Of rows without words, the check has something to say.
        let answers = if arguments[0] == "data" { 1 } else { 0 };
        assert_eq!(ended.code, Some(answers), "{arguments:?}: {}{}", ended.out, ended.err);
    }
}

#[test]
fn the_hub_is_asked_for_ids_alone_and_never_offline() {
    let bench = Bench::new();
    let ear = Ear::new();
    fs::create_dir(bench.path("runs")).unwrap();
    let eval = |model: &str, environment: &[(&str, &str)]| {
        ear.listen(
            &bench,
            &["eval", "--model", model, "--data", "held_out.jsonl"],
            environment,
        )
    };
    let (ended, heard) = eval("some/model", &[]);
    assert!(heard > 0, "the ear is deaf: {}", ended.err);
    assert!(
        ended
            .err
            .contains("some/model is no local file or folder: asking the Hub"),
        "{}",
        ended.err
    );
    ended.refused(&["some/model", "Hub"]);
    for path in [
        "./model",
        "../model",
        "a/b/c",
        "/model",
        "model.gguf",
        "tiny/model.Q8_0.gguf",
        "runs/checkpoint-5",
    ] {
        let (ended, heard) = eval(path, &[]);
        assert_eq!(heard, 0, "{path} was looked up");
        ended.refused(&[path, "no such file or folder"]);
    }
    let (ended, heard) = eval("some/model", &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(heard, 0);
    ended.refused(&["some/model", "cache", "HF_HUB_OFFLINE"]);
}

/// Packages that open connections, or could not do without them.
const CLIENTS: [&str; 17] = [
    "ureq",
    "reqwest",
    "hyper",
    "h2",
    "h3",
    "quinn",
    "curl",
    "isahc",
    "attohttpc",
    "native-tls",
    "rustls",
    "socket2",
    "mio",
    "tokio",
    "async-std",
    "tungstenite",
    "webpki-roots",
];

/// Of the program's packages, the Hub's client alone can reach a network, and our own code opens no connection.
#[test]
fn only_the_hubs_client_can_reach_a_network() {
    let root = format!("{}/..", env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // As it is built, and as it is built without the Hub.
    let clients = |more: &[&str]| {
        let fixed = [
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "-p",
            "wgpu-sft-cli",
        ];
        let output = Command::new(&cargo)
            .args(fixed)
            .args(more)
            .current_dir(&root)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("wgpu-sft "),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let names: BTreeSet<String> = text
            .lines()
            .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
            .collect();
        CLIENTS
            .into_iter()
            .filter(|client| names.contains(*client))
            .collect::<Vec<_>>()
    };
    assert!(clients(&[]).contains(&"ureq"), "the test sees nothing");
    assert_eq!(clients(&["--no-default-features"]), [""; 0]);
    let mut folders = vec![format!("{root}/native/src"), format!("{root}/core/src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.display().to_string());
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for word in ["std::net", "TcpStream", "UdpSocket", "ToSocketAddrs"] {
                assert!(!text.contains(word), "{word} in {}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 100, "{read} files");
}
