//! The published rule sets: [`crate::clean::filters`].

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Document;
use crate::clean::words::TEXT_BYTES_MAX;
use crate::clean::{Filter, Measured, View};
use crate::corpus::{DocumentStage, Verdict};

/// Rule sets in the order in which they judge; each sees the text that the one before left.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Names of filters.
    rules: Vec<String>,
    /// A rule of these to its threshold, where it is not the published one.
    #[serde(default)]
    thresholds: BTreeMap<String, f64>,
    /// Rules that are left out.
    #[serde(default)]
    without: Vec<String>,
}

impl TryFrom<Settings> for Filters {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let named = settings.rules.iter().map(|name| Filter::named(name)).collect::<Result<Vec<_>, _>>();
        let mut filters = named.map_err(|error| error.to_string())?;
        let thresholds = settings.thresholds.iter().map(|(rule, value)| (rule, Some(*value)));
        for (rule, threshold) in thresholds.chain(settings.without.iter().map(|rule| (rule, None))) {
            let has_rule = |filter: &Filter| filter.rules().iter().any(|known| known.name == rule);
            let Some(place) = filters.iter().position(has_rule) else {
                return Err(format!("`{rule}` is a rule of none of these filters"));
            };
            let changed = filters[place].clone().with(rule, threshold).map_err(|error| error.to_string())?;
            filters[place] = changed;
        }
        Ok(Self(filters))
    }
}

impl DocumentStage for Filters {
    fn apply(&self, document: &mut Document) -> Verdict {
        if document.text().len() > TEXT_BYTES_MAX {
            return Verdict::drop("text_over_limit");
        }
        let mut filters = self.0.iter();
        loop {
            // A view is of one text: after an edit there is another.
            let (measured, rule) = judge(&mut filters, document.text());
            let edited = measured.last().and_then(|last| last.edited.clone()).filter(|_| rule.is_none());
            let is_edited = edited.is_some();
            if let Some(text) = edited {
                document.set_text(text);
            }
            // What was measured before an edit is not true of the text any more, but for what the edit itself says.
            let holds = if is_edited { &measured[measured.len() - 1..] } else { &measured[..] };
            for (name, value) in holds.iter().flat_map(|measured| &measured.signals) {
                document.set_signal(name, *value);
            }
            if let Some(rule) = rule {
                return Verdict::drop(rule);
            }
            if !is_edited {
                return Verdict::Keep;
            }
        }
    }
}

/// Asks filters until one drops or changes the text, or none is left.
fn judge<'f>(filters: &mut impl Iterator<Item = &'f Filter>, text: &str) -> (Vec<Measured>, Option<&'static str>) {
    let view = View::of(text);
    let mut all = Vec::new();
    for filter in filters {
        let measured = filter.measure(&view);
        let rule = filter.decide(&measured.signals).map(|rule| rule.name);
        let is_edited = measured.edited.is_some();
        all.push(measured);
        if rule.is_some() || is_edited {
            return (all, rule);
        }
    }
    (all, None)
}
