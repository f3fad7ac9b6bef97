//! `verify-resume`: a run that is killed again and again ends in the bits of one that is left alone, on this device.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wgpu_sft::Error;
use wgpu_sft::formats::{Dtype, Parts, safetensors};
use wgpu_sft::model::{ModelConfig, init};
use wgpu_sft::train::Settings;

use crate::args::VerifyResumeArgs;
use crate::model_files::map;
use crate::progress::{bytes, duration, line};
use crate::run_folder::{METRICS, UNFINISHED, step_of};
use crate::{Outcome, interrupt, model_folder};

/// The two runs, by the names of their folders.
const WHOLE: &str = "whole";
const KILLED: &str = "killed";
/// What both are told.
const SETTINGS: &str = "settings.toml";
/// What a process said on standard error.
const COMPLAINTS: &str = "stderr.txt";
/// A run may end before it is killed, and is then begun anew; this often for each kill that is asked for.
const LIVES: u32 = 10;

/// Train, kill, resume, compare.
pub fn run(args: VerifyResumeArgs) -> Result<Outcome> {
    let folder = tempfile::Builder::new()
        .prefix("wgpu-sft-verify-resume-")
        .tempdir()
        .context("making a temporary folder")?;
    let runs = Runs {
        folder: folder.path().to_owned(),
        quiet: args.settings.quiet.unwrap_or(false),
    };
    let settings = match &args.config {
        None => args.settings,
        Some(file) => {
            let named = || file.display().to_string();
            let text = fs::read_to_string(file).with_context(named)?;
            args.settings.or(Settings::from_toml(&text).with_context(named)?)
        }
    };
    runs.settle(settings)?;
    interrupt::catch("stopping; once more to stop at once")?;
    let verdict = runs.verify(args.kills);
    if args.keep || matches!(verdict, Ok(Outcome::No)) {
        line(&format!("both runs are kept in {}", folder.keep().display()))?;
    }
    verdict
}

/// A folder with what both runs are told, and both runs.
struct Runs {
    folder: PathBuf,
    quiet: bool,
}

/// How a process ended.
enum End {
    /// By itself, with this exit code.
    Exit(Option<i32>),
    /// Killed, and whether it had begun a step.
    Killed { in_training: bool },
    /// Ctrl-C.
    Interrupted,
}

impl Runs {
    /// Write down what both runs are told.
    fn settle(&self, settings: Settings) -> Result<()> {
        if settings.output_dir.is_some() {
            let why = "both runs are in a temporary folder; --keep keeps it";
            return Err(Error::config("output_dir", why).into());
        }
        if settings.data.iter().flatten().any(|file| file == "-") {
            return Err(Error::config("data", "standard input can be read once only: give a file").into());
        }
        let settings = match (&settings.model, &settings.data) {
            (None, None) => self.small_run(settings)?,
            _ => settings,
        };
        let settings = Settings {
            max_steps: settings.max_steps.or(settings.num_train_epochs.is_none().then_some(24)),
            save_steps: settings.save_steps.or(Some(2)),
            logging_steps: Some(1),
            quiet: Some(false),
            ..settings
        };
        fs::write(self.folder.join(SETTINGS), settings.to_toml()?).context("writing settings")
    }

    /// What to train where nothing is given: a model of random weights, rows of tokens, dropout, evaluations.
    fn small_run(&self, settings: Settings) -> Result<Settings> {
        let config = json!({
            "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 160, "vocab_size": 128, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "tie_word_embeddings": true,
        });
        let config_json = config.to_string();
        let config = ModelConfig::from_json(&config_json)?;
        let parts = Parts {
            config: &config,
            config_json: Some(&config_json),
            generation_config: None,
            tokenizer_files: &[],
            terminators: Vec::new(),
        };
        let mut weights = init::weights(&config, 1);
        let model = self.folder.join("model");
        model_folder::write(&model, &parts, Dtype::F32, true, |name| match weights.next() {
            Some((next, _, values)) if next == name => Ok(values),
            _ => bail!("{name} comes out of order"),
        })?;
        let row = |row: u32| {
            let ids: Vec<u32> = (0..8 + row * 5 % 23)
                .map(|at| 3 + (row * 7 + at * at * 3) % 120)
                .collect();
            format!("{}\n", json!({ "input_ids": ids }))
        };
        let data = self.folder.join("rows.jsonl");
        fs::write(&data, (0..40).map(row).collect::<String>()).context("writing rows")?;
        let rows = Some(vec![data.display().to_string()]);
        let lora = settings.method.as_deref() != Some("full");
        Ok(Settings {
            model: Some(model.display().to_string()),
            data: rows.clone(),
            eval_data: settings.eval_data.clone().or(rows),
            eval_steps: settings.eval_steps.or(Some(3)),
            learning_rate: settings.learning_rate.or(Some(1e-2)),
            lora_dropout: settings.lora_dropout.or(lora.then_some(0.1)),
            ..settings
        })
    }

