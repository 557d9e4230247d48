//! Documents that are nearly the same, by MinHash: [`crate::dedup::minhash`].

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use tsumugi_base::FileError;

use super::clusters;
use super::other_runs::OtherRuns;
use crate::Document;
use crate::corpus::exchange::{Outbox, exchange};
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::clusters::Clusters;
use crate::dedup::keep::Keep;
use crate::dedup::minhash::MinHash;
use crate::dedup::shingles::{Cutting, jaccard, set, shingles};
use crate::dedup::sorter::Sorter;

/// A sketch is what the document is worth, a key for each bucket, and with `jaccard-min` the set of its shingles.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct NearDuplicates {
    settings: Settings,
    keep: Keep,
    functions: MinHash,
    others: OtherRuns,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// Words of a shingle.
    ngram: usize,
    /// What a word is.
    words: Cutting,
    /// Of which two documents must share one.
    buckets: usize,
    /// Hashes of a bucket, which must all be equal.
    hashes: usize,
    /// Of the hash functions.
    seed: u64,
    /// If it is said, documents that share a bucket are compared, and belong together only if they are as alike as this.
    jaccard_min: Option<f64>,
    /// Which copy stays: `first`, `longest`, `best:SIGNAL`, `all`.
    keep: Option<String>,
    /// Files of keys: what is nearly the same as what other runs kept goes.
    against: Vec<PathBuf>,
    /// Whether the keys of what stays are left for other runs.
    save_keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ngram: 5,
            words: Cutting::default(),
            buckets: 14,
            hashes: 8,
            seed: 1,
            jaccard_min: None,
            keep: None,
            against: Vec::new(),
            save_keys: false,
        }
    }
}

impl TryFrom<Settings> for NearDuplicates {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let counts = [("ngram", settings.ngram), ("buckets", settings.buckets), ("hashes", settings.hashes)];
        if let Some((name, count)) = counts.into_iter().find(|(_, count)| !(1..=256).contains(count)) {
            return Err(format!("`{name}` is {count}, but must be from 1 to 256"));
        }
        if let Some(least) = settings.jaccard_min.filter(|least| !(0.0..=1.0).contains(least)) {
            return Err(format!("`jaccard-min` is {least}, but must be from 0 to 1"));
        }
        let keep = settings.keep.as_deref().map_or(Ok(Keep::First), str::parse)?;
        let functions = MinHash::new(settings.buckets, settings.hashes, settings.seed);
        let Settings { ngram, words, buckets, hashes, seed, jaccard_min, against, save_keys, .. } = settings.clone();
        let made_by = json!({
            "ngram": ngram, "words": words, "buckets": buckets, "hashes": hashes, "seed": seed,
            "has_sets": jaccard_min.is_some(),
        });
        let others = OtherRuns::open(against, save_keys, "near-duplicates", made_by)?;
        Ok(Self { settings, keep, functions, others })
    }
}

impl CorpusStage for NearDuplicates {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        sketch.extend_from_slice(&self.keep.worth(document).to_le_bytes());
        let shingles = shingles(document.text(), self.settings.ngram, self.settings.words);
        self.functions.keys(&shingles).iter().for_each(|key| sketch.extend_from_slice(&key.to_le_bytes()));
        if self.settings.jaccard_min.is_some() {
            set(&shingles).iter().for_each(|shingle| sketch.extend_from_slice(&shingle.to_le_bytes()));
        }
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let others = self.count_others(context)?;
        let begin = || {
            let clusters = clusters::begin(others, sketches, context)?;
            Ok((clusters, self.settings.jaccard_min.map(|least| Sets::create(context, least)).transpose()?))
        };
        let (mut clusters, mut sets) = context.agree(begin())?;
        let mut pairs: Sorter<2> = Sorter::new(&context.scratch, context.memory_bytes / 3, context.threads);
        let is_compared = sets.is_some();
        self.candidates(others, sketches, sets.as_mut(), context, |[one, other]| {
            match is_compared {
                true => pairs.push([one, other])?,
                false => clusters.join(one as u32, other as u32),
            }
            Ok(())
        })?;
        if let Some(sets) = sets {
            sets.join_alike(pairs, &mut clusters, context)?;
        }
        clusters::decide(clusters, &self.keep, &self.others, sketches, decisions, context)
    }

    fn help(&self, sketches: &SketchReader, context: &Context<'_>) -> Result<(), CorpusError> {
        let others = self.count_others(context)?;
        context.agree(Ok(()))?;
        self.candidates(others, sketches, None, context, |_| unreachable!("candidates go to the first rank"))
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        clusters::apply(decision, document, "minhash", "near_duplicate")
    }

    fn inputs(&self) -> Vec<PathBuf> {
        self.others.files()
    }
}

/// What all ranks do together. Each owns a range of the keys: it is sent these by all, and sends the first rank what has one
/// in common.
impl NearDuplicates {
    /// How many documents other runs kept; the first rank looks.
    fn count_others(&self, context: &Context<'_>) -> Result<u64, CorpusError> {
        let is_first = context.ranks.rank() == 0;
        let others = context.agree(if is_first { self.others.documents() } else { Ok(0) })?;
        let told = context.ranks.gather(others.to_le_bytes().to_vec());
        Ok(u64::from_le_bytes(*told[0].first_chunk().expect("a number")))
    }

