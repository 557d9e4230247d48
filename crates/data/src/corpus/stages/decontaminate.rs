//! Texts of benchmarks in the corpus: [`crate::decontaminate`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tsumugi_base::Hint;
use tsumugi_files::Gate;
use tsumugi_tokenizer::{ModelTextError, Tokenizer, vocabulary_file};

use super::pieces::numbers;
use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::decontaminate::{Benchmark, Cut, Index, Length, Units, cut};

/// A sketch is three numbers for each n-gram of a benchmark (its number, its first byte, the one behind its last), how many these are
/// before them, and the document's id behind. A decision is the bytes of those that count.
pub(super) struct Decontaminate {
    settings: Settings,
    index: Index,
    /// Of each benchmark: the n of its n-grams.
    lengths: Vec<usize>,
    /// Of each item: its benchmark and its id.
    items: Vec<(usize, String)>,
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Settings {
    benchmarks: Vec<Benchmark>,
    /// Words of an n-gram, 13 if not said; `percentile` is GPT-3's rule.
    n: Option<toml::Value>,
    /// A model or a vocabulary file, whose tokens are compared instead of words.
    tokenizer: Option<PathBuf>,
    #[serde(default)]
    action: Action,
    /// An n-gram that stands in more documents is a phrase of the language, no sign of a benchmark. GPT-3 has 10, the
    /// harness no bound.
    #[serde(default)]
    documents_max: Option<u32>,
}

impl Settings {
    fn length(&self) -> Result<Length, String> {
        match &self.n {
            None => Ok(Length::Fixed(13)),
            Some(toml::Value::String(rule)) if rule == "percentile" => Ok(Length::Percentile),
            Some(toml::Value::Integer(n @ 1..=256)) => Ok(Length::Fixed(*n as usize)),
            Some(other) => Err(format!("`n` is {other}, but must be from 1 to 256, or \"percentile\"")),
        }
    }

    /// What is compared, and the file that says how.
    fn units(&self, gate: &dyn Gate) -> Result<(Units, Option<PathBuf>), String> {
        let Some(path) = &self.tokenizer else { return Ok((Units::Words, None)) };
        let said = |error: ModelTextError| match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        let (tokenizer, model) = Tokenizer::admit(path, gate).map_err(said)?;
        let tokenizer = tokenizer.ok_or_else(|| format!("{} has no vocabulary", path.display()))?;
        let name = model.as_deref().filter(|model| model.gguf().is_none()).and_then(vocabulary_file);
        Ok((Units::Tokens(Box::new(tokenizer)), Some(name.map_or_else(|| path.clone(), |name| path.join(name)))))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// Only tells.
    Report,
    /// Drops the document.
    #[default]
    Drop,
    /// Cuts n-grams out with 200 characters around each, and drops what is left in more than ten pieces, or not at all.
    Cut,
}

impl Decontaminate {
    /// The stage, its benchmarks read. `gate` decides about the tokenizer.
    pub(super) fn new(settings: Settings, gate: &dyn Gate) -> Result<Self, String> {
        let length = settings.length()?;
        let (units, file) = settings.units(gate)?;
        let mut index = Index::new(units);
        let (mut lengths, mut items, mut files) = (Vec::new(), Vec::new(), Vec::from_iter(file));
        for (number, benchmark) in settings.benchmarks.iter().enumerate() {
            let (found, of_benchmark) = benchmark.read().map_err(|error| format!("`{}`: {error}", benchmark.name))?;
            if found.is_empty() {
                return Err(format!("benchmark `{}` has no items", benchmark.name));
            }
            lengths.push(index.push(&found, length));
            items.extend(found.into_iter().map(|item| (number, item.id)));
            files.extend(of_benchmark);
        }
        Ok(Self { settings, index, lengths, items, files })
    }
}

impl CorpusStage for Decontaminate {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        let found = self.index.find(document.text());
        if found.is_empty() {
            return;
        }
        sketch.extend_from_slice(&(found.len() as u32).to_le_bytes());
        for found in found {
            let triple = [found.ngram, found.range.start as u32, found.range.end as u32];
            triple.iter().for_each(|number| sketch.extend_from_slice(&number.to_le_bytes()));
        }
        sketch.extend_from_slice(document.id.as_bytes());
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let mut documents = vec![0u32; self.index.ngrams()];
        let mut examples: Vec<Vec<String>> = vec![Vec::new(); self.index.ngrams()];
        sketches.all(&mut |sketch| {
            let (found, id) = read_sketch(sketch);
            for ngram in found.iter().map(|(ngram, _)| *ngram as usize).collect::<BTreeSet<_>>() {
                documents[ngram] = documents[ngram].saturating_add(1);
                if examples[ngram].len() < EXAMPLES_MAX {
                    examples[ngram].push(id.to_owned());
                }
            }
            Ok(())
        })?;
        let counts = |ngram: u32| {
            let documents = documents[ngram as usize];
            documents > 0 && self.settings.documents_max.is_none_or(|most| documents <= most)
        };
        context.report(&self.tell(&counts, &examples))?;
        let mut decision = Vec::new();
        sketches.all(&mut |sketch| {
            decision.clear();
            for (_, range) in read_sketch(sketch).0.into_iter().filter(|(ngram, _)| counts(*ngram)) {
                [range.start, range.end]
                    .iter()
                    .for_each(|place| decision.extend_from_slice(&(*place as u32).to_le_bytes()));
            }
            decisions.push(&decision)
        })
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        if decision.is_empty() {
            return Verdict::Keep;
        }
        let places: Vec<u32> = numbers(decision).collect();
        let parts: Vec<Range<usize>> = places.chunks_exact(2).map(|pair| pair[0] as usize..pair[1] as usize).collect();
        if self.settings.action == Action::Cut
            && let Some(text) = cut(document.text(), &parts, Cut::default())
        {
            document.set_text(text);
        } else if self.settings.action != Action::Report {
            return Verdict::drop("contaminated");
        }
        document.set_signal("benchmark_ngrams", parts.len() as f64);
        Verdict::Keep
    }

