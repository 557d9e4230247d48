//! Text as it was meant: [`crate::clean::repair`], and lines and paragraphs that are no text: [`crate::clean::lines`].

use serde::Deserialize;

use crate::Document;
use crate::clean::lines::LineRules;
use crate::clean::repair::{Form, Repair};
use crate::corpus::{DocumentStage, Verdict};

/// What is repaired; left out, everything is, and texts become NFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RepairText {
    /// Undo wrong decoding.
    mojibake: bool,
    /// Take out control characters, make line ends alike.
    controls: bool,
    /// Take out characters without width.
    invisible: bool,
    /// The normal form.
    form: FormName,
    /// Take out lines of a page's frame, and long lines and paragraphs that stood before.
    lines: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormName {
    Nfc,
    Nfkc,
    None,
}

impl Default for RepairText {
    fn default() -> Self {
        Self { mojibake: true, controls: true, invisible: true, form: FormName::Nfc, lines: false }
    }
}

impl DocumentStage for RepairText {
    fn apply(&self, document: &mut Document) -> Verdict {
        let form = match self.form {
            FormName::Nfc => Some(Form::Nfc),
            FormName::Nfkc => Some(Form::Nfkc),
            FormName::None => None,
        };
        let repair = Repair { mojibake: self.mojibake, controls: self.controls, invisible: self.invisible, form };
        let (text, repairs) = repair.apply(document.text());
        let mut counts = vec![
            ("repair_mojibake", repairs.mojibake),
            ("repair_controls", repairs.controls),
            ("repair_line_ends", repairs.line_ends),
            ("repair_invisible", repairs.invisible),
            ("repair_normalized", repairs.normalized),
        ];
        let mut text = text.into_owned();
        if let Some((kept, removed)) = self.lines.then(|| LineRules::default().apply(&text)).flatten() {
            text = kept;
            counts.extend([
                ("line_boilerplate", removed.boilerplate),
                ("line_repeated", removed.repeated_lines),
                ("paragraph_repeated", removed.repeated_paragraphs),
            ]);
        }
        document.set_text(text);
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            document.set_signal(name, count as f64);
        }
        Verdict::Keep
    }
}
