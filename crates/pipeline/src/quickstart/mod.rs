//! Quickstart: the text in the repository becomes a tokenizer, a pre-trained model, a chat model and a report, within
//! a budget of minutes.
//!
//! | in OUT | what |
//! |---|---|
//! | `run.json` | the settings, and the plan that calibration made of them |
//! | `tokenizer/`, `base/`, `chat/` | what each stage made; `base` and `chat` are model folders |
//! | `samples.jsonl`, `stages.jsonl` | what the models said on the way; which stages are done |
//! | `result.json`, `report.html` | what was measured; the same to look at. Written last |

mod evaluate;
mod page;
mod plan;
mod sample;
pub mod size;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tsumugi_base::io::{create_folder, read_to_string_limited, write_atomic};
use tsumugi_base::limits::RUN_RECORD_BYTES_MAX;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_record::{InputHash, RunRecord, sha256};
use tsumugi_data::dialogue;
use tsumugi_files::{Admitted, Gate, ModelFiles};
use tsumugi_infer::text::{CHAT_FILE, chat_file};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};
use tsumugi_tokenizer::{Message, Tokenizer};
use tsumugi_train::pretrain;
use tsumugi_train::recipe::ComputeChoice;
use tsumugi_train::report::Log;
use tsumugi_train::run_folder::{self, Begun};
use tsumugi_tune::Conversations;
use tsumugi_tune::methods::sft;

use crate::PipelineError;
use crate::stage::Stages;
pub use evaluate::{Exchange, Measured};
pub use plan::{Plan, TimedSize};
use sample::Sample;

/// Tiny Shakespeare, in the binary, so that it works without the repository.
const TEXT: &str = include_str!("../../../../data/tinyshakespeare/input.txt");
/// Where the repository has it.
const TEXT_NAME: &str = "data/tinyshakespeare/input.txt";
/// What `xz -9e` needs for a byte of the held-out tenth after the training part, in bits: xz of both minus xz of the
/// first (xz 5.4.1: 364,404 and 329,288 bytes, over 111,558).
pub const XZ_BITS_PER_BYTE: f64 = 2.518;

/// The default budget. The first answer then comes within ten minutes of the start, the report counted.
pub const MINUTES: f64 = 8.5;
const MINUTES_LEAST: f64 = 0.2;
const MINUTES_MOST: f64 = 1440.0;
/// Characters that one may choose to talk with.
const CHARACTERS: usize = 12;
const REPORT: &str = "report.html";
const RESULT: &str = "result.json";

/// What may be said about a quickstart.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The whole time, from the start to the report.
    pub minutes: f64,
    /// Where everything goes.
    pub out: PathBuf,
    /// Of every random number.
    pub seed: u64,
    /// `None` is one per core. The result does not depend on it, once the plan is made.
    pub threads: Option<usize>,
}

impl Options {
    /// The default budget and seed.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self { minutes: MINUTES, out: out.into(), seed: 0, threads: None }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuickstartResult {
    /// Whether all is done; if not, the same command goes on.
    pub finished: bool,
    /// Whether the folder was finished before.
    pub was_finished: bool,
    /// The model folder to chat with.
    pub chat: PathBuf,
    /// The page that shows everything.
    pub report: PathBuf,
    /// System messages to offer: one per character, the most frequent first.
    pub suggested_system_messages: Vec<String>,
    /// What was measured; none until it is finished.
    pub measured: Option<Measured>,
}

/// A run on its way.
struct Run<'a> {
    options: &'a Options,
    command: Vec<String>,
    observer: &'a dyn Observer,
    gate: &'a dyn Gate,
    cpu: Cpu,
    conversations: Conversations,
    inputs: Vec<InputHash>,
    stages: Stages,
    begun: Instant,
}

