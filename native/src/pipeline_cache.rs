//! What drivers have compiled and which tiles were measured to be fastest, in the user's cache folder. It only saves time:
//! whatever goes wrong with it is no error.

use std::env::var_os;
use std::path::{Path, PathBuf};

use wgpu_sft::gpu::Gpu;
use wgpu_sft::ops::matmul::{Class, Tile};
use wgpu_sft::wgpu::{AdapterInfo, util::pipeline_cache_key};

/// What an earlier run with this adapter and driver has left; empty if nothing. None where drivers keep nothing.
pub fn read(info: &AdapterInfo) -> Option<Vec<u8>> {
    Some(std::fs::read(file(info)?).unwrap_or_default())
}

/// Leave what has been compiled for later runs.
pub fn write(gpu: &Gpu) {
    if let (Some(file), Some(data)) = (file(gpu.info()), gpu.pipeline_cache_data()) {
        replace(&file, &data);
    }
}

/// Use the tiles that earlier runs with this adapter and driver have measured.
pub fn read_tiles(gpu: &Gpu) {
    let text = tiles_file(gpu.info()).and_then(|file| std::fs::read(file).ok());
    if let Some(tiles) = text.and_then(|text| serde_json::from_slice::<Vec<(Class, Tile)>>(&text).ok()) {
        gpu.set_tiles(tiles);
    }
}

/// Leave the tiles for later runs.
pub fn write_tiles(gpu: &Gpu) {
    let tiles: Vec<_> = gpu.tiles().into_iter().collect();
    if let (Some(file), Ok(text), false) = (tiles_file(gpu.info()), serde_json::to_vec(&tiles), tiles.is_empty()) {
        replace(&file, &text);
    }
}

fn replace(file: &Path, data: &[u8]) {
    if std::fs::read(file).is_ok_and(|there| there == data) {
        return;
    }
    let put = || {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
        // A name of its own, so that two runs at once do not write one file.
        let temporary = file.with_added_extension(format!("{}.tmp", std::process::id()));
        let done = std::fs::write(&temporary, data).and_then(|()| std::fs::rename(&temporary, file));
        if done.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        done
    };
    let _ = put();
}

/// One file for each adapter, version of its driver and of this program.
fn tiles_file(info: &AdapterInfo) -> Option<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let what = format!(
        "{version}\n{}\n{}\n{}\n{}\n{}",
        info.name, info.device, info.backend, info.driver, info.driver_info
    );
    let hash = blake3::hash(what.as_bytes()).to_hex();
    Some(folder()?.join("wgpu-sft").join(format!("tiles_{}.json", &hash[..16])))
}

/// One file for each adapter and version of its driver.
fn file(info: &AdapterInfo) -> Option<PathBuf> {
    let driver = blake3::hash(format!("{}\n{}", info.driver, info.driver_info).as_bytes()).to_hex();
    let name = format!("{}_{}", pipeline_cache_key(info)?, &driver[..16]);
    Some(folder()?.join("wgpu-sft").join(name))
}

/// The user's cache folder.
fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        Some(absolute("HOME")?.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
    }
}
