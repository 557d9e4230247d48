//! Files of texts.

use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::limits::TEXT_BYTES_MAX;

use crate::corpus::{CorpusError, Fault};
use crate::source::{self, Format, Item, Part, Source, SourceFile, Split};

/// The texts of a file in any format of a source: the field `text` of JSON lines and tables, a page's main text, and of any
/// other file each line that is not blank. What cannot be read goes to `fault`, whose error ends the reading.
pub fn read_texts(
    path: &Path,
    fault: &mut dyn FnMut(Fault) -> Result<(), CorpusError>,
) -> Result<Vec<String>, CorpusError> {
    let mut source = Source::new("texts", "text");
    source.split = Split::Lines;
    let bytes = std::fs::metadata(path).map_err(|error| FileError::read(path, error))?.len();
    let format = Format::of(path).unwrap_or(Format::Text);
    let file = SourceFile::new(path.to_owned(), path.to_string_lossy().into_owned(), format, bytes);
    let mut texts = Vec::new();
    source::read(&source, &file, Part::All, TEXT_BYTES_MAX, &mut |item| {
        match item {
            Item::Document(document) => texts.push(document.into_text()),
            Item::Fault(found) => fault(found)?,
        }
        Ok(())
    })?;
    Ok(texts)
}
