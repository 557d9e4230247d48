//! Collective operations of a job, all of them one: each rank tells each how many bytes come, then the bytes go in rounds.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mpi::Threading;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::{Universe, initialize_with_threading};
use mpi::request;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives};
use tsumugi_base::Hint;
use tsumugi_base::communicator::Communicator;

/// The most bytes that a rank sends in one round, and receives. MPI counts in 32 bits with a sign, and copies take memory.
const ROUND_BYTES: usize = 64 << 20;
/// How long a rank that waits sleeps before it looks again: MPI's own waiting keeps a core busy.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);
/// In place of a length: this rank has ended its part.
const LEAVING: u64 = u64::MAX;
/// What the job's exit code is when a rank waits for one that has ended.
const FAILED: i32 = 2;

/// Why a process is no rank.
#[derive(Debug, thiserror::Error)]
pub enum MpiError {
    /// MPI can be begun once in a process.
    #[error("this process is a rank already")]
    Begun,
    /// The library was built for one thread.
    #[error("the MPI library cannot be called from several threads, one at a time")]
    OneThread,
}

impl Hint for MpiError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Begun => None,
            Self::OneThread => {
                Some("use an MPI library with MPI_THREAD_SERIALIZED, which Open MPI and MPICH have".into())
            }
        }
    }
}

/// All processes that `mpirun` started; one if it did not.
pub struct MpiRanks {
    rank: usize,
    size: usize,
    /// None after the end. Its lock lets one thread at a time call MPI.
    universe: Mutex<Option<Universe>>,
}

/// What a rank tells another before its bytes.
#[derive(Clone, Copy)]
struct Announcement {
    /// Bytes that follow, or `LEAVING`.
    bytes: u64,
    /// The most that it sends to any rank: all must know how many rounds there are.
    longest: u64,
}

impl MpiRanks {
    /// Begins MPI, which waits for the other processes.
    pub fn begin() -> Result<Self, MpiError> {
        let (universe, threading) = initialize_with_threading(Threading::Serialized).ok_or(MpiError::Begun)?;
        if threading < Threading::Serialized {
            return Err(MpiError::OneThread);
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Ok(Self { rank, size, universe: Mutex::new(Some(universe)) })
    }

    /// Ends MPI, when all ranks are here; whatever this rank has to say must be said. Where one is not, but waits for
    /// bytes of this one, which failed alone, the job is aborted with exit code 2. Nothing can be exchanged afterwards.
    pub fn end(&self) {
        let mut universe = self.lock();
        if let Some(universe) = universe.take() {
            let world = universe.world();
            let heard = announce(&world, &vec![Announcement { bytes: LEAVING, longest: 0 }; self.size]);
            if heard.iter().any(|from| from.bytes != LEAVING) {
                world.abort(FAILED);
            }
        }
    }

    /// [`Communicator::exchange`] with at most `piece` bytes from one rank to another at a time.
    fn exchange_in_pieces(&self, parts: &[Vec<u8>], piece: usize) -> Vec<Vec<u8>> {
        let universe = self.lock();
        let world = universe.as_ref().expect("nothing is exchanged after the end").world();
        let longest = parts.iter().map(|part| part.len() as u64).max().unwrap_or(0);
        let sent: Vec<_> = parts.iter().map(|part| Announcement { bytes: part.len() as u64, longest }).collect();
        let heard = announce(&world, &sent);
        if heard.iter().any(|from| from.bytes == LEAVING) {
            world.abort(FAILED);
        }
        let longest = heard.iter().map(|from| from.longest).max().unwrap_or(0) as usize;
        let lengths: Vec<usize> = heard.iter().map(|from| from.bytes as usize).collect();
        let mut received: Vec<Vec<u8>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        for begin in (0..longest).step_by(piece) {
            let sizes = |lengths: &mut dyn Iterator<Item = usize>| {
                lengths.map(|length| window(length, begin, piece).len() as i32).collect::<Vec<i32>>()
            };
            let (out, coming) = (sizes(&mut parts.iter().map(Vec::len)), sizes(&mut lengths.iter().copied()));
            // A byte more: the address of an empty vector is 1, which Open MPI takes for MPI_IN_PLACE.
            let mut mine = Vec::with_capacity(out.iter().sum::<i32>() as usize + 1);
            parts.iter().for_each(|part| mine.extend_from_slice(&part[window(part.len(), begin, piece)]));
            mine.push(0);
            let mut theirs = vec![0; coming.iter().sum::<i32>() as usize + 1];
            world.all_to_all_varcount_into(
                &Partition::new(&mine[..], &out[..], offsets(&out)),
                &mut PartitionMut::new(&mut theirs[..], &coming[..], offsets(&coming)),
            );
            let mut rest = &theirs[..];
            for (part, &count) in received.iter_mut().zip(&coming) {
                part.extend(rest.split_off(..count as usize).expect("as many bytes as all counts"));
            }
        }
        received
    }

    fn lock(&self) -> MutexGuard<'_, Option<Universe>> {
        self.universe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Communicator for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Where a rank has ended its part, the job is aborted with exit code 2.
    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match self.size {
            1 => parts,
            size => self.exchange_in_pieces(&parts, (ROUND_BYTES / size).max(1)),
        }
    }
}

