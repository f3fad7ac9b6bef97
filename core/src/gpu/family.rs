//! Which form of the kernels suits which adapter.

use std::{fmt, str::FromStr};

/// A form of the kernels. All of them pass the same cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Workgroup memory and barriers: for GPUs.
    Tiled,
    /// One subgroup of this many lanes per workgroup, register-blocked, operands broadcast between lanes, no workgroup
    /// memory: for CPU adapters that have subgroups.
    Subgroup(u32),
    /// Register-blocked with neither subgroups nor workgroup memory: for CPU adapters without subgroups.
    Register,
}

impl Family {
    /// The family that suits an adapter.
    pub fn pick(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        match info.device_type {
            wgpu::DeviceType::Cpu => Self::Subgroup(0).on(info, features),
            _ => Self::Tiled,
        }
    }

    /// This family as the adapter can run it: `Subgroup` takes the adapter's lane count, and needs a fixed one.
    pub fn on(self, info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let lanes = info.subgroup_min_size;
        let fixed = lanes == info.subgroup_max_size && [4, 8, 16].contains(&lanes);
        match self {
            Self::Subgroup(_) if features.contains(wgpu::Features::SUBGROUP) && fixed => Self::Subgroup(lanes),
            Self::Subgroup(_) => Self::Register,
            other => other,
        }
    }

    /// Whether the adapter runs each invocation as a lane of a CPU's vector unit, so that barriers are dear and
    /// registers cheap.
    pub fn is_cpu(self) -> bool {
        self != Self::Tiled
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiled => "tiled",
            Self::Subgroup(_) => "subgroup",
            Self::Register => "register",
        })
    }
}

impl FromStr for Family {
    type Err = crate::Error;

    fn from_str(s: &str) -> crate::Result<Self> {
        match s {
            "tiled" => Ok(Self::Tiled),
            "subgroup" => Ok(Self::Subgroup(0)),
            "register" => Ok(Self::Register),
            _ => Err(crate::Error::config(
                "kernels",
                format!("{s:?} is not one of tiled, subgroup, register"),
            )),
        }
    }
}
