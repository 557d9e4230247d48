//! `tsumugi perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use clap::Args;
use tsumugi_base::units;
use tsumugi_eval::{EvalError, PerplexityOptions, perplexity_of_model};

use super::Command;
use crate::flags::{Compute, Json, Threads, positive};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Measure how well a model predicts a text
///
/// A text longer than the context is read in windows; with a stride smaller than the window, each token has at least
/// window minus stride tokens before it. The first token is not scored. Bits per byte can be compared between models
/// with different tokenizers, perplexity cannot.
#[derive(Debug, Args)]
pub struct Perplexity {
    /// A model folder or GGUF file
    model: String,
    /// A text file in UTF-8
    file: PathBuf,
    /// Predictions per window [default: the model's context]
    #[arg(long, value_name = "N", value_parser = positive)]
    window: Option<usize>,
    /// Tokens from one window's begin to the next one's [default: the window]
    #[arg(long, value_name = "N", value_parser = positive)]
    stride: Option<usize>,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Perplexity {
    const NAME: &'static str = "perplexity";
    const EXAMPLES: &'static str = "
        tsumugi perplexity runs/quickstart/base held-out.txt
        tsumugi perplexity runs/quickstart/base held-out.txt --stride 64 --json";

    fn run(self) -> Result<Answer, Failure> {
        let folder = model::admit(&self.model)?;
        let text = tsumugi_data::read_text(&self.file)?;
        interrupt::listen("stopping")?;
        let options = PerplexityOptions { window: self.window, stride: self.stride, ..PerplexityOptions::default() };
        let progress = Progress::new();
        let measured =
            perplexity_of_model(&folder, (self.threads.get(), self.compute.precision()), &text, options, &progress);
        drop(progress);
        let measured = measured.map_err(|error| match error {
            EvalError::Stopped { .. } => Failure::Stopped { message: format!("{error}; there is no result") },
            other => other.into(),
        })?;
        if self.json.json {
            print_json(&measured)?;
        } else {
            print_line(&format!(
                "perplexity {:.3}, {:.4} bits per byte, {:.4} bits per token, over {} tokens (window {}, stride {})",
                measured.perplexity,
                measured.bits_per_byte,
                measured.bits_per_token,
                units::count(measured.tokens_scored),
                measured.window,
                measured.stride,
            ))?;
        }
        Ok(Answer::Done)
    }
}
