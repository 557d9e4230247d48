//! TensorFlow Lite: operators of TensorFlow that the flex delegate runs stand in the file by their names.

use memchr::memmem;

use super::{Format, tensorflow};
use crate::context::{Input, Scan};
use crate::rules;

/// TensorFlow Lite models.
pub struct Tflite;

impl Format for Tflite {
    fn name(&self) -> &'static str {
        "TensorFlow Lite"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.get(4..8) == Some(b"TFL3")
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let root = input.bytes.first_chunk().map_or(0, |offset| u32::from_le_bytes(*offset)) as usize;
        if root < 4 || root >= input.bytes.len() {
            scan.find(&rules::BROKEN_FILE, Some(0), "tflite", "its root table lies outside of the file");
        }
        for (operator, severity, does) in tensorflow::OPERATORS {
            let name = format!("Flex{operator}\0");
            if let Some(at) = memmem::find(input.bytes, name.as_bytes()) {
                let message = format!("operator {operator} {does}");
                scan.find_as(&rules::TENSORFLOW_OP, *severity, Some(at), operator, message);
            }
        }
    }
}
