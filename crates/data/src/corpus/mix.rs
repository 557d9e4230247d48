//! Mixing: how often each document comes, and in which order, as pure functions of counts and seed. Two passes over files:
//! scatter (each file's documents to the buckets that they fall into), gather (each bucket in order). So documents of all
//! sources stand anywhere among each other, and no more than a bucket is in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tsumugi_base::FileError;
use tsumugi_base::io::{AtomicFile, create_folder};
use tsumugi_base::rng::{Key, Permutation};
use zstd::stream::{read::Decoder, write::Encoder};

use super::folder::{Folder, mark, marked};
use super::packed::{PackedWriter, document, for_each_line};
use super::recipe::{Mix, Recipe};
use super::record::{Amount, FileRecord};
use super::workers::Workers;
use super::{CorpusError, Summary};
use crate::words::count_words;

/// Our part of the key space of a seed.
const MIX: u64 = 0x006d_6978;

/// How often each document of a source comes.
struct SourcePlan {
    documents: u64,
    /// Every document so often, and these of them once more.
    times: u64,
    extra: u64,
    /// Places of the mix before this source's, were it not shuffled.
    before: u64,
    /// Chooses those that come once more.
    choice: Permutation,
}

/// Where each document of the corpus goes.
struct MixPlan {
    /// By the source's place in the recipe.
    sources: Vec<SourcePlan>,
    total: u64,
    order: Permutation,
    buckets: u64,
}

impl MixPlan {
    fn new(recipe: &Recipe, mix: &Mix, summary: &Summary) -> Result<Self, CorpusError> {
        let amounts: Vec<Amount> = recipe
            .sources
            .iter()
            .map(|source| summary.sources.get(&source.name).copied().unwrap_or_default())
            .collect();
        let weights: Vec<f64> = recipe.sources.iter().map(|source| source.weight).collect();
        let repeats = repeats(mix, &weights, &amounts);
        let key = Key::from_seed(recipe.seed).derive(&[MIX]);
        // Files are cut by what stands in them, and beside a short text much more may.
        let lines = |index: usize| -> u64 {
            let name = &recipe.sources[index].name;
            summary.files.iter().filter_map(|file| file.line_bytes.get(name)).sum()
        };
        let (mut sources, mut before, mut bytes) = (Vec::new(), 0, 0.0);
        for (index, (amount, repeats)) in amounts.iter().zip(repeats).enumerate() {
            let places = (repeats * amount.documents as f64).round() as u64;
            let documents = amount.documents;
            sources.push(SourcePlan {
                documents,
                times: places.checked_div(documents).unwrap_or(0),
                extra: places.checked_rem(documents).unwrap_or(0),
                before,
                choice: Permutation::new(key.derive(&[1, index as u64]), documents.max(1)),
            });
            before += places;
            bytes += repeats * lines(index) as f64;
        }
        if before == 0 {
            return Err(CorpusError::NothingLeft { what: "mix" });
        }
        let buckets = ((bytes / recipe.shard_bytes as f64).ceil() as u64).clamp(1, before);
        Ok(Self { sources, total: before, order: Permutation::new(key.derive(&[0]), before), buckets })
    }

    /// The places of a document, by its number among those of its source.
    fn places(&self, source: usize, number: u64) -> impl Iterator<Item = u64> + '_ {
        let plan = &self.sources[source];
        let whole = (0..plan.times).map(move |time| plan.before + time * plan.documents + number);
        let choice = if plan.extra > 0 { plan.choice.get(number) } else { 0 };
        let once_more = (choice < plan.extra).then_some(plan.before + plan.times * plan.documents + choice);
        whole.chain(once_more).map(|place| self.order.get(place))
    }

    fn bucket(&self, place: u64) -> u64 {
        (u128::from(place) * u128::from(self.buckets) / u128::from(self.total)) as u64
    }
}