/// Runs, or goes on with, a quickstart. `gate` judges the models that the stages hand on.
pub fn quickstart(
    options: &Options,
    command: Vec<String>,
    gate: &dyn Gate,
    observer: &dyn Observer,
) -> Result<QuickstartResult, PipelineError> {
    let begun = Instant::now();
    if !(MINUTES_LEAST..=MINUTES_MOST).contains(&options.minutes) {
        let (minutes, least, most) = (options.minutes, MINUTES_LEAST, MINUTES_MOST);
        return Err(PipelineError::Minutes { minutes, least, most });
    }
    let cpu = ComputeChoice::Auto.on(&Cpu::detect(options.threads)?);
    let recipe = json!({ "minutes": options.minutes, "data": TEXT_NAME, "seed": options.seed });
    let mut record = RunRecord::begin(command.clone(), recipe, options.seed);
    record.inputs.push(InputHash { path: TEXT_NAME.into(), bytes: TEXT.len() as u64, sha256: sha256(TEXT.as_bytes()) });
    record.versions.insert(run_folder::KERNELS.into(), cpu.kernels());
    let opened = run_folder::begin(&options.out, &mut record, REPORT, observer)?;
    if opened.state == Begun::Finished {
        for stage in ["base", "chat"] {
            run_folder::check_finished(&options.out.join(stage))?;
        }
        let measured = Some(read_result(&options.out)?);
        return Ok(QuickstartResult { was_finished: true, measured, ..result(options, true)? });
    }
    let conversations = Conversations::of_drama(TEXT, &plan::dialogue_config(options.seed))?;
    let (inputs, stages) = (record.inputs.clone(), Stages::open(&options.out)?);
    let mut run = Run { options, command, observer, gate, cpu, conversations, inputs, stages, begun };
    let tokenizer = run.tokenizer()?;
    let plan = run.plan(&mut record, &tokenizer)?;
    run.conversations = plan::with_held_out(&run.conversations, plan.held_out_conversations);
    if !run.base(&plan, &tokenizer)? || !run.chat(&plan)? {
        return result(options, false);
    }
    let measured = run.report(&record, &plan, &tokenizer)?;
    Ok(QuickstartResult { measured: Some(measured), ..result(options, true)? })
}

/// One per character, the most frequent first.
fn suggested_system_messages() -> Result<Vec<String>, PipelineError> {
    Ok(plan::characters(CHARACTERS)?.iter().map(|name| dialogue::system_message(name)).collect())
}

fn result(options: &Options, finished: bool) -> Result<QuickstartResult, PipelineError> {
    let suggested_system_messages = suggested_system_messages()?;
    Ok(QuickstartResult {
        finished,
        was_finished: false,
        chat: options.out.join("chat"),
        report: options.out.join(REPORT),
        suggested_system_messages,
        measured: None,
    })
}

fn read_result(out: &Path) -> Result<Measured, PipelineError> {
    let path = out.join(RESULT);
    let damaged = |problem: String| PipelineError::Damaged { path: path.clone(), problem };
    let text = read_to_string_limited(&path, RUN_RECORD_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))
}

/// Seconds that earlier runs spent on a stage, as far as its log knows.
fn seconds_before(folder: &Path) -> f64 {
    Log::read(folder).unwrap_or_default().totals().1
}

