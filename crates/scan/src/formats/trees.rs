//! Models of decision trees: XGBoost (UBJSON; its JSON is JSON), LightGBM (text), CatBoost (`CBM1` and a FlatBuffer).
//! They name no code; what is wrong with them are sizes that parsers in C++ believe.

use memchr::memmem;

use super::flatbuffer::Table;
use super::ubjson;
use super::{Format, archive};
use crate::context::{Expectation, Input, Scan};
use crate::pickle;
use crate::rules;

/// XGBoost's binary JSON.
pub struct XgBoost;

impl Format for XgBoost {
    fn name(&self) -> &'static str {
        "XGBoost"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const HEAD: usize = 256;
        let head = &input.bytes[..input.bytes.len().min(HEAD)];
        let is_object = matches!(head, [b'{', b'L' | b'l' | b'I' | b'i' | b'U', ..]);
        is_object && (memmem::find(head, b"learner").is_some() || input.has_extension(&["ubj"]))
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let visited = ubjson::visit_texts(input.bytes, &mut |text| {
            if text.len() >= pickle::HIDING_BYTES_MIN {
                scan.member("text", text, Expectation::Payload);
            }
        });
        if let Err(at) = visited {
            let message = "a value is of no known type, too deep, or goes beyond the end of the file";
            scan.find(&rules::BROKEN_FILE, Some(at), "ubjson", message);
        }
    }
}

/// LightGBM's text.
pub struct LightGbm;

impl Format for LightGbm {
    fn name(&self) -> &'static str {
        "LightGBM"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.starts_with(b"tree\nversion=") || input.bytes.starts_with(b"tree\r\nversion=")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let mut leaves = None;
        let mut at = 0;
        for line in input.bytes.split_inclusive(|&byte| byte == b'\n') {
            let key_value = line.iter().position(|&byte| byte == b'=').map(|equals| line.split_at(equals));
            match key_value {
                Some((b"num_leaves", value)) => leaves = number(&value[1..]),
                Some((key @ (b"leaf_value" | b"leaf_count" | b"leaf_weight"), value)) => {
                    let found = value[1..].trim_ascii().split(|&byte| byte == b' ').count() as u64;
                    if leaves.is_some_and(|leaves| leaves != found) {
                        let key = String::from_utf8_lossy(key);
                        let message = format!("a tree has {found} of {key}, but says {}", leaves.unwrap_or_default());
                        scan.find(&rules::BROKEN_FILE, Some(at), "leaves", message);
                    }
                }
                _ => {}
            }
            at += line.len();
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

/// CatBoost's binary models.
pub struct CatBoost;

impl Format for CatBoost {
    fn name(&self) -> &'static str {
        "CatBoost"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.starts_with(b"CBM1")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if core(input.bytes, scan).is_none() {
            let message = "its core goes beyond the end of the file, or has more texts than bytes";
            scan.find(&rules::BROKEN_FILE, Some(4), "CatBoost", message);
        }
    }
}

/// The core (`catboost/libs/model/flatbuffers/model.fbs`): what its texts hold.
fn core(bytes: &[u8], scan: &mut Scan<'_>) -> Option<()> {
    const INFO: usize = 2;
    let size = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let core = Table::root(bytes.get(8..)?.get(..size)?)?;
    // Many entries may name one text; together they would be longer than the file.
    let mut left = 3 * size; // what is no UTF-8 grows
    for pair in core.tables(INFO)? {
        let (key, value) = (pair.text(0).unwrap_or_default(), pair.text(1).unwrap_or_default());
        left = left.checked_sub(key.len() + value.len())?;
        scan.member(&archive::shown(&key), value.as_bytes(), Expectation::Payload);
    }
    Some(())
}
