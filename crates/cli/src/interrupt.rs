//! Ctrl-C (and a polite kill, SIGTERM): the first asks the work to save and stop, the second ends the process.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::output::{Failure, tell};

static PRESSES: AtomicU32 = AtomicU32::new(0);
/// Nothing runs that could be lost (a chat waits for the user): the first Ctrl-C ends the process.
static IDLE: AtomicBool = AtomicBool::new(false);

/// As shells say it: 128 + SIGINT.
const KILLED: i32 = 130;

/// Listens from now on; `saying` is told at the first Ctrl-C.
pub fn listen(saying: &'static str) -> Result<(), Failure> {
    let handler = move || {
        if IDLE.load(Ordering::SeqCst) {
            tell("");
            std::process::exit(0);
        }
        match PRESSES.fetch_add(1, Ordering::SeqCst) {
            0 if saying.is_empty() => {}
            0 => tell(&format!("\n{saying} (Ctrl-C again ends it at once)")),
            _ => std::process::exit(KILLED),
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::without_hint(&error))
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
