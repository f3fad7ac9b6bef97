//! The text of a product's kernel, from the template and what its form asks for.

use super::{Form, Layout, Output, Tile, blocked, cooperative, tiled};
use crate::gpu::{Kernel, Storage};
use std::fmt::Write;

/// Steps of a second product.
const LOW_K: &str = "p.low_k";

/// A contraction as the text of a kernel reads it.
pub(super) struct Contraction {
    /// Which operand is transposed.
    pub layout: Layout,
    /// Rows of the result.
    pub m: &'static str,
    /// Steps of the contraction.
    pub k: &'static str,
    /// What loads four numbers of A and of B.
    pub load: [&'static str; 2],
    /// What is added to a row's number times its stride, for A and for B.
    pub base: [&'static str; 2],
    /// Whether four columns of the result are two gates and their two ups.
    paired: bool,
    /// Whether B is for the columns of `part` alone.
    pub by_parts: bool,
}

impl Contraction {
    fn new(form: &Form) -> Self {
        let tn = form.layout == Layout::Tn;
        let (m, k, base) = match (tn, form.parts) {
            (false, false) => ("rows", "p.k", ["p.lda + p.a_offset", "p.ldb + p.b_offset"]),
            (true, false) => ("p.m", "rows", ["p.lda + p.a_offset", "p.ldb + p.b_offset"]),
            (false, true) => ("rows", "part_k", ["p.lda + part_a", "p.ldb + part_b"]),
            (true, true) => ("part_m", "rows", ["p.lda + part_a", "p.ldb + part_b"]),
        };
        Self {
            layout: form.layout,
            m,
            k,
            load: ["load_a", "load_b"],
            base,
            paired: form.paired,
            by_parts: false,
        }
    }

    /// The second product of this one.
    fn low(&self) -> Self {
        let by_parts = self.layout == Layout::Nt;
        Self {
            k: LOW_K,
            load: ["load_low_a", "load_low_b"],
            base: [
                if by_parts {
                    "p.low_lda + p.low_a_offset + part_j * p.low_k"
                } else {
                    "p.low_lda + p.low_a_offset"
                },
                "p.low_ldb + p.low_b_offset",
            ],
            by_parts,
            ..*self
        }
    }

    /// Whether it is a second product.
    pub fn is_low(&self) -> bool {
        self.k == LOW_K
    }

    fn column(&self, n: &str) -> String {
        if self.paired { format!("column({n})") } else { n.into() }
    }

    /// [`Layout::Nt`]: the row of B for column `n` of the result.
    pub fn b_row(&self, n: &str) -> String {
        let column = self.column(&format!("min({n}, p.n - 1u)"));
        if self.by_parts {
            format!("(clamp({column}, part.x, part.x + part.y - 1u) - part.x + part.z)")
        } else {
            column
        }
    }

    /// Where B is not for all columns: whether it is for column `n`.
    pub fn b_covers(&self, n: &str) -> Option<String> {
        self.by_parts
            .then(|| format!("{} - part.x < part.y", self.column(&format!("min({n}, p.n - 1u)"))))
    }

    /// The contraction, made by `emit`, then the second one where there is one. `range` is the first column of the workgroup and
    /// how many it has.
    pub fn with_low(&self, low: bool, range: [&str; 2], emit: impl Fn(&Self) -> String) -> String {
        let mut s = format!("{{\n{}}}\n", emit(self));
        let [first, len] = range;
        match (low, self.layout) {
            (false, _) => {}
            (true, Layout::Nt) => {
                s += "for (var part_j = 0u; part_j < p.parts; part_j++) {\nlet part = part_of(part_j);\n";
                if !self.paired {
                    let _ = writeln!(
                        s,
                        "if part.y == 0u || {first} >= part.x + part.y || {first} + {len} <= part.x {{ continue; }}"
                    );
                }
                let _ = writeln!(s, "{}}}", emit(&self.low()));
            }
            (true, _) => {
                let _ = writeln!(s, "{{\n{}}}", emit(&self.low()));
            }
        }
        s
    }
}

/// The kernel of a form.
pub fn kernel(form: &Form) -> Kernel {
    let Form {
        layout,
        storage,
        output,
        wide: [a_wide, b_wide, c_wide],
        tile,
        ..
    } = *form;
    let contraction = Contraction::new(form);
    // Functions outside `main` know a part's extent by a variable of their own.
    let extent = |name| {
        if form.parts && name != "rows" {
            "part_extent"
        } else {
            name
        }
    };
    let (m, k) = (extent(contraction.m), extent(contraction.k));
    let a_extent = if layout == Layout::Tn { m } else { k };
    let b_extent = if layout == Layout::Nt { k } else { "p.n" };
    let enable = match tile {
        Tile::Cooperative { .. } => cooperative::ENABLE,
        _ => "",
    };
    let mut text = format!("{enable}{}", wgpu_sft_shaders::MATMUL);
    text.push_str(&match tile {
        Tile::Tiled {
            across,
            down,
            rows,
            vectors,
            depth,
        } => tiled::main(
            &contraction,
            output == Output::Slices,
            form.low.is_some(),
            [across, down],
            [rows, vectors],
            depth,
        ),
        Tile::Cooperative { size, lanes } => cooperative::main(&contraction, output == Output::Slices, size, lanes),
        Tile::Blocked {
            lanes,
            rows,
            vectors,
            broadcast,
        } => blocked::main(&contraction, form.low.is_some(), lanes, rows, vectors, broadcast),
    });
    let mut set = |name: &str, value: &str| text = text.replace(&format!("${name}$"), value);
    set("M", m);
    set("A_WORD", word(Storage::F32, a_wide));
    set("B_WORD", word(storage, b_wide));
    set("C_WORD", c_word(output, c_wide));
    set("C_OFFSET", if form.parts { "part_c" } else { "p.c_offset" });
    set("LOAD_A", &load("a", Storage::F32, a_wide, a_extent));
    set("LOAD_B", &load("b", storage, b_wide, b_extent));
    set("EXTRA_BINDINGS", &(extras(output, c_wide) + &helpers(form)));
    set("STORE", &store(output, c_wide));
    set("PART", &part(form));
    Kernel {
        label: format!(
            "matmul {layout:?} {storage:?} {output:?}{}{} {tile}",
            if form.low.is_some() { " low" } else { "" },
            if form.parts { " parts" } else { "" }
        )
        .to_lowercase(),
        source: text.into(),
        constants: vec![],
    }
}

/// What a vector of four numbers is read as, or one number.
fn word(storage: Storage, wide: bool) -> &'static str {
    match (storage, wide) {
        (Storage::F32, true) => "vec4<f32>",
        (Storage::F32, false) => "f32",
        (_, true) => "vec2<u32>",
        (_, false) => "u32",
    }
}

/// How C is written. Slices have whole vectors in each row, gates and ups two side by side.
fn c_word(output: Output, wide: bool) -> &'static str {
    match output {
        Output::Slices => "vec4<f32>",
        Output::Swiglu => "vec2<f32>",
        _ => word(Storage::F32, wide),
    }
}

