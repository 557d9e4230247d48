//! HDF5: Keras's older files keep their configuration as JSON in an attribute, PyTables keeps pickles there, and links
//! and datasets may lead to other files.

use super::{Format, archive, json, keras};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::hdf5::{self, Item, Problem};
use crate::pickle;
use crate::rules;

/// HDF5 files. Their objects are visited; Keras's words are looked for in all bytes as well, which finds a configuration
/// in pieces or in a broken file.
pub struct Hdf5;

impl Format for Hdf5 {
    fn name(&self) -> &'static str {
        "HDF5"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        hdf5::start(input.bytes).is_some()
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        hdf5::walk(input.bytes, |path, item| match item {
            Ok(item) => tell(path, item, input.bytes.len(), scan),
            Err(problem @ Problem::Broken { at, .. }) => {
                let message = format!("in `{}`: {problem}", archive::shown(path));
                scan.find(&rules::BROKEN_FILE, usize::try_from(at).ok(), "hdf5", message);
            }
            Err(problem) => scan.unread(None, &problem.to_string()),
        });
        keras::lint(input.bytes, scan);
    }
}

fn tell(path: &str, item: Item<'_>, file_bytes: usize, scan: &mut Scan<'_>) {
    match item {
        Item::Attribute { name, elements } => {
            for element in elements.into_iter().filter(|element| element.len() >= pickle::HIDING_BYTES_MIN) {
                scan.within(&format!("{}@{name}", archive::shown(path)), |scan| attribute(element, scan));
            }
        }
        Item::Elsewhere { what, file } => {
            let severity = if archive::leads_out(&file) { rules::OTHER_FILE.severity } else { Severity::Medium };
            let message = format!("in `{}`: {what} `{}`", archive::shown(path), archive::shown(&file));
            scan.find_as(&rules::OTHER_FILE, severity, None, &file, message);
        }
        Item::Declares { bytes } => {
            const BYTES: u64 = 4 << 30;
            const RATIO: u64 = 1000;
            if bytes > BYTES && bytes / RATIO > file_bytes as u64 {
                let message =
                    format!("`{}` becomes {bytes} bytes, and the file has {file_bytes}", archive::shown(path));
                scan.find(&rules::ARCHIVE_BOMB, None, path, message);
            }
        }
    }
}

fn attribute(value: &[u8], scan: &mut Scan<'_>) {
    match value.trim_ascii_start().first() {
        Some(b'{' | b'[') => json::lint(value, scan),
        _ => scan.input(&Input { bytes: value, name: "attribute", expectation: Expectation::Payload }),
    }
}
