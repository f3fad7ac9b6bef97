//! Kernels over numbers that are stored in 16 bits, made from their texts over f32.
//!
//! A shader declares a tensor as an array of `vec4<f32>` or `vec2<f32>` and reads and writes it as such. Where the tensor is
//! stored in 16 bits the plan rewrites the text: four numbers are two words, two are one, decoded where they are read and rounded
//! where they are written.

use super::{Access, Kernel, Storage, bindings};

/// How many numbers are read and written at a time, what such a binding is declared as, and what it becomes.
const VECTORS: [(u32, &str, &str); 2] = [
    (4, "array<vec4<f32>>", "array<vec2<u32>>"),
    (2, "array<vec2<f32>>", "array<u32>"),
];

const BF16: &str = "
fn wide4_bf16(w: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}

// To the nearest, ties to even; a NaN stays one.
fn narrow4_bf16(v: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(v);
    let nearest = (bits + 0x7fffu + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u))) >> vec4<u32>(16u);
    let nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let word = select(nearest, vec4<u32>(0x7fc0u), nan);
    return word.xz | (word.yw << vec2<u32>(16u));
}

fn wide2_bf16(w: u32) -> vec2<f32> {
    return wide4_bf16(vec2<u32>(w, 0u)).xy;
}

fn narrow2_bf16(v: vec2<f32>) -> u32 {
    return narrow4_bf16(vec4<f32>(v, 0.0, 0.0)).x;
}
";

/// `pack2x16float` may round as it likes, and gives anything for what f16 cannot hold.
const F16: &str = "
fn wide4_f16(w: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}

// To the nearest, ties to even; from 65520 up an infinity; a NaN stays one.
fn narrow4_f16(v: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(v);
    let size = bits & vec4<u32>(0x7fffffffu);
    let nearest = (size - 0x38000000u + 0xfffu + ((size >> vec4<u32>(13u)) & vec4<u32>(1u))) >> vec4<u32>(13u);
    // Below 2^-14 in steps of 2^-24, as f32 has them from a half to one.
    let tiny = bitcast<vec4<u32>>(bitcast<vec4<f32>>(size) + 0.5) - 0x3f000000u;
    var word = select(min(nearest, vec4<u32>(0x7c00u)), tiny, size < vec4<u32>(0x38800000u));
    word = select(word, vec4<u32>(0x7e00u), size > vec4<u32>(0x7f800000u));
    word |= (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    return word.xz | (word.yw << vec2<u32>(16u));
}

fn wide2_f16(w: u32) -> vec2<f32> {
    return wide4_f16(vec2<u32>(w, 0u)).xy;
}

fn narrow2_f16(v: vec2<f32>) -> u32 {
    return narrow4_f16(vec4<f32>(v, 0.0, 0.0)).x;
}
";

impl Kernel {
    /// The same kernel over tensors stored like this, given in the order of its storage bindings. Bindings that are declared
    /// as words decode them by themselves.
    ///
    /// # Panics
    /// When a tensor in 16 bits is given for a binding that is declared as single numbers.
    pub fn over(&self, storages: &[Storage]) -> Self {
        let mut kernel = self.clone();
        let declared = bindings(&self.source);
        let tensors = declared.iter().filter(|b| b.access != Access::Uniform);
        for (binding, &storage) in tensors.zip(storages) {
            if storage != Storage::F32 {
                kernel.narrow(&binding.name, storage);
            }
        }
        kernel
    }

    fn narrow(&mut self, name: &str, storage: Storage) {
        let declaration = format!("> {name}: array<");
        let line = self.source.lines().find(|line| line.contains(&declaration));
        let line = line.expect("the binding that was read from this text");
        let vector = VECTORS.iter().find(|(_, floats, _)| line.contains(floats));
        let Some((width, floats, words)) = vector else {
            let decodes = VECTORS.iter().any(|(.., words)| line.contains(words));
            assert!(decodes, "{}: {name} holds single numbers, not {storage:?}", self.label);
            return;
        };
        let (suffix, functions) = match storage {
            Storage::F32 => return,
            Storage::Bf16 => ("bf16", BF16),
            Storage::F16 => ("f16", F16),
        };
        let mut text = String::with_capacity(self.source.len() + 1500);
        for line in self.source.lines() {
            if line.contains(&declaration) {
                text.push_str(&line.replace(floats, words));
            } else {
                let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
                statement(&mut text, code, name, &format!("{width}_{suffix}"));
                text.push_str(comment);
            }
            text.push('\n');
        }
        if !text.contains(functions) {
            text.push_str(functions);
            self.label += &format!(" {suffix}");
        }
        self.source = text.into();
    }
}

/// A line of code with what it reads of and writes to a tensor. Assignments stand on one line.
fn statement(text: &mut String, code: &str, name: &str, suffix: &str) {
    let Some((at, end)) = element(code, name) else {
        text.push_str(code);
        return;
    };
    let (before, place, after) = (&code[..at], &code[at..end], &code[end..]);
    let assigned = [" = ", " += "]
        .into_iter()
        .find_map(|sign| Some((sign, after.strip_prefix(sign)?)));
    text.push_str(before);
    let Some((sign, rest)) = assigned else {
        text.push_str(&format!("wide{suffix}({place})"));
        return statement(text, after, name, suffix);
    };
    let (value, rest) = rest.split_once(';').expect("an assignment on one line");
    text.push_str(&format!("{place} = narrow{suffix}("));
    if sign == " += " {
        text.push_str(&format!("wide{suffix}({place}) + "));
    }
    statement(text, value, name, suffix);
    text.push_str(");");
    statement(text, rest, name, suffix);
}

/// Where the first `name[…]` begins and ends.
fn element(code: &str, name: &str) -> Option<(usize, usize)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let opening = format!("{name}[");
    let (at, _) = code
        .match_indices(&opening)
        .find(|(at, _)| !code[..*at].ends_with(part))?;
    let mut depth = 0;
    for (i, c) in code[at..].char_indices() {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        if c == ']' && depth == 0 {
            return Some((at, at + i + 1));
        }
    }
    None
}
