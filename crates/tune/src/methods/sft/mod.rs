//! Supervised fine-tuning: whole conversations packed into rows, each attending to itself only, the loss on what the
//! assistant says and on the token that ends its turn (Ouyang et al. 2022, "Training language models to follow
//! instructions with human feedback", step 1).

mod recipe;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tsumugi_base::io::write_atomic;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_record::{InputHash, RunRecord};
use tsumugi_base::units;
use tsumugi_data::{ConversationConfig, ConversationLoader, EvaluationSet, PackingReport, PreviewStyle};
use tsumugi_files::{Admitted, ModelCard, ModelFiles};
use tsumugi_models::Decoder;
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer, special_tokens, vocabulary_file};
use tsumugi_train::peak::peak_flops_per_second;
use tsumugi_train::planner::check_memory;
use tsumugi_train::report::Log;
use tsumugi_train::run_folder::{self, Begun};
use tsumugi_train::trainer::not_finite;
use tsumugi_train::{Evaluated, Job, TrainError, checkpoint, report, train};

use super::Method;
use crate::{Conversations, TuneError};

pub use recipe::{ResolvedSft, SftRecipe};

/// The method.
pub struct Sft;

impl Method for Sft {
    fn name(&self) -> &'static str {
        "sft"
    }

    fn about(&self) -> &'static str {
        "Supervised fine-tuning: learn the answers of example conversations"
    }

    fn paper(&self) -> &'static str {
        "Ouyang et al. 2022, https://arxiv.org/abs/2203.02155"
    }
}

/// What a fine-tuning gave.
#[derive(Debug)]
pub struct Tuned {
    /// The settings, all decided.
    pub resolved: ResolvedSft,
    /// Whether all steps are done; if not, the same command goes on.
    pub finished: bool,
    /// Whether the folder was finished before.
    pub was_finished: bool,
    /// Steps done.
    pub steps: u64,
    /// What packing did.
    pub packing: PackingReport,
    /// The last evaluation of this run.
    pub evaluated: Option<Evaluated>,
    /// Tokens per second of this run; 0 when nothing was left to do.
    pub tokens_per_second: f64,
}

impl Tuned {
    /// Nothing was left to do.
    fn of_finished(folder: &Path, resolved: ResolvedSft, packing: PackingReport) -> Result<Self, TuneError> {
        run_folder::check_finished(folder)?;
        checkpoint::remove_all(folder); // a kill may have come between the last file and this
        let (steps, evaluated, tokens_per_second) =
            (resolved.train.steps, Log::read(folder).unwrap_or_default().evaluations().next_back(), 0.0);
        Ok(Self { resolved, finished: true, was_finished: true, steps, packing, evaluated, tokens_per_second })
    }
}

/// What a fine-tuning begins with, besides its recipe.
pub struct Source<'a> {
    /// The model, admitted.
    pub model: &'a Admitted<ModelFiles>,
    /// What to learn.
    pub conversations: &'a Conversations,
    /// Where it came from.
    pub inputs: Vec<InputHash>,
}

/// A callback at each evaluation, for samples.
pub type OnEvaluation<'a> = &'a mut dyn FnMut(Evaluated, &Decoder, &Tokenizer, &ChatTemplate);

/// The file that is written last.
const FINISHED: &str = "config.json";

/// The first `count` parts of the conversations as they are trained on, cut to the context: what is trained is marked.
pub fn preview(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    conversations: &[Vec<Message>],
    context: usize,
    count: usize,
    style: PreviewStyle,
) -> Result<Vec<String>, TuneError> {
    let config = ConversationConfig { context, batch: 1, micro_batches: 1, seed: 0 };
    let loader = ConversationLoader::new(tokenizer, template, conversations, config)?;
    Ok(loader.parts().iter().take(count).map(|part| tsumugi_data::preview(tokenizer, part, style)).collect())
}

/// The tokenizer of a model.
pub fn tokenizer(model: &Admitted<ModelFiles>) -> Result<Tokenizer, TuneError> {
    Tokenizer::of_model(model)?.ok_or_else(|| TuneError::NoTokenizer { folder: model.path().to_owned() })
}

/// The chat template of a model, or our own where its tokenizer has the control tokens for it.
pub fn template(model: &Admitted<ModelFiles>, tokenizer: &Tokenizer) -> Result<ChatTemplate, TuneError> {
    if let Some(template) = ChatTemplate::of_model(model)? {
        return Ok(template);
    }
    match special_tokens::ALL.into_iter().find(|token| tokenizer.special(token).is_none()) {
        None => Ok(ChatTemplate::own()),
        Some(missing) => Err(TuneError::NoTemplate { folder: model.path().to_owned(), missing }),
    }
}