/// Bindings and functions of the forms that have them.
fn helpers(form: &Form) -> String {
    let mut s = String::new();
    if let Some(wide) = form.low {
        let names = ["low_a", "low_b"];
        let first = 5 + extra_names(form.output).len();
        for (i, name) in names.into_iter().enumerate() {
            let extent = if i == 1 && form.layout == Layout::Nn {
                "p.n"
            } else {
                "p.low_k"
            };
            let _ = writeln!(
                s,
                "@group(0) @binding({}) var<storage, read> {name}: array<{}>;\n\
                 fn load_{name}(base: u32, inner: u32) -> vec4<f32> {{\n    {}\n}}",
                first + i,
                word(Storage::F32, wide[i]),
                load(name, Storage::F32, wide[i], extent)
            );
        }
    }
    if form.parts || (form.low.is_some() && form.layout == Layout::Nt) {
        s += "// First output, outputs and first row of a part.\nfn part_of(j: u32) -> vec3<u32> {\n    \
              let later = select(vec3<u32>(p.first2, p.len2, p.start2), vec3<u32>(p.first1, p.len1, p.start1), j == 1u);\n    \
              return select(later, vec3<u32>(p.first0, p.len0, p.start0), j == 0u);\n}\n";
    }
    if form.parts {
        s += "var<private> part_extent: u32;\nvar<private> part_c: u32;\n";
    }
    if form.paired {
        s += "// Gate or up that column `n` of the result is: two gates, their two ups, and so on.\n\
              fn column(n: u32) -> u32 {\n    return n / 4u * 2u + n % 2u + select(0u, p.n / 2u, n % 4u >= 2u);\n}\n";
    }
    s
}

/// What a workgroup first finds out of its part.
fn part(form: &Form) -> String {
    if !form.parts {
        return String::new();
    }
    let rest = match form.layout {
        Layout::Tn => {
            "let part_m = part.y;\nif m0 >= part_m { return; }\nlet part_b = p.b_offset + group.z * p.n;\n\
             part_c = p.c_offset + part.z * p.ldc;\n"
        }
        _ => "let part_k = part.y;\nlet part_b = p.b_offset + part.z * p.ldb;\npart_c = p.c_offset + group.z * p.n;\n",
    };
    format!("let part = part_of(group.z);\nlet part_a = p.a_offset + part.x;\npart_extent = part.y;\n{rest}")
}