/// How often each source comes: shares proportional to `weight · bytes^(1/temperature)`, of the largest whole in which no
/// source comes more often than it may.
fn repeats(mix: &Mix, weights: &[f64], amounts: &[Amount]) -> Vec<f64> {
    // Relative to the largest: a low temperature makes powers of bytes that no number holds.
    let largest = amounts.iter().map(|amount| amount.bytes).max().unwrap_or(0).max(1) as f64;
    let share =
        |(weight, amount): (&f64, &Amount)| weight * (amount.bytes as f64 / largest).powf(1.0 / mix.temperature);
    let shares: Vec<f64> = weights.iter().zip(amounts).map(share).collect();
    let sum: f64 = shares.iter().sum();
    if sum == 0.0 {
        return vec![0.0; amounts.len()]; // no source has both a weight and text
    }
    let bounds = shares.iter().zip(amounts).filter(|(share, _)| **share > 0.0);
    let whole = bounds.map(|(share, amount)| mix.repeats_max * amount.bytes as f64 * sum / share);
    let whole = whole.fold(mix.bytes.map_or(f64::INFINITY, |bytes| bytes as f64), f64::min);
    let times = |(share, amount): (&f64, &Amount)| match amount.bytes {
        0 => 0.0,
        bytes => (whole * share / sum / bytes as f64).min(mix.repeats_max),
    };
    shares.iter().zip(amounts).map(times).collect()
}

/// A copy of a document on its way: what stands before its line.
const HEAD_BYTES: usize = 40;

struct Head {
    place: u64,
    source: u64,
    line_bytes: u64,
    amount: Amount,
}

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let numbers = [self.place, self.source, self.line_bytes, self.amount.bytes, self.amount.words];
        let mut bytes = [0; HEAD_BYTES];
        bytes.chunks_exact_mut(8).zip(numbers).for_each(|(bytes, number)| bytes.copy_from_slice(&number.to_le_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Self {
        let number = |index: usize| u64::from_le_bytes(std::array::from_fn(|at| bytes[8 * index + at]));
        let amount = Amount { documents: 1, bytes: number(3), words: number(4) };
        Self { place: number(0), source: number(1), line_bytes: number(2), amount }
    }
}

/// Where the documents of one bucket lie in a scattered file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Group {
    bucket: u64,
    offset: u64,
    bytes: u64,
    /// What its lines take, unpacked.
    line_bytes: u64,
}

/// The mixing of one run.
pub(super) struct MixRun<'a> {
    recipe: &'a Recipe,
    folder: &'a Folder,
    files: &'a [FileRecord],
    plan: MixPlan,
    /// Documents of each source before each file.
    before: Vec<Vec<u64>>,
    work: PathBuf,
}

impl<'a> MixRun<'a> {
    pub fn new(recipe: &'a Recipe, mix: &Mix, summary: &'a Summary, folder: &'a Folder) -> Result<Self, CorpusError> {
        let plan = MixPlan::new(recipe, mix, summary)?;
        let mut counts = vec![0; recipe.sources.len()];
        let mut before = Vec::with_capacity(summary.files.len());
        for file in &summary.files {
            before.push(counts.clone());
            for (count, source) in counts.iter_mut().zip(&recipe.sources) {
                *count += file.sources.get(&source.name).map_or(0, |amount| amount.documents);
            }
        }
        Ok(Self { recipe, folder, files: &summary.files, plan, before, work: folder.path("work/mix") })
    }

    /// Writes `mixed/`. Gives its files.
    pub fn run(&self, workers: &Workers<'_>) -> Result<Vec<FileRecord>, CorpusError> {
        create_folder(&self.work)?;
        create_folder(&self.folder.path("mixed"))?;
        let todo = |units: usize, marker: &dyn Fn(usize) -> PathBuf| -> Vec<usize> {
            workers.ours(units).into_iter().filter(|&unit| !marker(unit).exists()).collect()
        };
        let files = todo(self.files.len(), &|file| self.scattered(file));
        let progress = workers.progress("mix: scatter", files.iter().map(|&file| self.files[file].amount.bytes).sum());
        let scattered = workers.each(&files, &|file| {
            mark(&self.scattered(file), &self.scatter(file)?)?;
            progress.advance(self.files[file].amount.bytes, self.files[file].amount.documents);
            Ok(())
        });
        drop(progress);
        workers.agree(scattered)?;
        let groups = (0..self.files.len()).map(|file| read_marker(self.scattered(file)));
        let groups = groups.collect::<Result<Vec<Vec<Group>>, CorpusError>>()?;
        let buckets = todo(self.plan.buckets as usize, &|bucket| self.gathered(bucket));
        let progress = workers.progress("mix: gather", buckets.len() as u64 * self.recipe.shard_bytes);
        let gathered = workers.each(&buckets, &|bucket| {
            let record = self.gather(bucket, &groups)?;
            progress.advance(self.recipe.shard_bytes, record.amount.documents);
            mark(&self.gathered(bucket), &record)
        });
        drop(progress);
        workers.agree(gathered)?;
        (0..self.plan.buckets as usize).map(|bucket| read_marker(self.gathered(bucket))).collect()
    }

