//! Ranks of a job as threads of a test.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::communicator::Communicator;

/// Runs `work` on `size` threads, each of them a rank of one job; gives what came of it, by rank.
///
/// # Panics
/// If a rank panics, or ends while another waits for it.
pub fn ranks<T: Send>(size: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
    let job = Job { state: Mutex::default(), changed: Condvar::new(), size };
    thread::scope(|scope| {
        let start = |rank| {
            let (job, work) = (&job, &work);
            scope.spawn(move || work(&Rank { rank, job }))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank panics")).collect()
    })
}

struct Job {
    state: Mutex<State>,
    changed: Condvar,
    size: usize,
}

#[derive(Default)]
struct State {
    /// What came from each rank that is here: parts, and the rank.
    arrived: Vec<(usize, Vec<Vec<u8>>)>,
    /// What is for each rank of the exchange that all came to, until it has taken it.
    departing: Vec<Option<Vec<Vec<u8>>>>,
    has_ended: bool,
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct Rank<'a> {
    rank: usize,
    job: &'a Job,
}

impl Drop for Rank<'_> {
    fn drop(&mut self) {
        self.job.lock().has_ended = true;
        self.job.changed.notify_all();
    }
}

impl Communicator for Rank<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.job.size
    }

    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        assert_eq!(parts.len(), self.job.size, "a part for each rank");
        let mut state = self.job.lock();
        // Someone may still have to take what the exchange before gave.
        while state.departing.iter().any(Option::is_some) {
            state = self.job.wait(state);
        }
        assert!(!state.has_ended, "rank {} waits for one that has ended", self.rank);
        state.arrived.push((self.rank, parts));
        if state.arrived.len() == self.job.size {
            let mut arrived = std::mem::take(&mut state.arrived);
            arrived.sort_by_key(|&(rank, _)| rank);
            let mut parts: Vec<_> = arrived.into_iter().map(|(_, parts)| parts.into_iter()).collect();
            let for_next = |_| Some(parts.iter_mut().map(|parts| parts.next().expect("a part for each")).collect());
            state.departing = (0..self.job.size).map(for_next).collect();
            self.job.changed.notify_all();
        }
        loop {
            let received = state.departing.get_mut(self.rank).and_then(Option::take);
            if let Some(received) = received {
                self.job.changed.notify_all();
                return received;
            }
            assert!(!state.has_ended, "rank {} waits for one that has ended", self.rank);
            state = self.job.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_what_is_meant_for_it() {
        for size in 1..=4 {
            let received = ranks(size, |ranks| {
                let part = |to: usize, round: usize| vec![ranks.rank() as u8, to as u8, round as u8];
                let send = |round| ranks.exchange((0..size).map(|to| part(to, round)).collect());
                (0..50).map(send).collect::<Vec<_>>()
            });
            for (to, received) in received.into_iter().enumerate() {
                for (round, received) in received.into_iter().enumerate() {
                    let expected: Vec<_> = (0..size).map(|from| vec![from as u8, to as u8, round as u8]).collect();
                    assert_eq!(received, expected);
                }
            }
        }
        assert_eq!(ranks(3, |ranks| ranks.gather(vec![ranks.rank() as u8])), vec![vec![vec![0], vec![1], vec![2]]; 3]);
    }

    #[test]
    fn nobody_waits_for_a_rank_that_has_ended() {
        let job = std::panic::catch_unwind(|| ranks(2, |ranks| (0..ranks.rank()).for_each(|_| ranks.barrier())));
        assert!(job.is_err());
    }
}
