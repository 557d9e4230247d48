//! Optimizers, schedules, the trainer, checkpoints
