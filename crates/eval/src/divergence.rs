//! How far a model's predictions of a text are from those of the model that it was made from: of each scored token the
//! KL divergence `Σ p (ln p - ln q)` over the vocabulary (Kullback and Leibler 1951), p of the reference, q of the model.
//! Perplexity misses what it sees: tokens that got likelier by chance make up for others.

use serde::Serialize;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_infer::text::{LoadError, load_tokenizer};
use tsumugi_models::{ChunkedLogitsPlan, Decoder, Precision};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Cpu, Segment};
use tsumugi_tokenizer::{TokenId, Tokenizer};

use crate::EvalError;
use crate::perplexity::{Perplexity, PerplexityOptions};
use crate::windows::{Span, Windows, tokens_of};

/// Logits that are in memory at once, of each model: 64 MiB, and as much again where they are capped.
const LOGITS_MAX: usize = 1 << 24;

/// How far a model's predictions are from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Mean of all scored tokens, in nats.
    pub mean_nats: f64,
    /// 99 of 100 tokens have no more than this.
    pub percentile_99_nats: f64,
    /// The largest.
    pub maximum_nats: f64,
    /// Share of the tokens of which both models think the same one likeliest.
    pub same_top: f64,
}

/// A model, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// How well it predicted.
    #[serde(flatten)]
    pub perplexity: Perplexity,
    /// Bytes of all tensors in its files.
    pub weight_bytes: u64,
    /// Their bits by their numbers.
    pub bits_per_weight: f64,
}

/// A model beside the one that it was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The model.
    #[serde(flatten)]
    pub model: Measured,
    /// What it is measured against.
    pub reference: Measured,
    /// From that to the model.
    pub divergence: Divergence,
}

impl Measured {
    fn new(perplexity: Perplexity, files: &ModelFiles) -> Result<Self, LoadError> {
        let tensors = files.tensors()?;
        let weight_bytes = tensors.entries().fold(0u64, |sum, entry| sum.saturating_add(entry.stored_bytes()));
        let elements = |shape: &[usize]| shape.iter().map(|&axis| axis as f64).product::<f64>();
        let weights: f64 = tensors.entries().map(|entry| elements(&entry.shape)).sum();
        Ok(Self { perplexity, weight_bytes, bits_per_weight: 8.0 * weight_bytes as f64 / weights.max(1.0) })
    }
}

/// Loads two models and compares their predictions of a text; the reference computes in float32.
pub fn compare_models(
    (model, reference): (&Admitted<ModelFiles>, &Admitted<ModelFiles>),
    (threads, precision): (Option<usize>, Precision),
    text: &str,
    options: PerplexityOptions,
    observer: &dyn Observer,
) -> Result<Comparison, EvalError> {
    let tokenizer = load_tokenizer(model)?;
    same_tokens(&tokenizer, &load_tokenizer(reference).map_err(of_reference)?, text)?;
    let cpu = Cpu::detect(threads).map_err(LoadError::from)?;
    let load = |files, precision| Decoder::load_to_serve(files, &cpu, precision).map_err(LoadError::from);
    let decoder = load(model, precision)?;
    let exact = load(reference, Precision::Float32).map_err(of_reference)?;
    let ([of_model, of_exact], divergence) = divergence(&cpu, [&decoder, &exact], &tokenizer, text, options, observer)?;
    Ok(Comparison {
        model: Measured::new(of_model, model)?,
        reference: Measured::new(of_exact, reference).map_err(of_reference)?,
        divergence,
    })
}

fn of_reference(error: impl Into<EvalError>) -> EvalError {
    EvalError::Reference(Box::new(error.into()))
}

