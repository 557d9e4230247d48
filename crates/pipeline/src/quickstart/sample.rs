//! What a model says, during training and after it: the same prompts, seeded.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tsumugi_base::jsonl::{self, JsonLinesWriter};
use tsumugi_infer::engine::{Engine, EngineOptions};
use tsumugi_infer::{Sampler, SamplingParameters};
use tsumugi_models::Decoder;
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::{TokenId, Tokenizer, special_tokens};

use crate::PipelineError;

/// The beginning that the base model continues.
pub const PROMPT: &str = "ROMEO:\n";
/// What the chat model is asked.
pub const QUESTION: &str = "What news, my lord?";
/// Tokens of a sample.
const TOKENS: usize = 100;
const FILE: &str = "samples.jsonl";

/// A sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// `base` or `chat`.
    pub stage: String,
    /// Steps done before it.
    pub step: u64,
    /// What was said to the model.
    pub prompt: String,
    /// What it said.
    pub text: String,
}

/// Adds a sample to those of a run. A resumed run may write one again: it is the same.
pub fn write(folder: &Path, sample: &Sample) -> Result<(), PipelineError> {
    Ok(JsonLinesWriter::open_append(&folder.join(FILE))?.write(sample)?)
}

/// The samples of a stage by step, each once.
pub fn read(folder: &Path, stage: &str) -> Result<Vec<Sample>, PipelineError> {
    let file = folder.join(FILE);
    let mut samples: Vec<Sample> = if file.exists() { jsonl::read(&file)? } else { Vec::new() };
    samples.retain(|sample| sample.stage == stage);
    samples.sort_by_key(|sample| sample.step);
    samples.dedup_by_key(|sample| sample.step);
    Ok(samples)
}

/// How samples are drawn.
pub fn sampling(seed: u64) -> SamplingParameters {
    SamplingParameters { temperature: 0.8, top_p: 0.95, seed, ..SamplingParameters::default() }
}

/// Continues `prompt` with a copy of a model that is being trained.
pub fn continue_with(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    threads: Option<usize>,
    seed: u64,
) -> Result<String, PipelineError> {
    let mut copy = Decoder::new(decoder.spec.clone());
    copy.parameters.buffer_mut().copy_from_slice(decoder.parameters.buffer());
    let mut engine = Engine::new(copy, Cpu::detect(threads)?, EngineOptions::default());
    let mut sampler = Sampler::new(&sampling(seed))?;
    let mut ids = prompt.to_vec();
    let (id, _) = engine.begin(&ids)?;
    engine.prefill(id, prompt)?;
    let ends = [special_tokens::END, special_tokens::END_OF_TEXT].map(|token| tokenizer.special(token));
    let room = TOKENS.min(engine.context().saturating_sub(prompt.len()));
    for index in 0..room {
        let token = sampler.sample(&engine.last_logits()[..tokenizer.vocabulary_size()], &ids)?;
        if ends.contains(&Some(token)) {
            break;
        }
        ids.push(token);
        if index + 1 < room {
            engine.decode(&[(id, token)])?;
        }
    }
    Ok(tokenizer.decode(&ids[prompt.len()..]))
}
