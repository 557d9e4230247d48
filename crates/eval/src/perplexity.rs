//! How well a model predicts a text: `exp` of the mean negative log-likelihood per token, and bits per byte, which
//! models with different tokenizers share.
//!
//! A text longer than the context is read in windows. The first window scores all its predictions; each following
//! one begins `stride` tokens later and scores its last `stride` predictions, so that every token but the first is
//! scored exactly once, with at least `window - stride` tokens before it. The BOS token stands before the text exactly
//! if the tokenizer puts it there; the first token (BOS, else the text's first) is not scored.

use serde::Serialize;
use tsumugi_base::Hint;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_infer::sample::DAMAGED_HINT;
use tsumugi_infer::text::{LoadError, load_tokenizer};
use tsumugi_infer::{Scorer, Window};
use tsumugi_models::{Decoder, Precision};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::{TokenId, Tokenizer};

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

/// Why a text cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too little text.
    #[error("the text has {tokens} tokens, but scoring needs at least {needed}")]
    TooShort {
        /// What it has, with BOS.
        tokens: usize,
        /// The least.
        needed: usize,
    },
    /// A window that the model does not have.
    #[error("a window of {window} was asked for, but the model has {context} positions")]
    Window {
        /// What was asked.
        window: usize,
        /// What it has.
        context: usize,
    },
    /// A stride that would skip tokens.
    #[error("a stride of {stride} was asked for, but must be from 1 to the window, {window}")]
    Stride {
        /// What was asked.
        stride: usize,
        /// The window.
        window: usize,
    },
    /// The tokenizer made an id that the model does not have.
    #[error("token id {id} of the tokenizer is outside of the model's vocabulary of {vocabulary}")]
    Vocabulary {
        /// The first such id.
        id: TokenId,
        /// Valid ids are below it.
        vocabulary: usize,
    },
    /// The model gave something that is no number.
    #[error("token {index} of the text got {nats} nats: the model's weights are damaged")]
    NotANumber {
        /// Which token.
        index: usize,
        /// What it got.
        nats: f32,
    },
    /// The observer asked to stop.
    #[error("stopped after {tokens_scored} of {tokens} tokens")]
    Stopped {
        /// Done.
        tokens_scored: u64,
        /// To do.
        tokens: u64,
    },
}

impl Hint for EvalError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Load(error) => error.hint(),
            Self::TooShort { .. } => Some("give a longer text".into()),
            Self::Window { context, .. } => Some(format!("give a window from 1 to {context}, or leave it out")),
            Self::Stride { window, .. } => Some(format!("a quarter of the window is usual: {}", (window / 4).max(1))),
            Self::Vocabulary { .. } => Some("tokenizer.json and the weights are of different models".into()),
            Self::NotANumber { .. } => Some(DAMAGED_HINT.into()),
            Self::Stopped { .. } => None,
        }
    }
}

/// Where windows begin, and how many of their last predictions are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    /// Predictions.
    len: usize,
    scored: usize,
}

/// Windows over `predictions` predictions.
fn spans(predictions: usize, window: usize, stride: usize) -> Vec<Span> {
    let (mut spans, mut done, mut start) = (Vec::new(), 0, 0);
    while done < predictions {
        let end = (start + window).min(predictions);
        spans.push(Span { start, len: end - start, scored: end - done });
        done = end;
        start += stride;
    }
    spans
}

fn sizes(options: PerplexityOptions, context: usize) -> Result<(usize, usize), EvalError> {
    let window = options.window.unwrap_or(context);
    if !(1..=context).contains(&window) {
        return Err(EvalError::Window { window, context });
    }
    let stride = options.stride.unwrap_or(window);
    if !(1..=window).contains(&stride) {
        return Err(EvalError::Stride { stride, window });
    }
    Ok((window, stride))
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
    let (window, stride) = sizes(options, decoder.spec.context)?;
    let mut tokens = tokenizer.prefix().to_vec();
    tokens.extend(tokenizer.encode(text));
    let vocabulary = decoder.spec.vocabulary;
    if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(EvalError::Vocabulary { id, vocabulary });
    }
    if tokens.len() < 2 {
        return Err(EvalError::TooShort { tokens: tokens.len(), needed: 2 });
    }
    let predictions = tokens.len() - 1;
    let spans = spans(predictions, window, stride);
    // A short text needs no rows beyond its length.
    let rows_per_window = window.min(predictions);
    let batch = (options.rows / rows_per_window).clamp(1, spans.len());
    let mut scorer = Scorer::new(decoder, rows_per_window, batch);
    let mut meter = Meter::new("perplexity", 0, predictions as u64, "tokens");
    let (mut nll_nats, mut done) = (0.0f64, 0);
    for group in spans.chunks(batch) {
        if observer.stop_requested() {
            return Err(EvalError::Stopped { tokens_scored: done, tokens: predictions as u64 });
        }
        let windows: Vec<Window<'_>> =
            group.iter().map(|span| Window { tokens: &tokens[span.start..=span.start + span.len] }).collect();
        for (span, nats) in group.iter().zip(scorer.score(cpu, decoder, &windows)) {
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
    // Without BOS the first token of the text is not scored, and neither are its bytes.
    let unscored = if tokenizer.prefix().is_empty() { tokenizer.token_bytes(tokens[0]).len() } else { 0 };
    let bits = nll_nats / std::f64::consts::LN_2;
    Ok(Perplexity {
        nll_nats,
        tokens_scored: done,
        perplexity: (nll_nats / done as f64).exp(),
        bits_per_byte: bits / text.len().saturating_sub(unscored).max(1) as f64,
        bits_per_token: bits / done as f64,
        window,
        stride,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prediction_is_scored_once_with_enough_before_it() {
        for predictions in 1..40 {
            for window in 1..12 {
                for stride in 1..=window {
                    let spans = spans(predictions, window, stride);
                    let mut next = 0;
                    for span in &spans {
                        assert!(span.len <= window && span.scored >= 1 && span.scored <= span.len);
                        assert_eq!(span.start + span.len - span.scored, next);
                        next = span.start + span.len;
                        assert!(span.start == 0 || span.len - span.scored >= window - stride);
                    }
                    assert_eq!(next, predictions, "window {window}, stride {stride}");
                }
            }
        }
    }
}
