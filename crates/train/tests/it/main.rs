//! The integration tests of `tsumugi-train`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod accumulation;
mod guard;
mod planner;
mod recipes;
mod resume;
mod run_folder;

use std::path::Path;

use tsumugi_base::progress::Observer;
use tsumugi_tensor::Cpu;
use tsumugi_train::pretrain::{self, Pretrained, Source};
use tsumugi_train::recipe::TokenizerKind;
use tsumugi_train::{LogRow, Recipe, TrainError};

/// A text that a model of a few thousand weights can learn.
pub fn text() -> String {
    (0..200).map(|line| format!("{line} bottles of ale, and {} of wine.\n", line * 7 % 50)).collect()
}

/// A Llama of one layer on bytes, with dropout, so that its random numbers are tested too.
pub fn recipe(steps: u64) -> Recipe {
    Recipe {
        data: Some("text in memory".into()),
        tokenizer: Some(TokenizerKind::Bytes),
        layers: Some(1),
        width: Some(16),
        heads: Some(2),
        context: Some(16),
        batch: Some(4),
        dropout: Some(0.1),
        steps: Some(steps),
        learning_rate: Some(1e-2),
        evaluate_every: Some(10),
        checkpoint_every: Some(7),
        ..Recipe::default()
    }
}

/// Trains on [`text`].
pub fn train(
    recipe: &Recipe,
    folder: &Path,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Pretrained, TrainError> {
    let cpu = Cpu::detect(Some(threads)).unwrap();
    let source = Source { text: &text(), inputs: Vec::new(), tokenizer: None, profile: true };
    pretrain::run_on(&source, recipe, folder, &cpu, Vec::new(), observer, &mut |_, _, _| {})
}

/// Step, and the bits of its loss and gradient norm, or of its evaluation: everything in the log but the clock.
pub fn log(folder: &Path) -> Vec<(u64, u64, u64)> {
    let rows: Vec<LogRow> = tsumugi_base::jsonl::read(&folder.join("log.jsonl")).unwrap();
    let bits = |row: &LogRow| match row {
        LogRow::Evaluation { step, held_out_loss, held_out_bits_per_byte } => {
            (*step, held_out_loss.to_bits(), held_out_bits_per_byte.to_bits())
        }
        LogRow::Step { step, loss, gradient_norm, .. } => {
            (*step, u64::from(loss.to_bits()), u64::from(gradient_norm.to_bits()))
        }
    };
    rows.iter().map(bits).collect()
}
