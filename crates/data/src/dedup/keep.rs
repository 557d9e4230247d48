//! Which of several copies stays.

use crate::Document;

/// Of equally good copies the first in the order of the input stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keep {
    /// The first in the order of the input.
    #[default]
    First,
    /// The longest text.
    Longest,
    /// The largest value of a signal; a document without it comes last.
    Best {
        /// The signal's name.
        signal: String,
    },
    /// Every copy; only what belongs together is told.
    All,
}

impl std::str::FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "first" => Ok(Self::First),
            "longest" => Ok(Self::Longest),
            "all" => Ok(Self::All),
            _ => match text.strip_prefix("best:") {
                Some(signal) if !signal.is_empty() => Ok(Self::Best { signal: signal.into() }),
                _ => Err(format!("`keep` is `{text}`, but must be first, longest, best:SIGNAL or all")),
            },
        }
    }
}

impl Keep {
    /// What the copy is worth: the largest stays.
    pub fn worth(&self, document: &Document) -> u64 {
        match self {
            Self::First | Self::All => 0,
            Self::Longest => document.text().len() as u64,
            // The bits of floating-point numbers are in their order once negative ones are turned around.
            Self::Best { signal } => document.number(signal).map_or(0, |value| {
                let bits = value.to_bits();
                if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worth_is_in_the_order_of_what_it_stands_for() {
        let keep: Keep = "best:score".parse().unwrap();
        let worth = |value: Option<f64>| {
            let mut document = Document::new("a", "text");
            value.into_iter().for_each(|value| document.set_signal("score", value));
            keep.worth(&document)
        };
        let values = [None, Some(-1e9), Some(-2.0), Some(-0.5), Some(0.0), Some(1e-9), Some(3.0)];
        let worths: Vec<u64> = values.into_iter().map(worth).collect();
        assert!(worths.windows(2).all(|pair| pair[0] < pair[1]), "{worths:?}");
        assert_eq!(Keep::Longest.worth(&Document::new("a", "text")), 4);
        assert!("best:".parse::<Keep>().is_err() && "last".parse::<Keep>().is_err());
    }
}