/// Fine-tunes by a recipe into `folder`, or goes on with what is there: reads the recipe's data itself.
pub fn run(
    recipe: &SftRecipe,
    model: &Admitted<ModelFiles>,
    folder: &Path,
    cpu: &Cpu,
    command: Vec<String>,
    observer: &dyn Observer,
    on_evaluation: OnEvaluation<'_>,
) -> Result<Tuned, TuneError> {
    let (_, spec) = tsumugi_models::read_spec(model)?;
    let resolved = recipe.resolve(spec.context, spec.width)?;
    let dialogue = resolved.dialogue.clone().unwrap_or_default();
    let conversations = Conversations::read(&resolved.data, resolved.format, &dialogue)?;
    let source = Source { model, conversations: &conversations, inputs: vec![InputHash::of(&resolved.data)?] };
    run_on(&source, recipe, folder, cpu, command, observer, on_evaluation)
}

/// [`run`] on conversations that are in memory; the recipe's `data` is only their name.
pub fn run_on(
    source: &Source<'_>,
    recipe: &SftRecipe,
    folder: &Path,
    cpu: &Cpu,
    command: Vec<String>,
    observer: &dyn Observer,
    on_evaluation: OnEvaluation<'_>,
) -> Result<Tuned, TuneError> {
    let (_, spec) = tsumugi_models::read_spec(source.model)?;
    let mut resolved = recipe.resolve(spec.context, spec.width)?;
    resolved.compute = resolved.compute.of_run(folder, cpu);
    resolved.train.recompute = run_folder::recompute_of_run(recipe.recompute, folder);
    let cpu = &resolved.compute.on(cpu);
    if !folder.join(FINISHED).exists() {
        check_memory(&spec, resolved.batch * resolved.context, resolved.train.options(), cpu)?;
    }
    let tokenizer = tokenizer_of(source.model, spec.vocabulary)?;
    let template = template(source.model, &tokenizer)?;
    let config = ConversationConfig {
        context: resolved.context,
        batch: resolved.batch,
        micro_batches: resolved.train.accumulate,
        seed: resolved.train.seed,
    };
    let loader = ConversationLoader::new(&tokenizer, &template, &source.conversations.train, config)
        .map_err(|error| source.conversations.placed(error, false))?;
    let packing = loader.report();
    recipe.set_steps(&mut resolved, packing.rows)?;
    let mut record = record(command, source, &resolved, cpu)?;
    let opened = run_folder::begin(folder, &mut record, FINISHED, observer)?;
    if opened.state == Begun::Finished {
        return Tuned::of_finished(folder, resolved, packing);
    }
    let decoder = load(source.model, resolved.dropout, cpu)?;
    let held_out = held_out(source, &resolved, &tokenizer, &template)?;
    describe(&packing, resolved.context, resolved.train.steps, observer);
    let trained = train(Job {
        cpu,
        decoder,
        source: &loader,
        held_out: held_out.as_ref(),
        settings: &resolved.train,
        folder,
        identity: &run_folder::identity(&record),
        stage: "fine-tune",
        peak_flops_per_second: Some(peak_flops_per_second(cpu)),
        profile: false,
        observer,
        on_evaluation: &mut |evaluated, decoder| on_evaluation(evaluated, decoder, &tokenizer, &template),
    })?;
    if trained.finished {
        report::write(folder, "Fine-tuning", trained.decoder.parameters.count(), &trained.profile, observer);
        let ends = end_tokens(source.model, &tokenizer, &template)?;
        if let Some(card) = ModelCard::of(source.model).of_derived() {
            write_atomic(&folder.join("README.md"), card.as_bytes())?;
        }
        save(&trained.decoder, &tokenizer, &template, &ends, folder)?;
        checkpoint::remove_all(folder);
    }
    Ok(Tuned {
        resolved,
        finished: trained.finished,
        was_finished: false,
        steps: trained.state.step,
        packing,
        evaluated: trained.evaluated,
        tokens_per_second: trained.tokens_per_second,
    })
}

/// What a run writes down before it starts.
fn record(
    command: Vec<String>,
    source: &Source<'_>,
    resolved: &ResolvedSft,
    cpu: &Cpu,
) -> Result<RunRecord, TuneError> {
    let settings = serde_json::to_value(resolved).unwrap_or_default();
    let mut record = RunRecord::begin(command, settings, resolved.train.seed);
    record.inputs.clone_from(&source.inputs);
    record.inputs.extend(model_hashes(source.model)?);
    record.versions.insert(run_folder::KERNELS.into(), cpu.kernels());
    Ok(record)
}

