//! Documents by a signal that an earlier stage, or an earlier run, measured: thresholds change without measuring again.

use serde::Deserialize;

use crate::Document;
use crate::corpus::{DocumentStage, Verdict};

/// Drops documents whose signal is outside of the bounds; one without the signal stays, unless it is required.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Threshold {
    settings: Settings,
    too_low: String,
    too_high: String,
    missing: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    signal: String,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    /// Whether a document without the signal is dropped.
    #[serde(default)]
    required: bool,
}

impl TryFrom<Settings> for Threshold {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        if settings.min.is_none() && settings.max.is_none() && !settings.required {
            return Err("it has neither `min` nor `max`".into());
        }
        let rule = |what: &str| format!("{}_{what}", settings.signal);
        let (too_low, too_high, missing) = (rule("too_low"), rule("too_high"), rule("missing"));
        Ok(Self { settings, too_low, too_high, missing })
    }
}

impl DocumentStage for Threshold {
    fn apply(&self, document: &mut Document) -> Verdict {
        let Settings { signal, min, max, required } = &self.settings;
        match document.number(signal) {
            None if *required => Verdict::drop(self.missing.clone()),
            Some(value) if min.is_some_and(|min| value < min) => Verdict::drop(self.too_low.clone()),
            Some(value) if max.is_some_and(|max| value > max) => Verdict::drop(self.too_high.clone()),
            _ => Verdict::Keep,
        }
    }
}
