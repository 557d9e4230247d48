//! Draws what a long job tells: one live line on a terminal, plain lines every few seconds elsewhere. On standard
//! error, so that standard output stays clean.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::units;

use crate::interrupt;
use crate::output::{colours, harmless, tell};

/// Between two plain lines of a stage.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// An observer that draws on standard error and hands on Ctrl-C.
pub struct Progress {
    live: bool,
    only_warns: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    stage: String,
    stage_started: Option<Instant>,
    last_line: Option<Instant>,
}

impl Progress {
    /// A live line if standard error is a terminal.
    pub fn new() -> Self {
        Self::of_rank(0)
    }

    /// Of the processes of one job the first draws; what the others have to warn of is told, too.
    pub fn of_rank(rank: usize) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { live: io::stderr().is_terminal() && !dumb, only_warns: rank > 0, state: Mutex::default() }
    }

    fn with_state(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        if self.only_warns && !matches!(event, Event::Warning { .. }) {
            return;
        }
        self.with_state(|state| match event {
            Event::Stage { name } => {
                state.end_stage();
                state.begin_stage(name);
                state.tell(&bold(name));
            }
            Event::Step { stage, done, total, .. } => {
                if state.stage_started.is_none() {
                    state.begin_stage(stage);
                }
                let line = step_line(event);
                match self.live {
                    true => state.draw(*done, *total, line),
                    false => state.plain_line(*total > 0 && done >= total, &line),
                }
            }
            Event::Note { message } => state.tell(&harmless(message)),
            Event::Warning { message } => state.tell(&format!("warning: {}", harmless(message))),
        });
    }

    fn stop_requested(&self) -> bool {
        interrupt::requested()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.with_state(State::end_stage);
    }
}

impl State {
    fn begin_stage(&mut self, name: &str) {
        name.clone_into(&mut self.stage);
        self.stage_started = Some(Instant::now());
        self.last_line = None;
    }

    /// Takes the live line away; what it showed last stays as a plain line.
    fn end_stage(&mut self) {
        if let Some(bar) = self.bar.take() {
            let last = bar.message();
            bar.finish_and_clear();
            tell(&last);
        }
        self.stage_started = None;
    }

    /// A line of its own, above the live one.
    fn tell(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(line)),
            None => tell(line),
        }
    }

    fn draw(&mut self, done: u64, total: u64, line: String) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:16.cyan/dim} {wide_msg}");
            bar.set_style(style.expect("the template is a constant that indicatif knows"));
            bar.with_message(line.clone())
        });
        bar.set_length(total.max(done));
        bar.set_message(line);
        bar.set_position(done);
    }

    fn plain_line(&mut self, is_last: bool, line: &str) {
        let due = self.last_line.is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL);
        if due || is_last {
            tell(line);
            self.last_line = Some(Instant::now());
        }
    }
}

fn bold(text: &str) -> String {
    if colours(&io::stderr()) { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// `pre-train: 420 of 1,000 steps, 2,567 steps/s, loss 3.21, 2 min 03 s left`.
fn step_line(event: &Event) -> String {
    let Event::Step { stage, done, total, unit, rate_per_second, seconds_left, details } = event else {
        return String::new();
    };
    let is_bytes = *unit == "bytes";
    let amount = |count: u64| if is_bytes { units::bytes(count) } else { units::count(count) };
    let unit_word = if is_bytes { String::new() } else { format!(" {unit}") };
    let mut parts = vec![match total {
        0 => format!("{stage}: {}{unit_word}", amount(*done)),
        _ => format!("{stage}: {} of {}{unit_word}", amount(*done), amount(*total)),
    }];
    if *rate_per_second > 0.0 && (done < total || *total == 0) {
        parts.push(match is_bytes {
            true => format!("{}/s", units::bytes(*rate_per_second as u64)),
            false => units::rate(*rate_per_second, unit),
        });
    }
    parts.extend(details.iter().map(|(name, value)| format!("{name} {value}")));
    if seconds_left.is_finite() && done < total {
        parts.push(format!("{} left", units::duration(*seconds_left)));
    }
    harmless(&parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(done: u64, total: u64, seconds_left: f64) -> Event {
        let details = vec![("loss".into(), "3.21".into()), ("peak".into(), "83 %".into())];
        Event::Step {
            stage: "pre-train".into(),
            done,
            total,
            unit: "steps",
            rate_per_second: 3.4,
            seconds_left,
            details,
        }
    }

    #[test]
    fn a_line_has_what_is_known() {
        assert_eq!(
            step_line(&step(420, 1000, 123.0)),
            "pre-train: 420 of 1,000 steps, 3.4 steps/s, loss 3.21, peak 83 %, 2 min 03 s left"
        );
        assert_eq!(step_line(&step(1000, 1000, 0.0)), "pre-train: 1,000 of 1,000 steps, loss 3.21, peak 83 %");
        assert_eq!(step_line(&step(7, 0, f64::INFINITY)), "pre-train: 7 steps, 3.4 steps/s, loss 3.21, peak 83 %");
    }

    #[test]
    fn bytes_are_in_units_of_bytes() {
        let Event::Step { stage, total, seconds_left, .. } = step(0, 98_362_432, 45.0) else { unreachable!() };
        let (done, unit, rate_per_second) = (11 << 20, "bytes", 1_900_000.0);
        let event = Event::Step { stage, done, total, unit, rate_per_second, seconds_left, details: vec![] };
        assert_eq!(step_line(&event), "pre-train: 11.0 MiB of 93.8 MiB, 1.8 MiB/s, 45.0 s left");
    }
}
