//! An estimate to a file: ARPA, or the model file.

use std::io::{self, Write};
use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;
use tsumugi_base::progress::{Meter, Observer};

use super::column::ColumnReader;
use super::levels::LevelReader;
use super::model_file::{Entry, ModelWriter};
use super::{Estimate, NgramError, WordId, arpa};

/// N-grams that one thread writes as text at once.
const PART: usize = 1 << 14;

/// N-grams of one order with their weights, in order.
struct Part {
    /// Last word first.
    reversed: Vec<WordId>,
    /// log10 probability and back-off weight.
    weights: Vec<(f32, f32)>,
}

/// Tells how far writing is.
struct Writing<'a> {
    observer: &'a dyn Observer,
    meter: Meter,
    written: u64,
}

impl Writing<'_> {
    fn add(&mut self, count: u64) -> Result<(), NgramError> {
        self.written += count;
        if self.meter.is_due() {
            self.observer.event(&self.meter.step(self.written, vec![]));
        }
        if self.observer.stop_requested() { Err(NgramError::Stopped) } else { Ok(()) }
    }
}

/// log10 of a linear weight.
fn log10(weight: f32) -> f32 {
    f64::from(weight).log10() as f32
}

impl Estimate {
    /// Writes the model as ARPA, the text format that n-gram programs share, in the order of `lmplz`.
    ///
    /// # Errors
    /// If the file cannot be written, or the observer asks to stop; then nothing stands at `path`.
    pub fn write_arpa(&self, path: &Path, observer: &dyn Observer) -> Result<(), NgramError> {
        let failed = |source| FileError::write(path, source);
        let mut writing = self.writing(path, observer);
        let mut out = AtomicFile::create(path)?;
        let kept: Vec<u64> = self.levels.iter().map(|level| level.kept).collect();
        out.write_all(arpa::header(&kept).as_bytes()).map_err(failed)?;
        for level in 0..self.levels.len() {
            out.write_all(arpa::section(level + 1).as_bytes()).map_err(failed)?;
            self.for_each_round(level, |parts| {
                self.texts(level, parts).iter().try_for_each(|text| out.write_all(text)).map_err(failed)?;
                writing.add(parts.iter().map(|part| part.weights.len() as u64).sum())
            })?;
            out.write_all(b"\n").map_err(failed)?;
        }
        out.write_all(arpa::END_MARK.as_bytes()).map_err(failed)?;
        Ok(out.commit()?)
    }

