//! Which form of the kernels suits which adapter.

use crate::{Error, Result};
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
    /// `Tiled`, with large products by cooperative matrices in half precision: for GPUs that offer them. Never picked.
    Cooperative {
        /// Rows and columns of the matrices.
        size: u32,
        /// Fewest and most lanes of a subgroup.
        lanes: [u32; 2],
    },
}

impl Family {
    /// The family that suits an adapter.
    pub fn pick(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        match info.device_type {
            wgpu::DeviceType::Cpu => Self::Subgroup(0).on(info, features),
            _ => Self::Tiled,
        }
    }

    /// What `Cooperative` needs of a device.
    pub const COOPERATIVE_FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        .union(wgpu::Features::SHADER_F16)
        .union(wgpu::Features::SUBGROUP);

    /// `Cooperative` as the adapter can run it.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the adapter lacks.
    pub fn cooperative(adapter: &wgpu::Adapter) -> Result<Self> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let info = adapter.get_info();
        let lacks = |what: String| Err(Error::gpu("cooperative kernels", format!("{} lacks {what}", info.name)));
        let missing = Self::COOPERATIVE_FEATURES - adapter.features();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter_names().map(|(name, _)| name).collect();
            return lacks(names.join(", "));
        }
        let offered = adapter.cooperative_matrix_properties();
        let fits = |size: &u32| {
            offered
                .iter()
                .any(|p| [p.m_size, p.n_size, p.k_size] == [*size; 3] && (p.ab_type, p.cr_type) == (F16, F32))
        };
        let Some(size) = [16, 8].into_iter().find(fits) else {
            return lacks("matrices of 16×16×16 or 8×8×8 in f16 with sums in f32".into());
        };
        let lanes = [info.subgroup_min_size, info.subgroup_max_size];
        match lanes {
            // Four subgroups of the widest fit a workgroup, and the sums of eight of the narrowest its memory.
            [8..=64, 8..=64] if lanes[0] == lanes[1] || lanes[0] * 2 == lanes[1] => {
                Ok(Self::Cooperative { size, lanes })
            }
            _ => lacks(format!(
                "subgroups of about one size: it has {} to {} lanes",
                lanes[0], lanes[1]
            )),
        }
    }

    /// This family as the adapter can run it: `Subgroup` takes the adapter's lane count, and needs a fixed one;
    /// `Cooperative` needs what [`Family::cooperative`] says of the adapter.
    pub fn on(self, info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let lanes = info.subgroup_min_size;
        let fixed = lanes == info.subgroup_max_size && [4, 8, 16].contains(&lanes);
        match self {
            Self::Subgroup(_) if features.contains(wgpu::Features::SUBGROUP) && fixed => Self::Subgroup(lanes),
            Self::Subgroup(_) => Self::Register,
            Self::Cooperative { size: 0, .. } => Self::Tiled,
            other => other,
        }
    }

    /// Whether the adapter runs each invocation as a lane of a CPU's vector unit, so that barriers are dear and
    /// registers cheap.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Subgroup(_) | Self::Register)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiled => "tiled",
            Self::Subgroup(_) => "subgroup",
            Self::Register => "register",
            Self::Cooperative { .. } => "cooperative",
        })
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "tiled" => Ok(Self::Tiled),
            "subgroup" => Ok(Self::Subgroup(0)),
            "register" => Ok(Self::Register),
            "cooperative" => Ok(Self::Cooperative { size: 0, lanes: [0; 2] }),
            _ => Err(Error::config(
                "kernels",
                format!("{s:?} is not one of tiled, subgroup, register, cooperative"),
            )),
        }
    }
}
