//! Texts for those who need only the text: files of any format, one piece after another, in constant memory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;
use tsumugi_base::io::{NotText, TextError};
use tsumugi_tokenizer::bpe::border;

use super::{Format, Item, Part, Source, SourceFile, find, input, read};
use crate::corpus::{CorpusError, Fault};

/// The files that hold texts.
#[derive(Debug)]
pub struct Texts {
    source: Source,
    files: Vec<SourceFile>,
    document_bytes_max: u64,
}

/// Of a plain text at a time.
const BLOCK_BYTES: usize = 4 << 20;

/// Before the end of a block a border is looked for in so many bytes first.
const TAIL_BYTES: usize = 1 << 16;

impl Texts {
    /// Files, folders and patterns. A file that is named itself and has no known ending is plain text; of tables and
    /// JSON lines the field `text_field` is taken. A document, which is held as a whole, has at most `document_bytes_max`; a
    /// larger one is a fault. Plain text may have any length.
    pub fn find(paths: &[PathBuf], text_field: &str, document_bytes_max: u64) -> Result<Self, CorpusError> {
        let mut source = Source::new("texts", text_field);
        let mut files = Vec::new();
        for path in paths {
            let shown = path.to_string_lossy();
            if path.is_dir() || (!path.exists() && shown.contains(['*', '?', '['])) {
                source.paths = vec![shown.into_owned()];
                files.extend(find(&source)?);
                continue;
            }
            let bytes = std::fs::metadata(path).map_err(|error| FileError::read(path, error))?.len();
            let format = Format::of(path).unwrap_or(Format::Text);
            files.push(SourceFile::new(path.clone(), shown.into_owned(), format, bytes));
        }
        Ok(Self { source, files, document_bytes_max })
    }

    /// The size of all files; 0 if one is packed, whose text is larger.
    pub fn bytes(&self) -> u64 {
        let plain = |file: &SourceFile| matches!(file.format, Format::Text) && !input::is_packed(&file.path);
        if self.files.iter().all(plain) { self.files.iter().map(|file| file.bytes).sum() } else { 0 }
    }

    /// Calls `text` with all texts in the order of the files; `fault` with what could not be read in a file of documents.
    /// A plain text comes in pieces that end where a word does ([`border`]), and must be UTF-8.
    pub fn for_each<E: From<CorpusError>>(
        &self,
        mut text: impl FnMut(&str) -> Result<(), E>,
        mut fault: impl FnMut(&Fault),
    ) -> Result<(), E> {
        for file in &self.files {
            if file.format == Format::Text && !input::is_packed(&file.path) {
                plain_text(&file.path, &mut text)?;
                continue;
            }
            let mut refused = None;
            let done = read(&self.source, file, Part::All, self.document_bytes_max, &mut |item| {
                match item {
                    Item::Fault(found) => fault(&found),
                    Item::Document(document) => {
                        if let Err(error) = text(document.text()) {
                            refused = Some(error);
                            return Err(CorpusError::Stopped);
                        }
                    }
                }
                Ok(())
            });
            if let Some(error) = refused {
                return Err(error);
            }
            done?;
        }
        Ok(())
    }
}

fn plain_text<E: From<CorpusError>>(path: &Path, text: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let failed = |error| CorpusError::from(FileError::read(path, error));
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer: Vec<u8> = Vec::new();
    // Bytes of the file before the buffer.
    let mut done = 0u64;
    loop {
        // A text without borders is read in ever larger blocks, so that the work stays linear.
        let block = BLOCK_BYTES.max(buffer.len());
        let count = (&mut file).take(block as u64).read_to_end(&mut buffer).map_err(failed)?;
        let is_end = count < block;
        if done == 0 && buffer.starts_with(&[0xef, 0xbb, 0xbf]) {
            buffer.drain(..3);
            done = 3;
        }
        let checked = checked(&buffer, is_end).map_err(|(at, what)| {
            let offset = done + at as u64;
            CorpusError::from(TextError::NotText { path: path.to_owned(), offset, what })
        })?;
        let end = match is_end {
            true => checked.len(),
            false => {
                border(checked, checked.len().saturating_sub(TAIL_BYTES)).or_else(|| border(checked, 1)).unwrap_or(0)
            }
        };
        if end > 0 {
            text(&checked[..end])?;
        }
        done += end as u64;
        buffer.drain(..end);
        if is_end {
            let empty = TextError::Empty { path: path.to_owned() };
            return if done == 0 { Err(CorpusError::from(empty).into()) } else { Ok(()) };
        }
    }
}

/// The bytes as text, but for a character that goes on behind them.
fn checked(bytes: &[u8], is_end: bool) -> Result<&str, (usize, NotText)> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !is_end => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) => {
            return Err((0, NotText::Utf16Mark));
        }
        Err(error) => return Err((error.valid_up_to(), NotText::InvalidByte(bytes[error.valid_up_to()]))),
    };
    match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => Err((at, NotText::Nul)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &Path) -> Result<Vec<String>, CorpusError> {
        let mut found = Vec::new();
        let texts = Texts::find(&[path.to_owned()], "text", 1 << 20)?;
        let keep = |text: &str| -> Result<(), CorpusError> {
            found.push(text.to_owned());
            Ok(())
        };
        texts.for_each(keep, |fault| panic!("{fault}"))?;
        Ok(found)
    }

    #[test]
    fn a_text_of_many_blocks_comes_whole() {
        let folder = tsumugi_base::testing::temporary_folder();
        let path = folder.path().join("a");
        for unit in ["an old \u{e9}t\u{e9} ", "\u{6f22}\u{5b57}", "line\n"] {
            let text = format!("\u{feff}{}", unit.repeat(2 * BLOCK_BYTES / unit.len() + 12345));
            std::fs::write(&path, &text).unwrap();
            let found = all(&path).unwrap();
            assert!(found.concat() == text[3..], "{unit}");
            assert_eq!(found.len() > 1, unit.is_ascii() || unit.contains(' '));
        }
    }

    #[test]
    fn a_document_that_is_too_large_is_left_out_and_told() {
        let folder = tsumugi_base::testing::temporary_folder();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, format!("{{\"text\": \"{}\"}}\n{{\"text\": \"two\"}}\n", "long ".repeat(9000))).unwrap();
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        let keep = |text: &str| -> Result<(), CorpusError> {
            found.push(text.to_owned());
            Ok(())
        };
        let texts = Texts::find(&[path], "text", 1000).unwrap();
        texts.for_each(keep, |fault| faults.push(fault.to_string())).unwrap();
        assert_eq!((found, faults.len()), (vec!["two".to_owned()], 1));
    }

    #[test]
    fn fields_of_json_lines_are_taken_and_bad_bytes_are_named() {
        let folder = tsumugi_base::testing::temporary_folder();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
        assert_eq!(all(&path).unwrap(), ["one", "two"]);
        let path = folder.path().join("b.txt");
        for (bytes, said) in
            [(&b"ab\xffc"[..], "byte 2"), (b"a\0b", "NUL byte at byte 1"), (b"ab\xc3", "byte 2"), (b"", "empty")]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = all(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
