//! Tensors of one layout and type to those of another, a few pieces at a time.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_files::{ElementType, FilesError, TensorView, narrow_f32_into, to_f32};
use tsumugi_models::{Piece, Translation};
use tsumugi_tensor::threads::Pool;

use crate::CompressError;

/// Pieces that are in memory at once, for each thread.
const PIECES_PER_THREAD: usize = 4;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Written {
    /// Numbers of all tensors.
    pub weights: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// `√(Σ (x - y)² / Σ x²)` over all numbers, x as they were read and y as they were written.
    pub relative_error: f64,
    /// The same of each element type, most bytes first.
    pub types: Vec<WrittenType>,
    /// What is not as one might expect, or not read by other programs: sentences.
    pub notes: Vec<String>,
}

/// The tensors of one element type.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WrittenType {
    /// Its name.
    pub element_type: String,
    /// How many tensors.
    pub tensors: usize,
    /// Numbers of them.
    pub weights: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// As of all.
    pub relative_error: f64,
}

impl Written {
    /// Bits of all tensors by their numbers.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.weights.max(1) as f64
    }
}

/// `Σ (x - y)²` and `Σ x²`.
#[derive(Debug, Clone, Copy, Default)]
struct Squares {
    difference: f64,
    value: f64,
}

impl Squares {
    fn add(&mut self, other: Self) {
        self.difference += other.difference;
        self.value += other.value;
    }

    fn relative_error(self) -> f64 {
        if self.value > 0.0 { (self.difference / self.value).sqrt() } else { 0.0 }
    }
}

/// A piece as it will be stored.
struct Made {
    bytes: Vec<u8>,
    squares: Squares,
}

/// Writes the tensors of a translation, and counts.
pub(crate) struct Stream<'a> {
    translation: &'a Translation<'a>,
    types: &'a [ElementType],
    pool: &'a Pool,
    observer: &'a dyn Observer,
    meter: Meter,
    counts: BTreeMap<ElementType, (WrittenType, Squares)>,
    weights_done: u64,
    tensors_done: usize,
    /// Why writing ended, where it is not the writer's fault.
    failed: Option<CompressError>,
}

impl<'a> Stream<'a> {
    /// Tensor `i` of the translation becomes one of `types[i]`.
    pub fn new(
        stage: &str,
        translation: &'a Translation<'a>,
        types: &'a [ElementType],
        pool: &'a Pool,
        observer: &'a dyn Observer,
    ) -> Self {
        let numbers = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let total = translation.tensors().iter().map(|tensor| numbers(tensor.shape())).sum();
        let meter = Meter::new(stage, 0, total, "weights");
        let (counts, failed) = (BTreeMap::new(), None);
        Self { translation, types, pool, observer, meter, counts, weights_done: 0, tensors_done: 0, failed }
    }

    /// Writes a tensor into `sink`. Where that fails for a reason of ours, [`Self::finish`] has it.
    pub fn write(&mut self, index: usize, sink: &mut dyn Write) -> io::Result<()> {
        let mut counted = (WrittenType { tensors: 1, ..WrittenType::default() }, Squares::default());
        let pieces = self.translation.pieces(index);
        for group in pieces.chunks(self.pool.threads() * PIECES_PER_THREAD) {
            if self.observer.stop_requested() {
                let (done, total) = (self.tensors_done, self.types.len());
                return Err(self.give_up(CompressError::Stopped { done, total }));
            }
            let made: Vec<Mutex<Option<Result<Made, FilesError>>>> = group.iter().map(|_| Mutex::new(None)).collect();
            self.pool.run(group.len(), &|task| {
                let piece = self.make(index, &group[task]);
                *made[task].lock().unwrap_or_else(PoisonError::into_inner) = Some(piece);
            });
            let tensor = || self.translation.tensors()[index].name().to_owned();
            for (piece, made) in group.iter().zip(made) {
                let Some(made) = made.into_inner().unwrap_or_else(PoisonError::into_inner) else { continue };
                let made = match made {
                    Ok(made) => made,
                    Err(source) => {
                        return Err(self.give_up(CompressError::Tensor { tensor: tensor(), source: Box::new(source) }));
                    }
                };
                sink.write_all(&made.bytes)?;
                counted.1.add(made.squares);
                counted.0.bytes += made.bytes.len() as u64;
                counted.0.weights += piece.numbers() as u64;
                self.weights_done += piece.numbers() as u64;
            }
            if self.meter.is_due() {
                let details = vec![("tensor".into(), tensor())];
                self.observer.event(&self.meter.step(self.weights_done, details));
            }
        }
        self.tensors_done += 1;
        let (all, squares) = self.counts.entry(self.types[index]).or_default();
        all.tensors += 1;
        all.weights += counted.0.weights;
        all.bytes += counted.0.bytes;
        squares.add(counted.1);
        Ok(())
    }

    fn make(&self, index: usize, piece: &Piece<'_>) -> Result<Made, FilesError> {
        let (name, element_type) = (self.translation.tensors()[index].name(), self.types[index]);
        let values = self.translation.read(piece)?;
        if let Some(stored) = self.translation.stored_bytes(piece, element_type) {
            // As it is: quantizing again need not find the same codes.
            let value = values.iter().map(|&x| f64::from(x).powi(2)).sum();
            return Ok(Made { bytes: stored.to_vec(), squares: Squares { difference: 0.0, value } });
        }
        let mut bytes = Vec::new();
        narrow_f32_into(&values, element_type, &mut bytes)?;
        let shape = [values.len()];
        let back = to_f32(&TensorView { name, element_type, shape: &shape, bytes: &bytes })?;
        let mut squares = Squares::default();
        for (&x, y) in values.iter().zip(back) {
            squares.difference += (f64::from(x) - f64::from(y)).powi(2);
            squares.value += f64::from(x).powi(2);
        }
        Ok(Made { bytes, squares })
    }

    fn give_up(&mut self, error: CompressError) -> io::Error {
        let text = error.to_string();
        self.failed = Some(error);
        io::Error::other(text)
    }

    /// What was written by a writer that ended so.
    pub fn finish(mut self, ended: Result<(), FilesError>) -> Result<Written, CompressError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        ended?;
        self.observer.event(&self.meter.step(self.weights_done, Vec::new()));
        let (mut written, mut all) = (Written::default(), Squares::default());
        for (element_type, (counts, squares)) in self.counts {
            written.weights += counts.weights;
            written.bytes += counts.bytes;
            all.add(squares);
            let (element_type, relative_error) = (element_type.name().to_owned(), squares.relative_error());
            written.types.push(WrittenType { element_type, relative_error, ..counts });
        }
        written.types.sort_by_key(|counts| std::cmp::Reverse(counts.bytes));
        written.relative_error = all.relative_error();
        Ok(written)
    }
}
