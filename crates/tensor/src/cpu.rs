//! The processor that operations run on: an instruction set and a pool of threads.

use std::sync::{Arc, LazyLock};

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
    pool: Arc<Pool>,
}

impl Cpu {
    /// The fastest instruction set (or what `TSUMUGI_ISA` forces), and `threads` threads ([`Pool::of_cores`]).
    pub fn detect(threads: Option<usize>) -> Result<Self, IsaError> {
        Ok(Self { isa: Isa::detect()?, compute: Compute::F32, pool: Arc::new(Pool::of_cores(threads)) })
    }

    /// A given instruction set, for tests and comparisons.
    pub fn with_isa(isa: Isa, threads: usize) -> Self {
        Self { isa, compute: Compute::F32, pool: Arc::new(Pool::new(threads)) }
    }

    /// The same processor and threads with products in this type.
    #[must_use]
    pub fn computing(&self, compute: Compute) -> Self {
        Self { isa: self.isa, compute, pool: Arc::clone(&self.pool) }
    }

    /// The same processor with the calling thread alone: for products inside of a task, which must not wait for others.
    #[must_use]
    pub fn on_one_thread(&self) -> Self {
        static ALONE: LazyLock<Arc<Pool>> = LazyLock::new(|| Arc::new(Pool::new(1)));
        Self { isa: self.isa, compute: self.compute, pool: Arc::clone(&ALONE) }
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

    /// Which kernels run: the same name, version and recipe give the same bits.
    pub fn kernels(&self) -> String {
        let hardware = self.compute == Compute::Bf16 && bf16::is_fast(self.isa);
        format!("{}{}", self.isa.name(), if hardware { "-bf16" } else { "" })
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