    fn say(&self, text: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { line(text) }
    }

    /// Train once in peace, then with `kills` kills, and compare.
    fn verify(&self, kills: u32) -> Result<Outcome> {
        let Some(mut training) = self.in_peace()? else {
            return Ok(Outcome::Interrupted);
        };
        let killed_run = self.folder.join(KILLED);
        let [mut before, mut during, mut saves] = [0; 3];
        for _ in 0..=kills.saturating_mul(LIVES) {
            let killed: u32 = before + during;
            // The last life is left alone. Of the others one in four ends at any instant from its beginning on, the others in training.
            let instant = (killed < kills).then(|| training.mul_f64(2.0 * random() / f64::from(kills + 1)));
            let from_start = killed % 4 == 3;
            let anew = !killed_run.exists();
            let (end, trained) = self.live(KILLED, instant, from_start)?;
            match end {
                End::Interrupted => return Ok(Outcome::Interrupted),
                End::Killed { in_training } => {
                    if in_training {
                        during += 1;
                    } else {
                        before += 1;
                    }
                    let in_save = names(&killed_run).any(|name| name.starts_with(UNFINISHED));
                    saves += u32::from(in_save);
                }
                End::Exit(Some(0)) => {
                    if killed < kills {
                        // It ended before its instant. The run that was left alone may have taken longer, as it compiled
                        // what later ones find in the driver's cache.
                        if anew {
                            training = training.min(trained);
                        }
                        fs::remove_dir_all(&killed_run).with_context(|| killed_run.display().to_string())?;
                        continue;
                    }
                    self.say(&format!(
                        "killed {killed} times: {before} before a step, {during} in training, {saves} of all in a save"
                    ))?;
                    return self.compare();
                }
                End::Exit(_) => {
                    line(&format!("the run could not be resumed: {}", self.complaint()))?;
                    return Ok(Outcome::No);
                }
            }
        }
        bail!("the run ends before it can be killed {kills} times: give it more --max-steps, or fewer --kills");
    }