/// Whether ids mean the same to both, and the text is the same ids. Padding, of which a file may know more than another,
/// has no bytes.
fn same_tokens(model: &Tokenizer, reference: &Tokenizer, text: &str) -> Result<(), EvalError> {
    let shared = model.vocabulary_size().min(reference.vocabulary_size());
    for id in 0..shared as TokenId {
        let (ours, theirs) = (model.token_bytes(id), reference.token_bytes(id));
        if ours != theirs && !ours.is_empty() && !theirs.is_empty() {
            let [model, reference] = [ours, theirs].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return Err(EvalError::OtherToken { id, model, reference });
        }
    }
    let (ours, theirs) = (tokens_of(model, text), tokens_of(reference, text));
    if ours == theirs {
        return Ok(());
    }
    Err(EvalError::OtherCut { index: ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count() })
}

/// Compares the predictions of a model and of the reference, which read the same tokens. Returns the perplexity of both
/// and what is between them.
pub fn divergence(
    cpu: &Cpu,
    [model, reference]: [&Decoder; 2],
    tokenizer: &Tokenizer,
    text: &str,
    options: PerplexityOptions,
    observer: &dyn Observer,
) -> Result<([Perplexity; 2], Divergence), EvalError> {
    let vocabulary = model.spec.vocabulary;
    if vocabulary != reference.spec.vocabulary {
        return Err(EvalError::OtherVocabulary { model: vocabulary, reference: reference.spec.vocabulary });
    }
    let context = reference.spec.context;
    if let Some(window) = options.window.filter(|&window| window > context && window <= model.spec.context) {
        return Err(of_reference(EvalError::Window { window, context }));
    }
    let windows = Windows::new(tokenizer, text, (context.min(model.spec.context), vocabulary), options)?;
    let predictions = windows.predictions() as u64;
    let chunk = (LOGITS_MAX / vocabulary).clamp(1, windows.rows_per_window() * windows.batch);
    let mut pair = Pair::new([model, reference], &windows, chunk);
    let mut totals = Totals::default();
    let mut meter = Meter::new("KL divergence", 0, predictions, "tokens");
    observer.event(&meter.step(0, vec![]));
    for group in windows.batches() {
        let scored = pair.read(cpu, &windows, group);
        for rows in scored.chunks(chunk) {
            if observer.stop_requested() {
                return Err(EvalError::Stopped { tokens_scored: totals.done(), tokens: predictions });
            }
            for (row, found) in rows.iter().zip(pair.compare(cpu, rows)) {
                totals.add(row.index, found)?;
            }
        }
        let mean = totals.mean_nats();
        observer.event(&meter.step(totals.done(), vec![("nats_per_token".into(), format!("{mean:.4}"))]));
    }
    Ok((totals.nll_nats.map(|nats| windows.perplexity(nats)), totals.divergence()))
}

/// A prediction that is scored.
#[derive(Debug, Clone, Copy)]
struct ScoredRow {
    /// Of the plans.
    row: usize,
    /// Of the predicted token in the text.
    index: usize,
    target: TokenId,
}

/// What one prediction gave.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    /// KL divergence.
    nats: f32,
    /// Nats of the target by the model and by the reference.
    nll_nats: [f32; 2],
    same_top: bool,
}

/// Model and reference over the same rows.
struct Pair<'a> {
    decoders: [&'a Decoder; 2],
    plans: [ChunkedLogitsPlan; 2],
    rows_per_window: usize,
    tokens: Vec<TokenId>,
    positions: Vec<u32>,
}

