//! Training: logistic regression by AdaGrad (Duchi, Hazan, Singer 2011), one text at a time.

use std::collections::HashSet;

use tsumugi_base::progress::{Event, Meter, Observer};
use tsumugi_base::rng::{Key, Stream};

use super::calibration::sigmoid;
use super::features::{FeatureSettings, Features};
use super::{About, Calibration, Classifier, ClassifierError, Evaluation};
use crate::clean::hash::{Fixed, hash};

/// How a classifier is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSettings {
    /// What it looks at.
    pub features: FeatureSettings,
    /// Times that each text is seen.
    pub epochs: u32,
    /// The size of a step before AdaGrad divides it.
    pub learning_rate: f32,
    /// Draws the order of the texts and the parts that are held out.
    pub seed: u64,
    /// Threads that turn texts into features. The result does not depend on it.
    pub threads: usize,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self { features: FeatureSettings::default(), epochs: 5, learning_rate: 0.5, seed: 0, threads: 1 }
    }
}

/// A classifier and how good it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// It.
    pub classifier: Classifier,
    /// On a tenth of the texts that it has not seen, at probability 0.5.
    pub evaluation: Evaluation,
    /// Texts that it was trained on.
    pub trained_texts: usize,
}

/// The least texts of each kind.
const TEXTS_MIN: usize = 20;

/// A text that counts, in the part that its hash gives it.
struct Example {
    features: Features,
    is_positive: bool,
}

/// The three parts of the texts.
#[derive(Default)]
struct Parts {
    training: Vec<Example>,
    calibration: Vec<Example>,
    test: Vec<Example>,
}

/// Trains a classifier that tells `positive` texts from `negative` ones. A tenth of the texts calibrates it and another tests
/// it; which, depends on a text itself, so that equal texts never lie in two parts. A text counts once; one that is in both
/// lists is positive.
pub fn train(
    positive: &[String],
    negative: &[String],
    settings: &TrainingSettings,
    observer: &dyn Observer,
) -> Result<Trained, ClassifierError> {
    let mut seen = HashSet::with_hasher(Fixed);
    let mut distinct = |texts: &'_ [String]| -> Vec<usize> {
        (0..texts.len()).filter(|place| seen.insert(hash(texts[*place].as_bytes()))).collect()
    };
    let (positive_places, negative_places) = (distinct(positive), distinct(negative));
    for (kind, places) in [("positive", &positive_places), ("negative", &negative_places)] {
        if places.len() < TEXTS_MIN {
            return Err(ClassifierError::TooFew { kind, found: places.len(), needed: TEXTS_MIN });
        }
    }
    let texts: Vec<(&str, bool)> = positive_places
        .iter()
        .map(|place| (positive[*place].as_str(), true))
        .chain(negative_places.iter().map(|place| (negative[*place].as_str(), false)))
        .collect();
    let parts = split(&texts, settings);
    let (weights, bias) = descend(&parts.training, settings, observer);
    let about =
        About { features: settings.features.clone(), bias, calibration: Calibration { slope: 1.0, intercept: 0.0 } };
    let mut classifier = Classifier { about, weights };
    let margins: Vec<_> =
        parts.calibration.iter().map(|text| (classifier.margin(&text.features), text.is_positive)).collect();
    classifier.about.calibration = Calibration::fit(&margins);
    let probability = |text: &Example| classifier.about.calibration.probability(classifier.margin(&text.features));
    let scores: Vec<_> = parts.test.iter().map(|text| (probability(text), text.is_positive)).collect();
    let evaluation = Evaluation::of(&scores, 0.5);
    Ok(Trained { classifier, evaluation, trained_texts: parts.training.len() })
}

fn split(texts: &[(&str, bool)], settings: &TrainingSettings) -> Parts {
    let size = texts.len().div_ceil(settings.threads.max(1)).max(1);
    let examples = |texts: &[(&str, bool)]| -> Vec<Example> {
        let example = |(text, is_positive): &(&str, bool)| Example {
            features: Features::of(text, &settings.features),
            is_positive: *is_positive,
        };
        texts.iter().map(example).collect()
    };
    let all: Vec<Vec<Example>> = std::thread::scope(|scope| {
        let workers: Vec<_> = texts.chunks(size).map(|part| scope.spawn(|| examples(part))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let key = Key::from_seed(settings.seed);
    let mut parts = Parts::default();
    for (example, (text, _)) in all.into_iter().flatten().zip(texts) {
        match key.below(hash(text.as_bytes()), 10) {
            0 => parts.test.push(example),
            1 => parts.calibration.push(example),
            _ => parts.training.push(example),
        }
    }
    parts
}

/// What keeps AdaGrad's first division from being one by zero.
const EPSILON: f32 = 1e-8;

/// The weights and the bias after all epochs.
fn descend(texts: &[Example], settings: &TrainingSettings, observer: &dyn Observer) -> (Vec<f32>, f32) {
    let buckets = 1 << settings.features.bucket_bits;
    let (mut weights, mut squares) = (vec![0.0f32; buckets], vec![EPSILON; buckets]);
    let (mut bias, mut bias_squares) = (0.0f32, EPSILON);
    let mut order: Vec<usize> = (0..texts.len()).collect();
    let mut draws = Stream::new(Key::from_seed(settings.seed).derive(&[1]));
    let total = u64::from(settings.epochs) * texts.len() as u64;
    let mut meter = Meter::new("classifier", 0, total, "texts");
    observer.event(&Event::Stage { name: "classifier".into() });
    for epoch in 0..u64::from(settings.epochs) {
        draws.shuffle(&mut order);
        for (done, place) in order.iter().enumerate() {
            let text = &texts[*place];
            let margin: f32 = text.features.iter().map(|(bucket, value)| weights[bucket] * value).sum::<f32>() + bias;
            let error = sigmoid(f64::from(margin)) as f32 - f32::from(u8::from(text.is_positive));
            for (bucket, value) in text.features.iter() {
                let gradient = error * value;
                squares[bucket] += gradient * gradient;
                weights[bucket] -= settings.learning_rate * gradient / squares[bucket].sqrt();
            }
            bias_squares += error * error;
            bias -= settings.learning_rate * error / bias_squares.sqrt();
            if meter.is_due() {
                observer.event(&meter.step(epoch * texts.len() as u64 + done as u64, Vec::new()));
            }
        }
    }
    observer.event(&meter.step(total, Vec::new()));
    (weights, bias)
}
