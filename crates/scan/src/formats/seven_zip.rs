//! 7z archives.

use std::io::Cursor;

use super::{Format, archive};
use crate::context::{Expectation, Input, Scan};
use crate::rules;

/// 7z archives.
pub struct SevenZip;

impl Format for SevenZip {
    fn name(&self) -> &'static str {
        "7z"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.expectation == Expectation::File && input.bytes.starts_with(b"7z\xBC\xAF\x27\x1C")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let unreadable = |error: &dyn std::fmt::Display, scan: &mut Scan<'_>| {
            scan.find(&rules::ARCHIVE_UNREADABLE, None, "7z", format!("the archive cannot be unpacked: {error}"));
        };
        let mut reader =
            match sevenz_rust2::ArchiveReader::new(Cursor::new(input.bytes), sevenz_rust2::Password::empty()) {
                Ok(reader) => reader,
                Err(error) => return unreadable(&error, scan),
            };
        let outcome = reader.for_each_entries(|entry, content| {
            let name = entry.name().to_owned();
            archive::check_path(&name, 0, scan);
            if !entry.is_directory() {
                let (unpacked, error) = scan.unpack(&mut *content);
                archive::check_ratio(&name, input.bytes.len(), unpacked.len(), scan);
                if let Some(error) = error {
                    unreadable(&error, scan);
                }
                scan.unpacked_member(&name, &unpacked, Expectation::File);
            }
            Ok(true)
        });
        if let Err(error) = outcome {
            unreadable(&error, scan);
        }
    }
}
