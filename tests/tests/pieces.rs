//! Weight files by pieces: a header from the file's first bytes is the one that the whole file gives, whatever it lacks is asked for,
//! what is wrong is an error; and weights that come in pieces are those that come whole.

use crate::config::{fixture, fixture_text};
use wgpu_sft::formats::peft::LoraPair;
use wgpu_sft::formats::safetensors::{TensorSpec, header_bytes, serialize, tensors};
use wgpu_sft::formats::{Begun, Dtype, FileStart, Gguf, ModelFiles, Tensors};
use wgpu_sft::gpu::Storage;
use wgpu_sft::model::{ModelBuilder, ModelConfig, Use};
use wgpu_sft::random::{Stream, block};
use wgpu_sft_tests::gpu;

const SAFETENSORS: [&str; 2] = ["golden/llama_tied_gqa/model.safetensors", "gguf/types.safetensors"];
const GGUF: [&str; 6] = ["llama", "qwen2", "qwen3", "granite", "spm", "types"];

/// Numbers below `below`, drawn.
fn drawn(lane: u32, below: usize) -> impl Iterator<Item = usize> {
    (0..).flat_map(move |i| block(5, Stream::Init, lane, i).map(|word| word as usize % below))
}

fn start(file: &[u8], cut: usize) -> FileStart<'_> {
    FileStart {
        bytes: &file[..cut],
        file_bytes: file.len() as u64,
    }
}

/// The header as a caller reads it that begins with `first` bytes, and in how many readings.
fn by_pieces(file: &[u8], first: usize) -> wgpu_sft::Result<(Gguf, usize)> {
    let (mut cut, mut readings) = (first, 1);
    let mut gguf = loop {
        match Gguf::begin(start(file, cut))? {
            Begun::Header(gguf) => break gguf,
            Begun::More(more) => {
                let more = more as usize;
                assert!(more > cut && more <= file.len(), "{more} of {} after {cut}", file.len());
                (cut, readings) = (more, readings + 1);
            }
        }
    };
    if let Some(range) = gguf.missing() {
        gguf.complete(&file[range.start as usize..range.end as usize])?;
    }
    Ok((gguf, readings))
}

#[test]
fn a_safetensors_header_needs_no_more_than_its_own_bytes() {
    for name in SAFETENSORS {
        let file = fixture(name);
        let whole = tensors(&[&file], None).unwrap();
        let header = header_bytes(start(&file, 8)).unwrap() as usize;
        assert_eq!(header, 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize);
        for cut in drawn(0, file.len()).take(100).chain([0, 7, 8, header - 1, header]) {
            let got = tensors(&[start(&file, cut)], None);
            match cut < header {
                true => drop(got.expect_err("less than its header")),
                false => assert_eq!(got.unwrap(), whole, "{name}, {cut} bytes"),
            }
            assert_eq!(header_bytes(start(&file, cut)).is_err(), cut < 8);
        }
        // The file is not as long as its header says.
        for file_bytes in [0, header as u64, file.len() as u64 - 1, file.len() as u64 + 1, u64::MAX] {
            let bytes = &file[..header];
            assert!(
                tensors(&[FileStart { bytes, file_bytes }], None).is_err(),
                "{file_bytes}"
            );
        }
    }
}

#[test]
fn a_hostile_length_of_a_header_is_an_error_before_it_is_read() {
    let file_bytes = 1 << 40;
    for (length, fits) in [
        (2, true),
        (100_000_000, true),
        (100_000_001, false),
        (file_bytes, false),
        (u64::MAX - 8, false),
        (u64::MAX, false),
    ] {
        let bytes = length.to_le_bytes();
        let bytes = &bytes[..];
        let start = FileStart { bytes, file_bytes };
        assert_eq!(header_bytes(start).ok(), fits.then_some(8 + length), "{length}");
        assert!(tensors(&[start], None).is_err());
        // A file that ends before the header does.
        let file_bytes = 7 + length.min(1 << 41);
        assert!(header_bytes(FileStart { bytes, file_bytes }).is_err(), "{length}");
    }
}

#[test]
fn a_gguf_header_comes_from_any_first_bytes() {
    let mut completed = 0;
    for name in GGUF {
        let file = fixture(&format!("gguf/{name}.gguf"));
        let whole = Gguf::parse(&file).unwrap();
        for first in (0..300).chain(drawn(1, file.len()).take(200)) {
            let (gguf, readings) = by_pieces(&file, first).unwrap();
            assert_eq!(gguf, whole, "{name} from {first} bytes");
            assert!(readings <= 24, "{name} from {first} bytes in {readings} readings");
        }
        let Begun::Header(mut begun) = Gguf::begin(FileStart::from(&file)).unwrap() else {
            panic!("{name}: the whole file is not enough");
        };
        // Without the bytes that it misses there is no configuration, rather than a wrong one.
        if let Some(range) = begun.missing() {
            assert!(begun.config().is_err());
            begun.complete(&file[range.start as usize..range.end as usize]).unwrap();
            completed += 1;
        }
        assert_eq!(begun.config(), whole.config());
    }
    assert!(completed > 0, "no fixture has rotary factors");
}

