//! The processor that operations run on: an instruction set and a pool of threads.

use crate::kernels::{Isa, IsaError, bf16};
use crate::threads::Pool;

/// What the operands of matrix products are rounded to. Sums, and everything else, are float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compute {
    /// Not rounded.
    #[default]
    F32,
    /// bfloat16: 8 bits of precision, the range of float32.
    Bf16,
}

impl Compute {
    /// The word for recipes and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// An instruction set that is there, what products are computed in, and a standing pool.
pub struct Cpu {
    isa: Isa,
    compute: Compute,
    pool: Pool,
}

impl Cpu {
    /// The fastest instruction set (or what `TSUMUGI_ISA` forces), and `threads` threads; `None` is one per core.
    pub fn detect(threads: Option<usize>) -> Result<Self, IsaError> {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { isa: Isa::detect()?, compute: Compute::F32, pool: Pool::new(threads.unwrap_or_else(cores).max(1)) })
    }

    /// A given instruction set, for tests and comparisons.
    pub fn with_isa(isa: Isa, threads: usize) -> Self {
        Self { isa, compute: Compute::F32, pool: Pool::new(threads) }
    }

    /// The same processor with products in another type.
    #[must_use]
    pub fn computing(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// The type in which products are the fastest here.
    pub fn fastest_compute(&self) -> Compute {
        if bf16::is_fast(self.isa) { Compute::Bf16 } else { Compute::F32 }
    }

    /// What products are computed in. Packed weights are float32 whatever this says.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
