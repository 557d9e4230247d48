//! Tensors, tape, operations with forward and backward, kernels per instruction set.
//!
//! A model records its computation on a [`Tape`] once per shape; a [`Plan`] gives every value a place in
//! one arena and replays the operations without allocating. Operations are few and coarse, with
//! hand-written forward and backward over kernels for AVX-512, AVX2 and portable code.

pub mod cpu;
pub mod kernels;
mod layout;
pub mod memory;
pub mod muon;
pub mod operation;
pub mod ops;
pub mod optimizer_step;
pub mod parameters;
mod plan;
pub mod quant;
mod tape;
pub mod threads;

use tsumugi_base::half;

pub use cpu::{Compute, Cpu};
pub use kernels::attention::{BlockLayout, Heads, KEY_BLOCK, KeyValueType};
pub use kernels::elementwise::Activation;
pub use kernels::normalize::NormKind;
pub use kernels::optimizer::AdamWStep;
pub use kernels::{Isa, IsaError};
pub use muon::Muon;
pub use operation::{CachedRows, Ids, KeyValueBlocks, Segment};
pub use ops::experts::Routing;
pub use ops::rotary::RotaryTable;
pub use optimizer_step::AdamW;
pub use parameters::{Parameter, ParameterId, Parameters, ParametersBuilder, Weight};
pub use plan::{Activations, Plan, PlanError, Profile};
pub use tape::{Tape, Var};
