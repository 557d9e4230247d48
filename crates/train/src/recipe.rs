//! A pre-training recipe: the same struct is the flags, the keys of a TOML file and, with every value decided, the
//! record in `run.json`. One dial, `depth`, is enough; everything else follows from it and from the text.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::read_to_string_limited;
use tsumugi_models::DecoderSpec;
use tsumugi_models::gpt2::Gpt2;
use tsumugi_models::llama::Llama;
use tsumugi_tensor::{Compute, Cpu};

use crate::{OptimizerKind, Schedule, TrainError, TrainSettings, run_folder};

/// Which decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FamilyName {
    /// Rotary positions, RMSNorm, SwiGLU.
    Llama,
    /// Learned positions, LayerNorm, GELU.
    Gpt2,
}

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte-level BPE, trained on the text.
    Bpe,
    /// A token for each byte.
    Bytes,
    /// A token for each character of the text.
    Characters,
}

/// The type of matrix products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ComputeChoice {
    /// The fastest that the processor has.
    #[default]
    Auto,
    /// float32.
    F32,
    /// bfloat16, with float32 sums, weights and moments.
    Bf16,
}

impl ComputeChoice {
    /// One of the two types, for this processor.
    #[must_use]
    pub fn decided(self, cpu: &Cpu) -> Self {
        match (self, cpu.fastest_compute()) {
            (Self::Auto, Compute::F32) => Self::F32,
            (Self::Auto, Compute::Bf16) => Self::Bf16,
            (said, _) => said,
        }
    }

    /// What was said; if nothing was, what the run in `folder` was begun with; else the fastest.
    #[must_use]
    pub fn of_run(self, folder: &Path, cpu: &Cpu) -> Self {
        match self {
            Self::Auto => {
                let begun =
                    run_folder::recorded(folder, "compute").and_then(|value| serde_json::from_value(value).ok());
                begun.unwrap_or(Self::Auto).decided(cpu)
            }
            said => said,
        }
    }

    /// The processor computing in this type.
    pub fn on(self, cpu: &Cpu) -> Cpu {
        let compute = match self.decided(cpu) {
            Self::Bf16 => Compute::Bf16,
            Self::Auto | Self::F32 => Compute::F32,
        };
        cpu.computing(compute)
    }
}

/// What may be said about a run. What is left out follows from `depth` and the text.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Recipe {
    /// The one dial: layers; width is 64 times this, and rate and steps follow
    #[arg(long)]
    pub depth: Option<usize>,
    /// Text file to train on; its last tenth is held out
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Decoder family [default: llama]
    #[arg(long)]
    pub family: Option<FamilyName>,
    /// How text becomes tokens [default: bpe]
    #[arg(long)]
    pub tokenizer: Option<TokenizerKind>,
    /// Tokens of the vocabulary, control tokens included (bpe only) [default: by the size of the text]
    #[arg(long)]
    pub vocabulary: Option<usize>,
    /// Layers, instead of `depth`
    #[arg(long)]
    pub layers: Option<usize>,
    /// Query heads [default: width / 64]
    #[arg(long)]
    pub heads: Option<usize>,
    /// Key/value heads (llama only) [default: as many as query heads]
    #[arg(long)]
    pub key_heads: Option<usize>,
    /// Model width [default: 64 * depth]
    #[arg(long)]
    pub width: Option<usize>,
    /// Positions of a sequence [default: 256]
    #[arg(long)]
    pub context: Option<usize>,
    /// Dropout rate [default: 0]
    #[arg(long)]
    pub dropout: Option<f32>,
    /// Sequences of a micro-batch [default: 8]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Micro-batches summed up for a step [default: 1]
    #[arg(long)]
    pub accumulate: Option<usize>,
    /// Optimizer steps [default: 20 tokens per parameter (Hoffmann et al. 2022), at most 20 epochs]
    #[arg(long)]
    pub steps: Option<u64>,
    /// What updates the parameters [default: adamw]
    #[arg(long)]
    pub optimizer: Option<OptimizerKind>,
    /// Peak learning rate [default: 1e-3 at width 384, falling with the root of the width]
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// How the rate falls [default: cosine]
    #[arg(long)]
    pub schedule: Option<Schedule>,
    /// Steps of the rise [default: a twentieth, at most 100]
    #[arg(long)]
    pub warmup_steps: Option<u64>,
    /// Least rate as a share of the peak [default: 0.1]
    #[arg(long)]
    pub least_rate: Option<f64>,
    /// Share of steps in which a warmup-stable-decay schedule falls [default: 0.2]
    #[arg(long)]
    pub decay_share: Option<f64>,
    /// AdamW's decay of the first moment [default: 0.9]
    #[arg(long)]
    pub beta1: Option<f64>,
    /// AdamW's decay of the second moment [default: 0.99]
    #[arg(long)]
    pub beta2: Option<f64>,
    /// Decoupled weight decay of matrices [default: 0.1]
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Largest norm of the gradient [default: 1]
    #[arg(long)]
    pub clip: Option<f64>,
    /// Steps between evaluations on the held-out text [default: a tenth of the steps]
    #[arg(long)]
    pub evaluate_every: Option<u64>,
    /// Steps between checkpoints [default: a twentieth of the steps]
    #[arg(long)]
    pub checkpoint_every: Option<u64>,
    /// Type of matrix products; sums, weights and moments are float32 [default: auto]
    #[arg(long)]
    pub compute: Option<ComputeChoice>,
    /// Activation checkpointing: each layer's values are computed again before its backward instead of kept; a fraction of
    /// their memory for a fifth more time, the same bits [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub recompute: Option<bool>,
    /// Of every random number [default: 0]
    #[arg(skip)]
    pub seed: Option<u64>,
}