    fn writing<'a>(&self, path: &Path, observer: &'a dyn Observer) -> Writing<'a> {
        let total = self.levels.iter().map(|level| level.kept).sum();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Writing { observer, meter: Meter::new(format!("write {name}"), 0, total, "n-grams"), written: 0 }
    }

    /// The lines of some parts, each made by a thread of its own.
    fn texts(&self, level: usize, parts: &[Part]) -> Vec<Vec<u8>> {
        let order = level + 1;
        let is_last = order == self.levels.len();
        let text = |part: &Part| {
            let mut text = Vec::with_capacity(part.weights.len() * 32);
            for (reversed, &(probability, backoff)) in part.reversed.chunks_exact(order).zip(&part.weights) {
                let words = reversed.iter().rev().map(|&word| self.vocabulary.word(word));
                arpa::line(&mut text, probability, words, (!is_last).then_some(backoff));
            }
            text
        };
        if parts.len() == 1 {
            return vec![text(&parts[0])];
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || text(part))).collect();
            threads.into_iter().map(|thread| thread.join().expect("formatting does not panic")).collect()
        })
    }

    /// Calls `each` with the kept n-grams of a level in order, as many parts at once as there are threads.
    fn for_each_round(
        &self,
        level: usize,
        mut each: impl FnMut(&[Part]) -> Result<(), NgramError>,
    ) -> Result<(), NgramError> {
        let mut walk = Walk {
            readers: self.levels[..=level].iter().map(|level| level.reader()).collect(),
            probabilities: self.weights[level].probabilities.reader(),
            backoffs: self.weights[level].backoffs.as_ref().map(|backoffs| backoffs.reader()),
            path: vec![0; level + 1],
        };
        let mut parts: Vec<Part> = Vec::with_capacity(self.threads);
        walk.run(0, self.levels[0].len, &mut |path, probability, backoff| {
            if parts.last().is_none_or(|part| part.weights.len() == PART) {
                if parts.len() == self.threads {
                    each(&parts)?;
                    parts.clear();
                }
                parts.push(Part { reversed: Vec::with_capacity(PART * path.len()), weights: Vec::with_capacity(PART) });
            }
            if let Some(part) = parts.last_mut() {
                part.reversed.extend_from_slice(path);
                part.weights.push((probability, backoff));
            }
            Ok(())
        })?;
        if parts.is_empty() { Ok(()) } else { each(&parts) }
    }

    /// Writes the model file, which is mapped when it is opened.
    ///
    /// # Errors
    /// If the file cannot be written, or the observer asks to stop; then nothing stands at `path`.
    pub fn write_model(&self, path: &Path, observer: &dyn Observer) -> Result<(), NgramError> {
        let failed = |source| FileError::write(path, source);
        let mut writing = self.writing(path, observer);
        let ids = self.kept_words()?;
        let word = |id: WordId| match &ids {
            Some(kept) => self.vocabulary.word(kept.old[id as usize]),
            None => self.vocabulary.word(id),
        };
        let nodes: Vec<u64> = self.levels.iter().map(|level| level.kept).collect();
        let mut out = ModelWriter::new(AtomicFile::create(path)?, word, &nodes).map_err(failed)?;
        for n in 0..self.levels.len() {
            self.write_level(n, ids.as_ref(), &mut out, failed, &mut writing)?;
        }
        Ok(out.finish().commit()?)
    }

    fn write_level(
        &self,
        n: usize,
        ids: Option<&KeptWords>,
        out: &mut ModelWriter<AtomicFile>,
        failed: impl Fn(io::Error) -> FileError,
        writing: &mut Writing,
    ) -> Result<(), NgramError> {
        let mut nodes = self.levels[n].reader();
        let mut next = self.levels.get(n + 1).map(|level| level.reader());
        let mut probabilities = self.weights[n].probabilities.reader();
        let mut backoffs = self.weights[n].backoffs.as_ref().map(|backoffs| backoffs.reader());
        for i in 0..self.levels[n].len {
            let node = nodes.next()?;
            let mut children = 0;
            if let Some(next) = &mut next {
                for _ in 0..node.children() {
                    children += u64::from(!next.next()?.is_pruned());
                }
            }
            let probability = log10(probabilities.f32()?).min(0.0);
            let backoff = backoffs.as_mut().map_or(Ok(1.0), ColumnReader::f32).map(log10)?;
            if !node.is_pruned() {
                let word = ids.map_or(node.word, |ids| ids.new[node.word as usize]);
                out.push(Entry { word, probability, backoff, children }).map_err(&failed)?;
            }
            if i % PART as u64 == 0 && i > 0 {
                writing.add(PART as u64)?;
            }
        }
        Ok(out.end_level().map_err(failed)?)
    }

    /// None if every word stays, as it does unless unigrams are pruned.
    fn kept_words(&self) -> Result<Option<KeptWords>, FileError> {
        let level = &self.levels[0];
        if level.kept == level.len {
            return Ok(None);
        }
        let mut kept = KeptWords { old: Vec::new(), new: Vec::new() };
        let mut reader = level.reader();
        for word in 0..level.len as WordId {
            kept.new.push(kept.old.len() as WordId);
            if !reader.next()?.is_pruned() {
                kept.old.push(word);
            }
        }
        Ok(Some(kept))
    }
}

/// Ids where words were pruned. Their order stays, so that what is sorted stays so.
struct KeptWords {
    /// Of each new id.
    old: Vec<WordId>,
    /// Of each old id; only for words that stay.
    new: Vec<WordId>,
}

/// A walk through the n-grams of one order, along the trie.
struct Walk {
    readers: Vec<LevelReader>,
    probabilities: ColumnReader,
    backoffs: Option<ColumnReader>,
    /// Last word first.
    path: Vec<WordId>,
}

impl Walk {
    /// Calls `each` with the kept n-grams below the next `count` nodes of a level: words, log10 probability, log10
    /// back-off weight.
    fn run(
        &mut self,
        depth: usize,
        count: u64,
        each: &mut impl FnMut(&[WordId], f32, f32) -> Result<(), NgramError>,
    ) -> Result<(), NgramError> {
        for _ in 0..count {
            let node = self.readers[depth].next()?;
            self.path[depth] = node.word;
            if depth + 1 < self.path.len() {
                self.run(depth + 1, node.children(), each)?;
                continue;
            }
            let probability = self.probabilities.f32()?;
            let backoff = self.backoffs.as_mut().map_or(Ok(1.0), ColumnReader::f32)?;
            if !node.is_pruned() {
                each(&self.path, log10(probability).min(0.0), log10(backoff))?;
            }
        }
        Ok(())
    }
}
