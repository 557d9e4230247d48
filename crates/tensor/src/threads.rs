//! A standing pool of workers. Work is a count of tasks; which thread runs a task never changes a
//! result, because tasks write disjoint parts and reductions are split by task, not by thread.

#![allow(unsafe_code)] // lends a borrowed closure and disjoint chunks to threads that are joined before return

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Rounds of waiting in a spin before a worker sleeps: some 50 microseconds, more than the gap
/// between two operations of a training step.
const SPINS: usize = 20_000;

type Job = dyn Fn(usize) + Sync;

/// What workers see, in one word: which job is the newest, whether it may be entered, and how many workers are in it.
/// The caller closes a job when its own tasks run out and waits for those inside only: a worker that the system has put
/// aside for another program does not hold up a job that it never entered.
struct State(AtomicU64);

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

impl State {
    fn epoch(word: u64) -> u64 {
        word >> 32
    }

    /// A new job, which workers may enter.
    fn open(&self) {
        let epoch = Self::epoch(self.0.load(Ordering::Relaxed)).wrapping_add(1) & 0xffff_ffff;
        self.0.store(epoch << 32 | OPEN, Ordering::Release);
    }

    /// Enters the newest job if it is open and not `seen`; its epoch, and whether it was entered.
    fn enter(&self, seen: u64) -> (u64, bool) {
        let entered = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (Self::epoch(word) != seen && word & OPEN != 0).then_some(word + 1)
        });
        (Self::epoch(entered.unwrap_or_else(|word| word)), entered.is_ok())
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::AcqRel);
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) & INSIDE == 0
    }

    fn is_new(&self, seen: u64) -> bool {
        Self::epoch(self.0.load(Ordering::Acquire)) != seen
    }
}

/// A value on cache lines of its own, two because processors fetch them in pairs: what one thread waits for shall not move
/// when others write beside it.
#[repr(align(128))]
struct OwnLines<T>(T);

struct Shared {
    state: OwnLines<State>,
    /// The current job: a borrowed closure and its number of tasks, valid until the job is closed and empty. Written by the
    /// caller while no job is open, read by workers that are inside of one.
    job: OwnLines<UnsafeCell<Option<(*const Job, usize)>>>,
    next_task: OwnLines<AtomicUsize>,
    sleepers: OwnLines<AtomicUsize>,
    panicked: AtomicBool,
    stop: AtomicBool,
    bed: Mutex<()>,
    wake: Condvar,
}

// SAFETY: the pointer in `job` is only used while `Pool::run` holds the closure alive.
unsafe impl Send for Shared {}
// SAFETY: as above; `job` is written only while `turn` is held and nobody is inside of a job, and opening one publishes it.
unsafe impl Sync for Shared {}

/// `threads` threads that work together: the caller and `threads - 1` workers.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    turn: Mutex<()>,
}