impl Run<'_> {
    fn folder(&self, name: &str) -> PathBuf {
        self.options.out.join(name)
    }

    fn admit(&self, name: &str) -> Result<Admitted<ModelFiles>, PipelineError> {
        Ok(ModelFiles::admit(&self.folder(name), self.gate)?)
    }

    /// Stage 1. The folder's tokenizer, or a new one, learned from the training part.
    fn tokenizer(&mut self) -> Result<Tokenizer, PipelineError> {
        const NAME: &str = "tokenizer";
        let folder = self.folder(NAME);
        if self.stages.is_done(NAME) {
            let file = folder.join("tokenizer.json");
            let text = read_to_string_limited(&file, tsumugi_base::limits::TOKENIZER_FILE_BYTES_MAX)
                .map_err(|error| PipelineError::Damaged { path: file, problem: error.to_string() })?;
            return Ok(Tokenizer::from_json(&text)?);
        }
        let begun = self.stages.begin(NAME, self.observer);
        let (text, _) = dialogue::split(TEXT);
        let config = TrainingConfig { vocabulary_size: size::VOCABULARY, ..TrainingConfig::default() };
        let tokenizer = train_bpe(&[text], &config, self.observer)?;
        create_folder(&folder)?;
        tokenizer.save(&folder)?;
        self.stages.finish(NAME, begun, 0.0)?;
        Ok(tokenizer)
    }

    /// The plan of the record; if there is none yet, it is made and written.
    fn plan(&mut self, record: &mut RunRecord, tokenizer: &Tokenizer) -> Result<Plan, PipelineError> {
        let path = self.folder(run_folder::RECORD);
        if !record.derived.is_null() {
            let damaged =
                |error: serde_json::Error| PipelineError::Damaged { path, problem: format!("derived: {error}") };
            return serde_json::from_value(record.derived.clone()).map_err(damaged);
        }
        const NAME: &str = "calibration";
        let begun = self.stages.begin(NAME, self.observer);
        let (text, held_out) = dialogue::split(TEXT);
        let material = plan::Material { text, held_out, conversations: &self.conversations, tokenizer };
        let plan = plan::decide(self.options, &material, &self.cpu, self.begun, self.observer)?;
        record.derived = json!(plan);
        record.write(&path)?;
        self.stages.finish(NAME, begun, 0.0)?;
        Ok(plan)
    }

    /// Stage 2: pre-training. Whether it is done.
    fn base(&mut self, plan: &Plan, tokenizer: &Tokenizer) -> Result<bool, PipelineError> {
        const NAME: &str = "base";
        let folder = self.folder(NAME);
        if self.stages.is_done(NAME) {
            return Ok(true);
        }
        let before = seconds_before(&folder);
        let begun = self.stages.begin("pre-training", self.observer);
        let (inputs, tokenizer) = (self.inputs.clone(), Some(tokenizer));
        let source = pretrain::Source { text: TEXT, inputs, tokenizer, profile: false };
        let (options, mut failed) = (self.options, None);
        let trained = pretrain::run_on(
            &source,
            &plan.base,
            &folder,
            &self.cpu,
            self.command.clone(),
            self.observer,
            &mut |evaluated, decoder, tokenizer| {
                let mut prompt = tokenizer.prefix().to_vec();
                prompt.extend(tokenizer.encode(sample::PROMPT));
                let text = sample::continue_with(decoder, tokenizer, &prompt, options.threads, options.seed);
                let written = text.and_then(|text| {
                    let (stage, prompt) = (NAME.to_owned(), sample::PROMPT.to_owned());
                    sample::write(&options.out, &Sample { stage, step: evaluated.step, prompt, text })
                });
                failed = failed.take().or(written.err());
            },
        )?;
        failed.map_or(Ok(()), Err)?;
        if trained.finished {
            self.stages.finish(NAME, begun, before)?;
        }
        Ok(trained.finished)
    }

    /// Stage 3: fine-tuning on the text's dialogue. Whether it is done.
    fn chat(&mut self, plan: &Plan) -> Result<bool, PipelineError> {
        const NAME: &str = "chat";
        let folder = self.folder(NAME);
        if self.stages.is_done(NAME) {
            return Ok(true);
        }
        let before = seconds_before(&folder);
        let begun = self.stages.begin("chat", self.observer);
        let base = self.admit("base")?;
        let source = sft::Source { model: &base, conversations: &self.conversations, inputs: self.inputs.clone() };
        let character = plan::characters(1)?.remove(0);
        let asked =
            [Message::new("system", dialogue::system_message(&character)), Message::new("user", sample::QUESTION)];
        let (options, mut failed) = (self.options, None);
        let tuned = sft::run_on(
            &source,
            &plan.chat,
            &folder,
            &self.cpu,
            self.command.clone(),
            self.observer,
            &mut |evaluated, decoder, tokenizer, template| {
                let text = template
                    .encode_chat(tokenizer, &asked, true)
                    .map_err(PipelineError::from)
                    .and_then(|ids| sample::continue_with(decoder, tokenizer, &ids, options.threads, options.seed));
                let written = text.and_then(|text| {
                    let prompt = format!("{} {}", asked[0].content, asked[1].content);
                    sample::write(&options.out, &Sample { stage: NAME.into(), step: evaluated.step, prompt, text })
                });
                failed = failed.take().or(written.err());
            },
        )?;
        failed.map_or(Ok(()), Err)?;
        if tuned.finished {
            // For `chat` and `serve`: every conversation of the training had such a system message.
            write_atomic(&folder.join(CHAT_FILE), chat_file(&suggested_system_messages()?).as_bytes())?;
            self.stages.finish(NAME, begun, before)?;
        }
        Ok(tuned.finished)
    }

    /// Stage 4: measures both models, and shows everything.
    fn report(&mut self, record: &RunRecord, plan: &Plan, tokenizer: &Tokenizer) -> Result<Measured, PipelineError> {
        const NAME: &str = "report";
        let begun = self.stages.begin("evaluation and report", self.observer);
        let (base, chat) = (self.admit("base")?, self.admit("chat")?);
        let measured = evaluate::measure(self.options, &base, &chat, &self.conversations, &self.cpu)?;
        self.stages.finish(NAME, begun, 0.0)?;
        let text = serde_json::to_string_pretty(&measured).unwrap_or_default();
        write_atomic(&self.folder(RESULT), format!("{text}\n").as_bytes())?;
        let template = sft::template(&chat, tokenizer)?;
        let shown = &self.conversations.train;
        let previews = sft::preview(tokenizer, &template, shown, size::CONTEXT, 2, tsumugi_data::PreviewStyle::Marked)?;
        let material = page::Material {
            out: &self.options.out,
            record,
            plan,
            tokenizer,
            previews: &previews,
            stages: &self.stages.done,
            measured: &measured,
            cpu: &self.cpu,
            texts: dialogue::split(TEXT),
        };
        write_atomic(&self.folder(REPORT), page::page(&material)?.as_bytes())?;
        let message = format!("report: {}", self.folder(REPORT).display());
        self.observer.event(&Event::Note { message });
        Ok(measured)
    }
}
