//! Where a step's time goes: each dispatch against the roofs, as a table, as JSON, as a trace for Perfetto.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wgpu_sft::gpu::Timing;
use wgpu_sft::wgpu::AdapterInfo;

use crate::progress::line;

/// The share of the nearer roof that a dispatch reaches: of the fastest product's arithmetic, or of copying.
fn share(flops: f64, moved: f64, seconds: f64, matmul: f64, copy: f64) -> f64 {
    (flops / matmul).max(moved / copy) / seconds
}

fn seconds(timing: &Timing) -> f64 {
    timing.end - timing.begin
}

/// Dispatches that share a label, the longest-running first.
pub fn print(timings: &[Timing], (matmul, copy): (f64, f64)) -> Result<()> {
    struct Group<'a> {
        label: &'a str,
        count: u64,
        seconds: f64,
        flops: f64,
        bytes: f64,
    }
    let mut groups: Vec<Group> = Vec::new();
    for timing in timings {
        let at = groups.iter().position(|g| g.label == timing.label).unwrap_or_else(|| {
            groups.push(Group {
                label: &timing.label,
                count: 0,
                seconds: 0.0,
                flops: 0.0,
                bytes: 0.0,
            });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.count += 1;
        group.seconds += seconds(timing);
        group.flops += timing.flops as f64;
        group.bytes += timing.bytes as f64;
    }
    let total: f64 = groups.iter().map(|g| g.seconds).sum();
    groups.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    line(&format!(
        "\n{:>9} {:>6} {:>6} {:>9} {:>8} {:>6}  dispatches",
        "ms", "share", "count", "GFLOP/s", "GB/s", "roof"
    ))?;
    for g in &groups {
        line(&format!(
            "{:9.2} {:5.1}% {:6} {:9.2} {:8.2} {:5.0}%  {}",
            g.seconds * 1e3,
            100.0 * g.seconds / total,
            g.count,
            g.flops / g.seconds / 1e9,
            g.bytes / g.seconds / 1e9,
            100.0 * share(g.flops, g.bytes, g.seconds, matmul, copy),
            g.label,
        ))?;
    }
    line(&format!(
        "{:9.2} 100.0% {:6}  in all, each dispatch alone",
        total * 1e3,
        timings.len()
    ))
}

/// Every dispatch, in order.
pub fn json(timings: &[Timing], (matmul, copy): (f64, f64)) -> Value {
    timings
        .iter()
        .map(|timing| {
            let seconds = seconds(timing);
            json!({
                "plan": timing.plan,
                "op": timing.label,
                "seconds": seconds,
                "flops": timing.flops,
                "bytes": timing.bytes,
                "roof": share(timing.flops as f64, timing.bytes as f64, seconds, matmul, copy),
                "workgroups": timing.workgroups,
            })
        })
        .collect()
}

/// A trace in Chrome's event format, which Perfetto opens: one track for each plan.
pub fn write_trace(file: &Path, timings: &[Timing], info: &AdapterInfo) -> Result<()> {
    let start = timings.iter().map(|t| t.begin).fold(f64::INFINITY, f64::min);
    let mut tracks: Vec<&str> = Vec::new();
    let mut events = vec![json!({"name": "process_name", "ph": "M", "pid": 0, "args": {"name": info.name}})];
    for timing in timings {
        let track = tracks.iter().position(|t| *t == timing.plan).unwrap_or_else(|| {
            tracks.push(&timing.plan);
            let tid = tracks.len() - 1;
            events.push(json!({"name": "thread_name", "ph": "M", "pid": 0, "tid": tid, "args": {"name": timing.plan}}));
            tid
        });
        events.push(json!({
            "name": timing.label,
            "ph": "X",
            "pid": 0,
            "tid": track,
            "ts": (timing.begin - start) * 1e6,
            "dur": seconds(timing) * 1e6,
            "args": {"flops": timing.flops, "bytes": timing.bytes, "workgroups": timing.workgroups},
        }));
    }
    let trace = json!({"displayTimeUnit": "ms", "traceEvents": events});
    std::fs::write(file, trace.to_string()).with_context(|| file.display().to_string())
}
