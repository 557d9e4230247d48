//! Token ids to logits over a paged cache: prompts in chunks, then one step for any number of sequences.
//!
//! **Invariant** (decision 6): the logits of a sequence are the same bits whatever the chunks, the neighbours in the
//! batch, what was found in the cache, the padding, and the number of threads; where the cache holds float32
//! ([`EngineOptions::kv`]), the same as without a cache. That holds because every kernel below sums in an order that depends on its row alone, and attention walks fixed
//! blocks of keys.
//!
//! A finished sequence stays in the cache until its pages are wanted; a prompt that begins like one begins there.
//! No text is known here.

use std::collections::BTreeMap;

use tsumugi_base::Hint;
use tsumugi_models::plans::CachedBatch;
use tsumugi_models::{Decoder, DecoderSpec, LogitsPlan};
use tsumugi_tensor::{CachedRows, Cpu, Isa, KEY_BLOCK, KeyValueType};

use crate::kv_cache::{CacheFull, CacheSizes, KvCache, SequenceId, pages_for};

/// Sizes of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Rows of a prompt that are computed at once.
    pub prefill_rows: usize,
    /// Longest sequence; `None` is the model's. Never more than the model's.
    pub context: Option<usize>,
    /// Positions that the cache holds over all sequences; `None` is twice the context, never less than the context.
    pub cache_positions: Option<usize>,
    /// Finished sequences that are kept for prompts that begin alike.
    pub kept_sequences: usize,
    /// What the cache keeps keys and values as; `None` is [`KeyValueType::fitting`].
    pub kv: Option<KeyValueType>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { prefill_rows: 512, context: None, cache_positions: None, kept_sequences: 16, kv: None }
    }
}

/// Most sequences of one step.
pub const BATCH_MAX: usize = 256;

/// What the engine cannot compute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token id outside of the vocabulary.
    #[error("token id {id} is outside of the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The id given.
        id: u32,
        /// Valid ids are below it.
        vocabulary: usize,
    },
    /// A sequence would outgrow the context.
    #[error("a sequence of {tokens} tokens does not fit into the context of {context}")]
    ContextFull {
        /// Its length.
        tokens: usize,
        /// The longest.
        context: usize,
    },
    /// Running sequences fill the cache.
    #[error(transparent)]
    CacheFull(#[from] CacheFull),
}

impl Hint for EngineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ContextFull { .. } => Some("shorten the prompt".into()),
            Self::CacheFull(_) => Some("wait for a running sequence to end, or give the cache more positions".into()),
            _ => None,
        }
    }
}

/// What the cache knows of a sequence.
#[derive(Debug)]
struct Sequence {
    /// The tokens whose keys and values are in the cache.
    tokens: Vec<u32>,
    running: bool,
    /// When it was last begun or ended, in begins.
    used: u64,
}

/// A decoder packed for serving, its cache and its plans.
pub struct Engine {
    cpu: Cpu,
    decoder: Decoder,
    cache: KvCache,
    sequences: BTreeMap<SequenceId, Sequence>,
    plans: BTreeMap<(usize, usize), LogitsPlan>,
    options: EngineOptions,
    context: usize,
    clock: u64,
    logits: Vec<f32>,
}

/// Rows of a plan: few different ones, and little padding.
pub(crate) fn padded_rows(rows: usize) -> usize {
    match rows {
        0..=16 => rows.next_power_of_two(),
        17..=64 => rows.next_multiple_of(16),
        _ => rows.next_multiple_of(64),
    }
}

fn cache_sizes(spec: &DecoderSpec, kv: Option<KeyValueType>, isa: Isa) -> CacheSizes {
    let kind = kv.unwrap_or_else(|| KeyValueType::fitting(isa));
    CacheSizes { kind, layers: spec.layers, key_heads: spec.key_heads, head_width: spec.head_width }
}

impl Engine {
    /// Bytes of the cache for one position of one sequence.
    pub fn position_bytes(spec: &DecoderSpec, kv: Option<KeyValueType>, cpu: &Cpu) -> usize {
        cache_sizes(spec, kv, cpu.isa()).position_bytes(cpu.isa())
    }

