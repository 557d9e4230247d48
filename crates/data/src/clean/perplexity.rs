//! Texts by how well a language model predicts them: CCNet's way to tell prose from the rest (Wenzek et al. 2020).

/// A model that predicts texts: an n-gram model, or any other.
pub trait Predict: Send + Sync {
    /// The negative logarithm of the text's probability in nats, and how many tokens that is.
    fn nats(&self, text: &str) -> (f64, u64);
}

/// The perplexity per token; nothing for a text without tokens.
pub fn perplexity(model: &dyn Predict, text: &str) -> Option<f64> {
    let (nats, tokens) = model.nats(text);
    (tokens > 0).then(|| (nats / tokens as f64).exp())
}
