//! A model on this machine that answers: tokenizer, chat template, engine, sampler.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use tsumugi_base::Hint;
use tsumugi_base::machine::available_memory_bytes;
use tsumugi_files::{Admitted, FilesError, ModelFiles};
use tsumugi_models::{Decoder, ModelError, Precision};
use tsumugi_tensor::{Cpu, IsaError, KeyValueType};
use tsumugi_tokenizer::{ChatTemplate, ModelTextError, StreamDecoder, TokenId, Tokenizer, end_tokens};

use super::embed::EmbedError;
use super::heal::Healing;
use super::memory::{Placement, TooLarge};
use super::stop::StopFilter;
use super::{Completion, Event, FinishReason, GenerateError, Prompt, Request, TextModel};
use super::{chat_file, memory};
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::kv_cache::SequenceId;
use crate::sample::{SampleError, Sampler};

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `None` is one per core.
    pub threads: Option<usize>,
    /// The name in `/v1/models`; `None` is that of the folder or file.
    pub name: Option<String>,
    /// A shorter context than the model's; `None` is the model's, or what memory allows.
    pub context: Option<usize>,
    /// The cache's share of the memory that is available once the weights are loaded; `None` is [`CACHE_SHARE`](super::CACHE_SHARE).
    pub cache_share: Option<f64>,
    /// What is computed with.
    pub precision: Precision,
    /// Where weights lie that are computed with as they are stored.
    pub placement: Placement,
    /// What the cache keeps keys and values as; `None` is [`KeyValueType::fitting`].
    pub kv: Option<KeyValueType>,
}

/// The memory was too little for the whole context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextCut {
    /// Positions of the model.
    pub model: usize,
    /// Positions that it got.
    pub fitting: usize,
    /// Bytes of the cache for the model's whole context.
    pub wanted_bytes: u64,
}

/// Why a model cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its weights or config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Its tokenizer or chat template.
    #[error(transparent)]
    Text(#[from] ModelTextError),
    /// There is none.
    #[error("{}: there is no tokenizer.json", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// A JSON file holds something else than it should.
    #[error("{}: {reason}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer makes ids that the model does not have.
    #[error("{}: the tokenizer has {tokenizer} tokens, but the model's vocabulary {model}", folder.display())]
    Vocabulary {
        /// The folder.
        folder: PathBuf,
        /// Of the tokenizer.
        tokenizer: usize,
        /// Of the model.
        model: usize,
    },
    /// A context override that the model does not have.
    #[error("a context of {asked} was asked for, but `{model}` has {context} positions")]
    Context {
        /// The model's name.
        model: String,
        /// What was asked.
        asked: usize,
        /// What it has.
        context: usize,
    },
    /// What was asked of its embeddings.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A model that scores no pairs.
    #[error("{}: it gives no single score of two texts: {found}", folder.display())]
    NoCrossEncoder {
        /// The folder or file.
        folder: PathBuf,
        /// What it has instead.
        found: String,
    },
    /// `TSUMUGI_ISA` names what the machine does not have.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

impl Hint for LoadError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Files(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::NoTokenizer { .. } => Some("fetch tokenizer.json of the same model into the folder".into()),
            Self::Vocabulary { .. } => Some("tokenizer.json and the weights are of different models".into()),
            Self::Context { context, .. } => Some(format!("give a context from 1 to {context}, or leave it out")),
            Self::Embed(error) => error.hint(),
            Self::NoCrossEncoder { .. } => {
                Some("give a cross-encoder, such as hf:cross-encoder/ms-marco-MiniLM-L6-v2".into())
            }
            Self::Content { .. } | Self::Isa(_) => None,
        }
    }
}

/// A model that is loaded. One answer at a time: callers wait for each other.
pub struct LocalModel {
    name: String,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_tokens: Vec<TokenId>,
    /// Ids beyond the tokenizer's are never chosen.
    choices: usize,
    context: usize,
    context_cut: Option<ContextCut>,
    too_large: Option<TooLarge>,
    suggested_system_messages: Vec<String>,
    engine: Mutex<Engine>,
}

