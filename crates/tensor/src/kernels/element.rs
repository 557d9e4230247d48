//! What the operands of a matrix product are made of.

use super::micro::{self, PanelA, PanelB, TileC};
use super::{Isa, bf16};
use crate::cpu::{Compute, Cpu};

/// The numbers of A and B, in units of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// One float32 in a unit.
    F32,
    /// Two bfloat16 along k in a unit (`bf16.rs`); `fast` is [`bf16::is_fast`]'s answer.
    Pairs {
        /// The processor multiplies them itself.
        fast: bool,
    },
}

impl Element {
    /// What `cpu` computes products in.
    pub fn of(cpu: &Cpu) -> Self {
        match cpu.compute() {
            Compute::F32 => Self::F32,
            Compute::Bf16 => Self::Pairs { fast: bf16::is_fast(cpu.isa()) },
        }
    }

    /// Units of `k` numbers.
    #[inline]
    pub fn units(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Pairs { .. } => bf16::units(k),
        }
    }

    /// The unit that holds number `k`.
    #[inline]
    pub fn unit_of(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Pairs { .. } => k / 2,
        }
    }

    /// C (+)= A B for one tile; `k` counts units.
    ///
    /// # Safety
    /// The panels hold `k` steps (B with full width), C is writable and disjoint from both.
    #[inline]
    pub unsafe fn multiply_tile(self, isa: Isa, k: usize, a: PanelA, b: PanelB, c: TileC) {
        // SAFETY: the caller's promise; `fast` comes from detection.
        unsafe {
            match self {
                Self::F32 => micro::multiply_tile(isa, k, a, b, c),
                Self::Pairs { fast } => bf16::multiply_tile(isa, fast, k, a, b, std::ptr::null(), c),
            }
        }
    }
}
