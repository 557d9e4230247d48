//! The settings of supervised fine-tuning: flags, keys of a TOML file, and, with every value decided, `run.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::limits::RECIPE_BYTES_MAX;
use tsumugi_data::dialogue::DialogueConfig;
use tsumugi_train::recipe::{ComputeChoice, STEPS_MAX};
use tsumugi_train::{OptimizerKind, Schedule, TrainError, TrainSettings};

use crate::conversations::Format;

/// What may be said about a run. What is left out follows from the model and the conversations.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SftRecipe {
    /// Model folder to begin with
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Conversations: JSON lines of {"messages": [...]}, or a drama; the last tenth is held out
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// What the data is [default: by its ending; .jsonl is messages]
    #[arg(long)]
    pub format: Option<Format>,
    /// Exchanges of one conversation at most (drama only) [default: 4]
    #[arg(long)]
    pub exchanges_max: Option<usize>,
    /// Share of conversations in which the user gives a name (drama only) [default: 0.5]
    #[arg(long)]
    pub named_share: Option<f32>,
    /// Positions of a sequence [default: the model's]
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
    /// Passes over the conversations, instead of `steps` [default: 3]
    #[arg(long)]
    pub epochs: Option<f64>,
    /// Optimizer steps
    #[arg(long)]
    pub steps: Option<u64>,
    /// What updates the parameters [default: adamw]
    #[arg(long)]
    pub optimizer: Option<OptimizerKind>,
    /// Peak learning rate [default: 3e-4 at width 384, falling with the root of the width]
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
    /// Steps between evaluations on the held-out conversations [default: a quarter of the steps]
    #[arg(long)]
    pub evaluate_every: Option<u64>,
    /// Steps between checkpoints [default: a tenth of the steps]
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

/// A recipe with every value decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResolvedSft {
    /// The model's folder.
    pub model: PathBuf,
    /// The conversations.
    pub data: PathBuf,
    /// What they are.
    pub format: Format,
    /// How a drama becomes conversations; none for messages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dialogue: Option<DialogueConfig>,
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

/// Sizes above this are a slip of the finger.
const SIZE_MAX: usize = 1 << 20;

macro_rules! prefer {
    ($first:ident, $second:ident, $($field:ident),*) => { SftRecipe { $($field: $first.$field.or($second.$field)),* } };
}

fn setting(key: &'static str, value: impl ToString, problem: impl Into<String>) -> TrainError {
    TrainError::Setting { key, value: value.to_string(), problem: problem.into() }
}

impl SftRecipe {
    /// Reads a TOML file; an unknown key is an error that names it.
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
            model,
            data,
            format,
            exchanges_max,
            named_share,
            context,
            dropout,
            batch,
            accumulate,
            epochs,
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

    /// Decides everything that the number of packed rows does not decide; checks every key.
    pub fn resolve(&self, model_context: usize, width: usize) -> Result<ResolvedSft, TrainError> {
        let missing = |key, what: &str| setting(key, "missing", what);
        let model = self.model.clone().ok_or_else(|| missing("model", "a model folder to begin with is needed"))?;
        let data = self.data.clone().ok_or_else(|| missing("data", "conversations to train on are needed"))?;
        let format = self.format.unwrap_or_else(|| Format::of(&data));
        self.refuse_inert(format)?;
        self.check_ranges()?;
        let context = self.context.unwrap_or(model_context);
        if context > model_context {
            return Err(setting("context", context, format!("the model has {model_context} positions")));
        }
        let seed = self.seed.unwrap_or(0);
        let dialogue = (format == Format::Drama).then(|| {
            let default = DialogueConfig::default();
            DialogueConfig {
                exchanges_max: self.exchanges_max.unwrap_or(default.exchanges_max),
                named_share: self.named_share.unwrap_or(default.named_share),
                seed,
            }
        });
        let train = TrainSettings {
            steps: 0,
            accumulate: self.accumulate.unwrap_or(1),
            optimizer: self.optimizer.unwrap_or_default(),
            learning_rate: self.learning_rate.unwrap_or_else(|| 3e-4 * (384.0 / width as f64).sqrt()),
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
            seed,
        };
        let (dropout, batch) = (self.dropout.unwrap_or(0.0), self.batch.unwrap_or(8));
        let compute = self.compute.unwrap_or_default();
        Ok(ResolvedSft { model, data, format, dialogue, context, dropout, batch, compute, train })
    }

    /// Decides the steps, once the rows are packed.
    pub fn set_steps(&self, resolved: &mut ResolvedSft, rows: u64) -> Result<(), TrainError> {
        let per_step = (resolved.batch * resolved.train.accumulate) as f64;
        let epochs = self.epochs.unwrap_or(3.0);
        let steps = self.steps.unwrap_or_else(|| ((epochs * rows as f64 / per_step).ceil() as u64).max(1));
        if steps > STEPS_MAX {
            let (key, value) =
                if self.epochs.is_some() { ("epochs", epochs.to_string()) } else { ("steps", steps.to_string()) };
            return Err(setting(key, value, format!("it must come to at most {STEPS_MAX} steps")));
        }
        let train = &mut resolved.train;
        train.steps = steps;
        train.warmup_steps = self.warmup_steps.unwrap_or((steps / 20).min(100));
        train.evaluate_every = self.evaluate_every.unwrap_or(steps.div_ceil(4));
        train.checkpoint_every = self.checkpoint_every.unwrap_or((steps / 10).max(1));
        train.check_warmup(self.warmup_steps)
    }

    /// A key without effect is a misunderstanding: better told than followed.
    fn refuse_inert(&self, format: Format) -> Result<(), TrainError> {
        if format == Format::Messages {
            if let Some(exchanges) = self.exchanges_max {
                return Err(setting("exchanges-max", exchanges, "only a drama is cut into conversations"));
            }
            if let Some(share) = self.named_share {
                return Err(setting("named-share", share, "only a drama has names to give"));
            }
        }
        if let (Some(epochs), Some(_)) = (self.epochs, self.steps) {
            return Err(setting("epochs", epochs, "steps are given too; give one of them"));
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
            ("exchanges-max", self.exchanges_max),
            ("context", self.context),
            ("batch", self.batch),
            ("accumulate", self.accumulate),
        ];
        for (key, size) in sizes {
            if let Some(size) = size.filter(|size| !(1..=SIZE_MAX).contains(size)) {
                return Err(setting(key, size, format!("it must be from 1 to {SIZE_MAX}")));
            }
        }
        let counts = [
            ("steps", self.steps),
            ("evaluate-every", self.evaluate_every),
            ("checkpoint-every", self.checkpoint_every),
        ];
        if let Some((key, _)) = counts.into_iter().find(|&(_, count)| count == Some(0)) {
            return Err(setting(key, 0, "it must be at least 1"));
        }
        for (key, share) in [("dropout", self.dropout.map(f64::from)), ("beta1", self.beta1), ("beta2", self.beta2)] {
            if let Some(share) = share.filter(|share| !(0.0..1.0).contains(share)) {
                return Err(setting(key, share, "it must be at least 0 and below 1"));
            }
        }
        let named_share = self.named_share.map(f64::from);
        let shares = [("least-rate", self.least_rate), ("decay-share", self.decay_share), ("named-share", named_share)];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(setting(key, share, "it must be from 0 to 1"));
            }
        }
        for (key, number) in [("learning-rate", self.learning_rate), ("clip", self.clip), ("epochs", self.epochs)] {
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
