//! What each parser is made to do.

use std::io::{Seek, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use serde_json::json;
use wgpu_sft::data::{
    ChatTemplate, Columns, Conversation, Message, Overlong, Place, Preparation, Reading, RenderOptions, RowSettings,
    Source, Tokenizer, TokenizerConfig, TrainOn,
};
use wgpu_sft::eval::{Item, SuiteFile};
use wgpu_sft::formats::safetensors::{self, Index};
use wgpu_sft::formats::{Begun, Dtype, FileStart, Gguf, ModelFiles, TensorEntry, hf, peft};
use wgpu_sft::gpu::{Family, Storage};
use wgpu_sft::model::{ModelConfig, Use};
use wgpu_sft::report::{Log, Report, Run, samples};
use wgpu_sft::train::checkpoint::{State, tensors};
use wgpu_sft::train::{Settings, journal, memory};

use super::{Outcome, Parser};

/// Most bytes for a value of JSON: `0,` is two bytes of text and 72 of memory, in a list that doubles as it grows.
const JSON: usize = 120;

/// Every parser.
pub static PARSERS: [Parser; 15] = [
    of("adapter", adapter, (JSON, 16 << 20)),
    of("checkpoint", checkpoint, (2 * JSON, 1 << 20)),
    of("columns", columns, (4 * JSON, 4 << 20)),
    of("config", config, (JSON, 16 << 20)),
    of("gguf", gguf, (2 * JSON, 32 << 20)),
    of("index", index, (2 * JSON, 1 << 20)),
    of("parquet", parquet, (64, 64 << 20)),
    of("report", report, (2 * JSON, 4 << 20)),
    of("rows", rows, (4 * JSON, 16 << 20)),
    of("safetensors", weights, (JSON, 1 << 20)),
    of("settings", settings, (2 * JSON, 4 << 20)),
    of("suite", suite, (2 * JSON, 32 << 20)),
    of("template", template, (JSON, 256 << 20)),
    of("tokenizer", tokenizer, (2 * JSON, 16 << 20)),
    of("tokenizer_config", tokenizer_config, (JSON, 16 << 20)),
];

const fn of(name: &'static str, parse: fn(&[u8]) -> Outcome, memory: (usize, usize)) -> Parser {
    Parser { name, parse, memory }
}

/// Why something was refused.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(words)
}

/// The parts of bytes that NUL keeps apart, as several files in one.
fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut all = bytes.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// The fixtures' smallest model.
fn model() -> &'static ModelConfig {
    static MODEL: OnceLock<ModelConfig> = OnceLock::new();
    let text = include_str!("../../tests/fixtures/golden/llama_tied_gqa/config.json");
    MODEL.get_or_init(|| ModelConfig::from_json(text).expect("a fixture"))
}

/// Its tokenizer and its chat template.
fn chat() -> &'static (Tokenizer, ChatTemplate) {
    static CHAT: OnceLock<(Tokenizer, ChatTemplate)> = OnceLock::new();
    CHAT.get_or_init(|| {
        let config = include_bytes!("../../tests/fixtures/golden/llama_tied_gqa/tokenizer_config.json");
        let config = TokenizerConfig::from_json(config).expect("a fixture");
        let source = config.chat_template.clone().expect("a template");
        let template = ChatTemplate::new(&source, &config, None).expect("a fixture");
        let tokenizer = include_bytes!("../../tests/fixtures/golden/llama_tied_gqa/tokenizer.json");
        (Tokenizer::from_json(tokenizer, config).expect("a fixture"), template)
    })
}

/// What rows are tokenised with.
fn preparation() -> Preparation<'static> {
    let (tokenizer, template) = chat();
    Preparation {
        tokenizer: Some(tokenizer),
        template: Some(template),
        vocab_size: model().vocab_size,
        max_length: 256,
        ..Preparation::default()
    }
}

/// Makes what is made once, so that no parser is charged for it.
pub fn warm_up() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        model();
        let (tokenizer, template) = chat();
        conversation()
            .example(template, tokenizer, TrainOn::All)
            .expect("a fixture");
        let _ = conversation().spans(template, TrainOn::Last);
        // Tables that the libraries build when they are first needed.
        for parser in &PARSERS {
            let _ = (parser.parse)(b"");
        }
    });
}

fn conversation() -> Conversation {
    let said = [
        ("system", "Be brief."),
        ("user", "1 < 2?\n"),
        ("assistant", " Yes, \u{e9}."),
        ("user", "So?"),
        ("assistant", "So."),
    ];
    Conversation {
        messages: said.map(|(role, text)| Message::new(role, text)).to_vec(),
        ..Default::default()
    }
}

