//! `tsumugi perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use clap::Args;
use tsumugi_base::units;
use tsumugi_eval::{Comparison, EvalError, Measured, PerplexityOptions, compare_models, perplexity_of_model};

use super::Command;
use crate::flags::{Json, Reading, Trust, positive};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Measure how well a model predicts a text
///
/// A text longer than the context is read in windows; with a stride smaller than the window, each token has at least
/// window minus stride tokens before it. The first token is not scored. Bits per byte can be compared between models
/// with different tokenizers, perplexity cannot.
///
/// With `--against` both models predict the same tokens, and the KL divergence says how far MODEL is from the other: in
/// nats per token, 0 if it predicts the same. Against itself, MODEL shows what `--compute auto` costs.
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
    /// The model that MODEL was made from, with the same tokens: measure how far MODEL is from it. Computed in float32
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Perplexity {
    const NAME: &'static str = "perplexity";
    const EXAMPLES: &'static str = "
        tsumugi perplexity runs/quickstart/base held-out.txt
        tsumugi perplexity runs/quickstart/base held-out.txt --stride 64 --json
        tsumugi perplexity smollm2.Q4_K_M.gguf held-out.txt --window 512 --against SmolLM2-135M";

    fn run(self) -> Result<Answer, Failure> {
        let files = model::admit(&self.model, &self.trust)?;
        let against = self.against.as_deref().map(|model| model::admit(model, &self.trust)).transpose()?;
        let text = tsumugi_data::read_text(&self.file)?;
        interrupt::listen("stopping")?;
        let options = PerplexityOptions { window: self.window, stride: self.stride, ..PerplexityOptions::default() };
        let compute = (self.reading.threads(), self.reading.precision(&files)?);
        let progress = Progress::new();
        if let Some(against) = against {
            let compared = compare_models((&files, &against), compute, &text, options, &progress);
            drop(progress);
            let compared = compared.map_err(failure)?;
            return if self.json.json { print_json(&compared) } else { print_comparison(&compared) }
                .map(|()| Answer::Done);
        }
        let measured = perplexity_of_model(&files, compute, &text, options, &progress);
        drop(progress);
        let measured = measured.map_err(failure)?;
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

fn failure(error: EvalError) -> Failure {
    match error {
        EvalError::Stopped { .. } => Failure::Stopped { message: format!("{error}; there is no result") },
        other => other.into(),
    }
}

fn print_comparison(compared: &Comparison) -> Result<(), Failure> {
    let Comparison { model, reference, divergence } = compared;
    print_line(&format!(
        "{:>7} {:>12} {:>13} {:>15} {:>10}",
        "", "perplexity", "bits per byte", "bits per weight", "weights"
    ))?;
    for (name, Measured { perplexity, weight_bytes, bits_per_weight }) in [("against", reference), ("model", model)] {
        print_line(&format!(
            "{name:>7} {:>12.3} {:>13.4} {bits_per_weight:>15.2} {:>10}",
            perplexity.perplexity,
            perplexity.bits_per_byte,
            units::bytes(*weight_bytes),
        ))?;
    }
    print_line(&format!(
        "KL divergence {:.6} nats per token, 99th percentile {:.6}, maximum {:.6}; the same token is likeliest for {:.2} %; \
         over {} tokens (window {}, stride {})",
        divergence.mean_nats,
        divergence.percentile_99_nats,
        divergence.maximum_nats,
        100.0 * divergence.same_top,
        units::count(model.perplexity.tokens_scored),
        model.perplexity.window,
        model.perplexity.stride,
    ))
}