/// Reads the vocabulary of a model, of whatever kind.
pub fn load_tokenizer(model: &Admitted<ModelFiles>) -> Result<Tokenizer, LoadError> {
    Tokenizer::of_model(model)?.ok_or_else(|| LoadError::NoTokenizer { folder: model.path().to_owned() })
}

/// Every id of the tokenizer must be one of the model's.
pub(super) fn check_vocabulary(
    model: &Admitted<ModelFiles>,
    tokenizer: &Tokenizer,
    vocabulary: usize,
) -> Result<(), LoadError> {
    let tokens = tokenizer.vocabulary_size();
    if tokens <= vocabulary {
        return Ok(());
    }
    Err(LoadError::Vocabulary { folder: model.path().to_owned(), tokenizer: tokens, model: vocabulary })
}

/// The name of a folder, or of a file without its ending.
pub(super) fn name_of(model: &Admitted<ModelFiles>) -> String {
    let path = model.path().canonicalize().unwrap_or_else(|_| model.path().to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// What a model has besides weights.
struct Words {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_tokens: Vec<TokenId>,
}

impl Words {
    fn load(model: &Admitted<ModelFiles>, vocabulary: usize) -> Result<Self, LoadError> {
        let tokenizer = load_tokenizer(model)?;
        let template = ChatTemplate::of_model(model)?;
        let end_tokens = end_tokens(model, &tokenizer)?;
        check_vocabulary(model, &tokenizer, vocabulary)?;
        Ok(Self { tokenizer, template, end_tokens })
    }
}

impl LocalModel {
    /// Loads weights, tokenizer, chat template and end tokens.
    pub fn load(model: &Admitted<ModelFiles>, options: Options) -> Result<Self, LoadError> {
        let name = options.name.unwrap_or_else(|| name_of(model));
        let (_, spec) = tsumugi_models::read_spec(model)?;
        if let Some(asked) = options.context.filter(|asked| !(1..=spec.context).contains(asked)) {
            return Err(LoadError::Context { model: name, asked, context: spec.context });
        }
        let cpu = Cpu::detect(options.threads)?;
        let (precision, too_large) = options.placement.resolve(model, options.precision)?;
        // A vocabulary takes one core a tenth of a second, small weights no longer: beside each other.
        let (words, decoder) = std::thread::scope(|scope| {
            let words = scope.spawn(|| Words::load(model, spec.vocabulary));
            let decoder = Decoder::load_to_serve(model, &cpu, precision);
            (words.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), decoder)
        });
        let Words { tokenizer, template, end_tokens } = words?;
        let decoder = decoder?;
        let position_bytes = Engine::position_bytes(&spec, options.kv, &cpu);
        let share = options.cache_share.unwrap_or(memory::CACHE_SHARE);
        let cache_bytes = available_memory_bytes().map(|bytes| (bytes as f64 * share) as u64);
        let positions = memory::fit(spec.context, options.context, position_bytes, cache_bytes);
        let context_cut = (options.context.is_none() && positions.context < spec.context).then(|| ContextCut {
            model: spec.context,
            fitting: positions.context,
            wanted_bytes: spec.context as u64 * position_bytes as u64,
        });
        let engine_options = EngineOptions {
            context: Some(positions.context),
            cache_positions: Some(positions.cache),
            kv: options.kv,
            ..EngineOptions::default()
        };
        let engine = Engine::new(decoder, cpu, engine_options);
        Ok(Self {
            name,
            choices: tokenizer.vocabulary_size(),
            tokenizer,
            template,
            end_tokens,
            context: engine.context(),
            context_cut,
            too_large,
            suggested_system_messages: chat_file::suggested_system_messages(model)?,
            engine: Mutex::new(engine),
        })
    }

    /// Whether memory was too little for the model's whole context.
    pub fn context_cut(&self) -> Option<ContextCut> {
        self.context_cut
    }

    /// Whether the weights stay in the file because memory was too little to pack them.
    pub fn too_large(&self) -> Option<TooLarge> {
        self.too_large
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that end an answer.
    pub fn end_tokens(&self) -> &[TokenId] {
        &self.end_tokens
    }

    /// The prompt as token ids, as `generate` reads it.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<TokenId>, GenerateError> {
        let ids = match prompt {
            Prompt::Text(text) | Prompt::Open(text) => {
                let mut ids = self.tokenizer.prefix().to_vec();
                ids.extend(self.tokenizer.encode(text));
                ids
            }
            Prompt::Tokens(ids) => ids.clone(),
            Prompt::Chat(messages) => {
                let template = self.template.as_ref().ok_or_else(|| GenerateError::Template {
                    reason: format!("`{}` has no chat template", self.name),
                })?;
                template
                    .encode_chat(&self.tokenizer, messages, true)
                    .map_err(|error| GenerateError::Template { reason: error.to_string() })?
            }
        };
        let vocabulary_size = self.choices;
        match ids.iter().find(|&&id| id as usize >= vocabulary_size) {
            Some(&id) => Err(GenerateError::UnknownToken { id, vocabulary_size }),
            None if ids.is_empty() => Err(GenerateError::EmptyPrompt),
            None => Ok(ids),
        }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(|poisoned| {
            // An earlier answer panicked: what it left in the cache is not trusted.
            let mut engine = poisoned.into_inner();
            engine.clear();
            self.engine.clear_poison();
            engine
        })
    }

    fn not_sampled(&self, error: SampleError) -> GenerateError {
        match error {
            SampleError::BadParameter { name, value, expected } => {
                GenerateError::BadParameter { name, value, expected }
            }
            reason => GenerateError::Damaged { model: self.name.clone(), reason },
        }
    }

    fn internal(error: &EngineError) -> GenerateError {
        GenerateError::Internal { reason: error.to_string() }
    }
}

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Token,
    StopString,
    Length,
    Cancelled,
}

