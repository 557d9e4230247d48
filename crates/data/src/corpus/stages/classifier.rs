//! Documents by a trained classifier: [`crate::clean::classifier`].

use std::path::PathBuf;

use serde::Deserialize;

use crate::Document;
use crate::clean::classifier::Classifier;
use crate::corpus::{DocumentStage, Verdict};

/// Measures a probability under the name `signal`; drops what lies outside of the bounds.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Classify {
    classifier: Classifier,
    settings: Settings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// What `tsumugi data classifier train` wrote.
    model: PathBuf,
    /// What it tells, such as `quality`: the signal's name and the rule's.
    signal: String,
    /// The least probability that stays.
    min: Option<f64>,
    /// The most.
    max: Option<f64>,
}

impl TryFrom<Settings> for Classify {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let classifier = Classifier::open(&settings.model).map_err(|error| error.to_string())?;
        Ok(Self { classifier, settings })
    }
}

impl DocumentStage for Classify {
    fn apply(&self, document: &mut Document) -> Verdict {
        let Settings { signal, min, max, .. } = &self.settings;
        let probability = document.number_or(signal, |text| self.classifier.score(text));
        let is_outside = min.is_some_and(|least| probability < least) || max.is_some_and(|most| probability > most);
        if is_outside { Verdict::drop(format!("classifier_{signal}")) } else { Verdict::Keep }
    }

    fn inputs(&self) -> Vec<PathBuf> {
        vec![self.settings.model.clone()]
    }
}
