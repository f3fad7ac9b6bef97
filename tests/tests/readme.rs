//! The README's example of the library: what it shows is `readme/example.rs`, which compiles and runs.

use wgpu_sft_tests::fixture;

include!("readme/example.rs");

#[test]
fn the_readme_shows_the_example() {
    assert!(include_str!("../../README.md").contains(include_str!("readme/example.rs")));
}

/// A registry shows them far from the repository's folders.
#[test]
fn the_crates_own_readmes_link_absolutely() {
    let readmes = [
        include_str!("../../shaders/README.md"),
        include_str!("../../core/README.md"),
        include_str!("../../native/README.md"),
    ];
    for readme in readmes {
        let links: Vec<_> = readme.split("](").skip(1).collect();
        assert!(!links.is_empty());
        for link in links {
            assert!(
                link.starts_with("https://"),
                "{}",
                link.lines().next().unwrap_or_default()
            );
        }
    }
}

#[test]
fn the_example_tunes_a_model() {
    let rows = br#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}"#;
    let folder = fixture("golden/llama_tied_gqa");
    let adapter = pollster::block_on(tune(folder.to_str().expect("a path"), rows)).expect("an adapter");
    let tensors = safetensors::tensors(&[&adapter], None).expect("safetensors");
    // Two layers, seven modules each, A and B.
    assert_eq!(tensors.entries.len(), 28);
    let b = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    let numbers = tensors.get(b).expect(b).decode(&adapter).expect("its numbers");
    assert!(numbers.iter().any(|&v| v != 0.0), "B is still what it began as");
}