/// An answer on its way.
struct Answer<'a> {
    on_event: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    stop: StopFilter,
    text: String,
    tokens: usize,
    max_tokens: usize,
}

impl Answer<'_> {
    /// Gives out text as far as it is certain.
    fn say(&mut self, text: &str) -> ControlFlow<End> {
        let (text, stopped) = self.stop.push(text);
        let cancelled = self.give_out(&text);
        match (stopped, cancelled) {
            (true, _) => ControlFlow::Break(End::StopString),
            (false, true) => ControlFlow::Break(End::Cancelled),
            (false, false) => ControlFlow::Continue(()),
        }
    }

    /// Whether the caller asked to stop.
    fn give_out(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        (self.on_event)(Event::Text(text)).is_break()
    }

    /// Gives out the beginning of an unfinished character and what was held back for a stop string.
    fn finish(&mut self, rest: &str, end: End) -> End {
        let (mut last, stopped) = self.stop.push(rest);
        if !stopped {
            last.push_str(&self.stop.finish());
        }
        match (stopped, !last.is_empty() && self.give_out(&last)) {
            (true, _) => End::StopString,
            (false, true) => End::Cancelled,
            (false, false) => end,
        }
    }

    /// Reads the prompt, of which the cache had `cached` tokens; whether the caller wants the answer.
    fn read_prompt(
        &mut self,
        engine: &mut Engine,
        id: SequenceId,
        prompt: &[TokenId],
        cached: usize,
    ) -> Result<bool, EngineError> {
        let whole = engine.prefill_while(id, &prompt[cached..], &mut |read| {
            (self.on_event)(Event::Reading { tokens: cached + read }).is_continue()
        })?;
        Ok(whole && (self.on_event)(Event::PromptRead { prompt_tokens: prompt.len() }).is_continue())
    }
}

