//! The shaders as text: they parse and validate, keep to what plain WebGPU offers, and agree with the Rust beside them.

use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ScalarKind, StorageAccess, TypeInner};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use wgpu_sft::check;
use wgpu_sft::gpu::{Access, Family, Kernel, Scalars, bindings, param_fields};

use crate::forms::expansions;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a folder with this ending: stem and text, sorted.
fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (stem, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn shaders() -> BTreeMap<String, String> {
    files("shaders/src", "wgsl")
}

/// `override` constants that are 0 or 1, whichever the caller asks for.
const SWITCHES: [&str; 5] = ["ACCUMULATE", "BACKWARD", "DECAY", "MODE", "SCATTER"];

/// Every kernel made from a shader file: with the values that `ops` gives its `override` constants.
fn kernels(stem: &str, text: &str) -> Vec<(Family, Kernel)> {
    if base(stem) == "matmul" || text.contains("$i") || text.contains("$r") {
        return expansions(stem, text);
    }
    // As `ops::row_shape` and `ops::long_row_shape` have it.
    let row_shapes = match stem {
        "argmax" | "cross_entropy" => [(256.0, 1.0), (8.0, 1.0)],
        _ => [(64.0, 1.0), (1.0, 8.0)],
    };
    let mut sets = vec![vec![]];
    for line in text.lines().filter_map(|line| line.strip_prefix("override ")) {
        let name = line.split(':').next().unwrap();
        let choices: [Vec<(&'static str, f64)>; 2] = match name {
            "LANES" if text.contains("\noverride ROWS") => {
                row_shapes.map(|(lanes, rows)| vec![("LANES", lanes), ("ROWS", rows)])
            }
            "LANES" => [8.0, 64.0].map(|lanes| vec![("LANES", lanes)]),
            "ROWS" => continue, // with LANES
            _ => match SWITCHES.into_iter().find(|s| *s == name) {
                Some(switch) => [vec![(switch, 0.0)], vec![(switch, 1.0)]],
                None => panic!("{stem}.wgsl: this test needs the values of the new constant {name}"),
            },
        };
        sets = sets
            .iter()
            .flat_map(|set| choices.each_ref().map(|choice| [set.as_slice(), choice].concat()))
            .collect();
    }
    let kernel = |constants| Kernel {
        label: stem.into(),
        source: text.to_owned().into(),
        constants,
    };
    sets.into_iter().map(|set| (Family::Tiled, kernel(set))).collect()
}

/// What WGSL has without any extension: `unpack2x16float` and its like are core functions.
const CORE: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// Run `each` on every kernel of the program.
pub fn each_kernel(mut each: impl FnMut(Family, &Kernel)) {
    for (stem, text) in shaders() {
        let kernels = kernels(&stem, &text);
        assert!(!kernels.is_empty(), "{stem}.wgsl: no kernel");
        for (family, kernel) in kernels {
            each(family, &kernel);
        }
    }
}

fn parsed(kernel: &Kernel) -> Module {
    naga::front::wgsl::parse_str(&kernel.source)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.label, e.emit_to_string(&kernel.source)))
}

/// The kernel as a driver gets it: validated with nothing but WGSL's core (and subgroups for the subgroup forms), its
/// constants put in; and what naga knows of it.
pub fn validated(family: Family, kernel: &Kernel) -> (Module, ModuleInfo) {
    let subgroup = matches!(family, Family::Subgroup(_)) && kernel.source.contains("subgroup");
    let capabilities = if subgroup { CORE | Capabilities::SUBGROUP } else { CORE };
    let module = parsed(kernel);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.label, e.emit_to_string(&kernel.source)));
    let constants = kernel
        .constants
        .iter()
        .map(|&(name, value)| (name.to_owned(), value))
        .collect();
    let (module, info) =
        process_overrides(&module, &info, None, &constants).unwrap_or_else(|e| panic!("{}: {e}", kernel.label));
    (module.into_owned(), info.into_owned())
}

/// Name, kind and offset of each member of a struct type of a module.
fn members<'a>(module: &'a Module, name: &str) -> Option<Vec<(&'a str, ScalarKind, usize)>> {
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name))?;
    let TypeInner::Struct { members, .. } = &ty.inner else {
        panic!("{name} is no struct")
    };
    let scalar = |inner: &TypeInner| match *inner {
        TypeInner::Scalar(Scalar { kind, width: 4 }) => kind,
        ref other => panic!("{name} holds {other:?}: only 4-byte scalars"),
    };
    Some(
        members
            .iter()
            .map(|m| {
                (
                    m.name.as_deref().unwrap(),
                    scalar(&module.types[m.ty].inner),
                    m.offset as usize,
                )
            })
            .collect(),
    )
}