    /// Packs the decoder.
    pub fn new(decoder: Decoder, cpu: Cpu, options: EngineOptions) -> Self {
        let spec = &decoder.spec;
        let context = options.context.unwrap_or(spec.context).clamp(1, spec.context);
        let positions = options.cache_positions.unwrap_or(2 * context).max(context);
        let cache = KvCache::new(cpu.isa(), cache_sizes(spec, options.kv, cpu.isa()), pages_for(positions));
        let decoder = decoder.pack(&cpu);
        let (sequences, plans) = (BTreeMap::new(), BTreeMap::new());
        Self { cpu, decoder, cache, sequences, plans, options, context, clock: 0, logits: Vec::new() }
    }

    /// What the model is.
    pub fn spec(&self) -> &DecoderSpec {
        &self.decoder.spec
    }

    /// Longest sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The processor.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Bytes of keys and values that are allocated.
    pub fn cache_bytes(&self) -> usize {
        self.cache.allocated_bytes()
    }

    /// Begins a sequence that will continue `prompt`, and returns how many of its tokens the cache has already; the
    /// others (at least one) go to [`Self::prefill`].
    pub fn begin(&mut self, prompt: &[u32]) -> Result<(SequenceId, usize), EngineError> {
        self.check_tokens(prompt)?;
        if prompt.len() > self.context {
            return Err(EngineError::ContextFull { tokens: prompt.len(), context: self.context });
        }
        let (id, cached) = self.continue_cached(prompt);
        self.clock += 1;
        let sequence = Sequence { tokens: prompt[..cached].to_vec(), running: true, used: self.clock };
        self.sequences.insert(id, sequence);
        Ok((id, cached))
    }

