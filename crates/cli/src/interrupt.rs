//! Ctrl-C (and a polite kill, SIGTERM): the first asks the work to save and stop, the second ends the process.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::output::{Failure, tell};

static PRESSES: AtomicU32 = AtomicU32::new(0);
/// Nothing runs that could be lost (a chat waits for the user): the first Ctrl-C ends the process.
static IDLE: AtomicBool = AtomicBool::new(false);
/// What the first Ctrl-C is answered with.
static SAYING: Mutex<&str> = Mutex::new("");
static LISTENING: OnceLock<Result<(), String>> = OnceLock::new();

/// As shells say it: 128 + SIGINT.
const KILLED: i32 = 130;

/// Listens from now on; `saying` is told at the first Ctrl-C. A command with several parts calls it for each.
pub fn listen(saying: &'static str) -> Result<(), Failure> {
    *SAYING.lock().unwrap_or_else(PoisonError::into_inner) = saying;
    let listening = LISTENING.get_or_init(|| ctrlc::set_handler(pressed).map_err(|error| error.to_string()));
    listening.clone().map_err(|message| Failure::Error { message, hint: None })
}

/// Runs on a thread of its own, not inside a signal handler: it may print.
fn pressed() {
    if IDLE.load(Ordering::SeqCst) {
        tell("");
        std::process::exit(0);
    }
    let saying = *SAYING.lock().unwrap_or_else(PoisonError::into_inner);
    match PRESSES.fetch_add(1, Ordering::SeqCst) {
        0 if saying.is_empty() => {}
        0 => tell(&format!("\n{saying} (Ctrl-C again ends it at once)")),
        _ => std::process::exit(KILLED),
    }
}

/// Whether to save and stop.
pub fn requested() -> bool {
    PRESSES.load(Ordering::SeqCst) > 0
}

/// What was asked for is done (an answer was broken off): the next Ctrl-C is a first one again.
pub fn done() {
    PRESSES.store(0, Ordering::SeqCst);
}

/// Says whether the process waits for the user, with nothing to lose.
pub fn idle(waiting: bool) {
    IDLE.store(waiting, Ordering::SeqCst);
}