    /// The run that is left alone: how long it trained. `None` if it was interrupted.
    fn in_peace(&self) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let (end, trained) = self.live(WHOLE, None, false)?;
        match end {
            End::Exit(Some(0)) => {}
            End::Interrupted => return Ok(None),
            _ => bail!("{}", self.complaint()),
        }
        self.say(&format!("left alone, the run took {}", duration(begun.elapsed())))?;
        Ok(Some(trained))
    }

    /// Run the program until it ends or, if there is an instant, is killed then: so long after its first step, or after its start. How it
    /// ended, and how long it trained.
    fn live(&self, run: &str, instant: Option<Duration>, from_start: bool) -> Result<(End, Duration)> {
        let begun = Instant::now();
        let (mut child, lines) = self.spawn(run)?;
        let mut first: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let since = if from_start { Some(begun) } else { first };
            if let (Some(since), Some(instant)) = (since, instant)
                && now >= since + instant
            {
                child.kill().context("killing the run")?;
                child.wait().context("waiting for the run's end")?;
                let in_training = first.is_some();
                return Ok((End::Killed { in_training }, Duration::ZERO));
            }
            if interrupt::asked() {
                let _ = child.kill();
                let _ = child.wait();
                return Ok((End::Interrupted, Duration::ZERO));
            }
            match lines.recv_timeout(Duration::from_millis(1)) {
                Ok(line) if line.starts_with("step ") && line.contains("  grad_norm ") => {
                    first.get_or_insert_with(Instant::now);
                }
                Ok(line) if line.starts_with("device: ") && run == WHOLE => self.say(&line)?,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let code = child.wait().context("waiting for the run's end")?.code();
        if interrupt::asked() {
            // It was told, too.
            return Ok((End::Interrupted, Duration::ZERO));
        }
        let trained = first.map_or(Duration::ZERO, |first| first.elapsed());
        Ok((End::Exit(code), trained))
    }

    /// Begin a run or go on with it. What it prints comes line by line.
    fn spawn(&self, run: &str) -> Result<(Child, Receiver<String>)> {
        let folder = self.folder.join(run);
        let has_checkpoint = names(&folder).any(|name| step_of(&name).is_some());
        let how = match has_checkpoint {
            true => "--resume",
            false => "--overwrite-output-dir",
        };
        let program = std::env::current_exe().context("the program's own file")?;
        let mut child = Command::new(program)
            .arg("train")
            .arg("--config")
            .arg(self.folder.join(SETTINGS))
            .arg("--output-dir")
            .arg(&folder)
            .arg(how)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.folder.join(COMPLAINTS)).context(COMPLAINTS)?)
            .spawn()
            .context("starting the run")?;
        let out = child.stdout.take().context("the run's standard output")?;
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(std::io::Result::ok);
            for line in lines {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Ok((child, lines))
    }

    /// What the last process said was wrong.
    fn complaint(&self) -> String {
        let said = fs::read_to_string(self.folder.join(COMPLAINTS)).unwrap_or_default();
        let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
        error.unwrap_or_else(|| said.trim()).to_owned()
    }

    /// Compare what the two runs left: every file of tensors, and the log.
    fn compare(&self) -> Result<Outcome> {
        let [whole, killed] = [WHOLE, KILLED].map(|run| self.folder.join(run));
        let last = names(&whole).filter_map(|name| step_of(&name)).max();
        let last = last.context("the run has left no checkpoint")?;
        let mut same = true;
        for part in [format!("checkpoint-{last}"), String::new()] {
            let mut files: Vec<_> = names(&whole.join(&part))
                .filter(|name| name.ends_with(".safetensors"))
                .map(|name| Path::new(&part).join(name))
                .collect();
            files.sort();
            for file in files {
                let [a, b] = [&whole, &killed].map(|run| map(&run.join(&file)));
                same &= self.tell(&file, difference(&a?, b.as_deref().unwrap_or_default())?)?;
            }
        }
        let [a, b] = [whole, killed].map(|run| log(&run.join(METRICS)));
        let (a, b) = (a?, b.unwrap_or_default());
        let differs = a.iter().zip(&b).position(|(a, b)| a != b);
        let differs = differs.or((a.len() != b.len()).then_some(a.len().min(b.len())));
        let words = match differs {
            None => Ok(format!("{} lines, speeds aside", a.len())),
            Some(at) => Err(format!("line {}", at + 1)),
        };
        same &= self.tell(Path::new(METRICS), words)?;
        let (verdict, outcome) = match same {
            true => ("every bit is the same", Outcome::Fine),
            false => ("a resumed run does not end in the same bits here", Outcome::No),
        };
        line(verdict)?;
        Ok(outcome)
    }

    /// Tell whether a file is the same, and how much of it; or where it is not.
    fn tell(&self, file: &Path, compared: std::result::Result<String, String>) -> Result<bool> {
        match &compared {
            Ok(what) => self.say(&format!("same    {} ({what})", file.display()))?,
            Err(place) => line(&format!("DIFFERS {} (at {place})", file.display()))?,
        }
        Ok(compared.is_ok())
    }
}

/// How large two files are that are the same, or the tensor where they begin to differ.
fn difference(a: &[u8], b: &[u8]) -> Result<std::result::Result<String, String>> {
    if a == b {
        return Ok(Ok(bytes(a.len() as u64)));
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64;
    let tensors = safetensors::tensors(&[a], None)?;
    let tensor = tensors.entries.iter().find(|tensor| tensor.range.contains(&at));
    Ok(Err(
        tensor.map_or_else(|| format!("byte {at}"), |tensor| tensor.name.clone())
    ))
}

/// The lines of a log, without what depends on the clock.
fn log(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parse = |line| {
        let mut json: Value = serde_json::from_str(line).with_context(|| path.display().to_string())?;
        if let Some(numbers) = json.as_object_mut() {
            numbers.remove("tokens_per_second");
        }
        Ok(json)
    };
    text.lines().map(parse).collect()
}

/// The names of what is in a folder; none if there is none.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// A number from 0 to 1. What it is matters to nobody.
fn random() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}