impl Pool {
    /// Starts `threads - 1` workers; 0 counts as 1.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: OwnLines(State(AtomicU64::new(0))),
            job: OwnLines(UnsafeCell::new(None)),
            next_task: OwnLines(AtomicUsize::new(0)),
            sleepers: OwnLines(AtomicUsize::new(0)),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            bed: Mutex::new(()),
            wake: Condvar::new(),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("tsumugi-{index}")).spawn(move || work(&shared, threads))
        };
        // A machine that gives no more threads still computes, with those that it gave.
        let workers = (1..threads).map_while(|index| spawn(index).ok()).collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// `threads` of them; `None` is one per core, and more than that are not started: threads that take turns on a core wait
    /// for each other.
    pub fn of_cores(threads: Option<usize>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::new(threads.unwrap_or(cores).clamp(1, cores))
    }

    /// Threads that work, the caller counted.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0) … task(tasks - 1)`, each once, and returns when all are done. Tasks must not call `run`.
    ///
    /// # Panics
    /// When a task panicked.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(task);
            return;
        }
        let turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is erased; `task` outlives the job, which ends before this returns.
        let job: *const Job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Job>(task) };
        // SAFETY: the job before is closed and empty, and `turn` keeps other callers out.
        unsafe { *shared.job.0.get() = Some((job, tasks)) };
        shared.next_task.0.store(0, Ordering::Relaxed);
        shared.state.0.open();
        shared.wake_sleepers();
        let threads = self.threads();
        let own = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| take_tasks(shared, task, tasks, threads)));
        shared.state.0.close();
        let mut spins = 0_usize;
        while !shared.state.0.is_empty() {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        // Before the next caller's job, whose panic would be taken for one of this job.
        let worker_panicked = shared.panicked.swap(false, Ordering::Relaxed);
        drop(turn);
        if let Err(payload) = own {
            std::panic::resume_unwind(payload);
        }
        assert!(!worker_panicked, "a task panicked on a worker thread");
    }

    /// Runs `task(0) … task(threads - 1)`, each on another thread of the pool: a task begins when all threads have one.
    ///
    /// # Panics
    /// When a task panicked.
    pub fn run_on_every_thread(&self, task: &(dyn Fn(usize) + Sync)) {
        let threads = self.threads();
        let arrived = AtomicUsize::new(0);
        self.run(threads, &|index| {
            // A thread that waits here takes no second task, so the others take theirs.
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < threads {
                std::thread::yield_now();
            }
            task(index);
        });
    }

    /// Cuts each of `N` slices into chunks (`outputs[i].1` floats each, the last one shorter) and runs
    /// `task(index, chunks)` for every index. All slices give the same number of chunks.
    pub fn split<const N: usize>(
        &self,
        outputs: [(&mut [f32], usize); N],
        task: impl Fn(usize, [&mut [f32]; N]) + Sync,
    ) {
        let count = outputs.iter().map(|(slice, chunk)| slice.len().div_ceil((*chunk).max(1))).max().unwrap_or(0);
        let parts = outputs.map(|(slice, chunk)| (Part::of(slice), chunk));
        self.run(count, &|index| {
            let chunks = std::array::from_fn(|i| {
                let (part, chunk) = &parts[i];
                // A product that wrapped would begin inside of another task's chunk.
                let start = index.saturating_mul(*chunk).min(part.len);
                // SAFETY: chunks of one slice are disjoint, each index runs once, and the slices are
                // borrowed mutably for the whole call.
                unsafe { part.lend(start..start + (*chunk).min(part.len - start)) }
            });
            task(index, chunks);
        });
    }

    /// Runs `task(index, parts)` for every range, with that range of each of `N` slices.
    ///
    /// # Panics
    /// When the ranges overlap or do not ascend, or one reaches beyond a slice: a mistake of the caller.
    pub fn split_ranges<const N: usize>(
        &self,
        ranges: &[Range<usize>],
        outputs: [&mut [f32]; N],
        task: impl Fn(usize, [&mut [f32]; N]) + Sync,
    ) {
        assert!(ranges.iter().all(|range| range.start <= range.end), "a range ends before it begins");
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "ranges overlap or do not ascend");
        let end = ranges.last().map_or(0, |range| range.end);
        assert!(outputs.iter().all(|slice| end <= slice.len()), "a range ends at {end}, beyond its slice");
        let parts = outputs.map(Part::of);
        self.run(ranges.len(), &|index| {
            // SAFETY: ranges are disjoint and inside of every slice, each index runs once, and the slices are borrowed
            // mutably for the whole call.
            task(index, std::array::from_fn(|i| unsafe { parts[i].lend(ranges[index].clone()) }));
        });
    }
}

/// A slice whose parts go to tasks.
struct Part {
    start: *mut f32,
    len: usize,
}

// SAFETY: whoever lends a part hands it to exactly one task.
unsafe impl Sync for Part {}

