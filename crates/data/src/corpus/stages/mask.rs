//! Personal data and secrets out of the text: [`crate::clean::mask`].

use serde::Deserialize;

use crate::Document;
use crate::clean::mask::{Kind, mask};
use crate::corpus::{DocumentStage, Verdict};

/// What is masked: all kinds, if none is named.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Mask(Vec<Kind>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    kinds: Option<Vec<String>>,
}

impl TryFrom<Settings> for Mask {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let Some(names) = settings.kinds else { return Ok(Self(Kind::ALL.to_vec())) };
        let kind = |name: &String| {
            let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            known.ok_or_else(|| format!("`{name}` is none of: {}", Kind::ALL.map(Kind::name).join(", ")))
        };
        names.iter().map(kind).collect::<Result<_, _>>().map(Self)
    }
}

impl DocumentStage for Mask {
    fn apply(&self, document: &mut Document) -> Verdict {
        if let Some((text, counts)) = mask(document.text(), &self.0) {
            document.set_text(text);
            for (kind, count) in counts {
                document.set_signal(&format!("masked_{}", kind.name()), count as f64);
            }
        }
        Verdict::Keep
    }
}
