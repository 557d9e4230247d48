//! Learning-rate schedules: the factor of the peak rate at each step.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down to the least rate (Loshchilov and Hutter 2016).
    #[default]
    Cosine,
    /// Constant, then straight down over the last share of steps (Hu et al. 2024, "MiniCPM").
    WarmupStableDecay,
    /// Constant.
    Constant,
}

/// Numbers of a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Which.
    pub schedule: Schedule,
    /// Steps in all.
    pub steps: u64,
    /// Steps of the straight rise at the beginning.
    pub warmup_steps: u64,
    /// Least rate as a share of the peak.
    pub least: f64,
    /// Share of the steps in which a warm-up-stable-decay schedule falls.
    pub decay_share: f64,
}

impl Shape {
    /// The factor for `step`, which counts from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let progress = |from: u64| {
            let span = self.steps.saturating_sub(from).max(1);
            (step.saturating_sub(from) as f64 / span as f64).min(1.0)
        };
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress(self.warmup_steps)).cos());
                self.least + (1.0 - self.least) * cosine
            }
            Schedule::WarmupStableDecay => {
                let begin = self.steps - (self.steps as f64 * self.decay_share).round() as u64;
                1.0 - (1.0 - self.least) * progress(begin.max(self.warmup_steps))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(schedule: Schedule) -> Shape {
        Shape { schedule, steps: 100, warmup_steps: 10, least: 0.1, decay_share: 0.2 }
    }

    #[test]
    fn every_schedule_rises_to_one_and_falls_to_its_least() {
        for schedule in [Schedule::Cosine, Schedule::WarmupStableDecay, Schedule::Constant] {
            let shape = shape(schedule);
            assert!((shape.factor(0) - 1.0 / 11.0).abs() < 1e-12);
            assert_eq!(shape.factor(10), 1.0);
            let least = if schedule == Schedule::Constant { 1.0 } else { 0.1 };
            assert!((shape.factor(100) - least).abs() < 1e-12, "{schedule:?}");
            assert!((10..100).all(|step| shape.factor(step + 1) <= shape.factor(step) + 1e-12));
        }
        assert_eq!(shape(Schedule::WarmupStableDecay).factor(79), 1.0);
        assert!(shape(Schedule::WarmupStableDecay).factor(90) < 0.6);
        assert!((shape(Schedule::Cosine).factor(55) - 0.55).abs() < 1e-9);
    }
}