/// Reads tensors as a model's loader does, and looks whether pieces cover them.
fn read(entries: &[TensorEntry], file: &[u8]) -> Outcome {
    for entry in entries {
        let stored = entry.read(file).map_err(words)?;
        assert_eq!(
            stored.len() as u64,
            entry.range.end - entry.range.start,
            "{}",
            entry.name
        );
        assert_eq!(
            entry.decode(file).map_err(words)?.len(),
            entry.elements(),
            "{}",
            entry.name
        );
        let mut at = entry.range.start;
        for piece in entry.pieces(stored.len() as u64 / 16) {
            assert_eq!(piece.start, at, "{}: a hole between pieces", entry.name);
            at = piece.end;
        }
        assert_eq!(at, entry.range.end, "{}: pieces end early", entry.name);
    }
    Ok(())
}

fn weights(bytes: &[u8]) -> Outcome {
    let whole = safetensors::tensors(&[bytes], None);
    // A browser has the header alone.
    let start = FileStart::from(bytes);
    if let Ok(header) = safetensors::header_bytes(start) {
        let header = FileStart {
            bytes: &bytes[..header as usize],
            ..start
        };
        let header = safetensors::tensors(&[header], None);
        // Of two tensors that lie in one place, either may be blamed.
        assert!(
            header == whole || header.is_err() && whole.is_err(),
            "the header says something else"
        );
    }
    let tensors = whole.map_err(words)?;
    read(&tensors.entries, bytes)?;
    tensors.for_model(model()).map(drop).map_err(words)
}

fn index(bytes: &[u8]) -> Outcome {
    let index = Index::parse(text(bytes)?).map_err(words)?;
    assert!(
        index
            .shards
            .iter()
            .all(|name| !name.contains(['/', '\\', '\0']) && !name.starts_with('.'))
    );
    assert!(index.weight_map.values().all(|shard| *shard < index.shards.len()));
    let empty = safetensors::serialize(&[], None).map_err(words)?;
    let files: Vec<&[u8]> = index.shards.iter().map(|_| &empty[..]).collect();
    safetensors::tensors(&files, Some(&index)).map(drop).map_err(words)
}

fn gguf(bytes: &[u8]) -> Outcome {
    let whole = Gguf::parse(bytes);
    // By pieces: as many first bytes as it asks for.
    let (mut have, start) = (bytes.len().min(16), FileStart::from(bytes));
    let by_pieces = loop {
        let some = FileStart {
            bytes: &bytes[..have],
            ..start
        };
        match Gguf::begin(some) {
            Ok(Begun::More(more)) if have == bytes.len() => {
                assert!(more <= start.file_bytes);
                break None;
            }
            Ok(Begun::More(more)) => {
                assert!(
                    more > have as u64 && more <= start.file_bytes,
                    "it asks for what it has"
                );
                have = more as usize;
            }
            Ok(Begun::Header(mut gguf)) => {
                let rest = gguf
                    .missing()
                    .map(|range| &bytes[range.start as usize..range.end as usize]);
                break Some(rest.map_or(Ok(()), |rest| gguf.complete(rest)).map(|()| gguf));
            }
            Err(error) => break Some(Err(error)),
        }
    };
    match (&whole, by_pieces) {
        (Ok(whole), Some(Ok(pieces))) => assert!(*whole == pieces || format!("{whole:?}").contains("NaN")),
        (Err(_), None | Some(Err(_))) => {}
        (whole, pieces) => panic!("whole: {whole:?}; by pieces: {pieces:?}"),
    }
    let gguf = whole.map_err(words)?;
    let (config, tensors) = (gguf.config().map_err(words)?, gguf.tensors().map_err(words)?);
    read(&tensors.entries, bytes)?;
    let model = ModelFiles::gguf("a.gguf", &gguf).map_err(words)?;
    if let Some(tokenizer) = &model.tokenizer {
        encode(tokenizer)?;
    }
    model.terminators().map_err(words)?;
    tensors.for_model(&config).map(drop).map_err(words)
}

