//! The ranks of a job under MPI, which clusters have: `MpiRanks` is a [`Communicator`] over the system's MPI library, by
//! the bindings of the crate `mpi`. Empty without the feature `mpi`, so that nobody needs an MPI library who does not
//! use it. `tools/mpi/run` tests it.
//!
//! **Invariant:** no rank waits for one that has ended: each says so at its end, and who hears it elsewhere ends the job.
//!
//! [`Communicator`]: tsumugi_base::communicator::Communicator

#[cfg(feature = "mpi")]
mod ranks;

#[cfg(feature = "mpi")]
pub use ranks::{MpiError, MpiRanks};
