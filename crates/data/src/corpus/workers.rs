//! Threads that work on shards, and what they tell while they do.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tsumugi_base::communicator::Communicator;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::units;

use super::CorpusError;

/// The threads of this process, among those of other ranks.
pub(super) struct Workers<'a> {
    pub threads: usize,
    pub observer: &'a dyn Observer,
    pub ranks: &'a dyn Communicator,
}

impl Workers<'_> {
    /// Does `work` for each of `units` on all threads, and gives what came of it in their order. The first error ends it.
    pub fn each<T: Send>(
        &self,
        units: &[usize],
        work: &(dyn Fn(usize) -> Result<T, CorpusError> + Sync),
    ) -> Result<Vec<T>, CorpusError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one = || {
            let mut done = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&unit) = units.get(place) else { break };
                let result = self.go_on().and_then(|()| work(unit));
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                done.push((place, result));
            }
            done
        };
        let mut all: Vec<(usize, Result<T, CorpusError>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(units.len())).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a stage does not panic")).collect()
        });
        all.sort_unstable_by_key(|&(place, _)| place);
        // A stop is an answer to the user; an error beside it says more.
        let error = all.iter().position(|(_, result)| matches!(result, Err(error) if !error.is_stop()));
        if let Some(error) = error {
            return Err(all.swap_remove(error).1.err().expect("it was looked at"));
        }
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// An error if the user asked to stop.
    pub fn go_on(&self) -> Result<(), CorpusError> {
        if self.observer.stop_requested() { Err(CorpusError::Stopped) } else { Ok(()) }
    }

    /// Those of `count` units that are ours.
    pub fn ours(&self, count: usize) -> Vec<usize> {
        (self.ranks.rank()..count).step_by(self.ranks.size()).collect()
    }

    /// [`agree`] among our ranks.
    pub fn agree<T>(&self, result: Result<T, CorpusError>) -> Result<T, CorpusError> {
        agree(self.ranks, result)
    }

    /// Does what one rank does for all.
    pub fn first(&self, work: impl FnOnce() -> Result<(), CorpusError>) -> Result<(), CorpusError> {
        self.agree(if self.ranks.rank() == 0 { work() } else { Ok(()) })
    }

    /// Tells of a stage that works through `bytes`.
    pub fn progress(&self, stage: &str, bytes: u64) -> Progress<'_> {
        Progress {
            observer: self.observer,
            meter: Mutex::new(Meter::new(stage, 0, bytes, "bytes")),
            total: bytes,
            bytes: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }
}

/// Waits for the other ranks; an error of one ends all.
pub(super) fn agree<T>(ranks: &dyn Communicator, result: Result<T, CorpusError>) -> Result<T, CorpusError> {
    let all = ranks.gather(vec![u8::from(result.is_err())]);
    let value = result?;
    match all.iter().position(|failed| failed != &[0]) {
        Some(rank) => Err(CorpusError::OtherRank { rank }),
        None => Ok(value),
    }
}

/// How far a stage is.
pub(super) struct Progress<'a> {
    observer: &'a dyn Observer,
    meter: Mutex<Meter>,
    total: u64,
    bytes: AtomicU64,
    documents: AtomicU64,
    begun: Instant,
}

impl Progress<'_> {
    /// So much more is done.
    pub fn advance(&self, bytes: u64, documents: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let documents = self.documents.fetch_add(documents, Ordering::Relaxed) + documents;
        let Ok(mut meter) = self.meter.try_lock() else { return };
        // The end is told once, when this is dropped.
        if meter.is_due() && bytes < self.total {
            Self::tell(self.observer, self.begun, &mut meter, bytes, documents);
        }
    }

    fn tell(observer: &dyn Observer, begun: Instant, meter: &mut Meter, bytes: u64, documents: u64) {
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        let rate = units::rate(documents as f64 / seconds, "documents");
        let details = if documents == 0 { Vec::new() } else { vec![("at".into(), rate)] };
        observer.event(&meter.step(bytes, details));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        let (bytes, documents) = (self.bytes.load(Ordering::Relaxed), self.documents.load(Ordering::Relaxed));
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        Self::tell(self.observer, self.begun, &mut meter, bytes, documents);
    }
}
