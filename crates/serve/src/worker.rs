//! The queue and the one thread that computes: text, and vectors of texts.
//!
//! Both are CPU work that uses every core, so two at once would only make both late. A job leaves when its client leaves:
//! dropping [`Generation`] or [`Vectors`] takes a waiting job out of the queue and breaks a running one at its next token, at
//! the next chunk of its prompt, or after [`PORTION`] texts. Updates go through an unbounded channel, whose content an answer's length bounds: a slow reader must
//! not make the next client wait.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tsumugi_infer::text::{
    Completion, EmbedError, Embeddings, Event, GenerateError, Request, TextInput, TextModel, VectorModel,
};

/// What the worker tells of one job, in this order: `PromptRead`, any number of `Text`, then `Done` or `Failed`.
/// The channel closing without a last word means that the server stops.
#[derive(Debug)]
pub enum Update {
    PromptRead,
    Text(String),
    Done(Completion),
    Failed(GenerateError),
}

/// Texts between two looks at whether their client is still there.
const PORTION: usize = 64;

/// One request for text on its way; dropping it cancels.
pub struct Generation {
    pub updates: UnboundedReceiver<Update>,
    _cancel: CancelOnDrop,
}

/// One request for vectors on its way; dropping it cancels. The channel closing without an answer means that the server stops.
pub struct Vectors {
    pub answer: oneshot::Receiver<Result<Embeddings, VectorsFailed>>,
    _cancel: CancelOnDrop,
}

/// Why there are no vectors.
#[derive(Debug)]
pub enum VectorsFailed {
    /// The model said so.
    Refused(EmbedError),
    /// A panic inside of the model: our mistake.
    Panicked,
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// So many are waiting already.
    Full { waiting: usize },
    /// The server stops.
    Stopping,
}

struct Job {
    /// Computes and answers; told whether its client has gone.
    run: Box<dyn FnOnce(&AtomicBool) + Send>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// The cancel flag of the job that is being answered.
    running: Option<Arc<AtomicBool>>,
    stopping: bool,
}

/// Jobs in order of arrival.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_waiting: usize,
}

impl Queue {
    pub fn new(max_waiting: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max_waiting }
    }

    /// No code that holds this lock can panic, so a poisoned one is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request for text at the end of the queue.
    pub fn submit(&self, model: Arc<dyn TextModel>, request: Request) -> Result<Generation, Refused> {
        let (sender, updates) = unbounded_channel();
        let cancel = self.push(Box::new(move |cancelled| generate(model.as_ref(), &request, &sender, cancelled)))?;
        Ok(Generation { updates, _cancel: cancel })
    }

    /// Puts a request for vectors at the end of the queue.
    pub fn submit_inputs(&self, model: Arc<dyn VectorModel>, inputs: Vec<TextInput>) -> Result<Vectors, Refused> {
        let (sender, answer) = oneshot::channel();
        let cancel = self.push(Box::new(move |cancelled| {
            let embedded = catch_unwind(AssertUnwindSafe(|| embed(model.as_ref(), &inputs, cancelled)));
            let answer = match embedded {
                Ok(Some(answer)) => answer.map_err(VectorsFailed::Refused),
                Ok(None) => return, // nobody waits for it
                Err(_) => Err(VectorsFailed::Panicked),
            };
            let _ = sender.send(answer); // as for text: who has gone does not listen
        }))?;
        Ok(Vectors { answer, _cancel: cancel })
    }

    fn push(&self, run: Box<dyn FnOnce(&AtomicBool) + Send>) -> Result<CancelOnDrop, Refused> {
        let mut state = self.state();
        if state.stopping {
            return Err(Refused::Stopping);
        }
        state.waiting.retain(|job| !job.cancelled.load(Ordering::Relaxed));
        let waiting = state.waiting.len();
        let idle = waiting == 0 && state.running.is_none();
        if !idle && waiting >= self.max_waiting {
            return Err(Refused::Full { waiting });
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        state.waiting.push_back(Job { run, cancelled: cancelled.clone() });
        self.changed.notify_one();
        Ok(CancelOnDrop(cancelled))
    }

    /// (being answered, waiting)
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        let waiting = state.waiting.iter().filter(|job| !job.cancelled.load(Ordering::Relaxed)).count();
        (usize::from(state.running.is_some()), waiting)
    }

    /// Takes no more jobs, sends the waiting ones away, and lets the running one go on.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.waiting.clear();
        self.changed.notify_all();
    }

    /// Breaks the running job at its next token.
    pub fn cancel_running(&self) {
        if let Some(cancelled) = &self.state().running {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// The worker's loop: answers jobs until [`Queue::stop`].
    pub fn work(&self) {
        while let Some(job) = self.next() {
            (job.run)(&job.cancelled);
            self.state().running = None;
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.stopping {
                return None;
            }
            match state.waiting.pop_front() {
                Some(job) if job.cancelled.load(Ordering::Relaxed) => {}
                Some(job) => {
                    state.running = Some(job.cancelled.clone());
                    return Some(job);
                }
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Answers with text. A panic inside the model is our mistake: its client gets an error and the others go on.
fn generate(model: &dyn TextModel, request: &Request, updates: &UnboundedSender<Update>, cancelled: &AtomicBool) {
    let mut on_event = |event: Event<'_>| {
        let sent = match event {
            Event::Reading { .. } | Event::Text("") => Ok(()),
            Event::PromptRead { .. } => updates.send(Update::PromptRead),
            Event::Text(text) => updates.send(Update::Text(text.to_owned())),
        };
        let gone = sent.is_err() || updates.is_closed() || cancelled.load(Ordering::Relaxed);
        if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let generated = catch_unwind(AssertUnwindSafe(|| model.generate(request, &mut on_event)));
    let last = match generated {
        Ok(Ok(completion)) => Update::Done(completion),
        Ok(Err(error)) => Update::Failed(error),
        Err(_) => Update::Failed(GenerateError::Internal { reason: "the model panicked".into() }),
    };
    // A client that has gone does not listen, which is fine.
    let _ = updates.send(last);
}

/// Vectors of all inputs; none if the client has gone meanwhile.
fn embed(
    model: &dyn VectorModel,
    inputs: &[TextInput],
    cancelled: &AtomicBool,
) -> Option<Result<Embeddings, EmbedError>> {
    let mut all = Embeddings { dimensions: model.dimensions(), values: Vec::new(), tokens: 0, truncated: Vec::new() };
    for (portion, first) in inputs.chunks(PORTION).zip((0..).step_by(PORTION)) {
        if cancelled.load(Ordering::Relaxed) {
            return None;
        }
        match model.embed(portion) {
            Ok(found) => {
                all.values.extend(found.values);
                all.tokens += found.tokens;
            }
            Err(error) => return Some(Err(error.in_portion(first))),
        }
    }
    Some(Ok(all))
}
