//! What is measured of the finished models, on the held-out tenth that no stage has seen.

use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tsumugi_data::{EvaluationSet, dialogue};
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_infer::text::{LocalModel, Options as LoadOptions, Prompt, Request, TextModel};
use tsumugi_models::{Decoder, LossPlan};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::Message;
use tsumugi_train::report::Log;
use tsumugi_train::trainer;
use tsumugi_tune::Conversations;
use tsumugi_tune::methods::sft;

use super::{Options, TEXT, plan, sample, size};
use crate::PipelineError;

/// Windows that are scored at once.
const BATCH: usize = 8;
/// Tokens of an answer in the report.
const ANSWER_TOKENS: usize = 120;

/// What came out of a quickstart, in numbers and words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Parameters of the model.
    pub parameters: u64,
    /// The base model on the held-out text.
    pub base_bits_per_byte: f64,
    /// The same, in nats per token.
    pub base_nats_per_token: f64,
    /// The chat model on the same text: what fine-tuning cost.
    pub chat_bits_per_byte: f64,
    /// What `xz -9e` needs.
    pub xz_bits_per_byte: f64,
    /// The base model on the held-out answers, in nats per token.
    pub answers_before_nats: f64,
    /// The chat model on them.
    pub answers_after_nats: f64,
    /// Held-out answer tokens that were scored.
    pub answer_tokens: u64,
    /// Conversations with the chat model.
    pub exchanges: Vec<Exchange>,
}

/// A question to a character, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Who answers.
    pub character: String,
    /// Who asks; none if no name was given.
    pub user: Option<String>,
    /// The question.
    pub question: String,
    /// The model's answer.
    pub answer: String,
    /// What the held-out text answers, if the question is from it.
    pub original: Option<String>,
}

/// Held-out loss in nats per token, and bits per byte.
type LossAndBits = (f64, f64);

/// Of the first and of the last evaluation of a stage, from its log.
fn first_and_last(folder: &Path) -> Result<(LossAndBits, LossAndBits), PipelineError> {
    let log = Log::read(folder)?;
    let mut found = log.evaluations().map(|evaluated| (evaluated.loss, evaluated.bits_per_byte));
    let damaged = || PipelineError::Damaged { path: folder.join("log.jsonl"), problem: "it has no evaluation".into() };
    let first = found.next().ok_or_else(damaged)?;
    Ok((first, found.next_back().unwrap_or(first)))
}

/// Takes the stages' own evaluations, scores what they have not, and asks the chat model.
pub fn measure(
    options: &Options,
    base: &Admitted<ModelFiles>,
    chat: &Admitted<ModelFiles>,
    conversations: &Conversations,
    cpu: &Cpu,
) -> Result<Measured, PipelineError> {
    let tokenizer = sft::tokenizer(base)?;
    let template = sft::template(chat, &tokenizer)?;
    let (_, held_out) = dialogue::split(TEXT);
    let text = EvaluationSet::from_text(&tokenizer, held_out, size::CONTEXT, BATCH)?;
    let answers =
        EvaluationSet::from_conversations(&tokenizer, &template, &conversations.held_out, size::CONTEXT, BATCH)?;
    let decoder = Decoder::load(chat, cpu.pool())?;
    let parameters = decoder.parameters.count() as u64;
    let mut plan = LossPlan::scoring(&decoder, BATCH * size::CONTEXT);
    let chat_text = trainer::evaluate(cpu, &decoder, &mut plan, &text, 0);
    let (_, (base_nats_per_token, base_bits_per_byte)) = first_and_last(base.path())?;
    let ((answers_before_nats, _), (answers_after_nats, _)) = first_and_last(chat.path())?;
    Ok(Measured {
        parameters,
        base_bits_per_byte,
        base_nats_per_token,
        chat_bits_per_byte: chat_text.bits_per_byte,
        xz_bits_per_byte: super::XZ_BITS_PER_BYTE,
        answers_before_nats,
        answers_after_nats,
        answer_tokens: answers.scored_tokens(),
        exchanges: exchanges(options, chat, conversations)?,
    })
}

/// A question of ours to the most frequent characters, then questions that the held-out text answers too.
fn exchanges(
    options: &Options,
    chat: &Admitted<ModelFiles>,
    conversations: &Conversations,
) -> Result<Vec<Exchange>, PipelineError> {
    let load = LoadOptions { threads: options.threads, ..LoadOptions::default() };
    let model = LocalModel::load(chat, load)?;
    let mut exchanges = Vec::new();
    for character in plan::characters(4)? {
        let question = sample::QUESTION.to_owned();
        exchanges.push(Exchange { character, user: None, question, answer: String::new(), original: None });
    }
    let short = |messages: &&Vec<Message>| messages[1].content.len() < 160 && messages[2].content.len() < 240;
    for messages in conversations.held_out.iter().filter(short).step_by(7).take(3) {
        exchanges.push(Exchange {
            character: messages[0].content.trim_start_matches("You are ").trim_end_matches('.').to_owned(),
            user: messages[1].name.clone(),
            question: messages[1].content.clone(),
            answer: String::new(),
            original: Some(messages[2].content.clone()),
        });
    }
    for exchange in &mut exchanges {
        let question = Message { name: exchange.user.clone(), ..Message::new("user", exchange.question.as_str()) };
        let messages = vec![Message::new("system", dialogue::system_message(&exchange.character)), question];
        let request = Request {
            prompt: Prompt::Chat(messages),
            sampling: sample::sampling(options.seed),
            max_tokens: Some(ANSWER_TOKENS),
            stop: Vec::new(),
        };
        exchange.answer = model.generate(&request, &mut |_| ControlFlow::Continue(()))?.text;
    }
    Ok(exchanges)
}
