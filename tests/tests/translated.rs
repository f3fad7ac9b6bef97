//! Every form of every kernel in the languages that drivers read: SPIR-V for Vulkan, MSL for Metal, HLSL for DX12. naga writes
//! them here with the options that wgpu 30 gives it for a pipeline, so a kernel that a platform cannot have fails on any machine.
//! SPIR-V is validated, too. Compilers of MSL and HLSL are not at hand: what they make of the text is not known here.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ResourceBinding, ShaderStage};
use wgpu_sft::gpu::{Access, Binding, Family, Kernel, bindings};

use crate::cooperative::each_form;
use crate::shaders::{each_kernel, validated};

/// Checks at run time: none as the library compiles kernels, all with `--checked`.
fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = match checked {
        true => BoundsCheckPolicy::Restrict,
        false => BoundsCheckPolicy::Unchecked,
    };
    BoundsCheckPolicies {
        index: policy,
        buffer: policy,
        image_load: policy,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

fn place(binding: &Binding) -> ResourceBinding {
    ResourceBinding {
        group: 0,
        binding: binding.number,
    }
}

/// Vulkan's, of the capabilities that every device has, and of subgroups' where a form has them.
fn spirv(kernel: &Kernel, (module, info): &(Module, ModuleInfo), checked: bool) -> Vec<u32> {
    use spv::Capability;
    let mut capabilities = vec![Capability::Shader, Capability::Matrix];
    if kernel.source.contains("subgroup") {
        capabilities.extend([
            Capability::GroupNonUniform,
            Capability::GroupNonUniformVote,
            Capability::GroupNonUniformArithmetic,
            Capability::GroupNonUniformBallot,
            Capability::GroupNonUniformShuffle,
        ]);
    }
    // Vulkan 1.1, the first with subgroups, and 1.3.
    let options = spv::Options {
        lang_version: if checked { (1, 6) } else { (1, 3) },
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: policies(checked),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        binding_map: bindings(&kernel.source)
            .iter()
            .map(|b| {
                let info = spv::BindingInfo {
                    descriptor_set: 0,
                    binding: b.number,
                    binding_array_size: None,
                };
                (place(b), info)
            })
            .collect(),
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".into(),
    };
    spv::write_vec(module, info, &options, Some(&pipeline)).unwrap_or_else(|e| panic!("{}: SPIR-V: {e}", kernel.label))
}

/// Khronos' own validator has nothing against it. Its package, spirv-tools, is one of those that the tests install.
fn validate_spirv(kernel: &Kernel, words: &[u32]) {
    let mut validator = Command::new("spirv-val")
        .args(["--target-env", "vulkan1.1", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spirv-val: make test-deps");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // Dropped here, so that the validator sees the end.
    let written = validator.stdin.take().unwrap().write_all(&bytes);
    let output = validator.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: SPIR-V: {said}", kernel.label);
    written.unwrap();
}

/// Metal's: buffers are counted through, and the sizes of those without a fixed one come behind them.
fn metal(kernel: &Kernel, (module, info): &(Module, ModuleInfo), checked: bool) -> String {
    let label = &kernel.label;
    let bindings = bindings(&kernel.source);
    let resources = bindings.iter().zip(0..).map(|(b, slot)| {
        let target = msl::BindTarget {
            buffer: Some(slot),
            mutable: b.access == Access::ReadWrite,
            ..msl::BindTarget::default()
        };
        (place(b), target)
    });
    let resources = msl::EntryPointResources {
        resources: resources.collect(),
        sizes_buffer: u8::try_from(bindings.len()).ok(),
        ..msl::EntryPointResources::default()
    };
    // macOS 10.14 and 26.
    let options = msl::Options {
        lang_version: if checked { (4, 0) } else { (2, 1) },
        per_entry_point_map: BTreeMap::from([("main".to_owned(), resources)]),
        bounds_check_policies: policies(checked),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        fake_missing_bindings: false,
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".into())),
        ..msl::PipelineOptions::default()
    };
    let (text, reflected) =
        msl::write_string(module, info, &options, &pipeline).unwrap_or_else(|e| panic!("{label}: MSL: {e}"));
    let name = reflected.entry_point_names[0].as_ref();
    let name = name.unwrap_or_else(|e| panic!("{label}: MSL: {e}"));
    assert!(text.contains(&format!("kernel void {name}(")), "{label}: MSL");
    text
}

/// DX12's: by FXC where a form needs no subgroups, by DXC otherwise. Registers are counted for each kind of view.
fn direct3d(kernel: &Kernel, (module, info): &(Module, ModuleInfo), checked: bool) -> String {
    let label = &kernel.label;
    let subgroups = kernel.source.contains("subgroup");
    let mut next = BTreeMap::new();
    let binding_map = bindings(&kernel.source)
        .iter()
        .map(|b| {
            let register = next.entry(format!("{:?}", b.access)).or_insert(0);
            let target = hlsl::BindTarget {
                register: *register,
                restrict_indexing: true,
                ..hlsl::BindTarget::default()
            };
            *register += 1;
            (place(b), target)
        })
        .collect();
    let options = hlsl::Options {
        shader_model: match (checked, subgroups) {
            (false, false) => hlsl::ShaderModel::V5_1,
            (false, true) => hlsl::ShaderModel::V6_0,
            (true, _) => hlsl::ShaderModel::V6_6,
        },
        binding_map,
        fake_missing_bindings: false,
        // wgpu's own, for the number of workgroups.
        special_constants_binding: Some(hlsl::BindTarget {
            space: 1,
            ..hlsl::BindTarget::default()
        }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".into())),
    };
    let mut text = String::new();
    let reflected = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{label}: HLSL: {e}"));
    let name = reflected.entry_point_names[0].as_ref();
    let name = name.unwrap_or_else(|e| panic!("{label}: HLSL: {e}"));
    let [x, y, z] = module.entry_points[0].workgroup_size;
    let entry = format!("[numthreads({x}, {y}, {z})]\nvoid {name}(");
    assert!(text.contains(&entry), "{label}: HLSL");
    text
}

#[test]
fn every_form_has_its_spirv_msl_and_hlsl() {
    let mut forms: Vec<(usize, Family, Kernel)> = Vec::new();
    each_kernel(|family, kernel| {
        let number = forms.len();
        forms.push((number, family, kernel.clone()));
    });
    assert!(forms.len() > 2000, "only {} forms", forms.len());
    let translate = |forms: &[(usize, Family, Kernel)]| {
        for (number, family, kernel) in forms {
            let valid = validated(*family, kernel);
            let used = used(&valid);
            // Each as the library compiles it; an odd share of these thousands with its checks, too, and by the validator.
            let sampled = number.is_multiple_of(7);
            for checked in [false, true] {
                if checked && !sampled {
                    continue;
                }
                let words = spirv(kernel, &valid, checked);
                if sampled && !checked && cfg!(target_os = "linux") {
                    validate_spirv(kernel, &words);
                }
                let metal = metal(kernel, &valid, checked);
                assert!(metal.matches(" [[buffer(").count() >= used, "{}: MSL", kernel.label);
                let direct3d = direct3d(kernel, &valid, checked);
                assert!(
                    direct3d.matches(" : register(").count() >= used,
                    "{}: HLSL",
                    kernel.label
                );
            }
        }
    };
    let (first, second) = forms.split_at(forms.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| translate(first));
        translate(second);
    });
}

/// How many buffers a kernel uses with its constants put in.
fn used((module, info): &(Module, ModuleInfo)) -> usize {
    let entry = info.get_entry_point(0);
    let variables = module.global_variables.iter();
    let bound = variables.filter(|(handle, v)| v.binding.is_some() && !entry[*handle].is_empty());
    bound.count()
}

#[test]
fn direct3d_has_no_cooperative_matrices() {
    each_form(|_, kernel| {
        let module = naga::front::wgsl::parse_str(&kernel.source).unwrap();
        let translates = |capabilities: Capabilities| {
            let mut validator = Validator::new(ValidationFlags::all(), capabilities | Capabilities::SUBGROUP);
            let refused = validator.validate(&module).err();
            refused.map_or(Ok(()), |e| Err(e.emit_to_string(&kernel.source)))
        };
        translates(spv::supported_capabilities()).unwrap_or_else(|e| panic!("{}: {e}", kernel.label));
        translates(msl::supported_capabilities()).unwrap_or_else(|e| panic!("{}: {e}", kernel.label));
        let text = translates(hlsl::supported_capabilities()).unwrap_err();
        assert!(text.contains("COOPERATIVE_MATRIX"), "{}: {text}", kernel.label);
    });
}