/// Tells each rank what is meant for it, and gives what all told. Sleeps until every rank is here.
fn announce(world: &SimpleCommunicator, to: &[Announcement]) -> Vec<Announcement> {
    let sent: Vec<u64> = to.iter().flat_map(|to| [to.bytes, to.longest]).collect();
    let mut heard = vec![0; sent.len()];
    request::scope(|scope| {
        let mut pause = Duration::from_micros(10);
        let mut request = world.immediate_all_to_all_into(scope, &sent[..], &mut heard[..]);
        while let Err(waiting) = request.test() {
            request = waiting;
            thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_SLEEP);
        }
    });
    heard.chunks(2).map(|from| Announcement { bytes: from[0], longest: from[1] }).collect()
}

/// The bytes from `begin` on, at most `piece` of them, of `length`.
fn window(length: usize, begin: usize, piece: usize) -> Range<usize> {
    begin.min(length)..begin.saturating_add(piece).min(length)
}

/// Where each of these counts begins.
fn offsets(counts: &[i32]) -> Vec<i32> {
    let sum = |sum: &mut i32, &count: &i32| {
        let begin = *sum;
        *sum += count;
        Some(begin)
    };
    counts.iter().scan(0, sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `from` sends to `to`: lengths from 0 to several pieces, different in each direction.
    fn part(from: usize, to: usize, round: usize) -> Vec<u8> {
        let length = (from * 5 + to * 3 + round * 7) % 23;
        (0..length).map(|index| (from * 101 + to * 31 + index) as u8).collect()
    }

    /// MPI begins once in a process, so one test has all of it. Under `mpirun` every rank runs it.
    #[test]
    fn every_rank_gets_what_is_meant_for_it() {
        let ranks = MpiRanks::begin().unwrap();
        assert!(matches!(MpiRanks::begin(), Err(MpiError::Begun)));
        let (rank, size) = (ranks.rank(), ranks.size());
        for (round, piece) in [1, 2, 7, 22, 23, usize::MAX].into_iter().enumerate() {
            let parts: Vec<_> = (0..size).map(|to| part(rank, to, round)).collect();
            let expected: Vec<_> = (0..size).map(|from| part(from, rank, round)).collect();
            assert_eq!(ranks.exchange_in_pieces(&parts, piece), expected, "pieces of {piece} bytes");
            assert_eq!(ranks.exchange(parts), expected);
        }
        assert_eq!(ranks.gather(vec![rank as u8]), (0..size).map(|rank| vec![rank as u8]).collect::<Vec<_>>());
        let nothing = vec![Vec::<u8>::new(); size];
        assert_eq!(ranks.exchange(nothing.clone()), nothing);
        ranks.barrier();
        ranks.end();
    }
}
