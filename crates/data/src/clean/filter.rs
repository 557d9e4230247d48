//! Filters: what is measured of a text, and the thresholds at which it is dropped.
//!
//! Measuring and deciding are apart: the signals of a document can be kept beside it, and another threshold needs no
//! new look at the text.

use std::cell::OnceCell;

use super::words::Words;

/// A text with what every filter needs of it, computed once.
pub struct View<'t> {
    text: &'t str,
    characters: usize,
    words: OnceCell<Words<'t>>,
}

impl<'t> View<'t> {
    /// A view of a text. Nothing but its characters is counted before a filter asks.
    pub fn of(text: &'t str) -> Self {
        Self { text, characters: text.chars().count(), words: OnceCell::new() }
    }

    /// The text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Its length in characters.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// Its words.
    pub fn words(&self) -> &Words<'t> {
        self.words.get_or_init(|| Words::of(self.text))
    }
}

/// A measured number and its name.
pub type Signal = (&'static str, f64);

/// What a filter found in a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// In the order of the filter's definition.
    pub signals: Vec<Signal>,
    /// The text with lines taken out, if the filter does that and any were.
    pub edited: Option<String>,
    /// How many lines were taken out, by the rule that did.
    pub lines_removed: Vec<(&'static str, u64)>,
}

impl Measured {
    /// The signal of that name.
    pub fn signal(&self, name: &str) -> Option<f64> {
        self.signals.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// Where a rule drops a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Below this.
    Min(f64),
    /// Above this.
    Max(f64),
}

impl Bound {
    fn drops(self, value: f64) -> bool {
        match self {
            Self::Min(least) => value < least,
            Self::Max(most) => value > most,
        }
    }
}

/// One reason to drop a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// What the report calls it.
    pub name: &'static str,
    /// The signal that it looks at.
    pub signal: &'static str,
    /// The published threshold, unless it was changed.
    pub bound: Bound,
}

impl Rule {
    pub(super) const fn min(name: &'static str, signal: &'static str, least: f64) -> Self {
        Self { name, signal, bound: Bound::Min(least) }
    }

    pub(super) const fn max(name: &'static str, signal: &'static str, most: f64) -> Self {
        Self { name, signal, bound: Bound::Max(most) }
    }
}

/// A published set of rules.
#[derive(Debug, Clone)]
pub struct Filter {
    name: &'static str,
    rules: Vec<Rule>,
    measure: fn(&View<'_>, &[Rule]) -> Measured,
}

/// The name of a rule or filter that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("`{asked}` is none of: {known}")]
pub struct UnknownName {
    asked: String,
    known: String,
}

impl UnknownName {
    fn new<'n>(asked: &str, known: impl Iterator<Item = &'n str>) -> Self {
        Self { asked: asked.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
    }
}

impl Filter {
    pub(super) fn new(name: &'static str, rules: &[Rule], measure: fn(&View<'_>, &[Rule]) -> Measured) -> Self {
        Self { name, rules: rules.to_vec(), measure }
    }

    /// The filter of that name, with its published thresholds.
    pub fn named(name: &str) -> Result<Self, UnknownName> {
        let mut all = super::filters();
        let place = all.iter().position(|filter| filter.name == name);
        match place {
            Some(place) => Ok(all.swap_remove(place)),
            None => Err(UnknownName::new(name, all.iter().map(|filter| filter.name))),
        }
    }

    /// The filter with another threshold for one of its rules, or without the rule.
    pub fn with(mut self, rule: &str, threshold: Option<f64>) -> Result<Self, UnknownName> {
        let Some(place) = self.rules.iter().position(|known| known.name == rule) else {
            return Err(UnknownName::new(rule, self.rules.iter().map(|known| known.name)));
        };
        match (threshold, &mut self.rules[place].bound) {
            (Some(value), Bound::Min(bound) | Bound::Max(bound)) => *bound = value,
            (None, _) => drop(self.rules.remove(place)),
        }
        Ok(self)
    }

    /// What recipes and reports call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// In the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// All signals, whatever they mean for the document.
    pub fn measure(&self, view: &View<'_>) -> Measured {
        (self.measure)(view, &self.rules)
    }

    /// The first rule that drops a document with these signals. A signal that is missing drops nothing.
    pub fn decide(&self, signals: &[Signal]) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            let value = signals.iter().find(|(name, _)| *name == rule.signal);
            value.is_some_and(|(_, value)| rule.bound.drops(*value))
        })
    }
}