/// A recipe with every value decided, once the text is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resolved {
    /// The text.
    pub data: PathBuf,
    /// Decoder family.
    pub family: FamilyName,
    /// How text becomes tokens.
    pub tokenizer: TokenizerKind,
    /// Tokens asked for; the tokenizer may have fewer.
    pub vocabulary: Option<usize>,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub key_heads: usize,
    /// Model width.
    pub width: usize,
    /// Positions of a sequence.
    pub context: usize,
    /// Dropout rate.
    pub dropout: f32,
    /// Sequences of a micro-batch.
    pub batch: usize,
    /// Type of matrix products.
    pub compute: ComputeChoice,
    /// The trainer's numbers.
    #[serde(flatten)]
    pub train: TrainSettings,
}

const RECIPE_BYTES_MAX: u64 = 1 << 20;
/// Width of a head where only the width is given.
const HEAD_WIDTH: usize = 64;
/// Hoffmann et al. 2022: compute-optimal tokens per parameter.
pub const TOKENS_PER_PARAMETER: u64 = 20;
/// More passes over a text teach little (Muennighoff et al. 2023, "Scaling data-constrained language models").
const EPOCHS_MAX: u64 = 20;
/// Sizes above this are a slip of the finger.
const SIZE_MAX: usize = 1 << 20;
/// As above; the planner's time grows with the square of them.
const LAYERS_MAX: usize = 1024;
/// More steps are a slip of the finger: one a millisecond would take thirty years.
pub const STEPS_MAX: u64 = 1 << 40;

macro_rules! prefer {
    ($first:ident, $second:ident, $($field:ident),*) => { Recipe { $($field: $first.$field.or($second.$field)),* } };
}

impl Recipe {
    /// Reads a TOML file; an unknown key is an error that names it. Relative paths in it are taken from where the
    /// command runs.
    pub fn read(file: &Path) -> Result<Self, TrainError> {
        let problem = |problem: String| TrainError::RecipeFile { file: file.to_owned(), problem };
        let text = read_to_string_limited(file, RECIPE_BYTES_MAX).map_err(|error| problem(error.to_string()))?;
        toml::from_str(&text).map_err(|error| problem(error.to_string().trim_end().to_owned()))
    }

