//! Repair of text: wrong decoding undone, control and invisible characters out, one kind of line end, one Unicode form.

mod mojibake;

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

pub use mojibake::undo;

/// Unicode's normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Composed: one way to write each character that looks the same.
    Nfc,
    /// Composed and compatible: ligatures, full-width letters and the like become plain. What they meant is lost.
    Nfkc,
}

/// What is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repair {
    /// UTF-8 that was read as Windows-1252 or Latin-1 is read again.
    pub mojibake: bool,
    /// Control characters but tab and line end go; every line end becomes `\n`.
    pub controls: bool,
    /// Characters without width go (zero-width space, byte order mark, soft hyphen, word joiner, overrides of direction). The joiners that
    /// scripts and emoji need stay.
    pub invisible: bool,
    /// The form that the text gets.
    pub form: Option<Form>,
}

impl Default for Repair {
    fn default() -> Self {
        Self { mojibake: true, controls: true, invisible: true, form: Some(Form::Nfc) }
    }
}

/// How much was repaired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Sequences of wrongly read characters that are one character again.
    pub mojibake: u64,
    /// Control characters taken out.
    pub controls: u64,
    /// Line ends that were not `\n`.
    pub line_ends: u64,
    /// Invisible characters taken out.
    pub invisible: u64,
    /// 1 if the text was not in the form.
    pub normalized: u64,
}

impl Repair {
    /// The repaired text, which is the text itself where nothing was wrong. Repairing it again changes nothing but text that was wrongly read
    /// more than four times.
    ///
    /// ```
    /// use tsumugi_data::clean::repair::Repair;
    /// let (text, repairs) = Repair::default().apply("Itâ€™s fine\r\n\u{200b}");
    /// assert_eq!(text, "It’s fine\n");
    /// assert_eq!((repairs.mojibake, repairs.line_ends, repairs.invisible), (1, 1, 1));
    /// ```
    pub fn apply<'t>(&self, text: &'t str) -> (Cow<'t, str>, Repairs) {
        let mut repairs = Repairs::default();
        let mut text = Cow::Borrowed(text);
        if self.mojibake
            && let Some((fixed, count)) = undo(&text)
        {
            repairs.mojibake = count;
            text = Cow::Owned(fixed);
        }
        if let Some(fixed) = self.drop_characters(&text, &mut repairs) {
            text = Cow::Owned(fixed);
        }
        if let Some(fixed) = self.form.and_then(|form| normalize(&text, form)) {
            repairs.normalized = 1;
            text = Cow::Owned(fixed);
        }
        (text, repairs)
    }

    fn drop_characters(&self, text: &str, repairs: &mut Repairs) -> Option<String> {
        let first = text.find(|character| self.fate(character) != Fate::Stays)?;
        let mut fixed = String::with_capacity(text.len());
        fixed.push_str(&text[..first]);
        let mut characters = text[first..].chars().peekable();
        while let Some(character) = characters.next() {
            match self.fate(character) {
                Fate::Stays => fixed.push(character),
                Fate::EndsLine => {
                    repairs.line_ends += 1;
                    fixed.push('\n');
                    if character == '\r' {
                        characters.next_if_eq(&'\n');
                    }
                }
                Fate::IsControl => repairs.controls += 1,
                Fate::IsInvisible => repairs.invisible += 1,
            }
        }
        Some(fixed)
    }

    fn fate(&self, character: char) -> Fate {
        match character {
            '\t' | '\n' | ' '..='~' => Fate::Stays,
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' if self.controls => Fate::EndsLine,
            '\0'..='\x1f' | '\x7f'..='\u{9f}' if self.controls => Fate::IsControl,
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                if self.invisible =>
            {
                Fate::IsInvisible
            }
            _ => Fate::Stays,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    EndsLine,
    IsControl,
    IsInvisible,
}

/// The text in the form, or nothing if it is.
fn normalize(text: &str, form: Form) -> Option<String> {
    let is_certainly = match form {
        Form::Nfc => is_nfc_quick(text.chars()),
        Form::Nfkc => is_nfkc_quick(text.chars()),
    };
    if is_certainly == IsNormalized::Yes {
        return None;
    }
    let fixed: String = match form {
        Form::Nfc => text.nfc().collect(),
        Form::Nfkc => text.nfkc().collect(),
    };
    (fixed != text).then_some(fixed)
}
