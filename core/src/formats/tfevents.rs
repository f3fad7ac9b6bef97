//! TensorBoard's event files: records of TensorFlow's `Event` messages (`event.proto`, `summary.proto`), as many as are wanted.

/// The first record of a file, without which TensorBoard takes it for one of a version before.
pub fn file_version(wall_time: f64) -> Vec<u8> {
    record(&[&event(wall_time, 0)[..], &text(3, "brain.Event:2")].concat())
}

/// Says that a run goes on with `step`: what earlier files say of this step and later ones is forgotten (`SessionLog.START`).
pub fn start(wall_time: f64, step: u64) -> Vec<u8> {
    record(&[&event(wall_time, step)[..], &bytes(7, &number(1, 1))].concat())
}

/// Numbers after `step` steps, each with its tag. They are stored in single precision.
pub fn scalars<'a>(wall_time: f64, step: u64, numbers: impl IntoIterator<Item = (&'a str, f64)>) -> Vec<u8> {
    let value = |(tag, value): (&str, f64)| {
        let simple = [&[2 << 3 | 5][..], &(value as f32).to_le_bytes()].concat();
        bytes(1, &[text(1, tag), simple].concat())
    };
    let values: Vec<Vec<u8>> = numbers.into_iter().map(value).collect();
    record(&[event(wall_time, step), bytes(5, &values.concat())].concat())
}

/// The tag that transformers' `Trainer` gives a number of its log: `train/loss`, `eval/loss`.
pub fn tag(key: &str) -> String {
    match key.strip_prefix("eval_") {
        Some(rest) => format!("eval/{rest}"),
        None => format!("train/{key}"),
    }
}

/// `wall_time`, in seconds since 1970, and `step`, which is left out where it is 0.
fn event(wall_time: f64, step: u64) -> Vec<u8> {
    let step = if step == 0 { Vec::new() } else { number(2, step) };
    [&[1 << 3 | 1][..], &wall_time.to_le_bytes(), &step].concat()
}

/// A field that is a whole number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

/// A field that is text.
fn text(field: u8, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// A field that is bytes, or a message.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

/// Seven bits a byte, the lowest first, the eighth set where more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A TFRecord: the length and its checksum, the data and theirs.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// CRC-32C (Castagnoli), turned and moved so that a checksum of data with checksums in it is none.
fn masked(data: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