#[test]
fn every_form_is_valid_and_within_webgpus_limits() {
    let mut count = 0;
    each_kernel(|family, kernel| {
        count += 1;
        let label = &kernel.label;
        let (module, _) = validated(family, kernel);
        // As the text has them: a bind group layout counts those too that constants make idle.
        let storage = bindings(&kernel.source)
            .iter()
            .filter(|b| b.access != Access::Uniform)
            .count();
        assert!(storage <= 8, "{label}: {storage} storage buffers");
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == AddressSpace::WorkGroup)
            .map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()).next_multiple_of(16))
            .sum();
        assert!(shared <= 16_384, "{label}: {shared} bytes of workgroup memory");
        let [entry] = &module.entry_points[..] else {
            panic!("{label}: one entry point")
        };
        assert_eq!(entry.name, "main", "{label}");
        let [x, y, z] = entry.workgroup_size;
        assert!(x * y * z <= 256 && z <= 64, "{label}: workgroups of {x}x{y}x{z}");
        for (_, ty) in module.types.iter() {
            assert!(!matches!(ty.inner, TypeInner::Atomic(_)), "{label}: an atomic");
        }
    });
    assert!(count > 2000, "only {count} forms");
}

#[test]
fn bindings_and_params_agree_with_naga() {
    each_kernel(|_, kernel| {
        let label = &kernel.label;
        // Before constants are put in: what they make idle is dropped then.
        let module = parsed(kernel);
        let mut reflected: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, v)| {
                let place = v.binding?;
                assert_eq!(place.group, 0, "{label}");
                let access = match v.space {
                    AddressSpace::Uniform => Access::Uniform,
                    AddressSpace::Storage {
                        access: StorageAccess::LOAD,
                    } => Access::Read,
                    AddressSpace::Storage { .. } => Access::ReadWrite,
                    other => panic!("{label}: {other:?}"),
                };
                let name = v.name.clone().unwrap();
                let ty = &module.types[v.ty];
                match (name.as_str(), access) {
                    ("p", Access::Uniform) => assert_eq!(ty.name.as_deref(), Some("Params"), "{label}: p"),
                    ("step", Access::Uniform) => assert_eq!(ty.name.as_deref(), Some("Step"), "{label}: step"),
                    ("rows", Access::Uniform) => assert_eq!(ty.inner, TypeInner::Scalar(Scalar::U32), "{label}: rows"),
                    (_, Access::Uniform) => panic!("{label}: the plan knows no uniform {name}"),
                    _ => {}
                }
                Some((place.binding, name, access))
            })
            .collect();
        reflected.sort_by_key(|(number, ..)| *number);
        let read: Vec<_> = bindings(&kernel.source)
            .into_iter()
            .map(|b| (b.number, b.name, b.access))
            .collect();
        assert_eq!(read, reflected, "{label}");

        let fields = param_fields(&kernel.source);
        let reflected = members(&module, "Params").unwrap_or_default();
        assert_eq!(fields, reflected.iter().map(|m| m.0).collect::<Vec<_>>(), "{label}");
        for (i, (name, _, offset)) in reflected.iter().enumerate() {
            assert_eq!(*offset, 4 * i, "{label}: {name}");
        }
    });
}

/// The `params! { name: kind, … }` blocks of a file of `ops`, without comments.
fn rust_params(text: &str) -> Vec<Vec<(String, ScalarKind)>> {
    text.split("params! {")
        .skip(1)
        .map(|rest| {
            let body = rest.split('}').next().unwrap();
            let fields = body
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"))
                .collect::<String>();
            fields
                .split(',')
                .filter_map(|field| field.split_once(':'))
                .map(|(name, kind)| {
                    let kind = match kind.trim() {
                        "u32" => ScalarKind::Uint,
                        "i32" => ScalarKind::Sint,
                        "f32" => ScalarKind::Float,
                        other => panic!("{other} is no 4-byte scalar"),
                    };
                    (name.trim().to_owned(), kind)
                })
                .collect()
        })
        .collect()
}

#[test]
fn params_have_one_type_on_both_sides() {
    let ops = files("core/src/ops", "rs");
    for (stem, text) in shaders() {
        let (_, kernel) = kernels(&stem, &text).remove(0);
        let module = parsed(&kernel);
        let Some(want) = members(&module, "Params") else {
            continue;
        };
        let want: Vec<_> = want
            .into_iter()
            .map(|(name, kind, _)| (name.to_owned(), kind))
            .collect();
        let blocks = rust_params(&ops[base(&stem)]);
        assert!(
            blocks.contains(&want),
            "{stem}.wgsl has {want:?}, ops/{}.rs {blocks:?}",
            base(&stem)
        );
    }
}

#[test]
fn step_is_a_beginning_of_scalars() {
    // Naming every field once here makes the compiler tell when one is added.
    macro_rules! layout {
        ($($field:ident: $kind:ident),*) => {{
            let Scalars { $($field: _,)* padding: _ } = Scalars::default();
            [$((stringify!($field), ScalarKind::$kind, offset_of!(Scalars, $field))),*]
        }};
    }
    let rust = layout!(
        seed_low: Uint, seed_high: Uint, step: Uint, loss_scale: Float, learning_rate: Float, weight_decay: Float,
        beta1: Float, beta2: Float, epsilon: Float, correction1: Float, correction2_root: Float, max_norm: Float
    );
    assert_eq!(size_of::<Scalars>(), 64);
    let mut seen = 0;
    for (stem, text) in shaders() {
        let (_, kernel) = kernels(&stem, &text).remove(0);
        let module = parsed(&kernel);
        let Some(step) = members(&module, "Step") else { continue };
        seen += 1;
        assert!(step.len() <= rust.len(), "{stem}.wgsl: more scalars than there are");
        assert_eq!(step, rust[..step.len()], "{stem}.wgsl: struct Step");
    }
    assert!(seen >= 4, "only {seen} shaders with a Step");
}

