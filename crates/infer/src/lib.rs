//! The engine: cached decoding, sampling, streaming text, token scores, embeddings.
//!
//! | module | what |
//! |---|---|
//! | `kv_cache` | pages of keys and values, shared by sequences that begin alike |
//! | `engine` | token ids to logits over the cache, the same bits however they are computed |
//! | `sample` | logits to the next token: a list of stages |
//! | `text` | requests and answers in text; a model folder that answers |
//! | `embed` | whole texts of ids to vectors and to scores of pairs |
//! | `score` | nats of given tokens, for perplexity |
//!
//! **Invariant:** only `text` knows text. **Invariant:** nothing of training is here.

pub mod embed;
pub mod engine;
pub mod kv_cache;
pub mod sample;
pub mod score;
pub mod text;

pub use engine::{Engine, EngineError, EngineOptions};
pub use kv_cache::SequenceId;
pub use sample::{SampleError, Sampler, SamplingParameters};
pub use score::{Scorer, Window};
pub use text::{LoadError, LocalModel, TextModel, fit_to_context};
