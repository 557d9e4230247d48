//! How well a model predicts a text: `exp` of the mean negative log-likelihood per token, and bits per byte, which
//! models with different tokenizers share.

use serde::Serialize;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_infer::text::{LoadError, load_tokenizer};
use tsumugi_infer::{Scorer, Window};
use tsumugi_models::{Decoder, Precision};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::Tokenizer;

use crate::EvalError;
use crate::windows::Windows;

/// How to read the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerplexityOptions {
    /// Predictions per window; `None` is the model's context.
    pub window: Option<usize>,
    /// Tokens from one window's begin to the next one's; `None` is the window: fastest, least context.
    pub stride: Option<usize>,
    /// Rows that are computed at once: as many whole windows as fit, at least one.
    pub rows: usize,
}

impl Default for PerplexityOptions {
    fn default() -> Self {
        Self { window: None, stride: None, rows: 2048 }
    }
}

/// How well a model predicted a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Perplexity {
    /// Sum over all scored tokens, in nats.
    pub nll_nats: f64,
    /// Tokens that were predicted.
    pub tokens_scored: u64,
    /// `exp(nll_nats / tokens_scored)`
    pub perplexity: f64,
    /// Bits per byte of the text that the scored tokens stand for.
    pub bits_per_byte: f64,
    /// Bits per scored token.
    pub bits_per_token: f64,
    /// Predictions per window.
    pub window: usize,
    /// Tokens between the begins of windows.
    pub stride: usize,
}

/// Scores a text with a decoder whose weights are not packed.
pub fn perplexity(
    cpu: &Cpu,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    text: &str,
    options: PerplexityOptions,
    observer: &dyn Observer,
) -> Result<Perplexity, EvalError> {
    let windows = Windows::new(tokenizer, text, (decoder.spec.context, decoder.spec.vocabulary), options)?;
    let predictions = windows.predictions() as u64;
    let mut scorer = Scorer::new(decoder, windows.rows_per_window(), windows.batch);
    let mut meter = Meter::new("perplexity", 0, predictions, "tokens");
    let (mut nll_nats, mut done) = (0.0f64, 0);
    for group in windows.batches() {
        if observer.stop_requested() {
            return Err(EvalError::Stopped { tokens_scored: done, tokens: predictions });
        }
        let batch: Vec<Window<'_>> =
            group.iter().map(|span| Window { tokens: &windows.tokens[span.start..=span.start + span.len] }).collect();
        for (span, nats) in group.iter().zip(scorer.score(cpu, decoder, &batch)) {
            for (index, &nats) in nats.iter().enumerate().skip(span.len - span.scored) {
                if !nats.is_finite() {
                    return Err(EvalError::NotANumber { index: span.start + index + 1, nats });
                }
                nll_nats += f64::from(nats);
            }
            done += span.scored as u64;
        }
        let bits = nll_nats / done as f64 / std::f64::consts::LN_2;
        observer.event(&meter.step(done, vec![("bits_per_token".into(), format!("{bits:.3}"))]));
    }
    Ok(windows.perplexity(nll_nats))
}

/// Loads a model and scores a text with it.
pub fn perplexity_of_model(
    model: &Admitted<ModelFiles>,
    (threads, precision): (Option<usize>, Precision),
    text: &str,
    options: PerplexityOptions,
    observer: &dyn Observer,
) -> Result<Perplexity, EvalError> {
    let tokenizer = load_tokenizer(model)?;
    let cpu = Cpu::detect(threads).map_err(LoadError::from)?;
    let decoder = Decoder::load_to_serve(model, &cpu, precision).map_err(LoadError::from)?;
    perplexity(&cpu, &decoder, &tokenizer, text, options, observer)
}