/// The model to begin with, whose weights must be numbers: else every loss would be none, and the learning rate be blamed.
fn load(model: &Admitted<ModelFiles>, dropout: f32, cpu: &Cpu) -> Result<Decoder, TuneError> {
    let mut decoder = Decoder::load(model, cpu.pool())?;
    if let Some(tensor) = not_finite(&decoder.parameters) {
        let problem = format!("`{tensor}` of {} has numbers that are not finite", model.path().display());
        return Err(TrainError::DamagedModel { problem }.into());
    }
    decoder.spec.dropout = dropout;
    Ok(decoder)
}

/// The tokenizer of a model, whose ids must all be the model's.
fn tokenizer_of(model: &Admitted<ModelFiles>, vocabulary: usize) -> Result<Tokenizer, TuneError> {
    let read = tokenizer(model)?;
    if read.vocabulary_size() > vocabulary {
        let (folder, tokenizer) = (model.path().to_owned(), read.vocabulary_size());
        return Err(TuneError::Vocabulary { folder, tokenizer, model: vocabulary });
    }
    Ok(read)
}

/// The held-out conversations; none where none is left or none fits.
fn held_out(
    source: &Source<'_>,
    resolved: &ResolvedSft,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Option<EvaluationSet>, TuneError> {
    let (context, batch) = (resolved.context, resolved.batch);
    let held_out = &source.conversations.held_out;
    match EvaluationSet::from_conversations(tokenizer, template, held_out, context, batch) {
        Ok(set) => Ok(Some(set)),
        Err(tsumugi_data::DataError::NothingTrained { .. }) => Ok(None),
        Err(error) => Err(source.conversations.placed(error, true)),
    }
}

fn describe(packing: &PackingReport, context: usize, steps: u64, observer: &dyn Observer) {
    let message = format!(
        "{} conversations in {} rows, {} of {} tokens trained; {steps} steps",
        units::count(packing.conversations),
        units::count(packing.rows),
        units::count(packing.trained_tokens),
        units::count(packing.tokens),
    );
    observer.event(&Event::Note { message });
    if packing.truncated > 0 {
        let message = format!(
            "{} of {} parts are longer than the context of {context} tokens and lose their end; in {} of them nothing is \
             left to train",
            units::count(packing.truncated),
            units::count(packing.parts),
            units::count(packing.dropped),
        );
        observer.event(&Event::Warning { message });
    }
}

/// What ends an answer of the tuned model: what ended one before, what the template names, and what was trained to end
/// turns here.
fn end_tokens(
    model: &Admitted<ModelFiles>,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<TokenId>, TuneError> {
    let mut ends = BTreeSet::from_iter(tsumugi_tokenizer::end_tokens(model, tokenizer)?);
    ends.extend(template.eos_token().and_then(|token| tokenizer.special(token)));
    let exchange = [Message::new("user", "a"), Message::new("assistant", "b")];
    let taught = template.encode_conversation(tokenizer, &exchange)?;
    let taught =
        taught.ids.into_iter().zip(taught.trained).filter(|&(id, trained)| trained && tokenizer.is_special(id));
    ends.extend(taught.map(|(id, _)| id));
    Ok(ends.into_iter().collect())
}

/// Hashes of what the model is made of.
fn model_hashes(model: &ModelFiles) -> Result<Vec<InputHash>, TuneError> {
    let names = model.files().files().map(|(name, _)| name);
    let (ending, beside) = match model.gguf() {
        Some(_) => (".gguf", [None, None]),
        None => (".safetensors", [Some("config.json"), vocabulary_file(model)]),
    };
    let files = names.filter(|name| name.ends_with(ending)).chain(beside.into_iter().flatten());
    files.map(|name| Ok(InputHash::of(&model.files().path().join(name))?)).collect()
}

/// Writes the finished model: tokenizer with its template, generation settings, weights and, last, the config.
fn save(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    ends: &[TokenId],
    folder: &Path,
) -> Result<(), TuneError> {
    let bos = template.bos_token().and_then(|token| tokenizer.special(token));
    let eos = match ends {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let mut extra: BTreeMap<String, Value> = BTreeMap::new();
    extra.insert("bos_token_id".into(), json!(bos));
    extra.insert("eos_token_id".into(), json!(eos));
    let mut generation = json!({ "do_sample": true, "temperature": 0.8, "top_p": 0.95 });
    if let Some(map) = generation.as_object_mut() {
        map.extend(extra.clone());
    }
    tokenizer.save_with_template(folder, template)?;
    write_atomic(&folder.join("generation_config.json"), format!("{generation:#}\n").as_bytes())?;
    decoder.save(folder, &extra)?;
    Ok(())
}
