//! The plan: sizes and steps for a budget, from a calibration of a few seconds. Written into `run.json` before the
//! first step.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::units;
use tsumugi_data::dialogue::{self, DialogueConfig};
use tsumugi_data::{BatchSource, ConversationConfig, ConversationLoader, EvaluationSet};
use tsumugi_models::Decoder;
use tsumugi_models::plans::LossPlan;
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::{ChatTemplate, Tokenizer};
use tsumugi_train::bench::RandomTraining;
use tsumugi_train::recipe::{ComputeChoice, FamilyName};
use tsumugi_train::{Recipe, StepOptions};
use tsumugi_tune::Conversations;
use tsumugi_tune::methods::sft::SftRecipe;

use super::size::{self, SIZES, Size, Timed};
use super::{Options, TEXT, TEXT_NAME};
use crate::PipelineError;

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What was timed.
    pub timed: Vec<TimedSize>,
    /// Tokens of the training text.
    pub text_tokens: u64,
    /// Rows of packed conversations.
    pub conversation_rows: u64,
    /// Held-out conversations that are scored: so many as the budget allows, spread over all of them.
    pub held_out_conversations: usize,
    /// Seconds that pre-training should take, evaluations included.
    pub base_seconds: f64,
    /// Seconds that fine-tuning should take, evaluations included.
    pub chat_seconds: f64,
    /// Pre-training.
    pub base: Recipe,
    /// Fine-tuning.
    pub chat: SftRecipe,
}

/// A size that was timed, in numbers that mean something to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimedSize {
    /// Layers.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Parameters.
    pub parameters: u64,
    /// Tokens per second of training steps.
    pub tokens_per_second: f64,
}

/// The share of the budget that training gets; the rest is for the tokenizer, samples, the last evaluation, the
/// report, and for a machine that is not as fast all the time as it was at first.
const TRAINING_SHARE: f64 = 0.88;
/// Seconds for all that does not grow with the budget.
const FIXED_SECONDS: f64 = 4.0;
/// Of the budget, for timing one size.
const TIMING_SHARE: f64 = 0.015;
const TIMING_SECONDS_MAX: f64 = 2.5;
/// Of a stage's time, for scoring held-out text.
const EVALUATION_SHARE: f64 = 0.1;
/// Fewer conversations say little.
const HELD_OUT_LEAST: usize = 24;

/// The tokenizer is a pure function of the text, so the plan can ask for it before its stage.
pub struct Material<'a> {
    /// The training part.
    pub text: &'a str,
    /// The held-out part.
    pub held_out: &'a str,
    /// Its dialogue.
    pub conversations: &'a Conversations,
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
}

/// How the dialogue becomes conversations.
pub fn dialogue_config(seed: u64) -> DialogueConfig {
    DialogueConfig { seed, ..DialogueConfig::default() }
}