    fn scattered(&self, file: usize) -> PathBuf {
        self.work.join(format!("scattered-{file:05}.json"))
    }

    fn scatter_file(&self, file: usize) -> PathBuf {
        self.work.join(format!("scattered-{file:05}.bin"))
    }

    fn gathered(&self, bucket: usize) -> PathBuf {
        self.work.join(format!("gathered-{bucket:05}.json"))
    }

    /// Puts the documents of a file into groups by bucket, each group packed for itself.
    fn scatter(&self, file: usize) -> Result<Vec<Group>, CorpusError> {
        let path = self.folder.path("documents").join(&self.files[file].name);
        let (mut lines, mut numbers) = (Vec::new(), self.before[file].clone());
        // Of each copy its place and its document: where the line is, and what it is.
        let mut copies: Vec<(u64, usize)> = Vec::new();
        let mut documents = Vec::new();
        for_each_line(&path, |line| {
            let document = document(&path, line)?;
            let source = self.recipe.sources.iter().position(|source| source.name == document.source);
            let source = source.ok_or_else(|| CorpusError::Damaged {
                file: path.clone(),
                problem: format!("a document of an unknown source `{}`", document.source),
            })?;
            let (bytes, words) = (document.text().len() as u64, count_words(document.text()));
            let number = numbers[source];
            numbers[source] += 1;
            copies.extend(self.plan.places(source, number).map(|place| (place, documents.len())));
            documents.push((lines.len()..lines.len() + line.len(), source, Amount { documents: 1, bytes, words }));
            lines.extend_from_slice(line);
            Ok(())
        })?;
        copies.sort_unstable();
        let path = self.scatter_file(file);
        let failed = |source| CorpusError::from(FileError::write(&path, source));
        let mut out = AtomicFile::create(&path)?;
        let (mut groups, mut offset) = (Vec::new(), 0);
        for copies in copies.chunk_by(|a, b| self.plan.bucket(a.0) == self.plan.bucket(b.0)) {
            let mut group = Encoder::new(Counting { file: &mut out, bytes: 0 }, 1).map_err(failed)?;
            let mut line_bytes = 0;
            for &(place, index) in copies {
                let (range, source, amount) = &documents[index];
                let line = &lines[range.clone()];
                let head = Head { place, source: *source as u64, line_bytes: line.len() as u64, amount: *amount };
                group.write_all(&head.to_bytes()).and_then(|()| group.write_all(line)).map_err(failed)?;
                line_bytes += line.len() as u64;
            }
            let bytes = group.finish().map_err(failed)?.bytes;
            groups.push(Group { bucket: self.plan.bucket(copies[0].0), offset, bytes, line_bytes });
            offset += bytes;
        }
        out.commit()?;
        Ok(groups)
    }

    /// Puts the documents of a bucket into order: all at once, or where chance has put too many large ones into it, a run of places
    /// after another.
    fn gather(&self, bucket: usize, groups: &[Vec<Group>]) -> Result<FileRecord, CorpusError> {
        let of_bucket = groups.iter().enumerate().filter_map(|(file, groups)| {
            let at = groups.binary_search_by_key(&(bucket as u64), |group| group.bucket).ok()?;
            Some((self.scatter_file(file), groups[at]))
        });
        let groups: Vec<(PathBuf, Group)> = of_bucket.collect();
        let limit = self.recipe.shard_bytes + self.recipe.document_bytes_max;
        let mut sizes = Vec::new();
        if groups.iter().map(|(_, group)| group.line_bytes).sum::<u64>() > limit {
            for_each_copy(&groups, |head, _| {
                sizes.push((head.place, head.line_bytes));
                Ok(())
            })?;
        }
        let mut writer = PackedWriter::create(&self.folder.path("mixed"), &format!("{bucket:05}"), 3)?;
        for range in ranges(sizes, limit) {
            let mut copies = Vec::new();
            for_each_copy(&groups, |head, line| {
                if range.contains(&head.place) {
                    let mut bytes = Vec::with_capacity(head.line_bytes as usize);
                    line.read_to_end(&mut bytes)?;
                    copies.push((head, bytes));
                }
                Ok(())
            })?;
            copies.sort_unstable_by_key(|(head, _)| head.place);
            for (head, line) in copies {
                writer.push_line(&line, &self.recipe.sources[head.source as usize].name, head.amount)?;
            }
        }
        writer.commit()
    }
}