#[test]
fn what_is_wrong_with_a_gguf_file_is_wrong_from_any_first_bytes() {
    let file = fixture("gguf/spm.gguf");
    // Truncated: the file ends there, so nothing more can be asked for.
    for end in (0..300).chain(drawn(2, file.len()).take(100)) {
        let cut = &file[..end];
        assert!(Gguf::parse(cut).is_err());
        assert!(by_pieces(cut, end / 2).is_err(), "{end} bytes");
    }
    let places = (0..400).chain(drawn(3, 4000).take(300));
    for (place, byte) in places.zip(drawn(4, 256)) {
        let mut file = file.clone();
        file[place] = byte as u8;
        let (whole, pieces) = (Gguf::parse(&file), by_pieces(&file, 64));
        match whole {
            Ok(whole) => assert_eq!(pieces.unwrap().0, whole, "byte {place} = {byte}"),
            Err(error) => assert_eq!(pieces.unwrap_err(), error, "byte {place} = {byte}"),
        }
    }
    // Counts and lengths that no file has, in a file that is said to be large.
    for count in [u64::MAX, 1 << 62, 1 << 40] {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        let file_bytes = 1 << 36;
        let start = FileStart {
            bytes: &bytes,
            file_bytes,
        };
        assert!(Gguf::begin(start).is_err(), "{count} pairs");
    }
}

/// All tensors of a file, by the pieces of at most `most` bytes that a caller would read.
fn concatenated(file: &[u8], all: &Tensors, most: u64) {
    for entry in &all.entries {
        let whole = entry.decode(file).unwrap();
        let (mut numbers, mut at) = (Vec::new(), entry.range.start);
        let (pieces, row) = (entry.pieces(most), entry.range.end - entry.range.start);
        let row = row / entry.shape[0].max(1) as u64;
        for (i, piece) in pieces.iter().enumerate() {
            assert_eq!(piece.start, at, "{}", entry.name);
            at = piece.end;
            let bytes = &file[piece.start as usize..piece.end as usize];
            if pieces.len() > 1 {
                let rows = (piece.end - piece.start) / row;
                assert!(
                    rows.is_multiple_of(2) || i + 1 == pieces.len(),
                    "{}: {rows} rows",
                    entry.name
                );
                assert!(bytes.len() as u64 <= most.max(2 * row), "{}", entry.name);
                entry.dtype.decode(bytes, &mut numbers).unwrap();
            } else {
                entry
                    .dtype
                    .decode(&entry.arrange(bytes).unwrap(), &mut numbers)
                    .unwrap();
            }
        }
        assert_eq!((at, &numbers), (entry.range.end, &whole), "{}", entry.name);
    }
}

#[test]
fn pieces_of_tensors_make_up_the_whole() {
    for most in [1, 100, 1000, 5000, u64::MAX] {
        for name in GGUF {
            let file = fixture(&format!("gguf/{name}.gguf"));
            concatenated(&file, &Gguf::parse(&file).unwrap().tensors().unwrap(), most);
        }
        let file = fixture(SAFETENSORS[0]);
        concatenated(&file, &tensors(&[&file], None).unwrap(), most);
    }
}

/// A golden model's tensors in another type.
fn stored_as(dtype: Dtype) -> (ModelConfig, Vec<u8>) {
    let config = ModelConfig::from_json(&fixture_text("golden/llama_tied_gqa/config.json")).unwrap();
    let file = fixture(SAFETENSORS[0]);
    let all = tensors(&[&file], None).unwrap();
    let entries = all.for_model(&config).unwrap();
    let converted: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let spec = TensorSpec {
                name: entry.name.clone(),
                dtype,
                shape: entry.shape.clone(),
            };
            (spec, dtype.encode(&entry.decode(&file).unwrap()).unwrap())
        })
        .collect();
    (config, serialize(&converted, None).unwrap())
}

