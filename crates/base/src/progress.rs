//! What a long job tells while it runs. Libraries emit events; only the command line draws them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something that happened in a long job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins.
    Stage {
        /// What it is, as a user says it: `train the tokenizer`.
        name: String,
    },
    /// A stage went on.
    Step {
        /// The stage's name.
        stage: String,
        /// How much is done, in units.
        done: u64,
        /// How much there is, in units; 0 if unknown.
        total: u64,
        /// What is counted: `tokens`, `steps`, `bytes`.
        unit: &'static str,
        /// Units per second, of late.
        rate_per_second: f64,
        /// Time to the end at this rate; infinite if unknown.
        seconds_left: f64,
        /// Name and value of what else to show: `("loss", "3.21")`.
        details: Vec<(String, String)>,
    },
    /// Worth knowing.
    Note {
        /// One sentence.
        message: String,
    },
    /// Probably not what the user wants, but the job goes on.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// Who listens to a long job, and may ask it to stop.
pub trait Observer: Send + Sync {
    /// Something happened. Called from any thread; must be quick.
    fn event(&self, event: &Event);

    /// Whether to save and stop as soon as possible (the first Ctrl-C).
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Listens to nothing and never asks to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event) {}
}

/// Keeps every event: for tests and for reports.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    /// Everything so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}

/// How much of the rate is from the latest interval when it is as long as [`RATE_MEMORY`].
const RATE_MEMORY: Duration = Duration::from_secs(10);

/// Makes [`Event::Step`]s: measures the rate of late and what is left, and says when it is time for another.
#[derive(Debug)]
pub struct Meter {
    stage: String,
    total: u64,
    unit: &'static str,
    interval: Duration,
    last: Instant,
    last_done: u64,
    rate_per_second: Option<f64>,
}

impl Meter {
    /// Starts counting `total` units (0 if unknown) now, from `done` that an earlier run did.
    pub fn new(stage: impl Into<String>, done: u64, total: u64, unit: &'static str) -> Self {
        Self {
            stage: stage.into(),
            total,
            unit,
            interval: Duration::from_millis(100),
            last: Instant::now(),
            last_done: done,
            rate_per_second: None,
        }
    }

    /// Whether a tenth of a second has passed since the last event.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= self.interval
    }

    /// The event for `done` units, now.
    pub fn step(&mut self, done: u64, details: Vec<(String, String)>) -> Event {
        self.step_at(Instant::now(), done, details)
    }

    fn step_at(&mut self, now: Instant, done: u64, details: Vec<(String, String)>) -> Event {
        let seconds = now.saturating_duration_since(self.last).as_secs_f64();
        if seconds > 0.0 {
            let latest = done.saturating_sub(self.last_done) as f64 / seconds;
            // An exponential average over time, not over calls.
            let weight = 1.0 - (-seconds / RATE_MEMORY.as_secs_f64()).exp();
            self.rate_per_second = Some(match self.rate_per_second {
                None => latest,
                Some(rate) => rate + weight * (latest - rate),
            });
            self.last = now;
            self.last_done = done;
        }
        let rate_per_second = self.rate_per_second.unwrap_or(0.0);
        let left = self.total.saturating_sub(done) as f64;
        let known = rate_per_second > 0.0 && self.total > 0;
        let seconds_left = if known { left / rate_per_second } else { f64::INFINITY };
        let (stage, total, unit) = (self.stage.clone(), self.total, self.unit);
        Event::Step { stage, done, total, unit, rate_per_second, seconds_left, details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_job_has_its_rate_and_time_left() {
        let mut meter = Meter::new("train", 500, 1500, "steps");
        let start = meter.last;
        for second in 1..=4 {
            meter.step_at(start + Duration::from_secs(second), 500 + 100 * second, vec![]);
        }
        let event = meter.step_at(start + Duration::from_secs(5), 1000, vec![("loss".into(), "2.00".into())]);
        let Event::Step { rate_per_second, seconds_left, done, total, .. } = event else { panic!("{event:?}") };
        assert!((rate_per_second - 100.0).abs() < 1e-9);
        assert!((seconds_left - 5.0).abs() < 1e-9);
        assert_eq!((done, total), (1000, 1500));
    }

    #[test]
    fn an_unknown_total_has_no_time_left() {
        let mut meter = Meter::new("read", 0, 0, "bytes");
        let event = meter.step_at(meter.last + Duration::from_secs(1), 10, vec![]);
        let Event::Step { seconds_left, .. } = event else { panic!("{event:?}") };
        assert_eq!(seconds_left, f64::INFINITY);
    }

    #[test]
    fn a_recorder_keeps_the_order() {
        let recorder = Recorder::default();
        recorder.event(&Event::Stage { name: "a".into() });
        recorder.event(&Event::Note { message: "b".into() });
        assert_eq!(recorder.events().len(), 2);
        assert!(!recorder.stop_requested());
    }
}