    /// This recipe, with `other` for what it leaves out.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        prefer!(
            self,
            other,
            depth,
            data,
            family,
            tokenizer,
            vocabulary,
            layers,
            heads,
            key_heads,
            width,
            context,
            dropout,
            batch,
            accumulate,
            steps,
            optimizer,
            learning_rate,
            schedule,
            warmup_steps,
            least_rate,
            decay_share,
            beta1,
            beta2,
            weight_decay,
            clip,
            evaluate_every,
            checkpoint_every,
            compute,
            recompute,
            seed
        )
    }

    /// Decides everything; `text_bytes` is the size of the training text.
    pub fn resolve(&self, text_bytes: u64) -> Result<Resolved, TrainError> {
        let data = self.data.clone().ok_or_else(|| setting("data", "missing", "a text file to train on is needed"))?;
        self.refuse_inert()?;
        self.check_ranges()?;
        let layers = self
            .layers
            .or(self.depth)
            .ok_or_else(|| setting("depth", "missing", "give --depth, or a recipe with layers"))?;
        let width = self.width.unwrap_or(HEAD_WIDTH.saturating_mul(layers));
        if width > SIZE_MAX {
            return Err(setting("depth", layers, format!("a width of {width} follows; it must be at most {SIZE_MAX}")));
        }
        let heads = self.heads.unwrap_or_else(|| (width / HEAD_WIDTH).max(1));
        let key_heads = self.key_heads.unwrap_or(heads);
        let head_width = check_heads(width, heads, key_heads)?;
        let family = self.family.unwrap_or(FamilyName::Llama);
        if family == FamilyName::Llama && head_width % 2 == 1 {
            return Err(setting(
                "heads",
                heads,
                format!("heads of width {head_width} cannot be rotated: it must be even"),
            ));
        }
        let tokenizer = self.tokenizer.unwrap_or(TokenizerKind::Bpe);
        let vocabulary = (tokenizer == TokenizerKind::Bpe)
            .then(|| self.vocabulary.unwrap_or_else(|| default_vocabulary(text_bytes)));
        let (context, batch) = (self.context.unwrap_or(256), self.batch.unwrap_or(8));
        let mut resolved = Resolved {
            data,
            family,
            tokenizer,
            vocabulary,
            layers,
            heads,
            key_heads,
            width,
            context,
            dropout: self.dropout.unwrap_or(0.0),
            batch,
            compute: self.compute.unwrap_or_default(),
            train: self.train_settings(width),
        };
        let steps = self.steps.unwrap_or_else(|| resolved.default_steps(text_bytes));
        resolved.train.set_steps(steps, self);
        resolved.train.check_warmup(self.warmup_steps)?;
        Ok(resolved)
    }

    /// Everything but what depends on the steps.
    fn train_settings(&self, width: usize) -> TrainSettings {
        TrainSettings {
            steps: 0,
            accumulate: self.accumulate.unwrap_or(1),
            optimizer: self.optimizer.unwrap_or_default(),
            learning_rate: self.learning_rate.unwrap_or_else(|| 1e-3 * (384.0 / width as f64).sqrt()),
            schedule: self.schedule.unwrap_or_default(),
            warmup_steps: 0,
            least_rate: self.least_rate.unwrap_or(0.1),
            decay_share: self.decay_share.unwrap_or(0.2),
            beta1: self.beta1.unwrap_or(0.9),
            beta2: self.beta2.unwrap_or(0.99),
            weight_decay: self.weight_decay.unwrap_or(0.1),
            clip: self.clip.unwrap_or(1.0),
            evaluate_every: 1,
            checkpoint_every: 1,
            recompute: self.recompute.unwrap_or(false),
            seed: self.seed.unwrap_or(0),
        }
    }

    /// A key without effect is a misunderstanding: better told than followed.
    fn refuse_inert(&self) -> Result<(), TrainError> {
        let kind = self.tokenizer.unwrap_or(TokenizerKind::Bpe);
        if let (Some(vocabulary), false) = (self.vocabulary, kind == TokenizerKind::Bpe) {
            return Err(setting("vocabulary", vocabulary, "only a bpe tokenizer has a vocabulary to choose"));
        }
        if let (Some(depth), Some(_)) = (self.depth, self.layers) {
            return Err(setting("depth", depth, "layers are given too; give one of them"));
        }
        if let (Some(key_heads), Some(FamilyName::Gpt2)) = (self.key_heads, self.family) {
            return Err(setting("key-heads", key_heads, "gpt2 has as many key heads as query heads"));
        }
        let schedule = self.schedule.unwrap_or_default();
        if let (Some(share), false) = (self.decay_share, schedule == Schedule::WarmupStableDecay) {
            return Err(setting("decay-share", share, "only the warmup-stable-decay schedule reads it"));
        }
        if let (Some(least), Schedule::Constant) = (self.least_rate, schedule) {
            return Err(setting("least-rate", least, "a constant schedule has no least rate"));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), TrainError> {
        let sizes = [
            ("depth", self.depth),
            ("layers", self.layers),
            ("heads", self.heads),
            ("key-heads", self.key_heads),
            ("width", self.width),
            ("context", self.context),
            ("batch", self.batch),
            ("accumulate", self.accumulate),
        ];
        for (key, size) in sizes {
            if let Some(size) = size.filter(|size| !(1..=SIZE_MAX).contains(size)) {
                return Err(setting(key, size, format!("it must be from 1 to {SIZE_MAX}")));
            }
        }
        for (key, layers) in [("depth", self.depth), ("layers", self.layers)] {
            if let Some(layers) = layers.filter(|&layers| layers > LAYERS_MAX) {
                return Err(setting(key, layers, format!("it must be at most {LAYERS_MAX}")));
            }
        }
        if let Some(vocabulary) = self.vocabulary.filter(|vocabulary| !(1..=SIZE_MAX).contains(vocabulary)) {
            return Err(setting("vocabulary", vocabulary, format!("it must be from 1 to {SIZE_MAX}")));
        }
        if let Some(steps) = self.steps.filter(|&steps| steps > STEPS_MAX) {
            return Err(setting("steps", steps, format!("it must be at most {STEPS_MAX}")));
        }
        for (key, steps) in [
            ("evaluate-every", self.evaluate_every),
            ("checkpoint-every", self.checkpoint_every),
            ("steps", self.steps),
        ] {
            if steps == Some(0) {
                return Err(setting(key, 0, "it must be at least 1"));
            }
        }
        let dropout = self.dropout.map(f64::from);
        let shares = [("dropout", dropout), ("beta1", self.beta1), ("beta2", self.beta2)];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..1.0).contains(share)) {
                return Err(setting(key, share, "it must be at least 0 and below 1"));
            }
        }
        for (key, share) in [("least-rate", self.least_rate), ("decay-share", self.decay_share)] {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(setting(key, share, "it must be from 0 to 1"));
            }
        }
        for (key, number) in [("learning-rate", self.learning_rate), ("clip", self.clip)] {
            if let Some(number) = number.filter(|number| !(number.is_finite() && *number > 0.0)) {
                return Err(setting(key, number, "it must be above 0"));
            }
        }
        if let Some(decay) = self.weight_decay.filter(|decay| !(decay.is_finite() && *decay >= 0.0)) {
            return Err(setting("weight-decay", decay, "it must be at least 0"));
        }
        Ok(())
    }
}

