//! Pre-training from a text: tokenizer, token shards, model, checkpoints, and a finished model folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tsumugi_base::io::{create_folder, write_atomic};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_record::{InputHash, RunRecord};
use tsumugi_data::{
    Documents, EvaluationSet, PretrainConfig, PretrainLoader, TokenShards, WindowOrder, dialogue, pack_text, read_text,
};
use tsumugi_models::Decoder;
use tsumugi_tensor::{Cpu, Profile};
use tsumugi_tokenizer::{Tokenizer, special_tokens, train as tokenizer_train};

use crate::peak::peak_flops_per_second;
use crate::recipe::TokenizerKind;
use crate::run_folder::{self, Begun};
use crate::trainer::{self, Evaluated, Job};
use crate::{Recipe, Resolved, TrainError, checkpoint, planner, report};

/// What a pre-training gave.
#[derive(Debug)]
pub struct Pretrained {
    /// The settings, all decided.
    pub resolved: Resolved,
    /// Whether all steps are done; if not, the same command goes on.
    pub finished: bool,
    /// Whether the folder was finished before.
    pub was_finished: bool,
    /// Steps done.
    pub steps: u64,
    /// The last evaluation of this run.
    pub evaluated: Option<Evaluated>,
    /// Tokens per second of this run; 0 when nothing was left to do.
    pub tokens_per_second: f64,
    /// Parameters of the model; none when nothing was left to do.
    pub parameters: Option<usize>,
    /// Where the time of this run's steps went, if that was asked for.
    pub profile: Profile,
}

impl Pretrained {
    /// Nothing was left to do.
    fn of_finished(folder: &Path, resolved: Resolved) -> Result<Self, TrainError> {
        run_folder::check_finished(folder)?;
        checkpoint::remove_all(folder); // a kill may have come between the last file and this
        let evaluated = report::Log::read(folder).unwrap_or_default().evaluations().next_back();
        let (steps, tokens_per_second, parameters) = (resolved.train.steps, 0.0, None);
        let profile = Profile::default();
        let (finished, was_finished) = (true, true);
        Ok(Self { resolved, finished, was_finished, steps, evaluated, tokens_per_second, parameters, profile })
    }
}

/// The file that is written last.
const FINISHED: &str = "config.json";

/// A text that is in memory, and the tokenizer for it where there is one already.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The whole text, the held-out part included.
    pub text: &'a str,
    /// Where it came from.
    pub inputs: Vec<InputHash>,
    /// Used instead of training one.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Whether to time each operation; changes no result.
    pub profile: bool,
}

/// Trains by a recipe into `folder`, or goes on with what is there.
pub fn run(
    recipe: &Recipe,
    folder: &Path,
    cpu: &Cpu,
    command: Vec<String>,
    profile: bool,
    observer: &dyn Observer,
    on_evaluation: &mut dyn FnMut(Evaluated, &Decoder, &Tokenizer),
) -> Result<Pretrained, TrainError> {
    let (text, inputs) = match &recipe.data {
        Some(data) => {
            let text = read_text(data)?;
            let input = InputHash::of_text(data, &text);
            (text, vec![input])
        }
        None => (String::new(), Vec::new()), // `resolve` says what is missing
    };
    let source = Source { text: &text, inputs, tokenizer: None, profile };
    run_on(&source, recipe, folder, cpu, command, observer, on_evaluation)
}

/// [`run`] on a text that is in memory; the recipe's `data` is only its name.
pub fn run_on(
    source: &Source<'_>,
    recipe: &Recipe,
    folder: &Path,
    cpu: &Cpu,
    command: Vec<String>,
    observer: &dyn Observer,
    on_evaluation: &mut dyn FnMut(Evaluated, &Decoder, &Tokenizer),
) -> Result<Pretrained, TrainError> {
    let (text, held_out) = dialogue::split(source.text);
    let resolved = resolve_for(recipe, text.len() as u64, folder, cpu)?;
    let cpu = &resolved.compute.on(cpu);
    let vocabulary = source.tokenizer.map_or(resolved.vocabulary.unwrap_or(256), Tokenizer::vocabulary_size);
    if !folder.join(FINISHED).exists() {
        let (spec, rows) = (resolved.spec(vocabulary), resolved.batch * resolved.context);
        planner::check_memory(&spec, rows, resolved.train.options(), cpu)?;
    }
    let mut record =
        RunRecord::begin(command, serde_json::to_value(&resolved).unwrap_or_default(), resolved.train.seed);
    record.inputs.clone_from(&source.inputs);
    record.versions.insert(run_folder::KERNELS.into(), cpu.kernels());
    let opened = run_folder::begin(folder, &mut record, FINISHED, observer)?;
    if opened.state == Begun::Finished {
        return Pretrained::of_finished(folder, resolved);
    }
    let tokenizer = match source.tokenizer {
        Some(tokenizer) => {
            tokenizer.save(folder)?;
            tokenizer.clone()
        }
        None => tokenizer(&resolved, text, source.text, folder, observer)?,
    };
    let set = EvaluationSet::from_text(&tokenizer, held_out, resolved.context, resolved.batch)?;
    let shards = pack_text(&[text], &tokenizer, &folder.join("tokens"), observer)?;
    let mut decoder = Decoder::new(resolved.spec(tokenizer.vocabulary_size()));
    decoder.initialize(resolved.train.seed, cpu.pool());
    let parameters = decoder.parameters.count();
    describe(&resolved, &shards, parameters, observer);
    let loader = PretrainLoader::new(Arc::new(shards), windows(&resolved))?;
    let trained = trainer::train(Job {
        cpu,
        decoder,
        source: &loader,
        held_out: Some(&set),
        settings: &resolved.train,
        folder,
        stage: "pre-train",
        peak_flops_per_second: Some(peak_flops_per_second(cpu)),
        profile: source.profile,
        observer,
        on_evaluation: &mut |evaluated, decoder| on_evaluation(evaluated, decoder, &tokenizer),
    })?;
    if trained.finished {
        report::write(folder, "Pre-training", parameters, &trained.profile, observer);
        save(&trained.decoder, &tokenizer, folder)?;
        checkpoint::remove_all(folder);
    }
    Ok(Pretrained {
        resolved,
        finished: trained.finished,
        was_finished: false,
        steps: trained.state.step,
        evaluated: trained.evaluated,
        tokens_per_second: trained.tokens_per_second,
        parameters: Some(parameters),
        profile: trained.profile,
    })
}