impl TextModel for LocalModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn context_length(&self) -> usize {
        self.context
    }

    fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    fn suggested_system_messages(&self) -> &[String] {
        &self.suggested_system_messages
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerateError> {
        self.encode(prompt).map(|ids| ids.len())
    }

    fn generate(
        &self,
        request: &Request,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion, GenerateError> {
        let mut tokens = self.encode(&request.prompt)?;
        let healing = match request.prompt {
            Prompt::Open(_) => Healing::cut(&self.tokenizer, &mut tokens),
            _ => Healing::default(),
        };
        let mut sampler = Sampler::new(&request.sampling).map_err(|error| self.not_sampled(error))?;
        let (prompt_tokens, context_length) = (tokens.len(), self.context);
        if prompt_tokens >= context_length {
            return Err(GenerateError::ContextLengthExceeded {
                model: self.name.clone(),
                prompt_tokens,
                context_length,
            });
        }
        let room = context_length - prompt_tokens;
        let max_tokens = request.max_tokens.map_or(room, |max| max.min(room));
        // An answer in a chat is a text of its own; any other continues its prompt.
        let characters = match request.prompt {
            Prompt::Chat(_) => self.tokenizer.stream(),
            Prompt::Text(_) | Prompt::Open(_) | Prompt::Tokens(_) => self.tokenizer.stream_after(&tokens),
        };
        let started = Instant::now();
        let mut engine = self.engine();
        let (id, cached) = engine.begin(&tokens).map_err(|error| Self::internal(&error))?;
        let stop = StopFilter::new(&request.stop);
        let mut answer = Answer { on_event, stop, text: String::new(), tokens: 0, max_tokens };
        let read = answer.read_prompt(&mut engine, id, &tokens, cached).map_err(|error| Self::internal(&error));
        let prompt_seconds = started.elapsed().as_secs_f64();
        let end = read.and_then(|goes_on| match goes_on {
            false => Ok(End::Cancelled),
            true => {
                self.continue_answer(&mut engine, id, &mut sampler, &mut tokens, (characters, healing), &mut answer)
            }
        });
        engine.end(id);
        drop(engine);
        let finish_reason = match end? {
            End::Token | End::StopString => FinishReason::Stop,
            End::Length => FinishReason::Length,
            End::Cancelled => FinishReason::Cancelled,
        };
        Ok(Completion {
            text: answer.text,
            prompt_tokens,
            completion_tokens: answer.tokens,
            finish_reason,
            prompt_seconds,
            completion_seconds: started.elapsed().as_secs_f64() - prompt_seconds,
        })
    }
}

impl LocalModel {
    /// Samples and decodes until something ends the answer.
    fn continue_answer(
        &self,
        engine: &mut Engine,
        id: SequenceId,
        sampler: &mut Sampler,
        tokens: &mut Vec<TokenId>,
        (mut characters, mut healing): (StreamDecoder<'_>, Healing),
        answer: &mut Answer<'_>,
    ) -> Result<End, GenerateError> {
        while answer.tokens < answer.max_tokens {
            let logits = &engine.last_logits()[..self.choices];
            let chosen = match healing.is_open() {
                true => sampler.sample(&healing.only_fitting(&self.tokenizer, logits), tokens),
                false => sampler.sample(logits, tokens),
            };
            let token = chosen.map_err(|error| self.not_sampled(error))?;
            healing.take(&self.tokenizer.token_bytes(token));
            tokens.push(token);
            answer.tokens += 1;
            if self.end_tokens.binary_search(&token).is_ok() {
                return Ok(answer.finish(healing.new_text(&characters.finish()), End::Token));
            }
            if let ControlFlow::Break(end) = answer.say(healing.new_text(&characters.push(token))) {
                return Ok(end);
            }
            if answer.tokens < answer.max_tokens {
                engine.decode(&[(id, token)]).map_err(|error| Self::internal(&error))?;
            }
        }
        Ok(answer.finish("", End::Length)) // the beginning of a character that was cut off is left out
    }
}