fn setting(key: &'static str, value: impl ToString, problem: impl Into<String>) -> TrainError {
    TrainError::Setting { key, value: value.to_string(), problem: problem.into() }
}

fn check_heads(width: usize, heads: usize, key_heads: usize) -> Result<usize, TrainError> {
    if !width.is_multiple_of(heads) {
        return Err(setting("heads", heads, format!("it does not divide the width {width}")));
    }
    if !heads.is_multiple_of(key_heads) {
        return Err(setting("key-heads", key_heads, format!("it does not divide the {heads} heads")));
    }
    Ok(width / heads)
}

/// A power of two near the root of the text's bytes: 1,024 for a megabyte, 32,768 for a gigabyte.
fn default_vocabulary(text_bytes: u64) -> usize {
    let root = (text_bytes.max(1) as f64).sqrt();
    (1_usize << root.log2().round() as u32).clamp(512, 65_536)
}

impl TrainSettings {
    fn set_steps(&mut self, steps: u64, recipe: &Recipe) {
        self.steps = steps;
        self.warmup_steps = recipe.warmup_steps.unwrap_or((steps / 20).min(100));
        self.evaluate_every = recipe.evaluate_every.unwrap_or((steps / 10).max(1));
        self.checkpoint_every = recipe.checkpoint_every.unwrap_or((steps / 20).max(1));
    }
}

impl Resolved {
    /// The model, for a tokenizer of this vocabulary.
    pub fn spec(&self, vocabulary: usize) -> DecoderSpec {
        let Self { context, width, layers, heads, key_heads, .. } = *self;
        let spec = match self.family {
            FamilyName::Gpt2 => Gpt2::sized(vocabulary, context, width, layers, heads),
            FamilyName::Llama => Llama::sized(vocabulary, context, width, layers, heads, key_heads),
        };
        DecoderSpec { dropout: self.dropout, ..spec }
    }

    fn default_steps(&self, text_bytes: u64) -> u64 {
        let parameters = self.spec(self.vocabulary.unwrap_or(256)).parameters_at_least();
        let parameters = u64::try_from(parameters).unwrap_or(u64::MAX);
        // English is some three bytes per token at these vocabularies; characters and bytes are one.
        let text_tokens = if self.tokenizer == TokenizerKind::Bpe { text_bytes / 3 } else { text_bytes };
        let tokens = TOKENS_PER_PARAMETER.saturating_mul(parameters).min(EPOCHS_MAX.saturating_mul(text_tokens));
        let per_step = [self.context, self.train.accumulate]
            .iter()
            .fold(self.batch as u64, |product, &size| product.saturating_mul(size as u64));
        (tokens / per_step).max(100)
    }
}
