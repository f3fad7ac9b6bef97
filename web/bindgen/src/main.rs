//! `wgpu-sft-bindgen MODULE.wasm FOLDER`: write the browser's JavaScript, its types and wasm of a compiled module into a folder.

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(module), Some(folder), None) = (args.next(), args.next(), args.next()) else {
        anyhow::bail!("usage: wgpu-sft-bindgen MODULE.wasm FOLDER");
    };
    Bindgen::new()
        .input_path(&module)
        .web(true)?
        .omit_default_module_path(false)
        .typescript(true)
        .generate(&folder)
        .with_context(|| format!("{} -> {}", module.display(), folder.display()))
}
