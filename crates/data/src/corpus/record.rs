//! What came of a shard, as its marker says it, and of all of them together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::Document;
use crate::words::count_words;

/// Dropped documents that are shown for a rule.
pub(super) const EXAMPLES_MAX: usize = 3;
/// Characters of an example.
const EXAMPLE_CHARACTERS: usize = 300;
/// Faults that the report shows; all are counted, and in `faults.jsonl`.
pub(super) const FAULTS_SHOWN: usize = 100;
/// Rules of a stage that are told apart.
const RULES_MAX: usize = 1000;

/// An amount of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Documents.
    pub documents: u64,
    /// Bytes of their text in UTF-8.
    pub bytes: u64,
    /// Words, as white space sets them apart.
    pub words: u64,
}

impl Amount {
    /// Of one text.
    pub(super) fn of(text: &str) -> Self {
        Self { documents: 1, bytes: text.len() as u64, words: count_words(text) }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.words += other.words;
    }
}

/// The beginning of a document that a rule dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// Its first characters.
    pub text: String,
}

impl Example {
    fn of(document: &Document) -> Self {
        let mut text: String = document.text().chars().take(EXAMPLE_CHARACTERS).collect();
        if text.len() < document.text().len() {
            text.push('…');
        }
        Self { id: document.id.clone(), text }
    }
}

/// What a rule dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// How much.
    pub dropped: Amount,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// What a stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What it was given.
    pub received: Amount,
    /// Documents whose text it changed.
    pub changed: u64,
    /// What went on.
    pub kept: Amount,
    /// What each rule dropped.
    pub rules: BTreeMap<String, RuleRecord>,
}

impl StageRecord {
    pub(super) fn drop(&mut self, rule: &str, document: &Document, amount: Amount) {
        let rule = if self.rules.contains_key(rule) || self.rules.len() < RULES_MAX { rule } else { "other" };
        let record = self.rules.entry(rule.to_owned()).or_default();
        record.dropped.add(amount);
        if record.examples.len() < EXAMPLES_MAX {
            record.examples.push(Example::of(document));
        }
    }

    fn add(&mut self, other: &Self) {
        self.received.add(other.received);
        self.kept.add(other.kept);
        self.changed += other.changed;
        for (rule, there) in &other.rules {
            let here = self.rules.entry(rule.clone()).or_default();
            here.dropped.add(there.dropped);
            let room = EXAMPLES_MAX.saturating_sub(here.examples.len());
            here.examples.extend(there.examples.iter().take(room).cloned());
        }
    }
}

/// A file of documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name in its folder.
    pub name: String,
    /// What is in it.
    pub amount: Amount,
    /// What is in it, by source.
    pub sources: BTreeMap<String, Amount>,
    /// Bytes of its lines, with all that stands beside the texts, by source.
    #[serde(default)]
    pub line_bytes: BTreeMap<String, u64>,
    /// Its size, packed.
    pub file_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What came of a shard in a pass: its marker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// What was read.
    pub received: Amount,
    /// Stages of this pass, by their place in the recipe.
    pub stages: BTreeMap<usize, StageRecord>,
    /// The files that it became.
    pub files: Vec<FileRecord>,
    /// The file of what was dropped, if anything was.
    pub dropped: Option<FileRecord>,
    /// How much could not be read.
    pub faults: u64,
    /// The first of it.
    pub named_faults: Vec<Fault>,
}

impl ShardRecord {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults += 1;
        if self.named_faults.len() < FAULTS_SHOWN {
            self.named_faults.push(fault);
        }
    }
}

/// What came of a whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was read from the sources.
    pub received: Amount,
    /// Every stage, in the order of the recipe.
    pub stages: Vec<(String, StageRecord)>,
    /// What stayed.
    pub kept: Amount,
    /// What stayed, by source.
    pub sources: BTreeMap<String, Amount>,
    /// Files of what stayed.
    pub files: Vec<FileRecord>,
    /// Files of what was dropped.
    pub dropped_files: Vec<FileRecord>,
    /// How much could not be read.
    pub faults: u64,
    /// The first of it; all of it is in `faults.jsonl`.
    #[serde(skip)]
    pub named_faults: Vec<Fault>,
    /// Shards of the sources that have some.
    #[serde(skip)]
    pub(super) faulty_shards: Vec<usize>,
    /// Files of the mix.
    pub mixed: Vec<FileRecord>,
    /// Tokens, if they were packed.
    pub tokens: Option<u64>,
}

impl Summary {
    /// What the run's files hold, in all and by source: those of the mix, where there is one.
    pub fn shipped(&self, is_mixed: bool) -> (Amount, BTreeMap<String, Amount>) {
        let (mut all, mut sources) = (Amount::default(), BTreeMap::<String, Amount>::new());
        for file in if is_mixed { &self.mixed } else { &self.files } {
            all.add(file.amount);
            for (source, &amount) in &file.sources {
                sources.entry(source.clone()).or_default().add(amount);
            }
        }
        (all, sources)
    }

    /// Adds up the markers of all passes.
    pub(super) fn of(kinds: &[&str], passes: &[Vec<ShardRecord>]) -> Self {
        let stages = kinds.iter().map(|&kind| (kind.to_owned(), StageRecord::default())).collect();
        let mut summary = Self { stages, ..Self::default() };
        for (index, shards) in passes.iter().enumerate() {
            for (number, shard) in shards.iter().enumerate() {
                if index == 0 {
                    summary.received.add(shard.received);
                    summary.faulty_shards.extend((shard.faults > 0).then_some(number));
                }
                shard.stages.iter().for_each(|(&stage, record)| summary.stages[stage].1.add(record));
                summary.dropped_files.extend(shard.dropped.clone());
                summary.faults += shard.faults;
                let room = FAULTS_SHOWN - summary.named_faults.len();
                summary.named_faults.extend(shard.named_faults.iter().take(room).cloned());
            }
        }
        summary.files = passes.last().into_iter().flatten().flat_map(|shard| shard.files.iter().cloned()).collect();
        for file in &summary.files {
            summary.kept.add(file.amount);
            for (source, amount) in &file.sources {
                summary.sources.entry(source.clone()).or_default().add(*amount);
            }
        }
        summary
    }
}