/// Counts what goes into a file.
struct Counting<'a> {
    file: &'a mut AtomicFile,
    bytes: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Calls `visit` with each copy in the groups, and with its line, which need not be read.
fn for_each_copy(
    groups: &[(PathBuf, Group)],
    mut visit: impl FnMut(Head, &mut dyn Read) -> io::Result<()>,
) -> Result<(), CorpusError> {
    for (path, group) in groups {
        let mut read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(group.offset))?;
            let mut reader = BufReader::new(Decoder::new(file.take(group.bytes))?);
            while !reader.fill_buf()?.is_empty() {
                let mut head = [0; HEAD_BYTES];
                reader.read_exact(&mut head)?;
                let head = Head::from_bytes(&head);
                let mut line = reader.by_ref().take(head.line_bytes);
                visit(head, &mut line)?;
                io::copy(&mut line, &mut io::sink())?;
            }
            Ok(())
        };
        read().map_err(|source: io::Error| FileError::read(path, source))?;
    }
    Ok(())
}

/// Cuts places into runs whose lines take no more than `limit`, or have one line. `sizes` are places and their lines' bytes; of
/// none that are known all is one run.
fn ranges(mut sizes: Vec<(u64, u64)>, limit: u64) -> Vec<Range<u64>> {
    sizes.sort_unstable();
    let (mut ranges, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (place, line_bytes) in sizes {
        if bytes > 0 && bytes + line_bytes > limit {
            ranges.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += line_bytes;
    }
    ranges.push(start..u64::MAX);
    ranges
}

fn read_marker<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<T, CorpusError> {
    let record = marked(&path)?;
    record.ok_or_else(|| CorpusError::Damaged { file: path, problem: "it is gone".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(documents: u64, bytes: u64) -> Amount {
        Amount { documents, bytes, words: 0 }
    }

    fn mix(temperature: f64, repeats_max: f64, bytes: Option<u64>) -> Mix {
        Mix { temperature, repeats_max, bytes }
    }

    #[test]
    fn shares_follow_weight_and_temperature() {
        let amounts = [amount(10, 1000), amount(10, 4000), amount(0, 0)];
        assert_eq!(repeats(&mix(1.0, 1.0, None), &[1.0, 1.0, 1.0], &amounts), [1.0, 1.0, 0.0], "everything once");
        assert_eq!(repeats(&mix(1.0, 1.0, None), &[1.0, 0.5, 1.0], &amounts), [1.0, 0.5, 0.0]);
        assert_eq!(repeats(&mix(1.0, 2.0, None), &[1.0, 0.5, 1.0], &amounts), [2.0, 1.0, 0.0]);
        // Shares 1:2 instead of 1:4, so the small source is what bounds the whole.
        assert_eq!(repeats(&mix(2.0, 1.0, None), &[1.0, 1.0, 1.0], &amounts), [1.0, 0.5, 0.0]);
        assert_eq!(repeats(&mix(1.0, 1.0, Some(500)), &[1.0, 1.0, 1.0], &amounts), [0.1, 0.1, 0.0]);
        assert_eq!(repeats(&mix(0.01, 1.0, None), &[1.0, 1.0, 1.0], &amounts)[2], 0.0, "no overflow");
        assert_eq!(
            repeats(&mix(1.0, 1.0, None), &[0.0, 0.0, 1.0], &amounts),
            [0.0; 3],
            "nothing has a weight and text"
        );
    }

    #[test]
    fn every_place_is_taken_once() {
        let text = "[[source]]\nname = 'a'\npaths = ['a']\nweight = 2.5\n[[source]]\nname = 'b'\npaths = ['b']\n[mix]\nrepeats-max = 2.5";
        let recipe: Recipe = toml::from_str(text).unwrap();
        let mut summary = Summary::default();
        summary.sources.insert("a".into(), amount(301, 3010));
        summary.sources.insert("b".into(), amount(77, 770));
        let plan = MixPlan::new(&recipe, recipe.mix.as_ref().unwrap(), &summary).unwrap();
        let mut places: Vec<u64> = (0..301).flat_map(|number| plan.places(0, number)).collect();
        assert_eq!(places.len(), 753, "2.5 times 301, rounded");
        places.extend((0..77).flat_map(|number| plan.places(1, number)));
        places.sort_unstable();
        assert_eq!(places, (0..plan.total).collect::<Vec<_>>());
        let often = |number| plan.places(0, number).count();
        assert!((0..301).all(|number| (2..=3).contains(&often(number))));
    }
}