/// Goes through a file of rows; bad ones are refused one by one.
fn walk(bytes: &[u8], name: &str, reading: &Reading) -> Outcome {
    let with = Preparation {
        overlong: Overlong::Truncate,
        ..preparation()
    };
    let (mut first, mut last) = (None, 0);
    let source = Source::new(bytes, name).map_err(words)?;
    let done = source.for_each(reading, |place, row| {
        assert!(place.number() >= last, "{place} comes after {last}");
        last = place.number();
        let row = row.and_then(|row| with.prepare(place, row).map(drop));
        if let Err(error) = row {
            let error = error.to_string();
            first.get_or_insert(error);
        }
        Ok(())
    });
    let texts = Source::new(bytes, name).map_err(words)?;
    let texts = texts.for_each_text(reading, |_, _| Ok(()));
    assert_eq!(done.is_ok(), texts.is_ok(), "rows and their texts");
    done.map_err(words)?;
    first.map_or(Ok(()), Err)
}

fn rows(bytes: &[u8]) -> Outcome {
    let outcomes = ["", "rows.csv", "rows.json"].map(|name| walk(bytes, name, &Reading::default()));
    let [outcome, ..] = outcomes;
    outcome
}

fn columns(bytes: &[u8]) -> Outcome {
    let [mapping, rows] = parts(bytes);
    let reading = Reading {
        columns: Columns::from_str(text(mapping)?).map_err(words)?,
        shape: None,
    };
    walk(rows, "", &reading)
}

fn parquet(bytes: &[u8]) -> Outcome {
    let mut file = tempfile::tempfile().map_err(words)?;
    file.write_all(bytes).map_err(words)?;
    file.rewind().map_err(words)?;
    let mut first = None;
    let reading = Reading::default();
    let done = super::parquet_rows::for_each_row(file, &reading, |_, row| {
        if let Err(error) = row {
            first.get_or_insert(error.to_string());
        }
        Ok(())
    });
    done.map_err(|e| format!("{e:#}"))?;
    first.map_or(Ok(()), Err)
}

/// Texts to and fro.
fn encode(tokenizer: &Tokenizer) -> Outcome {
    for text in [
        "",
        " ",
        "a",
        "Hello  world\n\n 123's \u{e9}e\u{301} \u{4e2d}\u{6587} \u{1f600}<s></s><|im_end|>",
        &"ab ".repeat(50),
    ] {
        for add_special in [false, true] {
            let ids = tokenizer.encode(text, add_special).map_err(words)?;
            tokenizer.decode(&ids, add_special).map_err(words)?;
            let mut stream = tokenizer.stream(add_special);
            for id in ids {
                stream.push(id).map_err(words)?;
            }
            stream.finish().map_err(words)?;
        }
        tokenizer.encode_continuation(text).map_err(words)?;
    }
    let ids: Vec<u32> = (0..tokenizer.vocab_size().min(300) as u32).collect();
    tokenizer.decode(&ids, false).map_err(words)?;
    tokenizer.decode(&[u32::MAX], true).map(drop).map_err(words)
}

fn tokenizer(bytes: &[u8]) -> Outcome {
    let tokenizer = Tokenizer::from_json(bytes, TokenizerConfig::default()).map_err(words)?;
    encode(&tokenizer)?;
    let (_, template) = chat();
    conversation()
        .example(template, &tokenizer, TrainOn::All)
        .map(drop)
        .map_err(words)
}

fn tokenizer_config(bytes: &[u8]) -> Outcome {
    let config = TokenizerConfig::from_json(bytes).map_err(words)?;
    let source = config.chat_template.clone().unwrap_or_default();
    render(&ChatTemplate::new(&source, &config, None).map_err(words)?)
}

fn render(template: &ChatTemplate) -> Outcome {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"x": 1.5}}}]);
    let kwargs = json!({"enable_thinking": true});
    let options = RenderOptions {
        add_generation_prompt: true,
        tools: Some(&tools),
        kwargs: kwargs.as_object(),
    };
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    template.render(messages, &options).map(drop).map_err(words)
}

fn template(bytes: &[u8]) -> Outcome {
    let (tokenizer, _) = chat();
    let template = ChatTemplate::new(text(bytes)?, tokenizer.config(), Some(1_700_000_000)).map_err(words)?;
    render(&template)?;
    for train_on in [TrainOn::All, TrainOn::Last, TrainOn::Assistant] {
        let (text, spans) = conversation().spans(&template, train_on).map_err(words)?;
        assert!(
            spans.iter().all(|span| text.get(span.clone()).is_some()),
            "{spans:?} of {text:?}"
        );
    }
    conversation()
        .example(&template, tokenizer, TrainOn::Assistant)
        .map(drop)
        .map_err(words)?;
    wgpu_sft::data::terminators(tokenizer, Some(&template), &[])
        .map(drop)
        .map_err(words)
}