    /// Calls `take` of the first rank with each pair of documents that may be nearly the same, in any order, some twice.
    fn candidates(
        &self,
        others: u64,
        sketches: &SketchReader,
        sets: Option<&mut Sets>,
        context: &Context<'_>,
        take: impl FnMut([u64; 2]) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        let mut keys: Sorter<2> = Sorter::new(&context.scratch, context.memory_bytes / 3, context.threads);
        let send = |out: &mut Outbox<'_, 2>| self.send_keys(others, sketches, sets, context, out);
        exchange(context.ranks, send, |record| Ok(keys.push(record)?))?;
        // In a bucket each is a candidate with the first and, if they are compared, with the one before: all are joined if
        // all are alike.
        let is_compared = self.settings.jaccard_min.is_some();
        let send = |out: &mut Outbox<'_, 2>| {
            keys.finish_groups::<1, CorpusError>(|group| {
                for (before, pair) in group.windows(2).enumerate() {
                    let (first, previous, this) = (group[0][1], pair[0][1], pair[1][1]);
                    out.push(0, [first, this])?;
                    if is_compared && before > 0 {
                        out.push(0, [previous, this])?;
                    }
                }
                Ok(())
            })
        };
        exchange(context.ranks, send, take)
    }

    /// Sends each key of this rank's shards, with its document, to the rank that owns it. The first rank has those of other
    /// runs, too, and puts the sets of all documents into `sets`.
    fn send_keys(
        &self,
        others: u64,
        sketches: &SketchReader,
        mut sets: Option<&mut Sets>,
        context: &Context<'_>,
        out: &mut Outbox<'_, 2>,
    ) -> Result<(), CorpusError> {
        let (rank, size) = (context.ranks.rank(), context.ranks.size());
        let reads_all = sets.is_some();
        let mut send = |document: u64, is_ours: bool, sketch: &[u8]| {
            let sketch = &sketch[size_of::<u64>()..];
            let (keys, set) = sketch.split_at(sketch.len().min(self.settings.buckets * size_of::<u64>()));
            for key in keys.as_chunks().0.iter().filter(|_| is_ours) {
                let key = u64::from_le_bytes(*key);
                out.push(owner(key, size), [key, document])?;
            }
            sets.as_mut().map_or(Ok(()), |sets| sets.push(set))
        };
        let mut document = 0;
        if rank == 0 {
            self.others.all(&mut |sketch| {
                document += 1;
                send(document - 1, true, sketch)
            })?;
        }
        let mut first = others;
        for shard in 0..sketches.shards() {
            let is_ours = shard % size == rank;
            document = first;
            if is_ours || reads_all {
                sketches.shard(shard, &mut |sketch| {
                    document += 1;
                    send(document - 1, is_ours, sketch)
                })?;
            }
            first += sketches.documents_of(shard);
        }
        Ok(())
    }
}

/// Which of `ranks` owns a key: each a range of the same length.
fn owner(key: u64, ranks: usize) -> usize {
    ((u128::from(key) * ranks as u128) >> 64) as usize
}

/// Candidates that are compared at once.
const BATCH: usize = 1 << 16;

/// The shingles of all documents, on the disk.
struct Sets {
    least: f64,
    path: PathBuf,
    file: BufWriter<File>,
    /// Where each begins, and one more.
    places: Vec<u64>,
}

impl Sets {
    fn create(context: &Context<'_>, least: f64) -> Result<Self, CorpusError> {
        let path = context.scratch.join("sets");
        let file = File::create(&path).map_err(|source| FileError::write(&path, source))?;
        Ok(Self { least, path, file: BufWriter::with_capacity(1 << 18, file), places: vec![0] })
    }

    fn push(&mut self, set: &[u8]) -> Result<(), CorpusError> {
        self.file.write_all(set).map_err(|source| FileError::write(&self.path, source))?;
        self.places.push(self.places[self.places.len() - 1] + set.len() as u64);
        Ok(())
    }

    /// Joins those of the pairs that are alike.
    fn join_alike(
        mut self,
        pairs: Sorter<2>,
        clusters: &mut Clusters,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        self.file.flush().map_err(|source| FileError::write(&self.path, source))?;
        let mut pairs = pairs.sorted()?;
        let mut batch: Vec<[u64; 2]> = Vec::new();
        loop {
            let next = pairs.next().transpose()?;
            if let Some(pair) = next.filter(|pair| batch.last() != Some(pair)) {
                batch.push(pair);
            }
            if batch.len() == BATCH || next.is_none() {
                let size = batch.len().div_ceil(context.threads).max(1);
                let parts: Vec<usize> = (0..batch.len().div_ceil(size)).collect();
                let part = |index: usize| &batch[index * size..batch.len().min((index + 1) * size)];
                for alike in context.each(&parts, &|index| self.alike(part(index)))? {
                    alike.into_iter().for_each(|[one, other]| clusters.join(one as u32, other as u32));
                }
                // The last one stays, so that the next is not taken twice.
                batch.drain(..batch.len().saturating_sub(1));
            }
            if next.is_none() {
                return Ok(());
            }
        }
    }

    fn alike(&self, pairs: &[[u64; 2]]) -> Result<Vec<[u64; 2]>, CorpusError> {
        let failed = |source| FileError::read(&self.path, source);
        let mut file = File::open(&self.path).map_err(failed)?;
        let (mut first, mut first_set) = (u64::MAX, Vec::new());
        let mut alike = Vec::new();
        for &[one, other] in pairs {
            if one != first {
                (first, first_set) = (one, self.read(&mut file, one).map_err(failed)?);
            }
            let other_set = self.read(&mut file, other).map_err(failed)?;
            if jaccard(&first_set, &other_set) >= self.least {
                alike.push([one, other]);
            }
        }
        Ok(alike)
    }

    fn read(&self, file: &mut File, document: u64) -> std::io::Result<Vec<u32>> {
        let (from, to) = (self.places[document as usize], self.places[document as usize + 1]);
        let mut bytes = vec![0; (to - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut bytes)?;
        Ok(super::pieces::numbers(&bytes).collect())
    }
}