impl<'a> Pair<'a> {
    fn new(decoders: [&'a Decoder; 2], windows: &Windows, chunk: usize) -> Self {
        let rows_per_window = windows.rows_per_window();
        let rows = rows_per_window * windows.batch;
        let plans = decoders.map(|decoder| ChunkedLogitsPlan::new(decoder, rows, chunk));
        let positions = (0..windows.batch).flat_map(|_| 0..rows_per_window as u32).collect();
        Self { decoders, plans, rows_per_window, tokens: vec![0; rows], positions }
    }

    /// Both read the windows of a batch. Returns the rows that are scored.
    fn read(&mut self, cpu: &Cpu, windows: &Windows, batch: &[Span]) -> Vec<ScoredRow> {
        let (mut segments, mut scored) = (Vec::with_capacity(batch.len()), Vec::new());
        for (slot, span) in batch.iter().enumerate() {
            let (start, tokens) = (slot * self.rows_per_window, &windows.tokens[span.start..=span.start + span.len]);
            self.tokens[start..start + span.len].copy_from_slice(&tokens[..span.len]);
            segments.push(Segment { start, len: span.len });
            scored.extend((span.len - span.scored..span.len).map(|at| ScoredRow {
                row: start + at,
                index: span.start + at + 1,
                target: tokens[at + 1],
            }));
        }
        for (plan, decoder) in self.plans.iter_mut().zip(self.decoders) {
            plan.run(cpu, &decoder.parameters, &self.tokens, &self.positions, &segments);
        }
        scored
    }

    /// Compares the logits of rows, no more than the chunk.
    fn compare(&mut self, cpu: &Cpu, rows: &[ScoredRow]) -> Vec<Found> {
        let ([model, reference], [of_model, of_reference]) = (self.decoders, &mut self.plans);
        let selected = || rows.iter().map(|row| row.row);
        let logits = [
            of_model.logits(cpu, &model.parameters, selected()),
            of_reference.logits(cpu, &reference.parameters, selected()),
        ];
        compare_rows(cpu.pool(), logits, model.spec.vocabulary, rows)
    }
}

/// Compares logits `[rows, v]`, each row by itself.
fn compare_rows(pool: &Pool, [model, reference]: [&[f32]; 2], vocabulary: usize, rows: &[ScoredRow]) -> Vec<Found> {
    let mut numbers = vec![[0.0; 4]; rows.len()];
    pool.split([(numbers.as_flattened_mut(), 4)], |index, [numbers]| {
        let of_row = index * vocabulary..(index + 1) * vocabulary;
        let found = compare_row(&model[of_row.clone()], &reference[of_row], rows[index].target as usize);
        let same_top = if found.same_top { 1.0 } else { 0.0 };
        numbers.copy_from_slice(&[found.nats, found.nll_nats[0], found.nll_nats[1], same_top]);
    });
    let found = |[nats, model, reference, same_top]: [f32; 4]| Found {
        nats,
        nll_nats: [model, reference],
        same_top: same_top == 1.0,
    };
    numbers.into_iter().map(found).collect()
}

/// Compares the logits of one token, in float64: of two models that are nearly one, little is left of large numbers.
fn compare_row(model: &[f32], reference: &[f32], target: usize) -> Found {
    let tops = [top(model), top(reference)];
    let shifts = [f64::from(model[tops[0]]), f64::from(reference[tops[1]])];
    let (mut sums, mut difference) = ([0.0; 2], 0.0);
    for (&y, &x) in model.iter().zip(reference) {
        let (y, x) = (f64::from(y), f64::from(x));
        let weight = (x - shifts[1]).exp();
        sums[0] += (y - shifts[0]).exp();
        sums[1] += weight;
        difference += weight * (x - y);
    }
    let logs = [shifts[0] + sums[0].ln(), shifts[1] + sums[1].ln()];
    let nats = difference / sums[1] - (logs[1] - logs[0]);
    Found {
        // By rounding alone it can be below zero; what is no number stays so.
        nats: if nats < 0.0 { 0.0 } else { nats as f32 },
        nll_nats: [(logs[0] - f64::from(model[target])) as f32, (logs[1] - f64::from(reference[target])) as f32],
        same_top: tops[0] == tops[1],
    }
}

/// Index of the largest; of equal ones the first.
fn top(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |top, index| if logits[index] > logits[top] { index } else { top })
}

/// Over all predictions so far.
#[derive(Debug, Default)]
struct Totals {
    /// KL divergence of each.
    nats: Vec<f32>,
    sum_nats: f64,
    nll_nats: [f64; 2],
    same_top: u64,
}