fn config(bytes: &[u8]) -> Outcome {
    let text = text(bytes)?;
    let config = ModelConfig::from_json(text).map_err(words)?;
    let saved = hf::config_json(None, &config, Dtype::F32).map_err(words)?;
    assert_eq!(
        ModelConfig::from_json(&saved).as_ref(),
        Ok(&config),
        "saved and read again"
    );
    hf::config_json(Some(text), &config, Dtype::Bf16).map_err(words)?;
    let _ = hf::generation_config_json(Some(text), &config, &[1]);
    assert!(
        config
            .rope
            .inverse_frequencies(config.head_dim)
            .iter()
            .all(|angle| !angle.is_nan())
    );
    let limits = (128 << 20, Family::Tiled);
    for (keep, capacity) in [(Use::Trained, 1), (Use::Frozen(None), 1 << 16)] {
        let plan = memory::plan(&config, keep, [Storage::F32; 2], None, (capacity, true), limits);
        assert!(plan.map_err(words)?.total() > 0);
    }
    Ok(())
}

fn adapter(bytes: &[u8]) -> Outcome {
    let [text, file] = parts(bytes);
    let config = peft::AdapterConfig::from_json(self::text(text)?).map_err(words)?;
    let again = peft::AdapterConfig::from_json(&config.to_json()).map_err(words)?;
    assert_eq!(
        again.scale().to_bits(),
        config.scale().to_bits(),
        "saved and read again"
    );
    config.modules(model()).map_err(words)?;
    let pairs = peft::read(file, &config, model()).map_err(words)?;
    peft::write(&pairs, &config, model()).map(drop).map_err(words)
}

fn checkpoint(bytes: &[u8]) -> Outcome {
    let state = State::from_json(bytes).map_err(words)?;
    let again = State::from_json(state.to_json().map_err(words)?.as_bytes()).map_err(words)?;
    assert_eq!(again, state, "saved and read again");
    state.check(&again.identity).map_err(words)?;
    assert!(
        state
            .files
            .keys()
            .all(|name| !name.contains(['/', '\\']) && name != ".."),
        "{:?}",
        state.files
    );
    let _ = state.check_file("optimizer.safetensors", bytes);
    tensors(&state.identity.config, model()).map(drop).map_err(words)
}

fn settings(bytes: &[u8]) -> Outcome {
    let settings = Settings::from_toml(text(bytes)?).map_err(words)?;
    let config = settings.train_config().map_err(words)?;
    let saved = settings.to_toml().map_err(words)?;
    let again = Settings::from_toml(&saved).map_err(words)?;
    assert_eq!(again.train_config().as_ref(), Ok(&config), "saved and read again");
    settings.filled().map_err(words)?;
    let rows: RowSettings = settings.rows();
    rows.reading().map_err(words)?;
    rows.preparation(512, Preparation::default()).map_err(words)?;
    settings.mix().map_err(words)?;
    let (mut order, total) = config.order(5).map_err(words)?;
    assert!(total > 0);
    // What memory holds a step of is found out when there is a device.
    if config.examples_per_step() < 1 << 16 {
        order.step(0);
        order.step(total - 1);
    }
    Ok(())
}

fn suite(bytes: &[u8]) -> Outcome {
    let [toml, rows] = parts(bytes);
    let file = SuiteFile::from_toml(text(toml)?).map_err(words)?;
    let with = preparation();
    let mut first = None;
    for suite in &file.suite {
        for (line, row) in rows.split(|byte| *byte == b'\n').enumerate().take(64) {
            let item = Item::from_text(Place::line(line + 1), row, &Reading::default(), suite);
            let asked = item.and_then(|item| {
                item.prompt_text();
                item.prompt(&with)?;
                item.choice_ids(&with)
            });
            if let Err(error) = asked {
                let error = error.to_string();
                assert!(error.contains("line ") || error.contains("columns"), "{error}");
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

fn report(bytes: &[u8]) -> Outcome {
    let [run, log, answers] = parts(bytes);
    let (log, answers) = (text(log)?, text(answers)?);
    let report = Report {
        run: Run::from_json(text(run)?).map_err(words)?,
        log: Log::parse(log).map_err(words)?,
        samples: samples(answers).map_err(words)?,
        comparison: None,
    };
    assert!(journal::cut_back(log, u64::MAX, true).len() <= log.len());
    report.run.to_json().map_err(words)?;
    let page = report.to_html() + &report.curves();
    assert!(!page.contains("<script") && !page.contains("NaN\""), "an unsafe page");
    Ok(())
}
