//! The processor that operations run on: an instruction set and a pool of threads.

use crate::kernels::{Isa, IsaError};
use crate::threads::Pool;

/// An instruction set that is there, and a standing pool.
pub struct Cpu {
    isa: Isa,
    pool: Pool,
}

impl Cpu {
    /// The fastest instruction set (or what `TSUMUGI_ISA` forces), and `threads` threads; `None` is one per core.
    pub fn detect(threads: Option<usize>) -> Result<Self, IsaError> {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { isa: Isa::detect()?, pool: Pool::new(threads.unwrap_or_else(cores).max(1)) })
    }

    /// A given instruction set, for tests and comparisons.
    pub fn with_isa(isa: Isa, threads: usize) -> Self {
        Self { isa, pool: Pool::new(threads) }
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
