//! Documents by their language: [`crate::clean::language`].

use std::path::PathBuf;

use serde::Deserialize;

use crate::Document;
use crate::clean::language::fasttext::FastText;
use crate::clean::language::{Identify, Trigrams};
use crate::corpus::{DocumentStage, Verdict};

/// Measures `language` and `language_confidence`, and drops what is not in one of the languages.
#[derive(Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Language {
    keep: Vec<String>,
    confidence_min: f64,
    identifier: Box<dyn Identify>,
    model: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Codes such as `en`; left out, every language stays.
    #[serde(default)]
    keep: Vec<String>,
    /// The least confidence, from 0 to 1.
    #[serde(default)]
    confidence_min: f64,
    /// A fastText model such as `lid.176.ftz`; left out, trigrams decide.
    model: Option<PathBuf>,
}

impl TryFrom<Settings> for Language {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let Settings { keep, confidence_min, model } = settings;
        let identifier: Box<dyn Identify> = match &model {
            Some(path) => Box::new(FastText::open(path).map_err(|error| error.to_string())?),
            None => Box::new(Trigrams),
        };
        Ok(Self { keep, confidence_min, identifier, model })
    }
}

impl DocumentStage for Language {
    fn apply(&self, document: &mut Document) -> Verdict {
        let found = self.identifier.identify(document.text());
        let (code, confidence) = found.map_or(("und".to_owned(), 0.0), |found| (found.code, found.confidence));
        document.set_signal("language", code.as_str());
        document.set_signal("language_confidence", confidence);
        if !self.keep.is_empty() && !self.keep.contains(&code) {
            return Verdict::drop("language");
        }
        if confidence < self.confidence_min { Verdict::drop("language_confidence") } else { Verdict::Keep }
    }

    fn inputs(&self) -> Vec<PathBuf> {
        self.model.iter().cloned().collect()
    }
}