    fn inputs(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
}

/// Documents that are named for an item.
const EXAMPLES_MAX: usize = 3;

/// What is told of a benchmark.
#[derive(Debug, Serialize)]
struct BenchmarkReport<'a> {
    name: &'a str,
    /// Words or tokens of its n-grams.
    n: usize,
    items: usize,
    contaminated: Vec<ItemReport<'a>>,
    /// Shorter than an n-gram: nothing can be said about them.
    undecidable: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct ItemReport<'a> {
    id: &'a str,
    ngrams: usize,
    /// How many of them stand in the corpus.
    found: usize,
    /// The first documents that have one.
    documents: Vec<&'a str>,
}

impl Decontaminate {
    fn tell<'a>(&'a self, counts: &dyn Fn(u32) -> bool, examples: &'a [Vec<String>]) -> Vec<BenchmarkReport<'a>> {
        let names = self.settings.benchmarks.iter().map(|benchmark| benchmark.name.as_str());
        let empty =
            |(name, &n)| BenchmarkReport { name, n, items: 0, contaminated: Vec::new(), undecidable: Vec::new() };
        let mut reports: Vec<BenchmarkReport<'a>> = names.zip(&self.lengths).map(empty).collect();
        for ((benchmark, id), ngrams) in self.items.iter().zip(self.index.items()) {
            let report = &mut reports[*benchmark];
            report.items += 1;
            if ngrams.is_empty() {
                report.undecidable.push(id);
                continue;
            }
            let found: Vec<u32> = ngrams.iter().copied().filter(|ngram| counts(*ngram)).collect();
            if !found.is_empty() {
                let mut documents: Vec<&str> = Vec::new();
                for example in found.iter().flat_map(|ngram| &examples[*ngram as usize]) {
                    if documents.len() < EXAMPLES_MAX && !documents.contains(&example.as_str()) {
                        documents.push(example);
                    }
                }
                report.contaminated.push(ItemReport { id, ngrams: ngrams.len(), found: found.len(), documents });
            }
        }
        reports
    }
}

/// The n-grams of a sketch with their places, and the document's id.
fn read_sketch(sketch: &[u8]) -> (Vec<(u32, Range<usize>)>, &str) {
    let Some((count, rest)) = sketch.split_first_chunk() else { return (Vec::new(), "") };
    let (found, id) = rest.split_at(u32::from_le_bytes(*count) as usize * 12);
    let all: Vec<u32> = numbers(found).collect();
    let found = all.chunks_exact(3).map(|triple| (triple[0], triple[1] as usize..triple[2] as usize)).collect();
    (found, std::str::from_utf8(id).expect("a sketch of ours"))
}