    /// Ends a sequence; it stays in the cache while there is room.
    pub fn end(&mut self, id: SequenceId) {
        self.clock += 1;
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.running = false;
            sequence.used = self.clock;
            if sequence.tokens.is_empty() {
                self.sequences.remove(&id);
                self.cache.close(id);
            }
        }
        while self.sequences.values().filter(|sequence| !sequence.running).count() > self.options.kept_sequences {
            self.evict();
        }
    }

    /// Forgets every sequence, running ones too.
    pub fn clear(&mut self) {
        for id in std::mem::take(&mut self.sequences).into_keys() {
            self.cache.close(id);
        }
    }

    /// Appends `tokens` to a sequence; returns the logits after the last of them, `[v]`.
    pub fn prefill(&mut self, id: SequenceId, tokens: &[u32]) -> Result<&[f32], EngineError> {
        self.prefill_while(id, tokens, &mut |_| true)?;
        Ok(&self.logits)
    }

    /// The same, but between two chunks `goes_on` is told how many of `tokens` were read and may end it: then the
    /// answer is false, and what was read stays in the cache.
    pub fn prefill_while(
        &mut self,
        id: SequenceId,
        tokens: &[u32],
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<bool, EngineError> {
        self.check_tokens(tokens)?;
        let chunk = self.options.prefill_rows.max(1);
        let mut read = 0;
        while tokens.len() - read > chunk {
            self.forward(&[(id, &tokens[read..][..chunk])], false)?;
            read += chunk;
            if !goes_on(read) {
                return Ok(false);
            }
        }
        self.forward(&[(id, &tokens[read..])], true)?;
        Ok(true)
    }

    /// Appends a token to each of some different sequences; returns their logits, `[sequences, v]`.
    ///
    /// # Panics
    /// When there are none, or more than [`BATCH_MAX`]: a mistake of the caller.
    pub fn decode(&mut self, next: &[(SequenceId, u32)]) -> Result<&[f32], EngineError> {
        assert!((1..=BATCH_MAX).contains(&next.len()), "a step of {} sequences", next.len());
        next.iter().try_for_each(|(_, token)| self.check_tokens(&[*token]))?;
        let new: Vec<(SequenceId, &[u32])> =
            next.iter().map(|(id, token)| (*id, std::slice::from_ref(token))).collect();
        self.forward(&new, true)
    }

    /// Logits of the last [`Self::prefill`] or [`Self::decode`].
    pub fn last_logits(&self) -> &[f32] {
        &self.logits
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocabulary = self.decoder.spec.vocabulary;
        match tokens.iter().find(|&&id| id as usize >= vocabulary) {
            Some(&id) => Err(EngineError::UnknownToken { id, vocabulary }),
            None if tokens.is_empty() => Err(EngineError::EmptyPrompt),
            None => Ok(()),
        }
    }

    /// A sequence of the cache that holds the longest beginning of `prompt`, its last token excepted (whose logits
    /// are wanted), and the length of that beginning.
    fn continue_cached(&mut self, prompt: &[u32]) -> (SequenceId, usize) {
        let usable = &prompt[..prompt.len() - 1];
        let shared = |sequence: &Sequence| sequence.tokens.iter().zip(usable).take_while(|(a, b)| a == b).count();
        let best = self.sequences.iter().map(|(&id, sequence)| (shared(sequence), id)).max();
        let Some((count, id)) = best.filter(|(count, _)| *count > 0) else { return (self.cache.open(), 0) };
        let sequence = &self.sequences[&id];
        if !sequence.running && sequence.tokens.len() == count {
            return (id, count); // its text goes on
        }
        // A fork may need a page; if only evictions could give it, whole pages alone are shared.
        match self.cache.fork(id, count) {
            Ok(fork) => (fork, count),
            Err(CacheFull { .. }) => {
                let whole = count - count % KEY_BLOCK;
                (self.cache.fork(id, whole).expect("whole pages need no new one"), whole)
            }
        }
    }

    /// Forgets the sequence that ended first.
    fn evict(&mut self) -> bool {
        let ended = self.sequences.iter().filter(|(_, sequence)| !sequence.running);
        let Some(id) = ended.min_by_key(|(_, sequence)| sequence.used).map(|(&id, _)| id) else { return false };
        self.sequences.remove(&id);
        self.cache.close(id);
        true
    }

    fn reserve(&mut self, id: SequenceId, positions: usize) -> Result<(), EngineError> {
        if positions > self.context {
            return Err(EngineError::ContextFull { tokens: positions, context: self.context });
        }
        loop {
            match self.cache.reserve(id, positions) {
                Ok(()) => return Ok(()),
                Err(full) if !self.evict() => return Err(full.into()),
                Err(_) => {}
            }
        }
    }

    /// Appends tokens to sequences; returns the logits after the last token of each, or none.
    fn forward(&mut self, new: &[(SequenceId, &[u32])], wants_logits: bool) -> Result<&[f32], EngineError> {
        let rows: usize = new.iter().map(|(_, tokens)| tokens.len()).sum();
        let padded = padded_rows(rows);
        let outputs = if wants_logits { new.len().next_power_of_two().min(padded) } else { 0 };
        let (mut tokens, mut positions) = (Vec::with_capacity(padded), Vec::with_capacity(padded));
        let (mut cached, mut selected) = (Vec::with_capacity(new.len()), Vec::with_capacity(outputs));
        for &(id, new) in new {
            let position = self.sequences.get(&id).map_or(0, |sequence| sequence.tokens.len());
            self.reserve(id, position + new.len())?;
            cached.push(CachedRows { sequence: id.0, start: tokens.len(), len: new.len(), position });
            tokens.extend_from_slice(new);
            positions.extend((position..position + new.len()).map(|position| position as u32));
            selected.push(tokens.len() as u32 - 1);
        }
        tokens.resize(padded, 0);
        positions.resize(padded, 0);
        // When all rows are outputs, the plan gives them in their own order.
        let in_order = outputs == padded;
        let places: Vec<usize> =
            (0..new.len()).map(|index| if in_order { selected[index] as usize } else { index }).collect();
        selected.resize(outputs, 0);
        let decoder = &self.decoder;
        let plan = self.plans.entry((padded, outputs)).or_insert_with(|| LogitsPlan::new(decoder, padded, outputs));
        let batch = CachedBatch { tokens: &tokens, positions: &positions, selected: &selected, cached: &cached };
        let logits = plan.run(&self.cpu, &self.decoder.parameters, batch, &mut self.cache);
        self.logits.clear();
        if wants_logits {
            let vocabulary = self.decoder.spec.vocabulary;
            places.iter().for_each(|place| self.logits.extend_from_slice(&logits[place * vocabulary..][..vocabulary]));
        }
        for &(id, new) in new {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.tokens.extend_from_slice(new);
            }
        }
        Ok(&self.logits)
    }
}
