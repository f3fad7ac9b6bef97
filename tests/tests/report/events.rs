//! TensorBoard's event files, against what TensorBoard wrote and read, and by a reading of their own.

use std::collections::BTreeMap;

use serde_json::Value;
use wgpu_sft::formats::tfevents;

use wgpu_sft_tests::{bytes, json};

/// Remainder of a polynomial over bits, the highest first: CRC-32C as its definition has it.
fn crc32c(data: &[u8]) -> u32 {
    const POLYNOMIAL: u64 = 0x1_1edc_6f41;
    let mut remainder = 0u64;
    let ones = [0xff; 4];
    // The first 32 bits are inverted, and 32 zeros follow.
    let padded = data.iter().chain(&[0; 4]).enumerate();
    for (i, byte) in padded {
        let byte = byte ^ ones.get(i).copied().unwrap_or(0);
        for bit in 0..8 {
            remainder = remainder << 1 | u64::from(byte >> bit & 1);
            if remainder >> 32 == 1 {
                remainder ^= POLYNOMIAL;
            }
        }
    }
    !(remainder as u32).reverse_bits()
}

fn unmasked(crc: &[u8]) -> u32 {
    let masked = u32::from_le_bytes(crc.try_into().unwrap()).wrapping_sub(0xa282_ead8);
    masked.rotate_right(17)
}

/// A field of a message: its number, and a whole number or bytes.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = data.split_first().expect("a whole number");
            *data = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (taken, rest) = data.split_at(n);
        *data = rest;
        taken
    }
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut data)),
            1 => Field::Bytes(take(&mut data, 8)),
            2 => {
                let length = varint(&mut data) as usize;
                Field::Bytes(take(&mut data, length))
            }
            5 => Field::Bytes(take(&mut data, 4)),
            kind => panic!("a field of kind {kind}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// One event.
#[derive(Debug, Default, PartialEq)]
pub struct Event {
    pub wall_time: f64,
    pub step: u64,
    pub version: Option<String>,
    pub starts: bool,
    pub numbers: Vec<(String, f32)>,
}

/// The events of a file; every checksum must be right.
pub fn read(mut file: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(unmasked(&file[8..12]), crc32c(&file[..8]), "the length's checksum");
        let data = &file[12..12 + length];
        assert_eq!(
            unmasked(&file[12 + length..16 + length]),
            crc32c(data),
            "the data's checksum"
        );
        file = &file[16 + length..];
        let mut event = Event::default();
        for field in fields(data) {
            match field {
                (1, Field::Bytes(time)) => event.wall_time = f64::from_le_bytes(time.try_into().unwrap()),
                (2, Field::Number(step)) => event.step = step,
                (3, Field::Bytes(version)) => event.version = Some(String::from_utf8(version.to_vec()).unwrap()),
                (5, Field::Bytes(summary)) => event.numbers = fields(summary).into_iter().map(number).collect(),
                (7, Field::Bytes(log)) => event.starts = matches!(fields(log)[..], [(1, Field::Number(1))]),
                (field, _) => panic!("a field {field}"),
            }
        }
        events.push(event);
    }
    events
}

fn number((field, value): (u64, Field)) -> (String, f32) {
    let Field::Bytes(value) = value else {
        panic!("no message")
    };
    assert_eq!(field, 1);
    match fields(value)[..] {
        [(1, Field::Bytes(tag)), (2, Field::Bytes(value))] => (
            String::from_utf8(tag.to_vec()).unwrap(),
            f32::from_le_bytes(value.try_into().unwrap()),
        ),
        _ => panic!("another value"),
    }
}

/// What TensorBoard makes of files, in the order of their names: numbers by tag, what a later start says anew forgotten.
pub fn scalars(files: &[Vec<u8>]) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut tags: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for event in files.iter().flat_map(|file| read(file)) {
        if event.starts {
            tags.values_mut()
                .for_each(|points| points.retain(|point| point.0 < event.step));
        }
        for (tag, value) in event.numbers {
            tags.entry(tag).or_default().push((event.step, value));
        }
    }
    tags
}

fn ours() -> Vec<u8> {
    let time = |seconds: f64| 1_700_000_000.25 + seconds;
    let long = "train/a_tag_that_is_longer_than_a_hundred_and_twenty_seven_bytes_so_that_its_length_takes_two_bytes_to_write_as_a_number_of_seven_bits_a_byte";
    let log = |seconds, step, loss, rate| {
        tfevents::scalars(
            time(seconds),
            step,
            [("train/loss", loss), ("train/learning_rate", rate)],
        )
    };
    [
        tfevents::file_version(time(0.0)),
        log(1.0, 1, 3.5, 2e-4),
        log(2.0, 2, 2.25, 1e-4),
        tfevents::scalars(time(3.0), 2, [("eval/loss", 2.75)]),
        log(4.0, 300, 1.125, 0.0),
        tfevents::start(time(5.0), 2),
        log(6.0, 2, -1e-30, 1e-4),
        tfevents::scalars(time(7.0), 70_000, [("train/loss", 123_456.789), (long, 1.0)]),
    ]
    .concat()
}

#[test]
fn the_bytes_are_those_that_tensorboard_writes() {
    assert_eq!(ours(), bytes("tfevents/events.bin"));
}

#[test]
fn the_numbers_are_those_that_tensorboard_reads() {
    let ours = scalars(&[ours()]);
    let want = json("tfevents/reading.json");
    let want = want.as_object().unwrap();
    assert!(want.len() > 3 && ours.len() == want.len());
    for (tag, points) in want {
        let point = |point: &Value| (point[1].as_u64().unwrap(), point[2].as_f64().unwrap() as f32);
        let points: Vec<_> = points.as_array().unwrap().iter().map(point).collect();
        assert_eq!(ours[tag], points, "{tag}");
    }
    let events = read(&self::ours());
    assert_eq!(events[0].version.as_deref(), Some("brain.Event:2"));
    assert_eq!(events[1].wall_time, want["train/loss"][0][0].as_f64().unwrap());
}

/// The value that RFC 3720 and others give for CRC-32C.
#[test]
fn the_checksum_of_the_reading_is_right() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn tags_are_those_of_transformers() {
    let tags = [
        "loss",
        "grad_norm",
        "learning_rate",
        "epoch",
        "eval_loss",
        "eval_suite_x",
    ]
    .map(tfevents::tag);
    let want = [
        "train/loss",
        "train/grad_norm",
        "train/learning_rate",
        "train/epoch",
        "eval/loss",
        "eval/suite_x",
    ];
    assert_eq!(tags, want);
}