#[test]
fn weights_that_come_in_pieces_are_those_that_come_whole() {
    let gpu = gpu();
    for (dtype, keep) in [
        (Dtype::F32, Use::Trained),
        (Dtype::F32, Use::Frozen(None)),
        (Dtype::Bf16, Use::Frozen(None)),
        (Dtype::F16, Use::Frozen(Some(Storage::Bf16))),
    ] {
        let (config, file) = stored_as(dtype);
        let all = tensors(&[&file], None).unwrap();
        let entries = all.for_model(&config).unwrap();
        let mut whole = ModelBuilder::new(&gpu, &config, keep).unwrap();
        let mut pieces = ModelBuilder::new(&gpu, &config, keep).unwrap();
        for entry in &entries {
            let bytes = entry.read(&file).unwrap();
            assert!(whole.put(&entry.name, dtype, &entry.shape, &bytes).unwrap());
            let mut at = 0;
            for piece in entry.pieces(300) {
                let bytes = &file[piece.start as usize..piece.end as usize];
                assert!(pieces.put_piece(&entry.name, dtype, &entry.shape, at, bytes).unwrap());
                at += bytes.len();
            }
        }
        let whole = pollster::block_on(whole.finish()).unwrap();
        let pieces = pollster::block_on(pieces.finish()).unwrap();
        for entry in entries {
            let [a, b] = [&whole, &pieces].map(|model| pollster::block_on(model.tensor(&entry.name)).unwrap());
            assert_eq!(a, b, "{} in {}, {keep:?}", entry.name, dtype.name());
        }
    }
}

#[test]
fn pieces_that_are_out_of_order_or_missing_are_errors() {
    let (gpu, (config, file)) = (gpu(), stored_as(Dtype::F16));
    let all = tensors(&[&file], None).unwrap();
    let builder = || ModelBuilder::new(&gpu, &config, Use::Frozen(None)).unwrap();
    let says = |result: wgpu_sft::Result<bool>, name: &str, part: &str| {
        let error = result.expect_err(part).to_string();
        assert!(
            error.starts_with(name) && error.contains(part),
            "{error:?}: no {part:?}"
        );
    };
    // Alone in its buffer, and one of three.
    for name in ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight"] {
        let entry = all.get(name).unwrap();
        let (bytes, shape) = (entry.read(&file).unwrap(), &entry.shape);
        let half = bytes.len() / 2;
        let put = |builder: &mut ModelBuilder, start: usize, bytes: &[u8]| {
            builder.put_piece(name, Dtype::F16, shape, start, bytes)
        };
        says(put(&mut builder(), half, &bytes[half..]), name, "follows byte 0");
        says(put(&mut builder(), 0, &bytes[..half + 2]), name, "even blocks");
        says(put(&mut builder(), 4, &bytes), name, "wanted all");
        says(put(&mut builder(), usize::MAX, &bytes), name, "wanted all");
        let mut twice = builder();
        assert!(put(&mut twice, 0, &bytes[..half]).unwrap());
        says(put(&mut twice, 0, &bytes[..half]), name, "comes twice");
        let mut types = builder();
        assert!(put(&mut types, 0, &bytes[..half]).unwrap());
        let other = types.put_piece(name, Dtype::Bf16, shape, half, &bytes[half..]);
        says(other, name, "two types");
        says(builder().put(name, Dtype::F16, shape, &bytes[..half]), name, "wanted");
        let mut short = builder();
        for entry in all.for_model(&config).unwrap() {
            let whole = entry.read(&file).unwrap();
            let end = if entry.name == name { half } else { whole.len() };
            short
                .put_piece(&entry.name, Dtype::F16, &entry.shape, 0, &whole[..end])
                .unwrap();
        }
        let error = pollster::block_on(short.finish())
            .err()
            .expect("a part is missing")
            .to_string();
        assert_eq!(error, format!("{name}: did not come to its end"));
    }
}

#[test]
fn an_adapter_is_added_to_some_rows_as_to_all() {
    let number = |n: usize| n as f32 / 1000.0 - 0.5;
    let pair = LoraPair {
        a: drawn(6, 1000).take(3 * 8).map(number).collect(),
        b: drawn(7, 1000).take(10 * 3).map(number).collect(),
    };
    let weight: Vec<f32> = drawn(8, 1000).take(10 * 8).map(number).collect();
    let (mut whole, mut pieces) = (weight.clone(), weight.clone());
    pair.add_to(&mut whole, 3, 0.75);
    for (i, rows) in pieces.chunks_mut(4 * 8).enumerate() {
        pair.add_to_rows(rows, 4 * i, 3, 0.75);
    }
    assert_eq!(whole, pieces);
    assert_ne!(whole, weight);
}

#[test]
fn the_hash_of_a_model_is_that_of_its_bytes_however_they_come() {
    let file = fixture("gguf/llama.gguf");
    let files = ModelFiles::gguf("llama", &Gguf::parse(&file).unwrap()).unwrap();
    let hash = |piece: usize| {
        let mut hash = files.hash();
        file.chunks(piece).for_each(|bytes| hash.update(bytes));
        hash.finish()
    };
    let whole = hash(file.len());
    assert_ne!(whole, files.hash().finish());
    assert_eq!([1, 1000].map(hash), [&whole[..]; 2]);
}
