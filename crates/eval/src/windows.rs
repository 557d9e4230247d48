//! A text longer than the context is read in windows. The first window scores all its predictions; each following
//! one begins `stride` tokens later and scores its last `stride` predictions, so that every token but the first is
//! scored exactly once, with at least `window - stride` tokens before it. The BOS token stands before the text exactly
//! if the tokenizer puts it there; the first token (BOS, else the text's first) is not scored.

use tsumugi_tokenizer::{TokenId, Tokenizer};

use crate::{EvalError, Perplexity, PerplexityOptions};

/// Where windows begin, and how many of their last predictions are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    /// Predictions.
    pub len: usize,
    pub scored: usize,
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

/// The tokens of a text and the windows over them.
pub struct Windows {
    pub tokens: Vec<TokenId>,
    spans: Vec<Span>,
    window: usize,
    stride: usize,
    /// Windows that are computed at once.
    pub batch: usize,
    /// Of the text that the scored tokens stand for.
    bytes: usize,
}

impl Windows {
    /// Over `text`, for a model of `context` positions and that many tokens.
    pub fn new(
        tokenizer: &Tokenizer,
        text: &str,
        (context, vocabulary): (usize, usize),
        options: PerplexityOptions,
    ) -> Result<Self, EvalError> {
        let (window, stride) = sizes(options, context)?;
        let tokens = tokens_of(tokenizer, text);
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(EvalError::Vocabulary { id, vocabulary });
        }
        if tokens.len() < 2 {
            return Err(EvalError::TooShort { tokens: tokens.len(), needed: 2 });
        }
        let predictions = tokens.len() - 1;
        let spans = spans(predictions, window, stride);
        let batch = (options.rows / window.min(predictions)).clamp(1, spans.len());
        // Without BOS the first token of the text is not scored, and neither are its bytes.
        let unscored = if tokenizer.prefix().is_empty() { tokenizer.token_bytes(tokens[0]).len() } else { 0 };
        Ok(Self { tokens, spans, window, stride, batch, bytes: text.len().saturating_sub(unscored).max(1) })
    }

    /// Tokens that are scored.
    pub fn predictions(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Predictions of the longest window: a short text needs no rows beyond its length.
    pub fn rows_per_window(&self) -> usize {
        self.window.min(self.predictions())
    }

    /// The windows, as many at a time as are computed at once.
    pub fn batches(&self) -> impl Iterator<Item = &[Span]> {
        self.spans.chunks(self.batch)
    }

    /// Of `nll_nats` over all scored tokens.
    pub fn perplexity(&self, nll_nats: f64) -> Perplexity {
        let (scored, bits) = (self.predictions() as f64, nll_nats / std::f64::consts::LN_2);
        Perplexity {
            nll_nats,
            tokens_scored: self.predictions() as u64,
            perplexity: (nll_nats / scored).exp(),
            bits_per_byte: bits / self.bytes as f64,
            bits_per_token: bits / scored,
            window: self.window,
            stride: self.stride,
        }
    }
}

/// The tokens of a text, behind what belongs before it.
pub fn tokens_of(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    let mut tokens = tokenizer.prefix().to_vec();
    tokens.extend(tokenizer.encode(text));
    tokens
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