impl Totals {
    fn done(&self) -> u64 {
        self.nats.len() as u64
    }

    fn mean_nats(&self) -> f64 {
        self.sum_nats / self.done() as f64
    }

    fn add(&mut self, index: usize, found: Found) -> Result<(), EvalError> {
        let [model, reference] = found.nll_nats;
        if !reference.is_finite() {
            return Err(of_reference(EvalError::NotANumber { index, nats: reference }));
        }
        if let Some(nats) = [model, found.nats].into_iter().find(|nats| !nats.is_finite()) {
            return Err(EvalError::NotANumber { index, nats });
        }
        self.nats.push(found.nats);
        self.sum_nats += f64::from(found.nats);
        for (sum, nats) in self.nll_nats.iter_mut().zip(found.nll_nats) {
            *sum += f64::from(nats);
        }
        self.same_top += u64::from(found.same_top);
        Ok(())
    }

    fn divergence(mut self) -> Divergence {
        let (count, mean_nats) = (self.nats.len(), self.mean_nats());
        self.nats.sort_unstable_by(f32::total_cmp);
        let at = |index: usize| f64::from(self.nats[index]);
        Divergence {
            mean_nats,
            percentile_99_nats: at((99 * count).div_ceil(100) - 1),
            maximum_nats: at(count - 1),
            same_top: self.same_top as f64 / count as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_compared_as_defined() {
        let reference = [0.5f32, -1.0, 3.0, 2.5];
        let model = [100.25f32, 99.5, 102.0, 102.5];
        let probabilities = |logits: [f32; 4]| {
            let exps = logits.map(|x| f64::from(x).exp());
            exps.map(|e| e / exps.iter().sum::<f64>())
        };
        let (q, p) = (probabilities(model), probabilities(reference));
        let expected: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        let found = compare_row(&model, &reference, 1);
        assert!(expected > 0.1 && (f64::from(found.nats) - expected).abs() < 1e-7, "{found:?}, not {expected}");
        for (nats, probability) in found.nll_nats.into_iter().zip([q[1], p[1]]) {
            assert!((f64::from(nats) + probability.ln()).abs() < 1e-6, "{found:?}");
        }
        assert!(!found.same_top);
        assert!(compare_row(&reference, &reference, 1).same_top);
    }

    #[test]
    fn logits_that_are_no_numbers_are_said_of_the_model_that_gave_them() {
        let (good, not, infinite) = ([1.0, 2.0], [1.0, f32::NAN], [1.0, f32::NEG_INFINITY]);
        let add = |model: &[f32], reference: &[f32]| Totals::default().add(7, compare_row(model, reference, 0));
        for bad in [not, infinite] {
            assert!(matches!(add(&bad, &good), Err(EvalError::NotANumber { index: 7, .. })), "{bad:?}");
            assert!(add(&good, &bad).is_err(), "{bad:?}");
        }
        assert!(matches!(add(&good, &not), Err(EvalError::Reference(_))));
        assert!(add(&good, &good).is_ok());
    }

    #[test]
    fn ninety_nine_of_a_hundred_are_not_above_the_percentile() {
        for (count, expected) in [(1, 1.0), (99, 99.0), (100, 99.0), (101, 100.0), (1000, 990.0)] {
            let mut totals = Totals::default();
            for number in (1..=count).rev() {
                let found = Found { nats: number as f32, nll_nats: [0.5, 0.25], same_top: number == 1 };
                totals.add(0, found).expect("all are numbers");
            }
            assert_eq!(totals.nll_nats, [0.5 * count as f64, 0.25 * count as f64]);
            let found = totals.divergence();
            let mean = (count + 1) as f64 / 2.0;
            assert_eq!((found.percentile_99_nats, found.maximum_nats), (expected, count as f64));
            assert_eq!((found.mean_nats, found.same_top), (mean, 1.0 / count as f64));
        }
    }
}