impl Part {
    fn of(slice: &mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// # Safety
    /// The range is inside of the slice, which is borrowed for `'a`, and nobody else has any of it.
    unsafe fn lend<'a>(&self, range: Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.state.0.open();
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            let _ended = worker.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    /// After a job was opened.
    fn wake_sleepers(&self) {
        // Either this sees who lies down, or who lies down sees the job.
        fence(Ordering::SeqCst);
        if self.sleepers.0.load(Ordering::Relaxed) > 0 {
            drop(lock(&self.bed));
            self.wake.notify_all();
        }
    }

    fn wait_for_job(&self, seen: u64) {
        for _ in 0..SPINS {
            if self.state.0.is_new(seen) {
                return;
            }
            std::hint::spin_loop();
        }
        let mut bed = lock(&self.bed);
        self.sleepers.0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !self.state.0.is_new(seen) {
            bed = self.wake.wait(bed).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        self.sleepers.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs tasks until none is left: a share of what is left at a time, which becomes smaller, so that threads seldom meet at
/// the counter and end together (guided self-scheduling, Polychronopoulos and Kuck 1987).
fn take_tasks(shared: &Shared, task: &(dyn Fn(usize) + Sync), tasks: usize, threads: usize) {
    let share = |next: usize| (tasks - next).div_ceil(2 * threads);
    let taken = |next: usize| (next < tasks).then(|| next + share(next));
    while let Ok(first) = shared.next_task.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken) {
        (first..first + share(first)).for_each(task);
    }
}

fn work(shared: &Shared, threads: usize) {
    let mut seen = 0;
    loop {
        shared.wait_for_job(seen);
        let (epoch, entered) = shared.state.0.enter(seen);
        seen = epoch;
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if !entered {
            continue; // it was over before this thread came
        }
        // SAFETY: inside, the job is this one until `leave`, and nobody writes it.
        let job = unsafe { *shared.job.0.get() };
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if let Some((job, tasks)) = job {
                // SAFETY: `Pool::run` keeps the closure alive until the job is closed and nobody is inside.
                take_tasks(shared, unsafe { &*job }, tasks, threads);
            }
        }));
        if run.is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.state.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 5] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|index| {
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|count| count.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn each_range_of_each_slice_goes_to_one_task() {
        let pool = Pool::new(3);
        let (mut x, mut y) = ([0.0; 10], [0.0; 12]);
        let ranges = [1..3, 3..3, 4..9, 9..10];
        pool.split_ranges(&ranges, [&mut x, &mut y], |index, [x, y]| {
            assert_eq!((x.len(), y.len()), (ranges[index].len(), ranges[index].len()));
            x.iter_mut().chain(y).for_each(|value| *value += 1.0 + index as f32);
        });
        assert_eq!(x, [0.0, 1.0, 1.0, 0.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0]);
        assert_eq!((&y[..10], &y[10..]), (&x[..], &[0.0, 0.0][..]));
        let mut split = |ranges: &[Range<usize>]| {
            let call = || pool.split_ranges(ranges, [&mut x], |_, _| {});
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_ok()
        };
        assert!(split(&[]) && split(&[0..4, 4..10]));
        let backwards = Range { start: 3, end: 2 };
        assert!(!split(&[0..4, 3..5]) && !split(&[4..5, 0..1]) && !split(&[0..4, 8..11]) && !split(&[0..1, backwards]));
    }

    #[test]
    fn a_job_that_is_over_cannot_be_entered() {
        let pool = Pool::new(2);
        assert!(!pool.shared.state.0.enter(u64::MAX).1, "no job is open");
        for _ in 0..2000 {
            let sum = AtomicUsize::new(0);
            pool.run(2, &|index| {
                sum.fetch_add(index + 1, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 3);
            assert!(pool.shared.state.0.is_empty() && !pool.shared.state.0.enter(u64::MAX).1, "closed and empty");
        }
    }

    #[test]
    fn a_pool_that_slept_wakes() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(10, &|index| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 45);
        }
    }

    #[test]
    fn chunks_cover_each_slice_once() {
        let pool = Pool::new(2);
        let (mut a, mut b) = (vec![0.0; 10], vec![0.0; 5]);
        pool.split([(&mut a, 4), (&mut b, 2)], |index, [a, b]| {
            a.fill(index as f32 + 1.0);
            b.fill(10.0 * (index as f32 + 1.0));
        });
        assert_eq!(a, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(b, [10.0, 10.0, 20.0, 20.0, 30.0]);
    }

    #[test]
    fn every_thread_gets_one() {
        for threads in [1, 2, 5, 40] {
            let pool = Pool::new(threads);
            for _ in 0..3 {
                let ids = Mutex::new(Vec::new());
                pool.run_on_every_thread(&|index| lock(&ids).push((index, std::thread::current().id())));
                let ids = ids.into_inner().unwrap();
                let different = |key: &dyn Fn(usize) -> String| {
                    (0..ids.len()).map(key).collect::<std::collections::BTreeSet<String>>().len()
                };
                assert_eq!(different(&|i| ids[i].0.to_string()), pool.threads());
                assert_eq!(different(&|i| format!("{:?}", ids[i].1)), pool.threads());
            }
        }
    }

    #[test]
    fn a_chunk_that_wraps_is_empty() {
        let pool = Pool::new(1);
        let (mut a, mut b) = (vec![0.0; 3], vec![0.0; 5]);
        pool.split([(&mut a, 1), (&mut b, 1 << 63)], |index, [_, b]| {
            assert_eq!(b.len(), if index == 0 { 5 } else { 0 });
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_whose_task_it_was() {
        let pool = Pool::new(3);
        let work = |is_bad: bool| {
            for round in 0..600 {
                let job = || {
                    pool.run_on_every_thread(&|index| {
                        if is_bad && index == round % 3 {
                            std::panic::resume_unwind(Box::new(()));
                        }
                    });
                };
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                assert_eq!(result.is_err(), is_bad, "round {round}");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(false));
            work(true);
        });
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(2);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(8, &|index| assert!(index != 5, "task five"));
        }));
        assert!(panicked.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(4, &|index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 6);
    }
}
