//! Kernels: written once over [`simd::Simd`], instantiated per instruction set, chosen at run time.
//!
//! Every kernel has a reference in `ops/` that reads like the formula, and a test that holds the two
//! together on every small shape under each instruction set of the machine.

#![allow(unsafe_code)] // raw tiles and intrinsics; each block says why it is sound

pub mod attention;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod elementwise;
pub mod gemm;
pub mod math;
pub mod micro;
pub mod normalize;
pub mod optimizer;
pub mod peak;
pub mod portable;
pub mod rows;
pub mod simd;

/// The instruction set that kernels run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the compilation target always has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

/// `TSUMUGI_ISA` names an instruction set that is unknown or not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TSUMUGI_ISA is `{asked}`, but this machine runs: {available}")]
pub struct IsaError {
    /// The variable's value.
    pub asked: String,
    /// What could be asked for.
    pub available: String,
}

impl Isa {
    /// From the fastest to the plainest.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The word for `TSUMUGI_ISA` and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Those that this machine can run, the fastest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("fma")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// The fastest available, or what the environment variable `TSUMUGI_ISA` forces.
    pub fn detect() -> Result<Self, IsaError> {
        let available = Self::available();
        match std::env::var("TSUMUGI_ISA") {
            Err(_) => Ok(available[0]),
            Ok(asked) => available.iter().copied().find(|isa| isa.name() == asked).ok_or_else(|| {
                let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
                IsaError { asked, available: names.join(", ") }
            }),
        }
    }
}

/// Instantiates an `#[inline(always)]` body over `S: Simd` for every instruction set and makes the
/// function that picks one: `kernel!(pub fn name(x: &[f32], y: &mut [f32]) = body);`.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::kernels::Isa, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                $body($crate::kernels::avx512::Avx512, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                $body($crate::kernels::avx2::Avx2, $($arg),*)
            }
            match isa {
                // SAFETY: `Isa` values other than portable are only made after detection.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::kernels::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body($crate::kernels::portable::Portable, $($arg),*),
            }
        }
    };
}
pub(crate) use kernel;
