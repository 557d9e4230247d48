//! Whole conversations packed into rows of the context length: what supervised fine-tuning reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tsumugi_base::rng::{Key, Permutation, Stream};
use tsumugi_tokenizer::{ChatTemplate, Message, Tokenizer, TokenizerError, TrainingConversation};

use crate::{Batch, BatchSource, DataError};

/// The shape and order of fine-tuning batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationConfig {
    /// Positions `t` of a row.
    pub context: usize,
    /// Rows `b` of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub micro_batches: usize,
    /// The same seed gives the same batches.
    pub seed: u64,
}

/// What packing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackingReport {
    /// Conversations given.
    pub conversations: u64,
    /// What they became: a conversation longer than the context is cut between turns into several, each with its
    /// system message.
    pub parts: u64,
    /// Parts of a single exchange that was still too long, and lost its end.
    pub truncated: u64,
    /// Parts in which nothing was left to train.
    pub dropped: u64,
    /// Rows of the context's length.
    pub rows: u64,
    /// Positions that are not padding.
    pub tokens: u64,
    /// Positions whose target is trained.
    pub trained_tokens: u64,
}

/// Rows of packed conversations, one segment each; `batch(step, micro)` is a pure function. The rows are packed once;
/// every epoch goes through them in a new random order.
#[derive(Debug, Clone)]
pub struct ConversationLoader {
    parts: Vec<TrainingConversation>,
    /// Indices into `parts`.
    rows: Vec<Vec<usize>>,
    config: ConversationConfig,
    report: PackingReport,
    padding: u32,
    key: Key,
}

/// Our part of the key space of a seed.
const CONVERSATIONS: u64 = 0x636f_6e76;

impl ConversationLoader {
    /// Encodes and packs `conversations`.
    pub fn new(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        conversations: &[Vec<Message>],
        config: ConversationConfig,
    ) -> Result<Self, DataError> {
        let sizes = [("context", config.context), ("batch", config.batch), ("micro_batches", config.micro_batches)];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(DataError::Zero { name });
        }
        let (parts, mut report) = trained_parts(tokenizer, template, conversations, config.context)?;
        let key = Key::from_seed(config.seed).derive(&[CONVERSATIONS]);
        let rows = pack_rows(&parts, config.context, key);
        report.rows = rows.len() as u64;
        let padding = tokenizer.prefix().first().copied().unwrap_or(0);
        Ok(Self { parts, rows, config, report, padding, key })
    }

    /// What packing did.
    pub fn report(&self) -> PackingReport {
        self.report
    }

    /// The conversations as they are trained on.
    pub fn parts(&self) -> &[TrainingConversation] {
        &self.parts
    }

    fn push_row(&self, batch: &mut Batch, row: &[usize]) {
        let start = batch.rows;
        for &part in row {
            let part = &self.parts[part];
            batch.push_segment(&part.ids, |index| part.trained[index]);
        }
        batch.push_padding(start + self.config.context - batch.rows, self.padding);
    }
}

impl BatchSource for ConversationLoader {
    fn batch(&self, step: u64, micro: usize) -> Batch {
        let (rows, micro_batches) = (self.config.batch as u64, self.config.micro_batches as u64);
        let first = (step * micro_batches + micro as u64) * rows;
        let mut batch = Batch::with_capacity(self.config.batch * self.config.context);
        for index in first..first + rows {
            let (epoch, place) = (index / self.sequences(), index % self.sequences());
            let order = Permutation::new(self.key.derive(&[1, epoch]), self.sequences());
            self.push_row(&mut batch, &self.rows[order.get(place) as usize]);
        }
        batch
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn sequences(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// The parts of conversations in which something is trained, each short enough for a row; the same for training and
/// for scoring.
pub(crate) fn trained_parts(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    conversations: &[Vec<Message>],
    context: usize,
) -> Result<(Vec<TrainingConversation>, PackingReport), DataError> {
    let mut report = PackingReport { conversations: conversations.len() as u64, ..PackingReport::default() };
    let mut parts = Vec::new();
    for (index, messages) in conversations.iter().enumerate() {
        let fitting = fitting_parts(tokenizer, template, messages, context)
            .map_err(|problem| DataError::Conversation { number: index + 1, problem })?;
        for part in fitting {
            add_part(part, context, &mut parts, &mut report);
        }
    }
    if parts.is_empty() {
        return Err(DataError::NothingTrained { conversations: conversations.len(), context });
    }
    Ok((parts, report))
}

fn add_part(
    mut part: TrainingConversation,
    context: usize,
    parts: &mut Vec<TrainingConversation>,
    report: &mut PackingReport,
) {
    report.parts += 1;
    // The last id is a target only, so `context + 1` of them fit.
    if part.ids.len() > context + 1 {
        part.ids.truncate(context + 1);
        part.trained.truncate(context + 1);
        report.truncated += 1;
    }
    let trained = part.trained.iter().skip(1).filter(|&&trained| trained).count() as u64;
    if trained == 0 {
        report.dropped += 1;
        return;
    }
    report.tokens += part.ids.len() as u64 - 1;
    report.trained_tokens += trained;
    parts.push(part);
}

/// A conversation as one part if it fits, else cut before user turns into parts that fit, each with the system
/// message in front. A single exchange is never cut here.
fn fitting_parts(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    context: usize,
) -> Result<Vec<TrainingConversation>, TokenizerError> {
    let whole = template.encode_conversation(tokenizer, messages)?;
    if whole.ids.len() <= context + 1 {
        return Ok(vec![whole]);
    }
    let system_len = messages.iter().take_while(|message| message.role == "system").count();
    let (system, turns) = messages.split_at(system_len);
    let mut parts = Vec::new();
    let mut current: Option<(Vec<Message>, TrainingConversation)> = None;
    for exchange in exchanges(turns) {
        let longer = match &current {
            Some((messages, _)) => [messages, exchange].concat(),
            None => [system, exchange].concat(),
        };
        let encoded = template.encode_conversation(tokenizer, &longer)?;
        match current.take() {
            Some((_, full)) if encoded.ids.len() > context + 1 => {
                parts.push(full);
                let alone = [system, exchange].concat();
                let encoded = template.encode_conversation(tokenizer, &alone)?;
                current = Some((alone, encoded));
            }
            _ => current = Some((longer, encoded)),
        }
    }
    parts.extend(current.map(|(_, encoded)| encoded));
    Ok(parts)
}

/// Turns from one user message (or the beginning) to before the next that follows an answer.
fn exchanges(turns: &[Message]) -> impl Iterator<Item = &[Message]> {
    turns.chunk_by(|before, after| !(before.role == "assistant" && after.role != "assistant"))
}

/// Best fit: in a random order, each part goes into the row with the least room that is enough. Rows come out with
/// lengths mixed, and hold whole parts only.
pub(crate) fn pack_rows(parts: &[TrainingConversation], context: usize, key: Key) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    Stream::new(key.derive(&[0])).shuffle(&mut order);
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for part in order {
        let len = parts[part].ids.len() - 1;
        let fitting = room.range(len..).next().map(|(&left, _)| left);
        let (row, left) = match fitting {
            Some(left) => {
                let rows_with = room.get_mut(&left).expect("it was just found");
                let row = rows_with.pop().expect("empty lists are removed");
                if rows_with.is_empty() {
                    room.remove(&left);
                }
                (row, left)
            }
            None => {
                rows.push(Vec::new());
                (rows.len() - 1, context)
            }
        };
        rows[row].push(part);
        if left > len {
            room.entry(left - len).or_default().push(row);
        }
    }
    rows
}
