//! The processes of one job: those that `mpirun` started, with the feature `mpi`; otherwise this one alone.

#[cfg(feature = "mpi")]
use std::sync::OnceLock;

#[cfg(not(feature = "mpi"))]
use tsumugi_base::communicator::Alone;
use tsumugi_base::communicator::Communicator;
#[cfg(feature = "mpi")]
use tsumugi_mpi::MpiRanks;

use crate::output::Failure;

#[cfg(feature = "mpi")]
static RANKS: OnceLock<MpiRanks> = OnceLock::new();

/// Becomes a rank of the job. Once in a process.
#[cfg(feature = "mpi")]
pub fn join() -> Result<&'static dyn Communicator, Failure> {
    let ranks = MpiRanks::begin()?;
    Ok(RANKS.get_or_init(|| ranks))
}

/// A job of one rank.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<&'static dyn Communicator, Failure> {
    Ok(&Alone)
}

/// Ends what `join` began. After everything is printed: where this rank failed alone, it ends the job.
pub fn leave() {
    #[cfg(feature = "mpi")]
    if let Some(ranks) = RANKS.get() {
        ranks.end();
    }
}