/// Times sizes and decides. `begun` is when the run began: what has passed is part of the budget.
pub fn decide(
    options: &Options,
    material: &Material<'_>,
    cpu: &Cpu,
    begun: Instant,
    observer: &dyn Observer,
) -> Result<Plan, PipelineError> {
    let budget = options.minutes * 60.0;
    let text_tokens = material.tokenizer.encode(material.text).len() as u64;
    let timing_seconds = (budget * TIMING_SHARE).min(TIMING_SECONDS_MAX);
    let mut failed = None;
    let timings = size::choose(text_tokens as f64, (1.0 - size::CHAT_SHARE) * TRAINING_SHARE * budget, |size| {
        let timed = time(size, material.tokenizer.vocabulary_size(), cpu, timing_seconds);
        timed.unwrap_or_else(|error| {
            failed = Some(error);
            (1.0, 1.0)
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let seconds = (TRAINING_SHARE * (budget - FIXED_SECONDS) - begun.elapsed().as_secs_f64()).max(0.3 * budget);
    let chosen = timings[timings.len() - 1];
    // The type that was timed is the one that a resumed run goes on with, wherever it does.
    let compute = Some(ComputeChoice::Auto.decided(cpu));
    let plan = steps(options, material, &timings, text_tokens, seconds, compute)?;
    let message = format!(
        "{} layers of width {}: {}; {} steps of pre-training, {} of chat",
        SIZES[chosen.size].layers,
        SIZES[chosen.size].width,
        units::rate(chosen.training, "tokens"),
        units::count(plan.base.steps.unwrap_or(0)),
        units::count(plan.chat.steps.unwrap_or(0)),
    );
    observer.event(&Event::Note { message });
    Ok(plan)
}

/// Steps of both stages: what their seconds pay for, evaluations taken off.
fn steps(
    options: &Options,
    material: &Material<'_>,
    timings: &[Timed],
    text_tokens: u64,
    seconds: f64,
    compute: Option<ComputeChoice>,
) -> Result<Plan, PipelineError> {
    let Timed { size, training, scoring } = timings[timings.len() - 1];
    let size = &SIZES[size];
    let rows = (size.batch * size::CONTEXT) as f64;
    let config = ConversationConfig { context: size::CONTEXT, batch: size.batch, micro_batches: 1, seed: options.seed };
    let template = ChatTemplate::own();
    let packed = ConversationLoader::new(material.tokenizer, &template, &material.conversations.train, config)?;
    let epoch_steps = packed.sequences() as f64 / size.batch as f64;
    let (held_out_conversations, chat_evaluations) =
        held_out_conversations(material, &template, size::CHAT_SHARE * seconds, scoring)?;
    let affordable = (size::CHAT_SHARE * seconds - chat_evaluations).max(0.05 * seconds) * training / rows;
    let chat_steps = affordable.min(size::CHAT_EPOCHS_MAX * epoch_steps).floor().max(8.0);
    let chat_seconds = chat_steps * rows / training + chat_evaluations;
    let base_seconds = (seconds - chat_seconds).max(0.5 * seconds);
    let evaluation = material.tokenizer.encode(material.held_out).len() as f64 / scoring;
    let evaluations = (EVALUATION_SHARE * base_seconds / evaluation).floor() - 1.0; // one more at the beginning
    let evaluations = (evaluations as u64).clamp(1, size::BASE_EVALUATIONS);
    let training_seconds = base_seconds - (evaluations + 1) as f64 * evaluation;
    let base_steps = (training_seconds.max(0.5 * base_seconds) * training / rows).floor().max(16.0);
    let base = Recipe { compute, ..base_recipe(size, base_steps as u64, evaluations, options.seed) };
    let chat = SftRecipe { compute, ..chat_recipe(size, chat_steps as u64, options.seed) };
    let timed = timings.iter().map(|timed| timed_size(timed, material.tokenizer)).collect();
    let conversation_rows = packed.sequences();
    Ok(Plan { timed, text_tokens, conversation_rows, held_out_conversations, base_seconds, chat_seconds, base, chat })
}

/// How many held-out conversations a stage of so many seconds may score at each of its evaluations, and the seconds that
/// all of those take together.
fn held_out_conversations(
    material: &Material<'_>,
    template: &ChatTemplate,
    seconds: f64,
    scoring: f64,
) -> Result<(usize, f64), PipelineError> {
    let all = &material.conversations.held_out;
    let set = EvaluationSet::from_conversations(material.tokenizer, template, all, size::CONTEXT, 1)?;
    let whole = (size::CHAT_EVALUATIONS + 1) as f64 * (set.batch_count() * size::CONTEXT) as f64 / scoring;
    let affordable = (EVALUATION_SHARE * seconds / whole * all.len() as f64) as usize;
    let count = affordable.max(HELD_OUT_LEAST).min(all.len());
    Ok((count, whole * count as f64 / all.len().max(1) as f64))
}

fn timed_size(timed: &Timed, tokenizer: &Tokenizer) -> TimedSize {
    let size = &SIZES[timed.size];
    let parameters = Decoder::new(size.spec(tokenizer.vocabulary_size())).parameters.count() as u64;
    TimedSize { layers: size.layers, width: size.width, parameters, tokens_per_second: timed.training }
}

fn base_recipe(size: &Size, steps: u64, evaluations: u64, seed: u64) -> Recipe {
    Recipe {
        data: Some(TEXT_NAME.into()),
        family: Some(FamilyName::Llama),
        vocabulary: Some(size::VOCABULARY),
        layers: Some(size.layers),
        heads: Some(size.heads),
        width: Some(size.width),
        context: Some(size::CONTEXT),
        dropout: Some(size.dropout),
        batch: Some(size.batch),
        steps: Some(steps),
        learning_rate: Some(size.learning_rate),
        least_rate: Some(0.03),
        warmup_steps: Some((steps / 20).min(100)),
        evaluate_every: Some(steps.div_ceil(evaluations)),
        seed: Some(seed),
        ..Recipe::default()
    }
}

fn chat_recipe(size: &Size, steps: u64, seed: u64) -> SftRecipe {
    let dialogue = dialogue_config(seed);
    SftRecipe {
        model: Some("base".into()),
        data: Some(TEXT_NAME.into()),
        format: Some(tsumugi_tune::conversations::Format::Drama),
        exchanges_max: Some(dialogue.exchanges_max),
        named_share: Some(dialogue.named_share),
        context: Some(size::CONTEXT),
        dropout: Some(size.dropout),
        batch: Some(size.batch),
        steps: Some(steps),
        learning_rate: Some(size::CHAT_RATE * size.learning_rate),
        least_rate: Some(0.03),
        warmup_steps: Some((steps / 20).min(50)),
        evaluate_every: Some(steps.div_ceil(size::CHAT_EVALUATIONS)),
        seed: Some(seed),
        ..SftRecipe::default()
    }
}

/// Tokens per second of training and of scoring, measured over about `seconds`, after a step that touches the memory
/// for the first time.
fn time(size: &Size, vocabulary: usize, cpu: &Cpu, seconds: f64) -> Result<(f64, f64), PipelineError> {
    let mut training = RandomTraining::new(&size.spec(vocabulary), size.batch, StepOptions::default(), cpu)?;
    let training_seconds = seconds_of(&mut || training.step(cpu), 0.8 * seconds);
    let RandomTraining { decoder, rows, .. } = training;
    let tokens = size.batch * decoder.spec.context;
    let mut scoring = LossPlan::scoring(&decoder, tokens);
    rows.set(&mut scoring);
    let mut score = || {
        scoring.score(cpu, &decoder.parameters);
    };
    let scoring_seconds = seconds_of(&mut score, 0.2 * seconds);
    Ok((tokens as f64 / training_seconds, tokens as f64 / scoring_seconds))
}

/// Mean seconds of `work`, over about `seconds` and at least twice, after one time that does not count.
fn seconds_of(work: &mut dyn FnMut(), seconds: f64) -> f64 {
    work();
    let begun = Instant::now();
    let mut count = 0;
    while count < 2 || begun.elapsed().as_secs_f64() < seconds {
        work();
        count += 1;
    }
    begun.elapsed().as_secs_f64() / f64::from(count)
}

/// `count` of the held-out conversations, spread over all of them.
pub fn with_held_out(conversations: &Conversations, count: usize) -> Conversations {
    let all = &conversations.held_out;
    let count = count.min(all.len());
    let held_out = (0..count).map(|index| all[index * all.len() / count].clone()).collect();
    Conversations { train: conversations.train.clone(), held_out, places: None }
}

/// The characters that a reader may choose to talk with: those who speak most in the training part, the most frequent
/// first.
pub fn characters(count: usize) -> Result<Vec<String>, PipelineError> {
    let speeches = dialogue::speeches(dialogue::split(TEXT).0)?;
    Ok(dialogue::characters(&speeches).into_iter().take(count).map(|(name, _)| name.to_owned()).collect())
}