/// The second pass of a product whose contraction is cut.
pub fn finish(layout: Layout, output: Output, c_wide: bool) -> Kernel {
    let m = if layout == Layout::Tn {
        "p.m"
    } else {
        "rows / p.columns"
    };
    let word = c_word(output, c_wide);
    let (extra, store) = (extras(output, c_wide), store(output, c_wide));
    let mut text = wgpu_sft_shaders::MATMUL_FINISH.to_string();
    for (name, value) in [
        ("M", m),
        ("C_WORD", word),
        ("EXTRA_BINDINGS", &extra),
        ("STORE", &store),
    ] {
        text = text.replace(&format!("${name}$"), value);
    }
    Kernel {
        label: format!("matmul_finish {layout:?} {output:?}"),
        source: text.into(),
        constants: vec![],
    }
}

/// What an output needs besides C.
fn extra_names(output: Output) -> &'static [&'static str] {
    match output {
        Output::Write | Output::Accumulate | Output::Slices => &[],
        Output::Bias => &["bias"],
        Output::Add => &["add"],
        Output::BiasAdd => &["bias", "add"],
        Output::Swiglu => &["hidden"],
        Output::SwigluGradient => &["gate_up"],
    }
}

fn extras(output: Output, wide: bool) -> String {
    let (access, word) = match output {
        Output::Swiglu => ("read_write", "vec2<f32>"),
        _ => ("read", word(Storage::F32, wide)),
    };
    let mut extra = String::new();
    for (number, name) in extra_names(output).iter().enumerate() {
        let _ = writeln!(
            extra,
            "@group(0) @binding({}) var<storage, {access}> {name}: array<{word}>;",
            5 + number
        );
    }
    if output == Output::Slices {
        extra += "var<private> slice_at: u32; // where the results of this slice begin\n";
    }
    extra
}

/// The body of `load_a` or `load_b`.
fn load(name: &str, storage: Storage, wide: bool, extent: &str) -> String {
    if wide {
        return match storage {
            Storage::F32 => format!("return {name}[(base + inner) >> 2u];"),
            Storage::Bf16 => format!(
                "let w = {name}[(base + inner) >> 2u];\n    return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & \
                 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));"
            ),
            Storage::F16 => format!(
                "let w = {name}[(base + inner) >> 2u];\n    return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));"
            ),
        };
    }
    let mut body = String::from("var v = vec4<f32>(0.0);\n");
    for i in 0..4 {
        let at = format!("base + inner + {i}u");
        let value = match storage {
            Storage::F32 => format!("{name}[{at}]"),
            Storage::Bf16 => {
                format!("bitcast<f32>((({name}[({at}) >> 1u] >> ((({at}) & 1u) * 16u)) & 0xffffu) << 16u)")
            }
            Storage::F16 => format!("unpack2x16float({name}[({at}) >> 1u] >> ((({at}) & 1u) * 16u)).x"),
        };
        let _ = writeln!(body, "    if inner + {i}u < {extent} {{ v[{i}] = {value}; }}");
    }
    body + "    return v;"
}

/// The end of `store`.
fn store(output: Output, wide: bool) -> String {
    let (at, bias_at) = if wide {
        ("at >> 2u", "n >> 2u")
    } else {
        ("at + i", "n + i")
    };
    let value = if wide { "y" } else { "y[i]" };
    // With s = 1 / (1 + exp(-g)): h = g s u, du = dh g s, dg = dh u s (1 + g (1 - s)).
    let line = match output {
        Output::Swiglu => {
            return "let half = p.n >> 1u;\n    let first = at - n / 2u;\n    c[first >> 1u] = y.xy;\n    \
                    c[(first + half) >> 1u] = y.zw;\n    \
                    hidden[at >> 2u] = y.xy / (1.0 + exp(-y.xy)) * y.zw;"
                .into();
        }
        Output::SwigluGradient => {
            let up = if wide { "(at + p.n) >> 2u" } else { "at + p.n + i" };
            format!(
                "let g = gate_up[{at}];\n    let s = 1.0 / (1.0 + exp(-g));\n    \
                 c[{at}] = {value} * gate_up[{up}] * s * (1.0 + g * (1.0 - s));\n    c[{up}] = {value} * g * s;"
            )
        }
        Output::Write => format!("c[{at}] = {value};"),
        Output::Accumulate => format!("c[{at}] += {value};"),
        Output::Bias => format!("c[{at}] = {value} + bias[{bias_at}];"),
        Output::Add => format!("c[{at}] = {value} + add[{at}];"),
        Output::Slices => "c[(slice_at + at) >> 2u] = y;".into(),
        Output::BiasAdd => format!("c[{at}] = {value} + bias[{bias_at}] + add[{at}];"),
    };
    if wide {
        line
    } else {
        format!("for (var i = 0u; i < min(4u, p.n - n); i++) {{ {line} }}")
    }
}
