//! The trainer: optimizer steps over batches, schedules, checkpoints, exact resume; and pre-training from text.
//!
//! **Invariant:** one `Trainer` for every objective; what differs is the [`tsumugi_data::BatchSource`].
//! **Invariant:** training knows no engine: samples and evaluations during a run are callbacks.

pub mod bench;
pub mod checkpoint;
mod error;
pub mod guard;
pub mod optimizer;
pub mod peak;
pub mod planner;
pub mod pretrain;
pub mod recipe;
pub mod report;
pub mod run_folder;
pub mod schedule;
pub mod settings;
pub mod trainer;

pub use error::TrainError;
pub use optimizer::{Optimizer, OptimizerKind};
pub use recipe::{Recipe, Resolved};
pub use schedule::Schedule;
pub use settings::{StepOptions, TrainSettings};
pub use trainer::{Evaluated, Job, LogRow, Trained, train};
