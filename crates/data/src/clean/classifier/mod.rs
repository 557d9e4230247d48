//! A linear classifier of texts: logistic regression over hashed n-grams of words and characters (Joulin et al. 2016 and
//! Weinberger et al. 2009 have the idea), trained in seconds on a CPU, calibrated on texts that it was not trained on.
//!
//! On disk it is one safetensors file: the tensor `weights`, and the rest as JSON in the header.

mod calibration;
mod evaluation;
mod features;
mod texts;
mod training;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::Hint;
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::{ElementType, FilesError, TensorFile, TensorView, write_safetensors};

pub use calibration::Calibration;
pub use evaluation::Evaluation;
pub use features::FeatureSettings;
pub use texts::read_texts;
pub use training::{Trained, TrainingSettings, train};

use crate::corpus::CorpusError;
use features::Features;

/// The key of the header's metadata.
const METADATA_KEY: &str = "tsumugi_classifier";
const WEIGHTS: &str = "weights";

/// A trained classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    about: About,
    /// One per bucket.
    weights: Vec<f32>,
}

/// Everything but the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct About {
    features: FeatureSettings,
    bias: f32,
    calibration: Calibration,
}

/// Why a classifier could not be trained, written or read.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file of texts could not be read.
    #[error(transparent)]
    Texts(#[from] CorpusError),
    /// It is a safetensors file of something else.
    #[error("{path} is no classifier: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// Too few texts of one kind to train, calibrate and test.
    #[error("{found} {kind} texts after duplicates, but at least {needed} are needed")]
    TooFew {
        /// `positive` or `negative`.
        kind: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
}

impl Hint for ClassifierError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::Texts(error) => error.hint(),
            Self::Malformed { .. } => Some("make one with `tsumugi data classifier train`".into()),
            Self::TooFew { .. } => Some("give more texts; each counts once".into()),
        }
    }
}

impl Classifier {
    /// How likely a text is positive, from 0 to 1. No text is decided by chance: the probability of an empty one is
    /// what the calibration says of the bias.
    pub fn score(&self, text: &str) -> f64 {
        self.about.calibration.probability(self.margin(&Features::of(text, &self.about.features)))
    }

    /// The weighted sum, before it is calibrated.
    fn margin(&self, features: &Features) -> f64 {
        let sum: f64 = features.iter().map(|(bucket, value)| f64::from(self.weights[bucket]) * f64::from(value)).sum();
        sum + f64::from(self.about.bias)
    }

    /// Writes it.
    pub fn save(&self, path: &Path) -> Result<(), ClassifierError> {
        let bytes: Vec<u8> = self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let shape = [self.weights.len()];
        let tensor = TensorView { name: WEIGHTS, element_type: ElementType::F32, shape: &shape, bytes: &bytes };
        let about = serde_json::to_string(&self.about)
            .map_err(|error| ClassifierError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
        let metadata = BTreeMap::from([(METADATA_KEY.to_owned(), about)]);
        Ok(write_safetensors(path, &[tensor], &metadata)?)
    }

    /// Reads one.
    pub fn open(path: &Path) -> Result<Self, ClassifierError> {
        let malformed = |reason: String| ClassifierError::Malformed { path: path.to_owned(), reason };
        let file = TensorFile::single(MappedFile::open(path).map_err(FilesError::from)?)?;
        let about = file.metadata().get(METADATA_KEY).ok_or_else(|| malformed("its header does not say so".into()))?;
        let about: About = serde_json::from_str(about).map_err(|error| malformed(error.to_string()))?;
        let weights = file.get(WEIGHTS).ok_or_else(|| malformed("it has no tensor `weights`".into()))?;
        let buckets = about.features.check().map_err(malformed)?;
        if weights.element_type != ElementType::F32 || *weights.shape != [buckets] {
            return Err(malformed(format!("its weights are not {buckets} numbers in float32")));
        }
        let weights: Vec<f32> = weights
            .bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        let numbers = [f64::from(about.bias), about.calibration.slope, about.calibration.intercept];
        if !weights.iter().all(|weight| weight.is_finite()) || !numbers.iter().all(|number| number.is_finite()) {
            return Err(malformed("a number in it is not finite".into()));
        }
        Ok(Self { about, weights })
    }
}
