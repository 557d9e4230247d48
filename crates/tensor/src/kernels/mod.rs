//! Kernels: written once over [`simd::Simd`], instantiated per instruction set, chosen at run time.
//!
//! Every kernel has a reference in `ops/` that reads like the formula, and a test that holds the two
//! together on every small shape under each instruction set of the machine.

#![allow(unsafe_code)] // raw tiles and intrinsics; each block says why it is sound

pub mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod bf16;
mod bf16_pack;
mod element;
pub mod elementwise;
pub mod gemm;
pub mod math;
pub mod micro;
pub mod narrow;
pub mod normalize;
pub mod optimizer;
pub mod peak;
mod portable;
pub mod quantized;
pub mod rows;
pub mod scatter;
pub mod simd;

/// The instruction set that kernels run with. Its kernels are safe to call because only detection makes a value of
/// this type: [`Isa::available`], [`Isa::detect`], or [`Isa::PORTABLE`], which every machine has.
///
/// Nobody can name an instruction set that may not be there:
/// ```compile_fail,E0423
/// let isa = tsumugi_tensor::Isa(2);
/// ```
/// ```compile_fail,E0599
/// let isa = tsumugi_tensor::Isa::Avx512;
/// ```
/// ```compile_fail,E0603
/// use tsumugi_tensor::kernels::simd::Simd;
/// tsumugi_tensor::kernels::avx2::Avx2.splat(1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Level);

/// What an [`Isa`] is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// What the compilation target always has.
    Portable,
    /// AVX2, FMA and F16C.
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
    /// What the compilation target always has.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// What to match on.
    #[inline(always)]
    pub(crate) const fn level(self) -> Level {
        self.0
    }

    /// The word for `TSUMUGI_ISA` and for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// Those that this machine can run, the fastest first.
    pub fn available() -> Vec<Self> {
        let levels = [Level::Avx512, Level::Avx2, Level::Portable];
        levels.into_iter().filter(|level| level.is_available()).map(Self).collect()
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

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        // Every feature that `kernel!` and `micro::transpose` compile with.
        match self {
            Self::Portable => true,
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
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
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                $body($crate::kernels::avx512::Avx512, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                $body($crate::kernels::avx2::Avx2, $($arg),*)
            }
            match isa.level() {
                // SAFETY: only detection makes an `Isa` of another level than portable.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Level::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::kernels::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body($crate::kernels::portable::Portable, $($arg),*),
            }
        }
    };
}
pub(crate) use kernel;