/// The words that WGSL keeps for itself: naga's list, which follows the specification's section "Reserved Words", without
/// the keywords, which programs use.
fn reserved() -> BTreeSet<&'static str> {
    const KEYWORDS: &str = "alias break case const const_assert continue continuing default diagnostic discard else enable \
        false fn for if let loop override requires return struct switch true var while";
    let keywords: Vec<_> = KEYWORDS.split_whitespace().collect();
    let words: BTreeSet<_> = naga::keywords::wgsl::RESERVED
        .iter()
        .copied()
        .filter(|w| !keywords.contains(w))
        .collect();
    assert!(
        words.len() > 140 && words.contains("target") && words.contains("final"),
        "{words:?}"
    );
    words
}

#[test]
fn no_word_is_reserved_and_no_extension_is_asked_for() {
    let reserved = reserved();
    each_kernel(|_, kernel| {
        // A line without its comment.
        for line in kernel.source.lines().map(|line| line.split("//").next().unwrap()) {
            for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
                let kept = word.starts_with("__") || word == "_" || reserved.contains(word);
                assert!(!kept, "{}: {word:?} in {line:?}", kernel.label);
                let asks = ["enable", "requires", "diagnostic"].contains(&word) || word.starts_with("atomic");
                assert!(!asks, "{}: {line:?}", kernel.label);
            }
        }
    });
}

/// A shader's stem without the suffix that says which part of its operation it is.
pub fn base(stem: &str) -> &str {
    let cut = ["_backward", "_delta", "_finish", "_tiled"]
        .iter()
        .filter_map(|suffix| stem.find(suffix))
        .min();
    &stem[..cut.unwrap_or(stem.len())]
}

#[test]
fn one_stem_four_places() {
    let stems = |names: &mut dyn Iterator<Item = &str>| {
        names
            .filter(|s| *s != "mod")
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let shader = stems(&mut shaders().keys().map(|s| base(s)));
    let op = stems(&mut files("core/src/ops", "rs").keys().map(String::as_str));
    let twin = stems(&mut files("core/src/reference", "rs").keys().map(String::as_str));
    let case = stems(&mut check::STEMS.into_iter());
    let all: BTreeSet<_> = [&shader, &op, &twin, &case].into_iter().flatten().collect();
    let missing: Vec<String> = all
        .into_iter()
        .flat_map(|stem| {
            [
                ("shaders/src/", ".wgsl", &shader),
                ("core/src/ops/", ".rs", &op),
                ("core/src/reference/", ".rs", &twin),
                ("check::STEMS: ", "", &case),
            ]
            .into_iter()
            .filter(|(.., place)| !place.contains(stem))
            .map(move |(before, after, _)| format!("{before}{stem}{after}"))
        })
        .collect();
    assert!(missing.is_empty(), "missing: {}", missing.join(", "));
    assert_eq!(case.len(), check::STEMS.len(), "a stem twice");

    let library = fs::read_to_string(root().join("shaders/src/lib.rs")).unwrap();
    for stem in shaders().keys() {
        let constant = format!(
            "pub const {}: &str = include_str!(\"{stem}.wgsl\");",
            stem.to_uppercase()
        );
        assert!(library.contains(&constant), "shaders/src/lib.rs lacks {constant}");
    }
    assert_eq!(library.matches("include_str!").count(), shaders().len());
}

#[test]
fn shaders_begin_with_their_formula_and_say_what_they_write() {
    for (stem, text) in shaders() {
        let header: String = text.lines().map_while(|line| line.strip_prefix("//")).collect();
        assert!(
            header.contains('=') || header.contains("<-"),
            "{stem}.wgsl: no formula at the top"
        );
        let says = ["Writes ", "Adds to ", "in place"].iter().any(|w| header.contains(w));
        assert!(
            says,
            "{stem}.wgsl does not say at its top what it writes, adds to or changes in place"
        );
    }
}

#[test]
fn no_file_holds_two_ideas() {
    let mut folders: Vec<_> = ["shaders", "core", "native", "web", "tests"]
        .map(|f| root().join(f))
        .into();
    let (mut seen, mut long) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["target", "node_modules", "fixtures", "dist", "pkg"].contains(&name) {
                folders.push(path);
            } else if [".rs", ".wgsl", ".js", ".mjs"]
                .iter()
                .any(|ending| name.ends_with(ending))
            {
                seen += 1;
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                if lines > 520 {
                    long.push(format!("{}: {lines} lines of at most 520", path.display()));
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} files");
    assert!(long.is_empty(), "{}", long.join("\n"));
}