/// The settings of a run in this folder: what it may choose and was not told, it keeps as it was begun.
fn resolve_for(recipe: &Recipe, text_bytes: u64, folder: &Path, cpu: &Cpu) -> Result<Resolved, TrainError> {
    let mut resolved = recipe.resolve(text_bytes)?;
    resolved.compute = resolved.compute.of_run(folder, cpu);
    resolved.train.recompute = run_folder::recompute_of_run(recipe.recompute, folder);
    Ok(resolved)
}

fn windows(resolved: &Resolved) -> PretrainConfig {
    PretrainConfig {
        context: resolved.context,
        batch: resolved.batch,
        micro_batches: resolved.train.accumulate,
        order: WindowOrder::Random,
        documents: Documents::Joined,
        seed: resolved.train.seed,
    }
}

fn describe(resolved: &Resolved, shards: &TokenShards, parameters: usize, observer: &dyn Observer) {
    let per_step = (resolved.batch * resolved.context * resolved.train.accumulate) as u64;
    let tokens = resolved.train.steps.saturating_mul(per_step);
    let message = format!(
        "{parameters} parameters, {} layers of width {}, context {}; {} steps over {tokens} tokens, {:.1} epochs",
        resolved.layers,
        resolved.width,
        resolved.context,
        resolved.train.steps,
        tokens as f64 / shards.len().max(1) as f64
    );
    observer.event(&Event::Note { message });
}

/// The folder's tokenizer, or a new one. Characters are collected from the whole text: a held-out character without
/// a token could not be scored.
fn tokenizer(
    resolved: &Resolved,
    text: &str,
    whole: &str,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Tokenizer, TrainError> {
    let file = folder.join("tokenizer.json");
    if let Ok(json) = std::fs::read_to_string(&file) {
        return Ok(Tokenizer::from_json(&json)?);
    }
    create_folder(folder)?;
    let control = special_tokens::all();
    let tokenizer = match (resolved.tokenizer, resolved.vocabulary) {
        (TokenizerKind::Bytes, _) => tokenizer_train::byte_tokenizer(&control)?,
        (TokenizerKind::Characters, _) => tokenizer_train::character_tokenizer(whole, &[])?,
        (TokenizerKind::Bpe, vocabulary) => {
            observer.event(&Event::Stage { name: "train the tokenizer".into() });
            let vocabulary_size = vocabulary.unwrap_or(1024);
            let config =
                tokenizer_train::TrainingConfig { vocabulary_size, special_tokens: control, ..Default::default() };
            tokenizer_train::train_bpe(&[text], &config, observer)?
        }
    };
    tokenizer.save(folder)?;
    Ok(tokenizer)
}

/// Writes the finished model: weights and config, with the token ids that `transformers` asks for. The config comes
/// last: it says that the run is done.
pub fn save(decoder: &Decoder, tokenizer: &Tokenizer, folder: &Path) -> Result<(), TrainError> {
    let mut extra: BTreeMap<String, Value> = BTreeMap::new();
    let id = |name: &str| tokenizer.special(name).map_or(Value::Null, |id| json!(id));
    extra.insert("bos_token_id".into(), id(special_tokens::END_OF_TEXT));
    extra.insert("eos_token_id".into(), id(special_tokens::END_OF_TEXT));
    let generation =
        json!({ "do_sample": true, "bos_token_id": extra["bos_token_id"], "eos_token_id": extra["eos_token_id"] });
    write_atomic(&folder.join("generation_config.json"), format!("{generation:#}\n").as_bytes())?;
    decoder.save(folder, &extra)?;
    Ok(())
}
